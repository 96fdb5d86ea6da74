"""The JSON API exactly as documented: what other people's clients rely on."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError
from django.test import AsyncClient, override_settings

from chat import protocol
from chat.models import Run, RunStatus, Session, Step
from chat.runs import commands as run_commands
from chat.runs.admission import Refused
from chat.runtime import database
from chat.store.step_log import Entry
from tests.chat import making
from tests.model_server import ModelServer
from tests.serving import Browser, Server

SLOW = "Count [tokens=400 every=25]"
QUICK = "Add it up [reasoning=3 call=current_time:{}]"


async def ended(browser: Browser, run_id: str) -> dict[str, Any]:
    """The run, once it has ended."""
    async with asyncio.timeout(20):
        while True:
            status, run = await browser.call("GET", f"runs/{run_id}/")
            assert status == 200
            if run["ended_at"]:
                return dict(run)
            await asyncio.sleep(0.02)


async def ask(browser: Browser, session_id: str, message: str = QUICK, **more: Any) -> str:
    status, accepted = await browser.call("POST", f"sessions/{session_id}/messages/", {"message": message, **more})
    assert status == 202, accepted
    return str(accepted["run_id"])


# Sessions


async def test_a_session_is_opened_shown_changed_and_deleted(bo: Browser) -> None:
    began = time.time()
    status, made = await bo.call("POST", "sessions/", {"agent_name": "writer", "title": " A poem "})
    assert status == 201
    assert set(made) >= {"id", "title", "agent_name", "created_at", "last_seq", "websocket_path"}
    assert made["title"] == "A poem"
    assert made["agent_name"] == "writer"
    assert made["last_seq"] == 0
    assert made["websocket_path"] == f"/ws/chat/{made['id']}/"
    assert abs(made["created_at"] - began) < 5
    address = f"sessions/{made['id']}/"
    assert await bo.call("GET", address) == (200, made)
    status, changed = await bo.call("PATCH", address, {"title": "An ode", "archived": True})
    assert (status, changed["title"], changed["archived"], changed["agent_name"]) == (200, "An ode", True, "writer")
    status, changed = await bo.call("PATCH", address, {"agent_name": "developer"})
    assert (status, changed["title"], changed["agent_name"]) == (200, "An ode", "developer")
    assert (await bo.call("PATCH", address, {})) == (200, changed)
    assert await bo.call("DELETE", address) == (204, None)
    assert (await bo.call("GET", address))[0] == 404
    assert (await bo.call("DELETE", address))[0] == 404


async def test_a_page_that_was_made_for_somebody_else_is_refused(bo: Browser) -> None:
    theirs = {"X-Page-User": "999999"}
    for method, path, body in (("POST", "sessions/", {}), ("GET", "sessions/", None), ("GET", "notifications/", None)):
        status, refused = await bo.call(method, path, body, headers=theirs)
        assert (status, refused["error"]["code"]) == (403, "not_allowed")
        assert "Somebody else has logged in" in refused["error"]["message"]


async def test_sessions_open_with_an_empty_body_too(bo: Browser) -> None:
    for body in ({}, None):
        status, made = await bo.call("POST", "sessions/", body)
        assert (status, made["agent_name"], made["title"]) == (201, "researcher", "")


async def test_deleting_stops_the_run_and_closes_the_sockets(bo: Browser, model: ModelServer) -> None:
    session_id = await bo.new_session()
    async with bo.socket(session_id) as socket:
        await socket.receive()
        run_id = await ask(bo, session_id, SLOW)
        await socket.until_type("reasoning_delta")
        assert await bo.call("DELETE", f"sessions/{session_id}/") == (204, None)
        assert await socket.closed() == protocol.Close.NO_SUCH_SESSION
    assert (await bo.call("GET", f"runs/{run_id}/"))[0] == 404
    model.wait_for(lambda: model.requests[-1].closed_at is not None)


# Asking, stopping, going on


async def test_asking_over_http_is_asking(bo: Browser) -> None:
    session_id = await bo.new_session()
    status, accepted = await bo.call(
        "POST", f"sessions/{session_id}/messages/", {"message": QUICK, "client_message_id": "m1"}
    )
    assert status == 202
    assert accepted == {"run_id": accepted["run_id"], "queued": 0, "client_message_id": "m1"}
    run = await ended(bo, accepted["run_id"])
    assert run["status"] == "completed"
    assert run["iterations"] == 2
    assert run["usage"]["output_tokens"] > 0
    assert run["code"] is None
    assert run["started_at"] <= run["ended_at"]
    assert abs(run["started_at"] - run["created_at"]) < 5, "it did not wait in the queue"
    assert run["duration_ms"] == round((run["ended_at"] - run["started_at"]) * 1000)
    status, session = await bo.call("GET", f"sessions/{session_id}/")
    assert (session["title"], session["status"]) == (QUICK, "completed")
    status, events = await bo.call("GET", f"sessions/{session_id}/events/")
    assert [frame["seq"] for frame in events["events"]] == list(range(1, session["last_seq"] + 1))
    assert (events["last_seq"], events["run"], events["queue"], events["growth"]) == (
        session["last_seq"],
        None,
        [],
        None,
    )


async def test_events_are_the_frames_that_the_socket_sent(bo: Browser) -> None:
    session_id = await bo.new_session()
    async with bo.socket(session_id) as socket:
        await ask(bo, session_id)
        await socket.until_type("reasoning_complete")
        _, all_events = await bo.call("GET", f"sessions/{session_id}/events/")
        assert all_events["events"] == socket.stored()
    _, page = await bo.call("GET", f"sessions/{session_id}/events/?after=2&limit=3")
    assert page["events"] == all_events["events"][2:5]
    assert page["last_seq"] == all_events["last_seq"]
    _, none = await bo.call("GET", f"sessions/{session_id}/events/?after={10**15}")
    assert none["events"] == []


async def test_the_step_being_written_the_run_and_the_line_are_told(bo: Browser) -> None:
    session_id = await bo.new_session()
    first = await ask(bo, session_id, SLOW)
    second = await ask(bo, session_id, "Then this", client_message_id="later")
    lengths = []
    async with asyncio.timeout(20):
        while len(lengths) < 3:
            _, events = await bo.call("GET", f"sessions/{session_id}/events/?limit=1")
            growth = events["growth"]
            if growth and (not lengths or len(growth["data"]["text"]) > lengths[-1]):
                assert (growth["type"], growth["run_id"]) == ("reasoning_delta", first)
                assert growth["data"]["offset"] == 0
                lengths.append(len(growth["data"]["text"]))
            await asyncio.sleep(0.05)
    assert (events["run"]["id"], events["run"]["status"]) == (first, "running")
    assert events["run"]["started_at"] > 0
    assert events["queue"] == [{"run_id": second, "client_message_id": "later", "user": "bo", "message": "Then this"}]
    _, waiting = await bo.call("GET", f"runs/{second}/")
    assert (waiting["status"], waiting["queued"], waiting["started_at"]) == ("queued", 1, None)
    status, stopped = await bo.call("POST", f"runs/{first}/cancel/", {"all": True})
    assert (status, stopped) == (202, {"run_id": first})
    assert (await ended(bo, first))["cancelled_by"] == "bo"
    assert (await ended(bo, second))["status"] == "cancelled"


async def test_the_same_message_again_gets_the_same_answer(bo: Browser) -> None:
    session_id = await bo.new_session()
    body = {"message": "Once", "client_message_id": "same"}
    answers = await asyncio.gather(*(bo.call("POST", f"sessions/{session_id}/messages/", body) for _ in range(5)))
    assert {status for status, _ in answers} == {202}
    assert len({answer["run_id"] for _, answer in answers}) == 1
    status, refused = await bo.call("POST", f"sessions/{session_id}/messages/", {**body, "message": "Twice"})
    assert (status, refused["error"]["code"]) == (409, "conflict")


async def test_a_run_is_stopped_once_and_continued(bo: Browser, model: ModelServer) -> None:
    session_id = await bo.new_session()
    run_id = await ask(bo, session_id, SLOW)
    async with bo.socket(session_id) as socket:
        await socket.until_type("reasoning_delta")
    assert (await bo.call("GET", f"runs/{run_id}/"))[1]["iterations"] == 1
    assert await bo.call("POST", f"runs/{run_id}/cancel/") == (202, {"run_id": run_id})
    run = await ended(bo, run_id)
    assert (run["status"], run["cancelled_by"]) == ("cancelled", "bo")
    status, refused = await bo.call("POST", f"runs/{run_id}/cancel/", {})
    assert (status, refused["error"]["code"]) == (409, "nothing_to_cancel")
    status, going_on = await bo.call("POST", f"runs/{run_id}/continue/", {"client_message_id": "on"})
    assert status == 202
    assert going_on["run_id"] != run_id
    assert (await bo.call("POST", f"runs/{run_id}/continue/", {"client_message_id": "on"}))[1] == going_on
    _, onward = await bo.call("GET", f"runs/{going_on['run_id']}/")
    assert (onward["continues"], onward["origin"], onward["message"]) == (run_id, "continue", SLOW)
    status, refused = await bo.call("POST", f"runs/{run_id}/continue/", {})
    assert (status, refused["error"]["code"]) == (409, "not_continuable")
    await bo.call("POST", f"runs/{going_on['run_id']}/cancel/")


async def test_staff_see_and_stop_but_do_not_steer(product: Server, bo: Browser) -> None:
    session_id = await bo.new_session()
    run_id = await ask(bo, session_id, SLOW)
    async with Browser.logged_in(product.url, "ada") as ada:
        assert (await ada.call("GET", f"sessions/{session_id}/events/"))[0] == 200
        for method, path, body in (
            ("PATCH", f"sessions/{session_id}/", {"title": "mine"}),
            ("DELETE", f"sessions/{session_id}/", None),
            ("POST", f"sessions/{session_id}/messages/", {"message": "hello"}),
            ("POST", f"runs/{run_id}/continue/", {}),
        ):
            status, refused = await ada.call(method, path, body)
            assert (status, refused["error"]["code"]) == (403, "not_allowed"), path
        assert session_id not in [item["id"] for item in (await ada.call("GET", "sessions/"))[1]["items"]]
        assert (await ada.call("POST", f"runs/{run_id}/cancel/"))[0] == 202
    assert (await ended(bo, run_id))["cancelled_by"] == "ada"


async def test_search_finds_a_text_at_its_step(bo: Browser) -> None:
    session_id = await bo.new_session(title="Zoo")
    run_id = await ask(bo, session_id, "About the 麒麟 and the okapi [reasoning=2]")
    await ended(bo, run_id)
    status, found = await bo.call("GET", "search/?q=okapi 麒麟")
    assert status == 200
    hit = found["items"][-1]
    assert (hit["session_id"], hit["session_title"], hit["run_id"], hit["seq"]) == (session_id, "Zoo", run_id, 1)
    assert (hit["type"], [piece for piece, is_term in hit["excerpt"] if is_term]) == ("message", ["麒麟", "okapi"])
    _, listed = await bo.call("GET", "sessions/?q=okapi")
    assert [item["id"] for item in listed["items"]] == [session_id]
    assert (await bo.call("GET", "sessions/?q=quagga"))[1] == {"items": [], "next": None}


async def test_a_forged_write_is_refused(bo: Browser) -> None:
    session_id = await bo.new_session()
    for headers in ({}, {"X-CSRFToken": "x" * 64}):
        async with bo.http.post(
            f"/api/sessions/{session_id}/messages/", json={"message": "x"}, headers=headers
        ) as answer:
            assert answer.status == 403
            assert (await answer.json())["error"]["code"] == "not_allowed"
    foreign = {"X-CSRFToken": bo.cookie("csrftoken"), "Origin": "http://elsewhere.example"}
    async with bo.http.post("/api/sessions/", json={}, headers=foreign) as answer:
        assert answer.status == 403


async def test_the_description_needs_nothing_but_our_own_files(bo: Browser) -> None:
    async with bo.http.get("/api/docs") as answer:
        page = await answer.text()
        assert answer.status == 200
        assert "script-src" in answer.headers["Content-Security-Policy"]
    assert "/api/sessions/{session_id}/messages/" in page
    assert "client_message_id" in page
    assert "http://" not in page.replace(bo.url, "")
    assert "https://" not in page
    async with bo.http.get("/api/openapi.json") as answer:
        described = await answer.json()
    assert set(described["paths"]) == {
        "/api/sessions/",
        "/api/sessions/{session_id}/",
        "/api/sessions/{session_id}/events/",
        "/api/sessions/{session_id}/events/{seq}/content/",
        "/api/sessions/{session_id}/messages/",
        "/api/sessions/{session_id}/export/",
        "/api/sessions/{session_id}/export/preview/",
        "/api/sessions/import/",
        "/api/runs/{run_id}/export/",
        "/api/runs/{run_id}/export/preview/",
        "/api/files/",
        "/api/files/{file_id}/",
        "/api/files/{file_id}/text/",
        "/api/runs/{run_id}/",
        "/api/runs/{run_id}/calls/",
        "/api/runs/{run_id}/calls/{number}/messages/",
        "/api/runs/{run_id}/cancel/",
        "/api/runs/{run_id}/continue/",
        "/api/search/",
        "/api/schedules/",
        "/api/schedules/{schedule_id}/",
        "/api/schedules/{schedule_id}/run/",
        "/api/agents/",
        "/api/notifications/",
        "/api/agui/{agent}/",
        "/api/sessions/{session_id}/shares/",
        "/api/sessions/{session_id}/steer/",
        "/api/sessions/{session_id}/unsteer/",
        "/api/sessions/{session_id}/stream/",
        "/api/shares/{share_id}/",
        "/api/tokens/",
        "/api/comments/{comment_id}/",
        "/api/offers/",
        "/api/runs/{run_id}/answer/",
        "/api/runs/{run_id}/approve/",
        "/api/runs/{run_id}/verdict/",
        "/api/sessions/{session_id}/approvals/",
        "/api/sessions/{session_id}/approvals/{approval_id}/",
        "/api/sessions/{session_id}/branch/",
        "/api/sessions/{session_id}/comments/",
        "/api/sessions/{session_id}/copy/",
        "/api/sessions/{session_id}/leave/",
        "/api/sessions/{session_id}/owner/",
        "/api/sessions/{session_id}/owner/accept/",
        "/api/waiting/",
        "/api/tokens/{token_id}/",
        "/api/runs/{run_id}/case/",
        "/api/sets/",
        "/api/sets/{set_id}/",
        "/api/sets/{set_id}/cases/",
        "/api/sets/{set_id}/cases/{case_id}/",
        "/api/sets/{set_id}/export/",
        "/api/sets/{set_id}/import/",
        "/api/sets/{set_id}/leave/",
        "/api/sets/{set_id}/shares/",
        "/api/sets/{set_id}/shares/{share_id}/",
        "/api/sets/{set_id}/runs/",
        "/api/sets/{set_id}/runs/{number}/",
        "/api/sets/{set_id}/runs/{number}/csv/",
        "/api/sets/{set_id}/runs/{number}/results/",
        "/api/sets/{set_id}/runs/{number}/stop/",
        "/v1/chat/completions",
        "/v1/models",
        "/v1/models/{name}",
        "/v1/responses",
        "/v1/responses/{response_id}",
    }


# In the test's own process: reads, limits, and malformed requests


@pytest.fixture
async def client(transactional_db: None) -> AsyncIterator[AsyncClient]:
    """Ada's client, with a session and a run at work."""
    ada = await database.write(making.user)
    client = AsyncClient()
    await client.aforce_login(ada)
    yield client
    database.close()


