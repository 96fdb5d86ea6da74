"""Tokens as documented: what programs may do with one, and how anything else in their place is answered."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import AsyncClient
from django.utils import timezone

from chat.accounts.models import User
from chat.api.docs import openapi_schema
from chat.api.routes import api
from chat.models import ApiToken, AuditEntry, Scope
from chat.runtime import background, database
from chat.security import tokens
from tests.chat import making


@dataclass
class Stage:
    """Two accounts: one has a token of each scope, the other a login."""

    owner: User
    other: User
    session_id: str
    run_id: str
    texts: dict[str, str]
    client: AsyncClient

    async def call(self, method: str, path: str, bearer: str | None = None, body: Any = None, **headers: str) -> Any:
        """The answer to a call, with a header `Authorization` where ``bearer`` is given."""
        sent = {**headers, **({"Authorization": bearer} if bearer is not None else {})}
        text = body if isinstance(body, str) else "" if body is None else json.dumps(body)
        return await self.client.generic(method, f"/api/{path}", text, content_type="application/json", headers=sent)


@pytest.fixture
async def stage(transactional_db: None) -> AsyncIterator[Stage]:
    tokens.forget_attempts()

    def make() -> Stage:
        owner, other = making.staff("chat.view_session", name="bo"), making.user("cy")
        session = making.session(owner, title="mine")
        run = making.run(session)
        texts = {scope.value: tokens.make_token(owner, scope, scope, None)[1] for scope in Scope}
        return Stage(owner, other, str(session.pk), str(run.pk), texts, AsyncClient())

    yield await database.write(make)
    await background.drain(5)
    database.close()
    tokens.forget_attempts()


# Create, show once, list, revoke


async def test_a_token_is_made_shown_once_listed_and_revoked(stage: Stage) -> None:
    await stage.client.aforce_login(stage.other)
    expires_at = time.time() + 3600
    made = await stage.call("POST", "tokens/", body={"name": " nightly ", "scope": "ask", "expires_at": expires_at})
    assert made.status_code == 201
    assert made["Cache-Control"] == "no-store"
    created = made.json()
    assert set(created) >= {"id", "name", "scope", "prefix", "expires_at", "created_at", "last_used_at", "token"}
    assert (created["name"], created["scope"], created["last_used_at"]) == ("nightly", "ask", None)
    assert abs(created["expires_at"] - expires_at) < 0.001
    assert created["token"].startswith(created["prefix"])
    text = created.pop("token")
    listed = (await stage.call("GET", "tokens/")).json()["items"]
    assert listed == [created]
    stored = await database.read(ApiToken.objects.filter(pk=created["id"]).values().get)
    assert text not in str(stored)
    assert (await stage.call("GET", "sessions/", f"Bearer {text}")).status_code == 200
    assert (await stage.call("DELETE", f"tokens/{created['id']}/")).status_code == 204
    assert (await stage.call("GET", "sessions/", f"Bearer {text}")).status_code == 401
    assert (await stage.call("GET", "tokens/")).json()["items"] == []
    assert (await stage.call("DELETE", f"tokens/{created['id']}/")).status_code == 404
    noted = await database.read(lambda: list(AuditEntry.objects.filter(about=f"token {created['id']}")))
    assert {(each.actor_id, each.action, each.door) for each in noted} == {
        (stage.other.pk, "token_made", "api"),
        (stage.other.pk, "token_revoked", "api"),
    }


BAD_BODIES: dict[str, Any] = {
    "no scope": {"name": "x"},
    "no name": {"scope": "read"},
    "an empty name": {"name": " ", "scope": "read"},
    "a name that cannot be seen": {"name": "\u200b", "scope": "read"},
    "a long name": {"name": "x" * 101, "scope": "read"},
    "a name with NUL": '{"name": "a\\u0000", "scope": "read"}',
    "another scope": {"name": "x", "scope": "admin"},
    "a scope in a list": {"name": "x", "scope": ["read"]},
    "a moment that has passed": {"name": "x", "scope": "read", "expires_at": 1},
    "a moment without a zone": {"name": "x", "scope": "read", "expires_at": "2199-01-01T00:00"},
    "a moment after the last": {"name": "x", "scope": "read", "expires_at": "9999-12-31T23:59:59-10:00"},
    "no moment": {"name": "x", "scope": "read", "expires_at": "soon"},
    "a moment beyond all": {"name": "x", "scope": "read", "expires_at": 1e300},
    "a moment that is no number": '{"name": "x", "scope": "read", "expires_at": NaN}',
    "true": {"name": "x", "scope": "read", "expires_at": True},
    "a list": "[]",
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
async def test_an_invalid_request_makes_no_token(stage: Stage, body: Any) -> None:
    await stage.client.aforce_login(stage.other)
    answer = await stage.call("POST", "tokens/", body=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in ("bad_frame", "bad_text", "bad_json")
    assert await database.read(stage.other.tokens.count) == 0


async def test_an_account_has_so_many_tokens_and_no_more(stage: Stage) -> None:
    def fill() -> None:
        for number in range(tokens.MOST_TOKENS):
            tokens.make_token(stage.other, f"{number}", Scope.READ, None)

    await database.write(fill)
    await stage.client.aforce_login(stage.other)
    new = {"name": "one more", "scope": "read"}
    refused = await stage.call("POST", "tokens/", body=new)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    gone = (await stage.call("GET", "tokens/")).json()["items"][0]["id"]
    assert (await stage.call("DELETE", f"tokens/{gone}/")).status_code == 204
    assert (await stage.call("POST", "tokens/", body=new)).status_code == 201


# What a token may do


OPERATIONS = [
    (method, path, next((auth.needed for auth in operation.auth_callbacks if hasattr(auth, "needed")), None))
    for bound in api._get_bound_routers()
    for path, view in bound.path_operations.items()
    for operation in view.operations
    for method in operation.methods
]


@pytest.mark.parametrize("have", list(Scope))
async def test_a_scope_opens_what_it_holds_and_nothing_else(stage: Stage, have: Scope) -> None:
    """For every call: a token with too small a scope is refused before anything is looked up, one with a large enough scope is accepted."""
    for method, path, needed in OPERATIONS:
        address = path.lstrip("/").replace("{session_id}", str(uuid4())).replace("{run_id}", str(uuid4()))
        address = address.replace("{", "").replace("}", "")
        answer = await stage.call(method, address, f"Bearer {stage.texts[have]}", body={})
        if needed is None or not have.holds(needed):
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_allowed"), f"{method} {path}"
        else:
            assert answer.status_code not in (401, 403), f"{method} {path}: {answer.content!r}"


def test_every_call_says_what_a_token_must_hold() -> None:
    closed = {f"{method} {path.lstrip('/')}" for method, path, needed in OPERATIONS if needed is None}
    assert closed == {"POST tokens/", "DELETE tokens/{token_id}/"}, "a call that says nothing takes no token"


def test_the_description_says_it_too() -> None:
    schema = openapi_schema()
    assert schema["components"]["securitySchemes"]["TokenAuth"] == {"type": "http", "scheme": "bearer"}
    roles = {
        f"{method.upper()} {path.removeprefix('/api/')}": [
            role for way in call["security"] for role in way.get("TokenAuth", [])
        ]
        for path, methods in schema["paths"].items()
        for method, call in methods.items()
        if path.startswith("/api/")
    }
    assert roles == {
        f"{method} {path.lstrip('/')}": [needed.value] if needed else [] for method, path, needed in OPERATIONS
    }


async def test_a_token_has_no_rights_of_staff(stage: Stage) -> None:
    """Its account is staff with the permission to see others' sessions; with a token these do not exist."""
    theirs = await database.write(making.session, stage.other)
    await stage.client.aforce_login(stage.owner)
    assert (await stage.call("GET", f"sessions/{theirs.pk}/")).status_code == 200
    for scope in Scope:
        answer = await stage.call("GET", f"sessions/{theirs.pk}/", f"Bearer {stage.texts[scope]}")
        assert answer.status_code == 404


