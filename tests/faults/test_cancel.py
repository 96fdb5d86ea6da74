"""Stopping a run: in every phase, from any client and process, twice, too late, and while its process is dead or frozen."""

import asyncio
import contextlib
import random
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse

from tests.faults import invariants, world
from tests.faults.conftest import Record
from tests.faults.oracle import Oracle
from tests.faults.world import World
from tests.model_server import ModelServer

#: The limits, in seconds: from the command to the run's last event, and to the end of the model's connection.
AT_ONCE_S = 1.0
LEASE_S = 3.0

SLOW = "Count [tokens=2000 every=20]"
PHASES = {
    "queued": SLOW,
    "before the model has answered": "Wait [fault=hang]",
    "after the first token": "Wait [tokens=5 after=1 fault=stall]",
    "in the middle of a thought": "Think [reasoning=2000 every=20]",
    "in the middle of an answer": SLOW,
    "inside a tool": 'Loop [call=python:{"code": "while True: pass"}]',
}


@pytest.fixture(
    params=[
        pytest.param("shared_pair", marks=pytest.mark.xdist_group("pair"), id="pair"),
        pytest.param("shared_workers", marks=world.SCALE.marks, id="workers"),
    ]
)
def two(request: pytest.FixtureRequest) -> World:
    """Two processes that serve and execute the runs; and two that serve, with two workers."""
    opened: World = request.getfixturevalue(request.param)
    opened.begin_anew()
    return opened


def at(opened: World, session_id: str, process: int, **options: Any) -> Oracle:
    """A client that is always connected to one of the processes."""
    return opened.client(session_id, at=lambda: [opened.addresses[process]], **options)


async def stopped(client: Oracle, run_id: str, timeout_s: float = 20.0) -> dict[str, Any]:
    """Wait until a run has ended as stopped; returns the data of its last event."""
    assert await client.ended(run_id, timeout_s) == "cancelled"
    data: dict[str, Any] = client.state.runs[run_id].entries[-1]["data"]
    return data


def is_writing(client: Oracle, run_id: str) -> bool:
    """Whether a client has received text in progress of a run."""
    return run_id in client.state.runs and client.state.runs[run_id].partial is not None


def has_step(client: Oracle, run_id: str, kind: str) -> bool:
    """Whether a client has a step of a type."""
    return run_id in client.state.runs and any(e["data"].get("type") == kind for e in client.state.runs[run_id].entries)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["at its owner", "at the other process"])
@pytest.mark.xdist_group("pair")
async def test_a_stop_in_every_phase(two: World, record_property: Record, phase: str, elsewhere: bool) -> None:
    """A stop in each phase of a run, sent to the process that executes it or to the other: it ends at once, with the right event."""
    session = await two.new_session()
    async with at(two, session, 0) as owner, at(two, session, int(elsewhere)) as other:
        run_id = await owner.ask(PHASES[phase])
        match phase:
            case "queued":
                run_id = await owner.ask("Later")
            case "before the model has answered":
                await two.model.until(lambda: bool(two.model.requests))
            case "inside a tool":
                await owner.until(lambda: has_step(owner, run_id, "tool_use"))
            case _:
                await owner.until(lambda: is_writing(owner, run_id))
        await other.until(lambda: other.is_connected)
        asked_at = time.time()
        await other.send("cancel", run_id=run_id)
        end = await stopped(owner, run_id)
        took = time.time() - asked_at
        record_property("stopped after, s", round(took, 3))
        assert took < AT_ONCE_S, f"stopped after {took:.2f} s"
        assert end["cancelled_by"] == "bo"
        if phase == "queued":
            await other.send("cancel")
        elif phase != "inside a tool":
            await two.model.until(lambda: two.model.requests[0].closed_at is not None, AT_ONCE_S)
            closed_after = (two.model.requests[0].closed_at or 0) - asked_at
            record_property("connection closed after, s", round(closed_after, 3))
            assert closed_after < AT_ONCE_S
        entries = [e["data"] for e in owner.state.runs[run_id].entries]
        texts = [data for data in entries if data.get("type") in ("thought", "final_answer")]
        assert all(data["partial"] is True for data in texts)
        results = [data for data in entries if data.get("type") == "tool_result"]
        assert [result["ok"] for result in results] == ([False] if phase == "inside a tool" else [])
        again = await other.ask("And now? [tokens=2]")
        assert await other.ended(again) == "completed"
        await invariants.check(two, session, [owner, other])


@pytest.mark.long
async def test_a_stop_while_the_model_is_being_connected_to(tmp_path: Path, record_property: Record) -> None:
    """The machine of the model server does not even answer the TCP handshake."""
    with contextlib.ExitStack() as sockets:
        deaf = sockets.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(8):  # its backlog is full: further handshakes get no answer
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        address = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
        with ModelServer() as model, world.alone(tmp_path, model, LLM_MODEL_SERVER=address) as opened:
            session = await opened.new_session()
            async with opened.client(session) as client:
                run_id = await client.ask("Hello?")
                await client.until(lambda: has_step(client, run_id, "iteration_start"))
                asked_at = time.monotonic()
                await client.send("cancel")
                await stopped(client, run_id)
                took = time.monotonic() - asked_at
                record_property("stopped after, s", round(took, 3))
                assert took < AT_ONCE_S
                await invariants.check(opened, session, [client])


