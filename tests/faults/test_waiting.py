"""A run that waits for a decision survives the end of its process: killed at any time, it makes no call twice unless asked again."""

import asyncio
import contextlib
import itertools
import json
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from tests.faults import invariants
from tests.faults.conftest import OpenWorld
from tests.faults.oracle import Oracle
from tests.faults.world import SCALE, World, until
from tests.model_server import Call, ModelServer, Script
from tests.serving import Server

pytestmark = [pytest.mark.asyncio, pytest.mark.long]

POLICY = json.dumps([{"tool": "python", "decision": "ask"}])
SETTLED = ("waiting", "completed")
HELD = Call("python", {"code": "6*7"})


def respond(body: dict[str, Any]) -> Script:
    """One tool call, and the answer once its result is there."""
    results = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    return Script("So it is 42.") if "42" in results else Script(reasoning="Let me see.", calls=[HELD])


def respond_within(body: dict[str, Any]) -> Script:
    """The researcher asks the developer, whose call waits for a decision."""
    if body["messages"][1]["content"] == "Calculate":
        return respond(body)
    results = [message for message in body["messages"] if message["role"] == "tool"]
    return Script("So it is.") if results else Script(calls=[Call("ask_developer", {"message": "Calculate"})])


#: Whose call waits: the root's own, or that of a child run; how the model answers, and how many runs there are.
HOLDERS = {"its own": (respond, 1), "of a run within it": (respond_within, 2)}


async def decide_open(world: World, session_id: str, process: int = 0) -> int:
    """Allow all calls of a session that wait; returns how many there were."""
    async with world.browser(process=process) as browser:
        status, waiting = await browser.call("GET", "waiting/")
        assert status == 200, waiting
        own = [item for item in waiting["items"] if item["session_id"] == session_id]
        for item in own:
            body = {"tool_call_id": item["tool_call_id"], "decision": "allow"}
            # The answer may be lost with the process; the first decision counts.
            await browser.call("POST", f"runs/{item['run_id']}/approve/", body)
    return len(own)


def status_of(world: World, session_id: str) -> str:
    found = world.database.rows(
        "SELECT status FROM chat_run WHERE session_id = ? AND parent_id IS NULL ORDER BY number", UUID(session_id)
    )
    return str(found[-1][0])


async def waits(world: World, session_id: str) -> None:
    await until(lambda: status_of(world, session_id) == "waiting", wanted="the run to wait")


async def finish(world: World, session_id: str, client: Oracle, run_id: str) -> None:
    """Decide and continue as often as necessary."""
    for _ in range(4):
        if status_of(world, session_id) == "waiting":
            await decide_open(world, session_id)
        if (ended := await client.ended(run_id)) == "completed":
            return
        assert ended == "interrupted"
        run_id = await client.go_on(run_id)
        # Where the result was already stored, no decision is asked for again.
        await until(lambda: status_of(world, session_id) in SETTLED, wanted="the run to wait, or to end")
    raise AssertionError("the run came to no end")


def calls_made(world: World, session_id: str) -> list[bool]:
    """For each decided call, whether it has a result of its own."""
    bodies = [event.data for event in world.database.events(session_id)]
    return [body["ok"] for body in bodies if body.get("type") == "tool_result"]


