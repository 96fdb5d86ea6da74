"""Whatever a process executes by the clock, or for a run, is in the table whose statements are explained by the databases."""

import contextlib
import json
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction

from tests import prepared, services
from tests.chat.databases import postgresql
from tests.chat.large import Large, fill
from tests.chat.statements import EVERYTHING
from tests.chat.store.test_query_plans import BIG
from tests.faults.world import World, alone, until, workers
from tests.model_server import Call, ModelServer, Script
from tests.serving import Browser, Server

_READS = re.compile(r"(?:SELECT|UPDATE|DELETE|WITH)\b|INSERT\b.*\bSELECT\b")
_IN_BIG = re.compile(rf"\b(?:{'|'.join(BIG)})\b")


def shape_of(sql: str) -> str:
    """A statement without what differs from one execution to the next: the numbers in it, and how many values there are."""
    sql = re.sub(r"(?:%s, )+%s", "%s", " ".join(sql.split()))
    return re.sub(r"\b\d+\b", "0", re.sub(r"(?:(\(%s(?:::\w+(?:, %s::[\w\[\]]+)*)?\)), )+\1", r"\1", sql))


class _Shapes:
    """The shapes of all that is executed."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.seen.add(shape_of(sql))
        return execute(sql, params, many, context)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=[pytest.mark.long, pytest.mark.scale])])
def database(request: pytest.FixtureRequest) -> str:
    """Which database: PostgreSQL with Redis, two processes that serve and two that execute the runs."""
    chosen: str = request.param
    return chosen


@pytest.fixture
def known(
    database: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any
) -> dict[str, set[str]]:
    """The shapes of the table's statements, by what they are for."""
    if database == "postgresql":
        address = request.getfixturevalue("tables")
    else:
        address = f"sqlite:///{prepared.copy_tables(tmp_path_factory.mktemp('small'))}"
    with django_db_blocker.unblock(), postgresql(address, has_tables=True):
        small = fill(4_000, 1)
        return {name: _shapes_of(act, small) for name, act in EVERYTHING.items()}


def _shapes_of(act: Callable[[Large], Any], small: Large) -> set[str]:
    shapes = _Shapes()
    with transaction.atomic():
        small.live.refresh_from_db()
        small.queued.refresh_from_db()
        with connection.execute_wrapper(shapes):
            act(small)
        transaction.set_rollback(True)
    return shapes.seen


@pytest.fixture
def world(database: str, request: pytest.FixtureRequest, tmp_path: Path, shared_model: ModelServer) -> Iterator[World]:
    """The product, which writes down what it executes."""
    recording = {
        "DJANGO_SETTINGS_MODULE": "tests.chat.recording_settings",
        "STATEMENTS": str(tmp_path / "statements"),
        "WEBHOOKS": "true",
        "APPROVAL_POLICY": json.dumps([{"tool": "python", "decision": "ask"}]),
    }
    shared_model.reset()
    with contextlib.ExitStack() as until_done:
        if database == "sqlite":
            opened = alone(tmp_path / "data", shared_model, **recording)
        else:
            server, redis = request.getfixturevalue("postgres_server"), until_done.enter_context(services.own_redis())
            name = f"statements_{uuid.uuid4().hex}"
            address = until_done.enter_context(services.database(server, name))
            Server(tmp_path / "made", DATABASE_URL=address).prepare("bo")
            parts = {"database_url": address, "redis_url": redis.url, "broker_url": redis.url}
            opened = workers(tmp_path / "data", shared_model, **parts, **recording)
        yield until_done.enter_context(opened)