@pytest.fixture
async def session(client: AsyncClient) -> Session:
    def make() -> Session:
        made = making.session(making.User.objects.get(username="ada"))
        making.append(making.run(made), making.thought("Hm."))
        return made

    return await database.write(make)


async def send(
    client: AsyncClient, method: str, path: str, body: bytes | str = b"", kind: str = "application/json"
) -> Any:
    answer = await client.generic(method, f"/api/{path}", body, content_type=kind)
    if answer.status_code >= 400:
        assert answer["Content-Type"] == "application/json"
        error = answer.json()["error"]
        assert set(error) == {"code", "message", "id"}
        assert all(error.values())
        return answer.status_code, error["code"]
    return answer.status_code, answer.json() if answer.content else None


BAD_MESSAGES = {
    b"": (400, "bad_frame"),
    b"{}": (400, "bad_frame"),
    b"[]": (400, "bad_frame"),
    b"null": (400, "bad_frame"),
    b'"message"': (400, "bad_frame"),
    b"{": (400, "bad_json"),
    b"message=hello": (400, "bad_json"),
    b"\xff\xfe": (400, "bad_json"),
    b'{"message": NaN}': (400, "bad_json"),
    b"[" * 100_000: (400, "bad_json"),
    b'{"message": 7}': (400, "bad_frame"),
    b'{"message": ["hello"]}': (400, "bad_frame"),
    b'{"message": null}': (400, "bad_frame"),
    b'{"message": ""}': (400, "empty_message"),
    b'{"message": " \\n\\t"}': (400, "empty_message"),
    b'{"message": "a\\u0000b"}': (400, "bad_text"),
    b'{"message": "a\\ud800b"}': (400, "bad_text"),
    b'{"message": "hello", "agent_name": "nobody"}': (400, "unknown_agent"),
    b'{"message": "hello", "agent_name": 7}': (400, "bad_frame"),
    b'{"message": "hello", "enable_reasoning": "yes"}': (400, "bad_frame"),
    b'{"message": "hello", "client_message_id": ""}': (400, "bad_frame"),
    b'{"message": "hello", "client_message_id": "' + b"x" * 65 + b'"}': (400, "bad_frame"),
    b'{"message": "hello", "client_message_id": 7}': (400, "bad_frame"),
    b'{"message": "' + b"x" * 32_001 + b'"}': (413, "too_large"),
    b'{"message": "' + b"x" * 1_000_000 + b'"}': (413, "too_large"),
    b'{"message": "' + b"x" * 3_000_000 + b'"}': (413, "too_large"),
}