async def test_a_token_opens_no_page(stage: Stage) -> None:
    for path in ("/sessions/", "/accounts/", "/admin/"):
        answer = await stage.client.get(path, headers={"Authorization": f"Bearer {stage.texts['manage']}"})
        assert answer.status_code == 302
        assert "/login/" in answer["Location"]


async def test_with_a_token_neither_cookie_nor_csrf_nor_origin_counts(stage: Stage) -> None:
    strict = AsyncClient(enforce_csrf_checks=True)
    await strict.aforce_login(stage.other)
    stage.client = strict
    bearer = f"Bearer {stage.texts['manage']}"
    for headers in ({}, {"Origin": "https://elsewhere.example"}, {"X-CSRFToken": "wrong"}, {"X-Page-User": "999"}):
        made = await stage.call("POST", "sessions/", bearer, {"title": "by token"}, **headers)
        assert made.status_code == 201, headers
        assert not any(name.lower().startswith("access-control") for name in made.headers)
    owned = await database.read(
        lambda: set(stage.owner.sessions.filter(title="by token").values_list("owner", flat=True))
    )
    assert owned == {stage.owner.pk}
    assert (await stage.call("GET", f"sessions/{stage.session_id}/", bearer)).status_code == 200
    assert (await stage.call("POST", "sessions/", None, {})).status_code == 403, "the cookie alone proves no page"


async def test_the_last_use_of_a_token_is_shown(stage: Stage) -> None:
    for _ in range(2):
        assert (await stage.call("GET", "agents/", f"Bearer {stage.texts['read']}")).status_code == 200
    for task in list(background.tasks):
        await task
    listed = (await stage.call("GET", "tokens/", f"Bearer {stage.texts['ask']}")).json()["items"]
    used = {item["name"]: item["last_used_door"] for item in listed}
    assert used["read"] == "api"
    assert used["manage"] is None


