"""A session's stored choices, titles with visible characters, and sessions that are requested twice."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from django.db import transaction
from django.utils import timezone

from chat.models import RequestKey, Session
from chat.runs import admission, request_keys, sessions
from chat.runs.admission import Refused
from chat.runs.request_keys import AskedKey
from tests.chat import making
from tests.serving import Browser, Server


async def test_agent_and_switch_are_kept_with_the_session(bo: Browser) -> None:
    _, made = await bo.call("POST", "sessions/", {"agent_name": "writer", "enable_reasoning": False})
    assert (made["agent_name"], made["enable_reasoning"]) == ("writer", False)
    address = f"sessions/{made['id']}/"
    for change in ({"enable_reasoning": True}, {"agent_name": "developer"}, {"enable_reasoning": False}):
        status, changed = await bo.call("PATCH", address, change)
        assert status == 200
        made |= change
        assert {name: changed[name] for name in ("agent_name", "enable_reasoning", "title")} == {
            name: made[name] for name in ("agent_name", "enable_reasoning", "title")
        }
    assert (await bo.call("PATCH", address, {"enable_reasoning": "yes"}))[0] == 400


async def test_a_run_names_its_agent_and_its_model(bo: Browser) -> None:
    session = await bo.new_session()
    async with bo.socket(session) as socket:
        await socket.send("chat", message="Hello [tokens=2]", agent_name="writer")
        start = await socket.until_type("reasoning_start")
        await socket.until_type("reasoning_complete")
    assert start["data"]["agent"] == "writer"
    assert start["data"]["model"]


#: Texts without visible characters; a further case is one entry.
BLANK = [
    " ",
    "\n\t",
    "\u00a0",
    "\u200b",
    "\u200d\u2060",
    "\ufeff \u00ad",
    "\u034f\ufe0f",
    "\u3164",
    "\u2800",
    "\u202e\u2066",
]


@pytest.mark.parametrize("title", ["", *BLANK])
async def test_a_title_that_cannot_be_seen_is_refused_and_the_old_one_stays(bo: Browser, title: str) -> None:
    session = await bo.new_session(title="As it was")
    status, answer = await bo.call("PATCH", f"sessions/{session}/", {"title": title, "archived": True})
    assert (status, answer["error"]["code"]) == (400, "bad_frame")
    assert "title" in answer["error"]["message"]
    _, kept = await bo.call("GET", f"sessions/{session}/")
    assert (kept["title"], kept["archived"]) == ("As it was", False)


@pytest.mark.parametrize("title", BLANK)
async def test_a_new_session_with_such_a_title_has_none(bo: Browser, title: str) -> None:
    _, made = await bo.call("POST", "sessions/", {"title": title})
    assert made["title"] == ""


@pytest.mark.parametrize("title", ["x", "題", "👍🏽", ".", "e\u0301", "\u200bx"])
async def test_a_visible_text_is_a_title(bo: Browser, title: str) -> None:
    session = await bo.new_session()
    assert (await bo.call("PATCH", f"sessions/{session}/", {"title": title}))[1]["title"] == title


@pytest.mark.parametrize("message", BLANK)
async def test_a_message_that_cannot_be_seen_is_empty(bo: Browser, message: str) -> None:
    session = await bo.new_session()
    status, answer = await bo.call("POST", f"sessions/{session}/messages/", {"message": message})
    assert (status, answer["error"]["code"]) == (400, "empty_message")


# Requested twice


async def make(browser: Browser, key: str, **body: Any) -> tuple[int, Any]:
    """Request a session with an idempotency key."""
    return await browser.call("POST", "sessions/", body, headers={"Idempotency-Key": key})


async def test_the_same_key_gets_the_same_session_also_at_once(bo: Browser) -> None:
    key = uuid4().hex
    answers = await asyncio.gather(*(make(bo, key, agent_name="writer") for _ in range(4)))
    assert {status for status, _ in answers} == {201}
    assert len({made["id"] for _, made in answers}) == 1
    assert (await make(bo, uuid4().hex, agent_name="writer"))[1]["id"] != answers[0][1]["id"]


async def test_a_key_finds_its_session_after_changes(bo: Browser) -> None:
    key = uuid4().hex
    _, made = await make(bo, key, title="First")
    await bo.call("PATCH", f"sessions/{made['id']}/", {"title": "Second", "agent_name": "developer"})
    assert (await make(bo, key, title="First"))[1]["id"] == made["id"]


async def test_the_same_key_with_another_request_is_a_conflict(bo: Browser) -> None:
    key = uuid4().hex
    await make(bo, key, agent_name="writer")
    for other in ({}, {"agent_name": "developer"}, {"agent_name": "writer", "title": "x"}):
        status, answer = await make(bo, key, **other)
        assert (status, answer["error"]["code"]) == (409, "conflict")


async def test_the_same_key_for_another_call_is_a_conflict(bo: Browser) -> None:
    key = uuid4().hex
    _, token = await bo.call("POST", "tokens/", {"name": "x", "scope": "ask"})
    await make(bo, key)
    body = {"model": "researcher", "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"Idempotency-Key": key, "Authorization": f"Bearer {token['token']}"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{bo.url}/v1/chat/completions", json=body, headers=headers) as answer,
    ):
        assert (answer.status, (await answer.json())["error"]["code"]) == (409, "conflict")


async def test_a_key_is_its_owners_alone(bo: Browser, product: Server) -> None:
    key = uuid4().hex
    async with Browser.logged_in(product.url, "cy") as cy:
        assert (await make(bo, key))[1]["id"] != (await make(cy, key))[1]["id"]


@pytest.mark.parametrize("key", ["", " ", "x" * 65, "a b"])
async def test_an_invalid_key_is_refused(bo: Browser, key: str) -> None:
    status, answer = await make(bo, key)
    assert (status, answer["error"]["code"]) == (400, "bad_frame")


@pytest.mark.django_db(transaction=True)
def test_a_key_holds_for_a_day() -> None:
    ada = making.user()

    @transaction.atomic
    def make_one() -> Session:
        return sessions.create_once(Session(owner=ada, agent_name="writer"), AskedKey("k", "d"))

    def age(minutes: int) -> None:
        RequestKey.objects.update(created_at=timezone.now() - timedelta(minutes=minutes))

    first = make_one()
    assert make_one().pk == first.pk
    age(24 * 60 - 1)
    assert not request_keys.sweep_keys(10)
    assert make_one().pk == first.pk
    age(24 * 60 + 1)
    second = make_one()
    assert second.pk != first.pk
    age(24 * 60 + 1)
    assert request_keys.sweep_keys(1)
    assert not RequestKey.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_key_of_what_is_gone_makes_it_anew() -> None:
    ada = making.user()

    @transaction.atomic
    def make_one() -> Session:
        return sessions.create_once(Session(owner=ada, agent_name="writer"), AskedKey("k", "d"))

    first = make_one()
    Session.objects.filter(pk=first.pk).update(deleted_at=timezone.now())
    assert make_one().pk != first.pk


@pytest.mark.django_db(transaction=True)
def test_a_key_that_was_claimed_by_what_failed_is_free() -> None:
    ada = making.user()
    asked = AskedKey("k", "d")

    @transaction.atomic
    def fail() -> None:
        assert request_keys.claim_key(ada.pk, asked) is None
        raise Refused("rate_limited", "Not now.")

    with pytest.raises(Refused):
        fail()
    assert not RequestKey.objects.exists()


@pytest.mark.django_db
def test_rows_of_a_process_of_the_version_before_are_filled_in() -> None:
    session = making.session(making.user())
    session.refresh_from_db()
    assert session.enable_reasoning is True
    assert session.creation_key is None
    with pytest.raises(Refused):
        admission.check_message("\u200b")
