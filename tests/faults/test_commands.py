"""Commands that are sent twice, three times, at the same time, by different routes and to different processes take effect once."""

import asyncio
import contextlib
from typing import Any
from uuid import uuid4

import pytest

from tests.faults.invariants import check
from tests.faults.world import World
from tests.serving import Browser, Socket

SLOW = "Tell [tokens=2000 every=20]"
SHORT = "Say [tokens=2 call=current_time:{}]"


@pytest.fixture
def world(on_each_topology: World) -> World:
    """One process on SQLite, or two on PostgreSQL and Redis, for all tests here, which leave them unchanged."""
    return on_each_topology


@contextlib.asynccontextmanager
async def two_tabs(world: World, session: str) -> Any:
    """One user's two tabs on a session; where there are two processes, each tab is connected to another one."""
    async with (
        world.browser("bo", 0) as one,
        world.browser("bo", -1) as two,
        # Frames that they have not read when they close need not be waited for.
        one.socket(session, close_timeout=0.1) as first,
        two.socket(session, close_timeout=0.1) as second,
    ):
        await first.receive()
        await second.receive()
        yield (one, first), (two, second)


async def answer(socket: Socket, own_id: str) -> tuple[str, str]:
    """The answer to this client's own message: its type, and the run's id or the error's code."""
    frame = await socket.until(
        lambda f: f["type"] in ("accepted", "error") and f["data"].get("client_message_id") == own_id
    )
    return frame["type"], frame["data"]["run_id" if frame["type"] == "accepted" else "code"]


async def posted(browser: Browser, session: str, **payload: Any) -> tuple[str, str]:
    """The same for a message that is sent over HTTP."""
    status, body = await browser.call("POST", f"sessions/{session}/messages/", payload)
    return ("accepted", body["run_id"]) if status == 202 else ("error", body["error"]["code"])


async def test_one_message_thrice_by_every_way_at_once(world: World) -> None:
    """Duplicate sends: one message three times on each of two sockets and twice over HTTP, all at once; then again."""
    session = await world.new_session()
    async with world.client(session) as watching, two_tabs(world, session) as ((one, first), (two, second)):
        for _ in range(5):
            own_id = uuid4().hex
            message = {"message": SHORT, "client_message_id": own_id}
            sending = [socket.send("chat", **message) for socket in (first, second) * 3]
            over_http = asyncio.gather(*(posted(browser, session, **message) for browser in (one, two)))
            await asyncio.gather(*sending)
            answers = {await answer(socket, own_id) for socket in (first, second) for _ in range(3)}
            answers |= set(await over_http)
            assert len(answers) == 1, answers
            ((kind, run),) = answers
            assert kind == "accepted"
            await watching.ended(run)
            await second.send("chat", **message)
            assert await answer(second, own_id) == ("accepted", run)
            assert await posted(one, session, **message) == ("accepted", run)
            await first.send("chat", message="Something else", client_message_id=own_id)
            assert await answer(first, own_id) == ("error", "conflict")
        events = await check(world, session, [watching])
    assert len({event.run_id for event in events}) == 5


async def test_a_message_sent_again_after_every_cut(world: World) -> None:
    """Duplicate sends across reconnects: the connection is lost right after each sending, the message is sent again on the next."""
    session = await world.new_session()
    async with world.client(session) as watching:
        for _ in range(4):
            own_id = uuid4().hex
            for process in (0, -1, 0):
                async with world.browser("bo", process) as browser, browser.socket(session) as socket:
                    await socket.send("chat", message=SHORT, client_message_id=own_id)
                    socket.connection.transport.abort()
            async with world.browser("bo") as browser, browser.socket(session) as socket:
                await socket.send("chat", message=SHORT, client_message_id=own_id)
                kind, run = await answer(socket, own_id)
                assert kind == "accepted"
            await watching.ended(run)
        events = await check(world, session, [watching])
    assert len({event.run_id for event in events}) == 4


