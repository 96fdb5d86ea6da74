"""The network between client and product is cut, reset, frozen: a client that reconnects gets everything, once and in order."""

import asyncio
import contextlib
import re
import time
from http.client import HTTPConnection

import pytest

from tests.faults.conftest import OpenWorld
from tests.faults.invariants import check
from tests.faults.oracle import Oracle
from tests.faults.proxy import Proxy
from tests.faults.work import rounds
from tests.faults.world import World
from tests.model_server import ModelServer
from tests.serving import ROOT, Server


def through(network: Proxy, world: World, session: str, **options: float) -> Oracle:
    """A client whose connections go through the proxy."""
    return world.client(session, name="through", at=lambda: [f"http://127.0.0.1:{network.port}"], **options)


@pytest.mark.xdist_group("alone")
@pytest.mark.parametrize("places", [50, pytest.param(200, marks=pytest.mark.long)])
async def test_the_connection_is_cut_at_every_byte(shared: World, places: int) -> None:
    """The connection is cut after many different numbers of bytes while a run streams: in the middle of words and of frames."""
    shared.model.respond = rounds(120, every_s=0.002)
    world = shared
    session = await world.new_session()
    async with (
        Proxy.before("127.0.0.1", world.servers[0].port) as network,
        world.client(session, name="whole") as whole,
        through(network, world, session) as cut,
    ):
        run_id = await whole.ask("Go on")
        for place in range(places):
            # From within the answer to the handshake to some frames later; odd steps, which no frame's length is a multiple of.
            network.cut_after = 100 + 37 * place * (200 // places)
            accepted = network.accepted
            async with asyncio.timeout(20):
                # Also one that is still being opened, and would otherwise never be cut if the run sends nothing more.
                while network.accepted == accepted:
                    cut.cut()
                    await asyncio.sleep(0.01)
        network.cut_after = None
        cut.cut()
        await whole.ended(run_id)
        await check(world, session, [whole, cut])
    assert network.accepted >= places
    assert cut.connections > places // 4


def answers(server: Server, rest_s: float) -> list[tuple[int, int]]:
    """Send two requests over one connection, which is idle in between; returns each answer's status, and the client's port."""
    found = []
    with contextlib.closing(HTTPConnection("127.0.0.1", server.port)) as connection:
        for pause in (0.0, rest_s):
            time.sleep(pause)
            connection.request("GET", "/healthz")
            port = connection.sock.getsockname()[1]
            with connection.getresponse() as answer:
                found.append((answer.status, port))
                answer.read()
    return found


@pytest.mark.long
@pytest.mark.xdist_group("served")
async def test_a_connection_rests_for_longer_than_the_proxy_keeps_it(served: Server) -> None:
    """The proxy forwards a message only once: on a connection that the server closes at that moment it would be lost, with a 502."""
    kept = re.search(r"^\s*keepalive (\d+)s$", (ROOT / "Caddyfile").read_text(), re.MULTILINE)
    assert kept is not None
    first, second = await asyncio.to_thread(answers, served, int(kept[1]) + 2)
    # The client would open a new connection if the server announced that it closes this one.
    assert first == second
    assert second[0] == 200


@pytest.mark.xdist_group("alone")
@pytest.mark.parametrize("ends", ["reset", "half_close"])
async def test_connections_end_otherwise(shared: World, ends: str) -> None:
    """Connections that are reset, or closed on the client's side only, again and again."""
    shared.model.respond = rounds(1_000, every_s=0.002)
    world = shared
    session = await world.new_session()
    async with (
        Proxy.before("127.0.0.1", world.servers[0].port) as network,
        through(network, world, session) as client,
    ):
        network.latency_s = 0.005
        asked = asyncio.create_task(client.ask("Go on"))
        connections = 0
        for _ in range(15):
            seq = client.state.seq
            # Each connection receives something before it ends.
            await client.until(  # type: ignore[misc]
                lambda connections=connections, seq=seq: client.connections > connections and client.state.seq > seq
            )
            for line in list(network.lines):
                getattr(line, ends)()
            connections = client.connections
        run_id = await asked
        await client.until(lambda: client.connections > connections and client.is_connected)
        await client.send("cancel", run_id=run_id)
        assert await client.ended(run_id) == "cancelled"
        await check(world, session, [client])
    assert client.connections >= 15


@pytest.mark.long
async def test_a_connection_dies_without_a_word(open_world: OpenWorld, model: ModelServer) -> None:
    """A blackhole and a router that forgets the connection: the client notices within 35 s, the product frees the socket within 95 s."""
    model.respond = rounds(200, every_s=0.03)
    world = open_world("sqlite")
    session = await world.new_session()
    async with (
        Proxy.before("127.0.0.1", world.servers[0].port) as network,
        world.client(session, name="whole") as whole,
        through(network, world, session) as client,
    ):
        run_id = await whole.ask("Go on")
        await client.until(lambda: client.state.seq > 50)
        # The router forgets the open connection; new ones work.
        for line in network.lines:
            line.freeze()
        began = time.monotonic()
        await client.until(lambda: client.connections == 2 and client.is_connected, 40)
        assert time.monotonic() - began <= 35
        await client.until_seq(whole.state.seq)
        await whole.until(lambda: [person["sockets"] for person in whole.state.people] == [2], 100)
        assert time.monotonic() - began <= 95
        await whole.ended(run_id, 120)
        await check(world, session, [whole, client])
