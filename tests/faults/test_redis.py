"""Redis stops, freezes or returns errors: no socket is closed, no run fails, and every event arrives within two seconds."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis as Client

from tests import services
from tests.event_streams import following
from tests.faults.bystander import Bystander
from tests.faults.conftest import OpenWorld
from tests.faults.invariants import check
from tests.faults.lateness import Lateness
from tests.faults.oracle import Oracle
from tests.faults.proxy import Proxy
from tests.faults.work import ANSWER, rounds
from tests.faults.world import SCALE, World
from tests.model_server import ModelServer
from tests.services import Redis

Break = Callable[[Redis], Awaitable[None]]
#: How long a lost group message may delay an event; the rest is for a busy machine.
LATEST_S = 2.0


@pytest.fixture
def redis() -> Iterator[Redis]:
    """A Redis of the test's own, which it breaks."""
    with services.own_redis() as server:
        yield server


@contextlib.asynccontextmanager
async def connected(redis: Redis) -> AsyncIterator[Client]:
    """A connection to Redis for the test."""
    async with Client.from_url(redis.url) as client:
        yield client


async def restarted(redis: Redis) -> None:
    redis.end(signal.SIGKILL)
    await asyncio.sleep(1)
    await asyncio.to_thread(redis.start)


async def paused(redis: Redis) -> None:
    async with connected(redis) as client:
        await client.client_pause(2_000)
    await asyncio.sleep(2)


async def frozen(redis: Redis) -> None:
    redis.signal(signal.SIGSTOP)
    await asyncio.sleep(3)
    redis.signal(signal.SIGCONT)


async def subscriptions_killed(redis: Redis) -> None:
    async with connected(redis) as client:
        await client.client_kill_filter(_type="pubsub")


async def out_of_memory(redis: Redis) -> None:
    async with connected(redis) as client:
        await client.config_set("maxmemory", 1)
        await asyncio.sleep(1)
        await client.config_set("maxmemory", 0)


BREAKS: list[Break] = [restarted, paused, frozen, subscriptions_killed, out_of_memory]


@pytest.mark.parametrize(
    ("topology", "times"),
    [
        ("postgres", 1),
        pytest.param("postgres", 3, marks=pytest.mark.long),
        pytest.param("workers", 1, marks=SCALE.marks),
    ],
)
async def test_redis_breaks_in_every_way_while_a_run_is_watched(
    redis: Redis, open_world: OpenWorld, model: ModelServer, topology: str, times: int
) -> None:
    """Redis restarted, paused, frozen, its subscriptions killed, out of memory; one after the other. It is the workers' broker too."""
    model.respond = rounds(60, every_s=0.005)
    world = open_world(topology, redis_url=redis.url)
    session = await world.new_session()
    async with (
        world.browser() as browser,
        Bystander.beside(browser) as others,
        Lateness.beside(world.database.address) as machine,
        _at(world, session, 0) as here,
        _at(world, session, 1) as there,
    ):
        done = asyncio.Event()
        busy = asyncio.create_task(_busy_until(here, done))
        for broken in BREAKS * times:
            before = there.state.seq
            await there.until(lambda before=before: there.state.seq > before + 20)  # type: ignore[misc]
            await broken(redis)
            # In the middle of it, a client connects and disconnects.
            async with _at(world, session, 1) as late:
                await late.until(lambda late=late: late.state.seq >= there.state.seq - 5, 5)  # type: ignore[misc]
        done.set()
        await busy
        await check(world, session, [here, there], others=others)
    for client in (here, there):
        assert client.connections == 1
        arrivals = zip(client.arrived_at, client.delays, strict=True)
        late = [delay - machine.between(at - delay, at) for at, delay in arrivals if delay >= LATEST_S]
        assert max(late, default=0) < LATEST_S
    assert {run.status for run in world.database.runs(session)} == {"completed"}