@pytest.mark.parametrize("holder", HOLDERS)
async def test_the_process_is_killed_at_every_event_around_a_decision(
    open_world: OpenWorld, model: ModelServer, holder: str
) -> None:
    """A run that waits keeps waiting, and is resumed by the decision; a run that was resumed is interrupted, and asks again."""
    model.respond, _ = HOLDERS[holder]
    settings = {"DJANGO_SETTINGS_MODULE": "tests.faults.dying_settings", "APPROVAL_POLICY": POLICY}
    world = open_world("sqlite", **settings)
    [server] = world.servers
    marker = server.data_dir / "dies_after"
    session = await world.new_session()
    async with world.client(session) as client:
        run_id = await client.ask("Work it out")
        await waits(world, session)
        waits_at = client.state.seq
        await decide_open(world, session)
        assert await client.ended(run_id) == "completed"
        length = client.state.seq
    # How a child run survives before that is tested elsewhere.
    for dies_after in range(1 if holder == "its own" else waits_at - 1, length):
        session = await world.new_session()
        marker.write_text(f"{dies_after} {session}")
        async with world.client(session) as client:
            asking = asyncio.create_task(client.ask("Work it out"))
            dying = asyncio.create_task(asyncio.to_thread(server.process.wait, 30))  # type: ignore[union-attr]
            while not dying.done():
                if world.database.runs(session) and status_of(world, session) == "waiting":
                    deciding = asyncio.create_task(decide_open(world, session))
                    await asyncio.wait([deciding, dying], return_when=asyncio.FIRST_COMPLETED)
                    if dying.done():
                        await asyncio.gather(deciding, return_exceptions=True)
                await asyncio.sleep(0.02)
            marker.write_text("")
            at_death = status_of(world, session) if world.database.runs(session) else ""
            await world.start(server)
            run_id = await asking
            if at_death == "waiting":
                # The restart has left it waiting.
                assert status_of(world, session) in ("waiting", "running", "completed")
            await finish(world, session, client, run_id)
            assert calls_made(world, session)[-1]
            await invariants.check(world, session, [client], logs_may="Traceback")


async def dead_one(world: World, session_id: str) -> Server:
    """Decide all calls that wait, through either process that serves, until a process has died of it; returns that process."""
    asked = itertools.count()
    while True:
        for process in world.processes:
            if process.process is not None and process.process.poll() is not None:
                return process
        if world.database.runs(session_id) and status_of(world, session_id) == "waiting":
            with contextlib.suppress(aiohttp.ClientError):
                await decide_open(world, session_id, process=next(asked) % 2)
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("topology", ["postgres", SCALE])
async def test_one_of_several_processes_is_killed_at_every_event_around_a_decision(
    open_world: OpenWorld, model: ModelServer, topology: str, holder: str
) -> None:
    """Whichever process stored the event, and whichever serves or executes: the others continue the run; no call is made undecided."""
    model.respond, _ = HOLDERS[holder]
    settings = {"DJANGO_SETTINGS_MODULE": "tests.faults.dying_settings", "APPROVAL_POLICY": POLICY}
    world = open_world(topology, **settings)

    def set_words(words: str) -> None:
        for process in world.processes:
            (process.data_dir / "dies_after").write_text(words)

    session = await world.new_session()
    async with world.client(session) as client:
        run_id = await client.ask("Work it out")
        await waits(world, session)
        waits_at = world.database.head(session)
        await decide_open(world, session, process=1)
        assert await client.ended(run_id) == "completed"
        decided = [event.seq for event in world.database.events(session) if event.data.get("type") == "tool_result"]
    # The call, the request, the decision, and all events until each waiting call has its result.
    for number in range(waits_at - 1, decided[-1] + 1):
        session = await world.new_session()
        set_words(f"at {number} {session}")
        async with world.client(session) as client:
            asking = asyncio.create_task(client.ask("Work it out"))
            async with asyncio.timeout(60):
                died = await dead_one(world, session)
            set_words("")
            await world.start(died)
            await finish(world, session, client, await asking)
            # Each decision was for one call; a call that had begun and has no result of its own was closed as such.
            assert calls_made(world, session)[-1]
            await invariants.check(world, session, [client], logs_may="Traceback")


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("topology", ["postgres", SCALE])
async def test_everything_is_killed_while_a_run_waits(
    open_world: OpenWorld, model: ModelServer, topology: str, holder: str
) -> None:
    """Then they are restarted, and another process receives the decision: the same run goes on, and its call is made once."""
    model.respond, runs = HOLDERS[holder]
    world = open_world(topology, APPROVAL_POLICY=POLICY)
    session = await world.new_session()
    async with world.client(session) as client:
        run_id = await client.ask("Work it out")
        await waits(world, session)
        for process in world.processes:
            await world.kill(process)
        for process in world.processes:
            await world.start(process)
        assert status_of(world, session) == "waiting"
        assert await decide_open(world, session, process=1) == 1
        assert await client.ended(run_id) == "completed"
        assert calls_made(world, session) == [True] * runs
        assert len(world.database.runs(session)) == runs
        await invariants.check(world, session, [client])