# Invalid tokens


def bearers(texts: dict[str, str]) -> dict[str, str]:
    good = texts["manage"]
    return {
        "nothing": "Bearer",
        "spaces": "Bearer    ",
        "another kind": "Bearer sk-abcdefghijklmnopqrstuvwxyz",
        "made up": "Bearer tk_" + "a" * 49,
        "cut": f"Bearer {good[:-1]}",
        "longer": f"Bearer {good}x",
        "one letter changed": f"Bearer {good[:10]}{'a' if good[10] != 'a' else 'b'}{good[11:]}",
        "in capitals": f"Bearer {good.upper()}",
        "two in one": f"Bearer {good} {good}",
        "two headers": f"Bearer {good},Bearer {good}",
        "after another scheme": f"Basic eDp5,Bearer {good}",
        "in quotes": f'Bearer "{good}"',
        "without a space": f"Bearer:{good}",
        "ten thousand letters": "Bearer tk_" + "a" * 10_000,
        "ten thousand spaces": "Bearer" + " " * 10_000 + ",",
        "not ASCII": "Bearer tk_é" + "a" * 48,
        "without its scheme": good,
        "NUL": "Bearer tk_\x00" + "a" * 48,
    }


@pytest.mark.parametrize("name", bearers({"manage": "tk_" + "0" * 49}))
async def test_an_invalid_token_is_refused_whatever_cookie_comes_with_it(stage: Stage, name: str) -> None:
    await stage.client.aforce_login(stage.owner)
    sent = bearers(stage.texts)[name]
    for method, path in (("GET", "sessions/"), ("POST", "sessions/"), ("GET", "nothing/"), ("PUT", "agents/")):
        answer = await stage.call(method, path, sent, body={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_allowed"), f"{method} {path}"
        assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR", "Bearer   "])
async def test_the_scheme_is_written_as_one_likes(stage: Stage, scheme: str) -> None:
    assert (await stage.call("GET", "sessions/", f"{scheme} {stage.texts['read']}")).status_code == 200


async def test_a_proxy_s_own_login_leaves_the_cookie_its_due(stage: Stage) -> None:
    await stage.client.aforce_login(stage.other)
    assert (await stage.call("GET", "sessions/", "Basic eDp5")).status_code == 200


ENDS: dict[str, Any] = {
    "revoked": lambda token: tokens.revoke_token(token.user_id, token.pk),
    "all revoked": lambda token: tokens.revoke_all(token.user_id),
    "expired": lambda token: ApiToken.objects.filter(pk=token.pk).update(
        expires_at=timezone.now() - timedelta(seconds=1)
    ),
    "deactivated": lambda token: User.objects.filter(pk=token.user_id).update(is_active=False),
    "deleted": lambda token: User.objects.filter(pk=token.user_id).delete(),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_a_token_ends_at_once(stage: Stage, end: Any) -> None:
    token, text = await database.write(
        tokens.make_token, stage.other, "mine", Scope.READ, timezone.now() + timedelta(hours=1)
    )
    assert (await stage.call("GET", "sessions/", f"Bearer {text}")).status_code == 200
    await database.write(end, token)
    for _ in range(2):
        assert (await stage.call("GET", "sessions/", f"Bearer {text}")).status_code == 401
    assert token.pk not in await database.read(tokens.still_holding, [token.pk])


async def test_a_token_in_an_address_or_another_header_is_none(stage: Stage) -> None:
    text = stage.texts["manage"]
    for path in (
        f"sessions/?token={text}",
        f"sessions/?access_token={text}",
        f"sessions/?authorization=Bearer%20{text}",
    ):
        assert (await stage.call("GET", path)).status_code == 401
    assert (await stage.call("GET", "sessions/", None, None, **{"X-Api-Key": text})).status_code == 401


async def test_guessing_tokens_is_limited_and_valid_ones_are_not(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens.Attempts, "MOST", 5)
    good = f"Bearer {stage.texts['read']}"
    assert (await stage.call("GET", "sessions/", good)).status_code == 200
    statuses = [(await stage.call("GET", "sessions/", f"Bearer tk_{n}")).status_code for n in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    refused = await stage.call("GET", "sessions/", "Bearer tk_x")
    assert 0 < int(refused["Retry-After"]) <= tokens.Attempts.ONE_MORE_S
    assert (await stage.call("GET", "sessions/", good)).status_code == 200, "it was seen before"
    assert (await stage.call("GET", "sessions/", f"Bearer {stage.texts['ask']}")).status_code == 429


async def test_nonsense_asks_no_database(stage: Stage, django_assert_num_queries: Any) -> None:
    def look() -> None:
        with django_assert_num_queries(0):
            for sent in ("Bearer tk_x", "Bearer " + "x" * 10_000, "Bearer tk_" + "a" * 49):
                with pytest.raises(tokens.BadToken):
                    tokens.read_token(sent, "192.0.2.1")

    await database.read(look)