@pytest.mark.long
async def test_a_network_forgets_its_connections_to_redis(
    redis: Redis, open_world: OpenWorld, model: ModelServer
) -> None:
    """Connections to Redis that are lost without notice to either side: events come by the poll, and soon as fast as before."""
    model.respond = rounds(60, every_s=0.005)
    async with Proxy.before("127.0.0.1", int(redis.url.rsplit(":", 1)[1].split("/")[0])) as network:
        world = await asyncio.to_thread(open_world, "postgres", redis_url=network.instead_of(redis.url))
        session = await world.new_session()
        async with _at(world, session, 0) as here, _at(world, session, 1) as there:
            done = asyncio.Event()
            busy = asyncio.create_task(_busy_until(here, done))
            await there.until(lambda: there.state.seq > 50)
            for line in network.lines:
                line.freeze()
            forgotten = len(there.delays)
            # Each process tests its subscription every ten seconds, and notices after two more that it is broken.
            await there.until(lambda: max(there.delays[forgotten:], default=0) > 0.5)
            await there.until(lambda: max(there.delays[-100:]) < 0.5, 25)
            done.set()
            await busy
            await check(world, session, [here, there])
    for client in (here, there):
        assert client.connections == 1
        assert max(client.delays) < LATEST_S


@pytest.mark.parametrize(
    "latencies_s", [(2.5,), pytest.param((2.0, 3.0, 4.0, 5.0), marks=pytest.mark.long)], ids=["one", "four"]
)
async def test_sockets_open_while_redis_is_slow(
    redis: Redis, open_world: OpenWorld, model: ModelServer, latencies_s: Sequence[float]
) -> None:
    """Joining takes seconds, in a session that is longer than a feed reads at once, and grows: every client gets everything, and soon."""
    model.respond = rounds(60, every_s=0.005)
    async with Proxy.before("127.0.0.1", int(redis.url.rsplit(":", 1)[1].split("/")[0])) as network:
        world = await asyncio.to_thread(open_world, "postgres", redis_url=network.instead_of(redis.url))
        session = await world.new_session()
        async with contextlib.AsyncExitStack() as until_done:
            here = await until_done.enter_async_context(_at(world, session, 0))
            done = asyncio.Event()
            busy = asyncio.create_task(_busy_until(here, done))
            await here.until(lambda: here.state.seq > 150)
            clients = [here]
            for latency_s in latencies_s:
                network.latency_s = latency_s
                for number in range(6):
                    clients.append(await until_done.enter_async_context(_at(world, session, (number + 1) % 2)))
                    await asyncio.sleep(0.3)
                later = max(client.state.seq for client in clients) + 20
                for client in clients:
                    with contextlib.suppress(AssertionError):
                        await client.until(lambda client=client, later=later: client.state.seq > later, 15)  # type: ignore[misc]
                    assert client.state.seq > later, "a client gets nothing more"
                network.latency_s = 0.0
            done.set()
            await busy
            await check(world, session, clients)


@pytest.mark.long
async def test_redis_is_gone_while_a_program_is_told_an_answer(
    redis: Redis, open_world: OpenWorld, model: ModelServer
) -> None:
    """A stream of OpenAI's API, and one of server-sent events at the other process: neither loses a token, and the run is not affected."""
    model.respond = rounds(20, every_s=0.02)
    world = await asyncio.to_thread(open_world, "postgres", redis_url=redis.url)
    async with world.browser() as browser:
        _, made = await browser.call("POST", "tokens/", {"name": "t", "scope": "ask"})
        session = await browser.new_session()
        headers = {"Authorization": f"Bearer {made['token']}", "X-Session-Id": session}
        body = {"model": "researcher", "stream": True, "messages": [{"role": "user", "content": "Go on"}]}
        async with (
            following(browser, session, url=world.addresses[1]) as stream,
            browser.http.post("/v1/chat/completions", json=body, headers=headers) as answer,
        ):
            assert answer.status == 200, await answer.text()
            assert (await stream.next()).event == "session"
            await stream.until(lambda event: "tool_result" in event.data)
            redis.end(signal.SIGKILL)
            async with asyncio.timeout(90):
                lines = [line async for line in answer.content if line.startswith(b"data: {")]
                await stream.until_type("reasoning_complete")
        stored = await world.everything(session)
    events: list[dict[str, Any]] = [json.loads(line.removeprefix(b"data: ")) for line in lines]
    assert "error" not in events[-1], events[-1]
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    content = "".join(each["choices"][0]["delta"].get("content", "") for each in events)
    assert content.strip() == ANSWER.strip()
    assert stream.stored() == stored
    assert {run.status for run in world.database.runs(session)} == {"completed"}


async def _busy_until(client: Oracle, done: asyncio.Event) -> None:
    while not done.is_set():
        assert await client.ended(await client.ask("Go on and on"), 120) == "completed"


def _at(world: World, session: str, process: int) -> Oracle:
    return world.client(session, name=f"at process {process + 1}", at=lambda: [world.servers[process].url])