async def test_each_bad_message_gets_its_own_error_and_nothing_else(client: AsyncClient, session: Session) -> None:
    for body, expected in BAD_MESSAGES.items():
        assert await send(client, "POST", f"sessions/{session.pk}/messages/", body) == expected, body[:60]
    good = b'{"message": "hello"}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        expected = await send(client, "POST", f"sessions/{session.pk}/messages/", good, kind)
        assert expected == (400, "bad_json"), kind
    assert await Run.objects.acount() == 1


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("events/?after=-1", (400, "bad_last_seq")),
        ("events/?after=x", (400, "bad_last_seq")),
        ("events/?after=1.5", (400, "bad_last_seq")),
        ("events/?after=99999999999999999999999", (400, "bad_last_seq")),
        ("events/?limit=0", (400, "bad_frame")),
        ("events/?limit=1001", (400, "bad_frame")),
        ("events/?limit=many", (400, "bad_frame")),
        ("events/2/content/", (404, "not_found")),
        ("events/0/content/", (404, "not_found")),
        ("events/-1/content/", (404, "not_found")),
        ("events/x/content/", (404, "not_found")),
        ("events/٣/content/", (404, "not_found")),
        ("events/99999999999999999999999/content/", (404, "not_found")),
        ("export/?format=pdf", (400, "bad_frame")),
        ("events", (404, "not_found")),
    ],
)
async def test_each_bad_read_gets_its_own_error(
    client: AsyncClient, session: Session, path: str, expected: tuple[int, str]
) -> None:
    assert await send(client, "GET", f"sessions/{session.pk}/{path}") == expected