async def _ask_everything(world: World, model: ModelServer) -> None:
    """A run with a tool, one that was queued behind it and one that is stopped, one by a schedule, and those of a set."""
    async with world.browser("bo") as browser:
        session = await browser.new_session()
        model.enqueue(Script(reasoning="Look first.", calls=[Call("current_time", {})]))
        for text in ("Tell [tokens=30 every=20]", "Tell [tokens=9000 every=20]"):
            message = {"message": text, "client_message_id": uuid.uuid4().hex}
            status, accepted = await browser.call("POST", f"sessions/{session}/messages/", message)
            assert status == 202
        async with browser.socket(session) as socket:
            await socket.until(lambda frame: frame.get("run_id") == accepted["run_id"])
            await socket.send("cancel", run_id=accepted["run_id"])
            await world.quiet(session)
        deleted = await _decide_and_steer(browser, model)
        schedule = {"message": "Tell [tokens=3]", "every_minutes": 60}
        for keeps in ({}, {"session_id": session}):
            assert (await browser.call("POST", "schedules/", schedule | keeps))[0] == 201
        world.database.rows("UPDATE chat_schedule SET next_at = since")
        _, made = await browser.call("POST", "sets/", {"name": "Sums"})
        for rule in ("True", ""):
            case = {"question": "Tell [tokens=3]", "rule": rule, "expected": ["so"]}
            assert (await browser.call("POST", f"sets/{made['id']}/cases/", case))[0] == 201
        assert (await browser.call("POST", f"sets/{made['id']}/runs/", {}))[0] == 202

        def done() -> bool:
            left = world.database.rows("SELECT 1 FROM chat_session WHERE id = ?", UUID(deleted))
            settled = world.database.rows("SELECT settled_at FROM chat_occurrence WHERE settled_at IS NOT NULL")
            ended = world.database.rows("SELECT ended_at FROM chat_setrun WHERE ended_at IS NOT NULL")
            sent = world.database.rows("SELECT 1 FROM chat_webhookdelivery WHERE error <> ''")
            return (len(settled), len(ended), len(left), bool(sent)) == (2, 1, 0, True)

        await until(done, 60, "the ends of the schedules' runs and of the set's, and what is deleted")


async def _decide_and_steer(browser: Browser, model: ModelServer) -> str:
    """A call that is allowed, and messages to the run, one of which is taken back; reported to a webhook. The session is deleted."""
    session = await browser.new_session()
    form = {"csrfmiddlewaretoken": browser.cookie("csrftoken"), "url": "https://192.0.2.1/"}
    headers = {"Referer": f"{browser.url}/accounts/webhooks/"}
    async with browser.http.post("/accounts/webhooks/", data=form, headers=headers) as answer:
        assert answer.status == 200
    model.enqueue(Script(calls=[Call("python", {"code": "6*7"})]), Script("word " * 200, every_s=0.02), Script("So."))
    async with browser.socket(session) as socket:
        await socket.send("chat", message="Sum")
        run = (await socket.until(lambda frame: frame.get("data", {}).get("type") == "approval_request"))["run_id"]
        _, waiting = await browser.call("GET", "waiting/")
        decided = {"tool_call_id": waiting["items"][0]["tool_call_id"], "decision": "allow"}
        assert (await browser.call("POST", f"runs/{run}/approve/", decided))[0] in (200, 202)
        await socket.until_type("reasoning_delta")
        for text in ("Be brief", "Or not"):
            body = {"message": text, "client_message_id": text}
            assert (await browser.call("POST", f"sessions/{session}/steer/", body))[0] == 202
        assert (await browser.call("POST", f"sessions/{session}/unsteer/", {"client_message_id": "Or not"}))[0] in (
            200,
            202,
            204,
        )
        await socket.until_type("reasoning_complete")
    assert (await browser.call("DELETE", f"sessions/{session}/"))[0] == 204
    return session


async def test_what_a_process_executes_is_in_the_table(
    known: dict[str, set[str]], world: World, shared_model: ModelServer, tmp_path: Path
) -> None:
    """Runs of each kind, and then two sweeps."""

    def executed() -> Counter[str]:
        return Counter(map(shape_of, (tmp_path / "statements").read_text("utf-8").splitlines()))

    await _ask_everything(world, shared_model)
    before = executed()
    sweeps = known["silent runs"] | known["who may start or go on"]
    await until(lambda: all(executed()[each] > before[each] + 1 for each in sweeps), 60, "two sweeps")
    in_table = set().union(*known.values())
    asked = [each for each in executed() if _READS.match(each) and _IN_BIG.search(each)]
    assert len(asked) > 30
    missing = [each for each in asked if each not in in_table]
    assert missing == [], "\n".join(["not in tests/chat/statements.py:", *missing])