@pytest.mark.long
@pytest.mark.xdist_group("pair")
async def test_stops_around_the_end_of_a_run_end_it_once(two: World) -> None:
    """Twenty runs are stopped, each twice and through two processes, at about the time when they complete: each has one end."""
    draw = random.Random(7)

    async def one() -> str:
        session = await two.new_session()
        async with at(two, session, 0) as owner, at(two, session, 1) as other:
            await other.until(lambda: other.is_connected)
            run_id = await owner.ask("Say [tokens=10 every=10]")
            await asyncio.sleep(draw.uniform(0.05, 0.3))  # the time of the stop is the fault
            await asyncio.gather(owner.send("cancel", run_id=run_id), other.send("cancel", run_id=run_id))
            status = await owner.ended(run_id)
            await owner.send("cancel", run_id=run_id)
            await owner.until(lambda: any(e["code"] == "nothing_to_cancel" for e in owner.errors))
            await invariants.check(two, session, [owner, other])
            return status

    ends: set[str] = set()
    for _ in range(4):
        ends.update(await asyncio.gather(*(one() for _ in range(5))))
    assert ends <= {"completed", "cancelled"}
    assert "cancelled" in ends


@pytest.mark.xdist_group("pair")
async def test_another_user_cannot_stop_a_run(two: World) -> None:
    """Another user sends the run's id, on a session of their own and over HTTP: nothing is stopped, and the answer reveals nothing."""
    session, foreign = await two.new_session("bo"), await two.new_session("cy")
    async with at(two, session, 0) as bo, two.client(foreign, "cy") as cy:
        run_id = await bo.ask(SLOW)
        await bo.until(lambda: is_writing(bo, run_id))
        await cy.until(lambda: cy.is_connected)
        await cy.send("cancel", run_id=run_id)
        await cy.until(lambda: bool(cy.errors))
        assert [error["code"] for error in cy.errors] == ["not_found"]
        async with two.browser("cy", process=1) as browser:
            assert (await browser.call("POST", f"runs/{run_id}/cancel/", {}))[0] == 404
        assert not bo.state.runs[run_id].ended
        assert {run.status for run in two.database.runs(session)} == {"running"}
        await bo.send("cancel")
        await stopped(bo, run_id)
        await invariants.check(two, session, [bo])


@pytest.mark.xdist_group("pair")
async def test_a_stop_from_a_page_that_is_served_by_a_thread(two: World, record_property: Record) -> None:
    """Staff stop a run in the admin, whose code runs in a thread, at the process that executes the run and at the other one."""
    act = reverse("admin:chat_run_act", args=["stop"])
    for process in (0, 1):
        session = await two.new_session()
        async with two.browser("ada", process=process) as ada, at(two, session, 0) as owner:
            run_id = await owner.ask(SLOW)
            await owner.until(lambda: is_writing(owner, run_id))  # noqa: B023 - waited for at once
            form = {"id": run_id, "csrfmiddlewaretoken": ada.cookie("csrftoken")}
            asked_at = time.time()
            async with ada.http.post(act, data=form, headers={"Referer": ada.url}) as answer:
                assert answer.status == 200
            assert (await stopped(owner, run_id))["cancelled_by"] == "ada"
            took = time.time() - asked_at
            record_property("stopped after, s", round(took, 3))
            assert took < AT_ONCE_S
            await two.model.until(lambda: two.model.requests[-1].closed_at is not None, AT_ONCE_S)
            await invariants.check(two, session, [owner])


@pytest.mark.long
async def test_a_stop_works_without_group_messages(
    open_world: Any, model: ModelServer, record_property: Record
) -> None:
    """Every group message is lost: the process of the run finds the stop in the database."""
    opened = open_world("postgres", **world.FAULTY_LAYER, GROUP_MESSAGES="lost=1.0")
    session = await opened.new_session()
    async with at(opened, session, 0) as owner, at(opened, session, 1) as other:
        run_id = await owner.ask(SLOW)
        await model.until(lambda: bool(model.requests))
        await other.until(lambda: other.is_connected)
        asked_at = time.monotonic()
        await other.send("cancel", run_id=run_id)
        await stopped(owner, run_id)
        took = time.monotonic() - asked_at
        record_property("stopped after, s", round(took, 2))
        assert took < 3
        await invariants.check(opened, session, [owner, other])


@pytest.mark.long
@pytest.mark.parametrize("how", ["dead", "frozen"])
async def test_a_stop_ends_the_run_of_a_dead_or_frozen_process(
    open_world: Any, model: ModelServer, record_property: Record, how: str
) -> None:
    """The run's process is killed, or frozen and resumed later: the run ends as stopped by that user, and the process adds nothing."""
    opened = open_world("postgres", RUN_LEASE_S=f"{LEASE_S:g}")
    session = await opened.new_session()
    owner_process = opened.servers[0]
    async with at(opened, session, 1) as other:
        async with at(opened, session, 0) as owner:
            run_id = await owner.ask(SLOW)
            await other.until(lambda: is_writing(other, run_id))
        if how == "dead":
            await opened.kill(owner_process)
        else:
            owner_process.process.send_signal(signal.SIGSTOP)
        asked_at = time.monotonic()
        await other.send("cancel", run_id=run_id)
        try:
            end = await stopped(other, run_id)
            took = time.monotonic() - asked_at
        finally:
            if how == "dead":
                await opened.start(owner_process)
            else:
                owner_process.process.send_signal(signal.SIGCONT)
        assert end["cancelled_by"] == "bo"
        record_property("stopped after, s", round(took, 2))
        assert took < LEASE_S + LEASE_S / 3 + 2.5
        again = await other.ask("And now? [tokens=2]")
        assert await other.ended(again) == "completed"
        if how == "frozen":
            # It has noticed when it has closed the model's connection.
            await model.until(lambda: model.requests[0].closed_at is not None, 10)
        await invariants.check(opened, session, [other])