BAD_LISTS = ["?status=asleep", "?cursor=x", "?cursor=999999999999999999-" + "0" * 32, "?agent=%00", "?archived=maybe"]


async def test_lists_refuse_what_they_do_not_know(client: AsyncClient, session: Session) -> None:
    for query in BAD_LISTS:
        status, code = await send(client, "GET", f"sessions/{query}")
        assert (status, code) in ((400, "bad_frame"), (400, "bad_text")), query
    for query in ("?agent=nobody", "?q=%00", "?q=%22", "?q=" + "x" * 5_000, "?status=failed", "?cursor=0-" + "0" * 32):
        assert await send(client, "GET", f"sessions/{query}") == (200, {"items": [], "next": None}), query
    assert (await send(client, "GET", "search/?q=%00%22*"))[0] == 200
    assert await send(client, "GET", "search/?q=x&limit=0") == (400, "bad_frame")


@pytest.mark.parametrize(
    "body", ['{"title": 7}', '{"title": "' + "x" * 201 + '"}', '{"archived": "no"}', '{"agent_name": null}']
)
async def test_changes_of_the_wrong_type_change_nothing(client: AsyncClient, session: Session, body: str) -> None:
    assert await send(client, "PATCH", f"sessions/{session.pk}/", body) == (400, "bad_frame")
    assert await send(client, "PATCH", f"sessions/{session.pk}/", '{"agent_name": "nobody"}') == (400, "unknown_agent")
    assert await send(client, "POST", "sessions/", '{"agent_name": "nobody"}') == (400, "unknown_agent")


