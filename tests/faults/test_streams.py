"""Event streams under bad conditions: clients that stop reading, many of them, servers that are killed, proxies that buffer."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import psutil
import pytest

from tests.e2e.nginx import in_front_of
from tests.event_streams import following
from tests.faults.bystander import Bystander
from tests.faults.conftest import OpenWorld, Record
from tests.faults.invariants import MB, check_costs
from tests.faults.rows import make_long_session
from tests.faults.world import until
from tests.serving import Browser, Server

on_served = pytest.mark.xdist_group("served")
#: The server's timeout in seconds.
PATIENCE_S = 30.0


@contextlib.asynccontextmanager
async def never_reading(browser: Browser, session: str) -> AsyncIterator[int]:
    """Open a stream that is never read, with a tiny receive buffer; yields the client's port."""
    address = urlsplit(browser.url)
    assert address.hostname is not None
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await loop.sock_connect(connection, (address.hostname, address.port))
        lines = (
            f"GET /api/sessions/{session}/stream/ HTTP/1.1",
            f"Host: {address.netloc}",
            f"Cookie: sessionid={browser.cookie('sessionid')}",
        )
        await loop.sock_sendall(connection, "\r\n".join([*lines, "", ""]).encode())
        yield connection.getsockname()[1]


@on_served
async def test_twenty_streams_that_nobody_reads(
    served: Server, bo: Browser, others: Bystander, record_property: Record
) -> None:
    """Slow consumer: twenty streams of 6 MB with tiny receive buffers are never read; they use little memory, and delay nobody."""
    session = make_long_session(served, "bo", 2_000)
    served.rest()
    others.begin_anew()
    async with contextlib.AsyncExitStack() as stalled:
        for _ in range(20):
            await stalled.enter_async_context(never_reading(bo, session))
        async with following(bo, session) as stream:
            await stream.until(lambda event: event.id.startswith("2000."))
            assert [frame["seq"] for frame in stream.stored()] == list(range(1, 2_001))
        await check_costs(served, 20, others)
        record_property("MB", round(served.most_taken / MB))
        assert served.most_taken <= 60 * MB


@on_served
@pytest.mark.long
async def test_a_stream_that_nobody_reads_is_ended(served: Server, bo: Browser) -> None:
    """Never-reading client: after half a minute its connection is closed."""
    session = make_long_session(served, "bo", 2_000)
    async with never_reading(bo, session) as port:

        def is_open() -> bool:
            connections = psutil.Process(served.pid).net_connections("tcp")
            return any(each.raddr and each.raddr.port == port for each in connections)

        await until(is_open, 10, "the connection")
        await until(lambda: not is_open(), PATIENCE_S + 20, "the connection to end")


@on_served
async def test_a_hundred_readers_of_one_run(bo: Browser) -> None:
    """A hundred streams follow one run: each gets every event once, in order."""
    session = await bo.new_session()
    async with contextlib.AsyncExitStack() as opened:
        streams = [await opened.enter_async_context(following(bo, session)) for _ in range(100)]
        message = {"message": "Tell [reasoning=10 tokens=40 every=20 call=current_time:{}]"}
        assert (await bo.call("POST", f"sessions/{session}/messages/", message))[0] == 202
        await asyncio.gather(*(stream.until_type("reasoning_complete") for stream in streams))
        first = streams[0].stored()
        assert [frame["seq"] for frame in first] == list(range(1, len(first) + 1))
        assert all(stream.stored() == first for stream in streams)


async def test_a_server_that_is_killed_in_mid_stream(open_world: OpenWorld) -> None:
    """The process dies while a run is streamed: a client that reconnects with its last event id gets the rest, each event once."""
    world = open_world("sqlite")
    session = await world.new_session()
    async with world.browser() as browser:
        got, last = [], ""
        with contextlib.suppress(Exception):
            async with following(browser, session) as stream:
                message = {"message": "Tell [reasoning=10 tokens=400 every=20 call=current_time:{}]"}
                await browser.call("POST", f"sessions/{session}/messages/", message)
                await stream.until(lambda event: '"tool_result"' in event.data)
                got, last = stream.stored(), stream.events[-1].id
                await world.kill(world.processes[0])
                await stream.until_type("close")
        await world.start(world.processes[0])
        async with following(browser, session, last=last, url=world.processes[0].url) as stream:
            end = json.loads((await stream.until_type("reasoning_complete")).data)
            assert "reset" not in stream.frames()[0]["data"]
            got += stream.stored()
    assert end["data"]["status"] == "interrupted"
    assert got == await world.everything(session)


@pytest.mark.long
@pytest.mark.scale
async def test_a_proxy_with_its_own_defaults_holds_nothing_back(served: Server, bo: Browser) -> None:
    """Behind nginx with its default buffering: text in progress arrives while it is written."""
    with in_front_of(
        served.url, "/", takes_off=False, instead=("proxy_buffering off;", "proxy_buffering on;")
    ) as address:
        session = await bo.new_session()
        async with following(bo, session, url=address) as stream:
            message = {"message": "Tell [tokens=100 every=50]"}
            await bo.call("POST", f"sessions/{session}/messages/", message)
            await stream.until_type("reasoning_delta")
            _, read = await bo.call("GET", f"sessions/{session}/events/")
            assert read["run"]["status"] == "running", "all of it came at once"
            await bo.call("POST", f"runs/{read['run']['id']}/cancel/", {})
            await stream.until_type("reasoning_complete")
