"""Clients that read slowly, never, or acknowledge nothing: they use bounded memory, delay nobody, and lose no event."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from tests.faults.bystander import Bystander
from tests.faults.conftest import Record
from tests.faults.invariants import MB, check_costs
from tests.faults.raw_socket import NO_CLOSE_FRAME, PING, RawSocket, frame
from tests.faults.rows import make_long_session
from tests.faults.world import until
from tests.serving import Browser, Server

#: They share a product: in two processes of the tests it would be started twice.
pytestmark = pytest.mark.xdist_group("served")

TOO_SLOW = 4408
#: Numbered events that a client may be sent without acknowledging any.
WINDOW = 200
#: If more than a window were sent, it would have arrived within this time.
MORE_WITHIN_S = 2.0
#: The server's timeout in seconds, plus the second between its checks.
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def long_session(served: Server) -> str:
    """A session of 2,000 steps and 6 MB: too much memory if all of it were buffered for each of twenty clients."""
    return make_long_session(served, "bo", 2_000)


async def read_all(bo: Browser, session: str, after: int = 0) -> float:
    """Read a session to its last event as a proper client does; returns the seconds it took."""
    began = time.monotonic()
    async with bo.socket(session, f"?last_seq={after}") as socket:
        head = (await socket.receive())["data"]["last_seq"]
        await socket.until(lambda f: f.get("seq") == head)
        assert [f["seq"] for f in socket.stored()] == list(range(after + 1, head + 1))
    return time.monotonic() - began


async def twenty_stalled_readers(
    served: Server, bo: Browser, others: Bystander, session: str, record_property: Record
) -> None:
    """Let twenty clients open a session and read nothing; check the memory, and how long others wait."""
    await read_all(bo, session)
    served.rest()
    others.begin_anew()
    async with contextlib.AsyncExitStack() as stalled:
        for _ in range(20):
            await stalled.enter_async_context(RawSocket.open(bo, session, receive_buffer=4096))
        # Others are sent events as fast as before.
        assert await read_all(bo, session) < 5
        await check_costs(served, 20, others)
        record_property("MB", round(served.most_taken / MB))
        assert served.most_taken <= 60 * MB


async def test_twenty_readers_that_stop_reading(
    served: Server, bo: Browser, others: Bystander, long_session: str, record_property: Record
) -> None:
    """Slow consumer: twenty sockets with tiny receive buffers open a long session and never read a byte."""
    await twenty_stalled_readers(served, bo, others, long_session, record_property)


@pytest.mark.long
async def test_twenty_readers_that_stop_reading_30_mb(
    served: Server, bo: Browser, others: Bystander, record_property: Record
) -> None:
    """Slow consumer: the same with a session of 10,000 steps and 30 MB."""
    session = make_long_session(served, "bo", 10_000)
    await twenty_stalled_readers(served, bo, others, session, record_property)


FLOODS: dict[str, bytes] = {
    "pings of the application": frame(json.dumps({"type": "ping"})),
    "frames that are no commands": frame("{"),
    "resumes from the beginning": frame(json.dumps({"type": "resume", "payload": {"last_seq": 0}})),
    "pings of the protocol": frame(b"x" * 125, PING),
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_client_that_asks_and_asks_and_never_reads_an_answer(
    served: Server, bo: Browser, others: Bystander, long_session: str, kind: str
) -> None:
    """Never-reading client: it floods the server with commands that are answered, and does not read the answers."""
    async with RawSocket.open(bo, long_session, receive_buffer=4096) as raw:
        served.rest()
        others.begin_anew()
        assert await raw.flood(FLOODS[kind] * 500, total=400 * MB, within_s=1.0) > 0
        await check_costs(served, 1, others)


@pytest.mark.long
async def test_a_client_that_never_reads_is_closed_and_misses_nothing(
    served: Server, bo: Browser, long_session: str
) -> None:
    """Never-reading client: after half a minute its connection is closed, and the server keeps nothing of it."""
    async with RawSocket.open(bo, long_session, receive_buffer=4096) as raw:

        def is_open() -> bool:
            connections = psutil.Process(served.pid).net_connections("tcp")
            return any(each.raddr and each.raddr.port == raw.port for each in connections)

        assert is_open()
        began = time.monotonic()
        await until(lambda: not is_open(), PATIENCE_S + 15, "the connection to end")
        assert time.monotonic() - began > PATIENCE_S - 5
        assert await raw.ending() in (TOO_SLOW, NO_CLOSE_FRAME)
    await read_all(bo, long_session)


@pytest.mark.long
async def test_a_client_that_never_acknowledges_is_told_to_resume(bo: Browser, long_session: str) -> None:
    """Lost acknowledgements: the window fills, the socket is closed with 4408, and the client resumes where it was."""
    async with bo.socket(long_session) as socket:
        socket.acknowledges = False
        began = time.monotonic()
        assert await socket.closed(PATIENCE_S + 10) == TOO_SLOW
        assert time.monotonic() - began > PATIENCE_S - 5
        last = socket.stored()[-1]["seq"]
        assert last == len(socket.stored()) == WINDOW
    await read_all(bo, long_session, after=last)


async def test_a_client_that_acknowledges_nothing_is_sent_one_window(bo: Browser, long_session: str) -> None:
    """Lost acknowledgements, though everything is read: one window of the log is sent, and commands are answered."""
    async with bo.socket(long_session) as socket:
        socket.acknowledges = False
        await socket.until(lambda f: f.get("seq") == WINDOW)
        await socket.send("ping")
        await socket.until_type("pong")
        with contextlib.suppress(TimeoutError):
            await socket.until(lambda f: f.get("seq", 0) > WINDOW, MORE_WITHIN_S)
        assert socket.stored()[-1]["seq"] == WINDOW, "more was sent than one window"


@pytest.mark.parametrize(
    "acknowledged",
    [lambda seq: 10**15, lambda seq: seq + 50, lambda seq: max(0, 120 - seq), lambda seq: seq if seq % 3 else 0],
    ids=["far beyond the head", "ahead", "backwards", "now and then nothing"],
)
async def test_acknowledgements_that_make_no_sense(
    bo: Browser, long_session: str, acknowledged: Callable[[int], int]
) -> None:
    """Acknowledgements beyond the last event, beyond what was sent, and backwards: no event is skipped or sent twice."""
    # Frames that it has not read when it closes need not be waited for.
    async with bo.socket(long_session, close_timeout=0.1) as socket:
        socket.acknowledges = False
        await socket.receive()
        while len(socket.stored()) < 1_000:
            # Frames of presence come in between.
            read = (await socket.receive()).get("seq", 0)
            if not read:
                continue
            if read % 40 == 0:
                await socket.send("ack", seq=acknowledged(read))
                await socket.send("ack", seq=read)
        assert [f["seq"] for f in socket.stored()] == list(range(1, 1_001))


async def test_a_slow_reader_gets_every_frame_and_delays_nobody(bo: Browser) -> None:
    """Slow consumer: one client reads a frame every 50 ms of a run that another follows live."""
    session = await bo.new_session()
    async with RawSocket.open(bo, session, receive_buffer=4096) as slow, bo.socket(session) as fast:
        await fast.send("chat", message="Tell [reasoning=40 tokens=300 every=2 call=current_time:{}]")
        began = time.monotonic()
        await fast.until_type("reasoning_complete")
        assert time.monotonic() - began < 10
        frames: list[dict[str, Any]] = []
        while not frames or frames[-1]["type"] != "reasoning_complete":
            frames.append(await slow.message())
            await asyncio.sleep(0.05)
        assert [f for f in frames if "seq" in f] == fast.stored()


async def test_a_client_that_is_reset_while_it_is_being_sent_to(served: Server, bo: Browser, long_session: str) -> None:
    """Connections are reset in the middle of a replay: the server notices and goes on."""
    for _ in range(10):
        async with RawSocket.open(bo, long_session, receive_buffer=4096) as raw:
            await raw.frame()
            raw.reset()
    await read_all(bo, long_session)