async def test_unknown_addresses_and_methods_are_told_as_json(client: AsyncClient, session: Session) -> None:
    for path in (
        "",
        "nothing/",
        "sessions",
        f"sessions/{session.pk}",
        "runs/",
        "docs/x",
    ):
        for method in ("GET", "POST", "DELETE"):
            assert await send(client, method, path) == (404, "not_found"), (method, path)
    for path, methods in (
        ("sessions/", ("PUT", "DELETE", "PATCH", "OPTIONS")),
        (f"sessions/{session.pk}/", ("POST", "PUT")),
        (f"sessions/{session.pk}/messages/", ("GET", "HEAD", "PUT")),
    ):
        for method in methods:
            answer = await client.generic(method, f"/api/{path}")
            assert answer.status_code == 405
            assert method not in answer["Allow"]
            if method != "HEAD":
                assert answer.json()["error"]["code"] == "bad_frame"


#: Addresses that are read; a ``HEAD`` request gets the headers of ``GET``, without the body.
READ_AT = {
    "sessions/": 200,
    "sessions/{session}/": 200,
    "sessions/{session}/events/": 200,
    "sessions/{session}/stream/": 200,
    "sessions/{session}/export/?format=json": 200,
    "sessions/{other}/": 404,
    "schedules/": 200,
    "openapi.json": 200,
    "sessions/?cursor=x": 400,
}