async def test_stopping_thrice_from_everywhere(world: World) -> None:
    """Duplicate cancels: three times from each of two tabs and over HTTP; the run ends once, and nothing else is stopped."""
    session = await world.new_session()
    async with world.client(session) as watching, two_tabs(world, session) as ((one, first), (two, second)):
        run = await watching.ask(SLOW)
        waiting = await watching.ask(SHORT)
        await watching.until(lambda: watching.state.live == run and watching.state.runs[run].partial)
        for _ in range(3):
            await asyncio.gather(first.send("cancel", run_id=run), second.send("cancel", run_id=run))
        statuses = [(await browser.call("POST", f"runs/{run}/cancel/", {}))[0] for browser in (one, two)]
        assert set(statuses) <= {202, 409}
        assert await watching.ended(run) == "cancelled"
        assert await watching.ended(waiting) == "completed"
        await first.send("cancel", run_id=run)
        await first.until(lambda f: f["type"] == "error" and f["data"]["code"] == "nothing_to_cancel")
        await check(world, session, [watching])


async def test_continuing_thrice_from_everywhere(world: World) -> None:
    """Duplicate continues: with the same identifier one run, with others one run and refusals."""
    session = await world.new_session()
    async with world.client(session) as watching, two_tabs(world, session) as ((one, first), (_, second)):
        run = await watching.ask(SLOW)
        await watching.until(lambda: run in watching.state.runs and watching.state.runs[run].partial)
        await first.send("cancel")
        await watching.ended(run)
        own_id = uuid4().hex
        for _ in range(3):
            await asyncio.gather(
                *(socket.send("continue", run_id=run, client_message_id=own_id) for socket in (first, second))
            )
        answers = {await answer(socket, own_id) for socket in (first, second) for _ in range(3)}
        assert len(answers) == 1
        ((kind, again),) = answers
        assert kind == "accepted"
        for socket in (first, second):
            other_id = uuid4().hex
            await socket.send("continue", run_id=run, client_message_id=other_id)
            assert await answer(socket, other_id) == ("error", "not_continuable")
        assert (await one.call("POST", f"runs/{run}/continue/", {}))[0] == 409
        await first.send("cancel", all=True)
        await watching.ended(again)
        await check(world, session, [watching])


async def test_resuming_acknowledging_and_pinging_thrice(world: World) -> None:
    """Duplicate resumes, acknowledgements and pings in the middle of a run, on both tabs: no step is lost or out of order."""
    session = await world.new_session()
    async with world.client(session) as watching, two_tabs(world, session) as ((_, first), (_, second)):
        run = await watching.ask("Tell [reasoning=20 tokens=100 every=5 call=current_time:{}]")

        def is_over() -> bool:
            return run in watching.state.runs and watching.state.runs[run].ended

        while not is_over():
            seq = watching.state.seq
            for socket in (first, second):
                for _ in range(3):
                    await socket.send("resume", last_seq=max(0, seq - 3))
                    await socket.send("ack", seq=seq)
                    await socket.send("ping")
            await watching.until(lambda seq=seq: watching.state.seq > seq or is_over())  # type: ignore[misc]
        head = watching.state.seq
        for socket in (first, second):
            await socket.send("ping")
            # What was asked for is all sent before the answer to what was asked after it.
            await socket.until(lambda f: f["type"] == "pong" and f["data"]["last_seq"] == head)
            await socket.send("resume", last_seq=0)
            before = len(socket.frames)
            await socket.until(lambda f: f.get("seq") == head)
            while [f.get("seq") for f in socket.frames[before:]][-1] != head:
                await socket.receive()
            by_number: dict[int, set[str]] = {}
            for frame in socket.stored():
                by_number.setdefault(frame["seq"], set()).add(frame["id"])
            assert sorted(by_number) == list(range(1, head + 1))
            assert all(len(ids) == 1 for ids in by_number.values())
        await check(world, session, [watching])