@pytest.mark.parametrize("path", READ_AT)
async def test_an_address_that_is_read_answers_head(client: AsyncClient, session: Session, path: str) -> None:
    address = f"/api/{path.format(session=session.pk, other=uuid4())}"
    head, whole = await client.head(address), await client.get(address)
    assert (head.status_code, whole.status_code) == (READ_AT[path],) * 2
    assert head["Content-Type"] == whole["Content-Type"]
    if not head.streaming:
        assert head.content == b""


#: What is refused only for now, and the number of seconds in ``Retry-After``.
FOR_NOW: dict[str, tuple[Exception, int, str | None]] = {
    "too many": (Refused("rate_limited", "Too many."), 429, "10"),
    "too many within an hour": (Refused("rate_limited", "Too many.", 3600), 429, "3600"),
    "a queue": (Refused("queue_full", "Too many."), 429, "5"),
    "a database": (DatabaseError(), 503, "5"),
    "something else": (Refused("conflict", "No."), 409, None),
}


@pytest.mark.parametrize("why", FOR_NOW)
async def test_a_temporary_refusal_says_when_to_retry(
    client: AsyncClient, session: Session, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    failure, status, wait = FOR_NOW[why]

    async def refuse(*_: Any, **__: Any) -> Any:
        raise failure

    monkeypatch.setattr(run_commands, "ask", refuse)
    answer = await client.post(f"/api/sessions/{session.pk}/messages/", {"message": "x"}, "application/json")
    assert (answer.status_code, answer.headers.get("Retry-After")) == (status, wait)


@pytest.mark.parametrize("key", [str(uuid4()), "x", "1", "%F0%9F%99%82", "0" * 400])
async def test_sessions_and_runs_of_others_are_not_found(client: AsyncClient, session: Session, key: str) -> None:
    for method, path in (
        ("GET", f"sessions/{key}/"),
        ("PATCH", f"sessions/{key}/"),
        ("DELETE", f"sessions/{key}/"),
        ("GET", f"sessions/{key}/events/"),
        ("GET", f"sessions/{key}/events/1/content/"),
        ("POST", f"sessions/{key}/messages/"),
        ("GET", f"runs/{key}/"),
        ("POST", f"runs/{key}/cancel/"),
        ("POST", f"runs/{key}/continue/"),
    ):
        assert await send(client, method, path) == (404, "not_found"), path


async def test_limits_are_told_as_such(client: AsyncClient, session: Session) -> None:
    messages = f"sessions/{session.pk}/messages/"
    with override_settings(MAX_QUEUED_RUNS=1):
        assert (await send(client, "POST", messages, '{"message": "one"}'))[0] == 202
        assert await send(client, "POST", messages, '{"message": "two"}') == (429, "queue_full")
    with override_settings(MAX_MESSAGES_PER_MINUTE=2):
        assert await send(client, "POST", messages, '{"message": "three"}') == (429, "rate_limited")
    with override_settings(MAX_MESSAGE_CHARS=3):
        assert await send(client, "POST", messages, '{"message": "four"}') == (413, "too_large")
        assert (await send(client, "POST", messages, '{"message": "abc"}'))[0] == 202


async def test_sessions_come_by_page_latest_first(client: AsyncClient) -> None:
    def make() -> None:
        ada = making.User.objects.get(username="ada")
        for n in range(70):
            making.session(ada, title=f"s{n}", agent_name="writer" if n % 2 else "researcher")
        making.session(ada, title="old", archived=True)
        Session.objects.filter(title="s3").update(status=RunStatus.FAILED)
        Session.objects.filter(title="s4").update(status=RunStatus.CANCELLING)
        # Many with exactly the same time: the cursor still neither skips nor repeats one.
        Session.objects.filter(title__in=[f"s{n}" for n in range(20, 60)]).update(
            active_at=Session.objects.get(title="s20").active_at
        )

    await database.write(make)
    seen: list[str] = []
    cursor, sizes = "", []
    while True:
        status, page = await send(client, "GET", f"sessions/?cursor={cursor}")
        assert status == 200
        sizes.append(len(page["items"]))
        seen += [item["title"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert sizes == [30, 30, 10]
    assert sorted(seen) == sorted(f"s{n}" for n in range(70))
    assert seen[:10] == [f"s{n}" for n in range(69, 59, -1)]
    assert seen[-20:] == [f"s{n}" for n in range(19, -1, -1)]

    async def titles(query: str) -> list[str]:
        return [item["title"] for item in (await send(client, "GET", f"sessions/{query}"))[1]["items"]]

    assert await titles("?status=failed") == ["s3"]
    assert await titles("?status=running") == ["s4"]
    assert await titles("?archived=true") == ["old"]
    assert await titles("?q=s17") == ["s17"]
    assert set(await titles("?agent=writer")) <= {f"s{n}" for n in range(1, 70, 2)}


async def test_the_whole_text_of_a_step_is_plain_text(client: AsyncClient, session: Session) -> None:
    long = "<script>alert(1)</script>\n天氣🙂" + "x" * 50_000

    def make() -> None:
        run = session.runs.get()
        usage = {"input_tokens": 1, "output_tokens": 1, "estimated": True}
        end = {"status": "completed", "total_iterations": 1, "duration_ms": 7, "usage": usage}
        making.append(
            run,
            making.step("tool_result", long[:2000], full=long, step=2),
            Entry("reasoning_complete", end),
        )

    await database.write(make)
    answer = await client.get(f"/api/sessions/{session.pk}/events/2/content/")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer.content.decode() == long
    assert (await client.get(f"/api/sessions/{session.pk}/events/1/content/")).content == b"Hm."
    assert await send(client, "GET", f"sessions/{session.pk}/events/3/content/") == (404, "not_found")


async def test_stored_text_is_passed_on_byte_by_byte(client: AsyncClient, session: Session) -> None:
    odd = '{"type": "thought",  "step": 1.0, "content": "\\u5929 \\/ 1e2", "iteration": 1}'
    await Step.objects.aupdate(body=odd)
    answer = await client.get(f"/api/sessions/{session.pk}/events/")
    assert odd.encode() in answer.content
    assert json.loads(answer.content)["events"][0]["data"]["content"] == "天 / 1e2"


async def test_anonymous_people_get_401_whatever_they_ask(transactional_db: None) -> None:
    client = AsyncClient()
    key = uuid4()
    for path in ("", "sessions/", f"sessions/{key}/", f"runs/{key}/", "search/", "nothing/", "openapi.json"):
        for method in ("GET", "POST", "PUT", "DELETE"):
            assert await send(client, method, path, "{") == (401, "not_allowed"), (method, path)
    database.close()


async def test_someone_deactivated_is_anonymous(client: AsyncClient) -> None:
    assert (await send(client, "GET", "sessions/"))[0] == 200
    await making.User.objects.aupdate(is_active=False)
    assert await send(client, "GET", "sessions/") == (401, "not_allowed")


async def test_a_failure_of_ours_tells_no_details(
    client: AsyncClient, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    await Step.objects.aupdate(body="no JSON")
    assert await send(client, "GET", f"sessions/{session.pk}/events/1/content/") == (500, "internal")
    assert "A request failed" in caplog.text


async def test_pages_are_told_what_an_error_was_made_of_and_others_are_not(
    client: AsyncClient, session: Session
) -> None:
    address, user = f"/api/sessions/{session.pk}/events/99/content/", str(session.owner_id)
    plain = (await client.get(address)).json()["error"]
    error = (await client.get(address, headers={"X-Page-User": user})).json()["error"]
    assert (error["code"], error["message"]) == (plain["code"], plain["message"])
    assert set(error) - set(plain) == {"template"}
    assert error["template"] == error["message"]


# Agents


async def test_the_agents_that_one_may_use(bo: Browser) -> None:
    status, answer = await bo.call("GET", "agents/")
    assert status == 200
    offered = {each["name"]: each for each in answer["items"]}
    assert list(offered) == ["researcher", "developer", "writer"]
    assert offered["writer"] == {
        "name": "writer",
        "title": "Writer",
        "description": "Drafts, edits and shortens texts in a clear voice.",
        "version": 1,
        "model": "stub",
        "provider": "default",
        "tools": ["current_time", "search_history", "fetch_page"],
        "mcp_servers": None,
        "sub_agents": [],
        "starters": [],
        "sees_images": False,
        "is_default": False,
    }
    _, made = await bo.call("POST", "sessions/", {"agent_name": "writer"})
    run = await ended(bo, await ask(bo, made["id"]))
    assert (run["agent_version"], run["model"], run["provider"]) == (1, "stub", "default")
