"""Two processes that serve, behind the proxy of `compose.yaml`, and two workers: hundreds of sessions, while processes are restarted."""

import asyncio
import contextlib
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from statistics import median

import psutil
import pytest

from tests import services
from tests.faults import world as worlds
from tests.faults.invariants import check
from tests.faults.oracle import Oracle, Refused
from tests.faults.world import World
from tests.model_server import ModelServer
from tests.scale import caddy
from tests.serving import Browser

pytestmark = [pytest.mark.long, pytest.mark.scale]

SESSIONS = 200
#: One model thinks and answers, each token being the time of its sending; the other calls the clock in between.
MESSAGES = (
    "Tell [reasoning=10 tokens=60 every=50 stamp]",
    "Tell [reasoning=10 tokens=40 every=50 call=current_time:{}]",
)


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    """The model's side."""
    with ModelServer() as server:
        yield server


@pytest.fixture(scope="module")
def scaled(
    model: ModelServer, postgres_server: str, ready: str, redis_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, str]]:
    """The processes, and the address of the proxy in front of them."""
    with contextlib.ExitStack() as until_done:
        database = until_done.enter_context(
            services.database(postgres_server, f"test_{uuid.uuid4().hex}", template=ready)
        )
        broker = f"{redis_server.rpartition('/')[0]}/1"
        addresses = {"database_url": database, "redis_url": redis_server, "broker_url": broker}
        folder = tmp_path_factory.mktemp("scale")
        world = until_done.enter_context(
            worlds.workers(folder, model, **addresses, AUTO_CONTINUE="true", SHUTDOWN_S="2")
        )
        yield world, until_done.enter_context(caddy.before(world.addresses, folder / "caddy"))


@contextlib.asynccontextmanager
async def clients(scaled: tuple[World, str], count: int) -> AsyncIterator[list[tuple[str, Oracle]]]:
    """A client in each of this many new sessions, through the proxy; all of one user, who has no limits."""
    world, proxy = scaled
    async with contextlib.AsyncExitStack() as until_done:
        async with world.browser() as direct, Browser.logged_in(proxy, "bo", direct.cookies) as browser:
            sessions = [await browser.new_session() for _ in range(count)]
        gate = asyncio.Semaphore(20)

        async def open_one(session: str) -> tuple[str, Oracle]:
            async with gate:
                client = world.client(session, at=lambda: [proxy])
                await until_done.enter_async_context(client)
                await client.until(lambda: client.is_connected, 60)
                return session, client

        yield await asyncio.gather(*map(open_one, sessions))


async def test_a_load_of_two_hundred_sessions(
    scaled: tuple[World, str], model: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """All send within five seconds: every run completes, no client misses anything, and the figures are printed."""
    world, _ = scaled
    model.reset()
    async with clients(scaled, SESSIONS) as opened:
        before = [_cpu_s(process.pid) for process in world.processes]
        began = time.monotonic()

        async def one(number: int, client: Oracle) -> str:
            await asyncio.sleep(5 * number / SESSIONS)
            return await client.ended(await client.ask(MESSAGES[number % 2]), 120)

        ends = await asyncio.gather(*(one(number, client) for number, (_, client) in enumerate(opened)))
        took = time.monotonic() - began
        used = [_cpu_s(process.pid) - at for process, at in zip(world.processes, before, strict=True)]
        for session, client in opened[::20]:
            await check(world, session, [client], timeout_s=120)
        broken = [violation for _, client in opened for violation in client.violations]
        steps = sorted(delay for _, client in opened for delay in client.delays)
        tokens = sorted(delay for _, client in opened for delay in client.token_delays)
    executed = dict(world.database.rows("SELECT owner, COUNT(*) FROM chat_run GROUP BY owner"))
    memory = [psutil.Process(process.pid).memory_info().rss / 1e6 for process in world.processes]
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{SESSIONS} sessions in {took:.1f} s on {psutil.cpu_count()} cores, with the model and the clients on the same:"
            f"\n  {len(steps)} steps, from their making to their receipt: {_spread(steps)}"
            f"\n  {len(tokens)} tokens, from their sending to their receipt: {_spread(tokens)}"
            f"\n  CPU: web {used[0]:.1f} and {used[1]:.1f} s, workers {used[2]:.1f} and {used[3]:.1f} s"
            f"\n  memory: web {memory[0]:.0f} and {memory[1]:.0f} MB, workers {memory[2]:.0f} and {memory[3]:.0f} MB"
            f"\n  runs by worker: {sorted(executed.values())}"
        )
    assert set(ends) == {"completed"}, world.database.rows(
        "SELECT status, code, started_at, ended_at FROM chat_run WHERE status <> 'completed'"
    )
    assert not broken
    # Both have executed some of them.
    assert len(executed) == 2


async def test_processes_come_and_go_under_load(scaled: tuple[World, str], model: ModelServer) -> None:
    """Sixty sessions at work while each process in turn is killed or told to stop, and restarted: every step once, every run ended."""
    world, _ = scaled
    model.reset()
    draw = random.Random(17)
    async with clients(scaled, 60) as opened:
        busy = [asyncio.create_task(_until_completed(client)) for _, client in opened]
        for process in (world.workers[0], world.servers[0], world.workers[1], world.servers[1]):
            how: Callable[[], object] = draw.choice([process.kill, process.stop])
            await asyncio.to_thread(how)
            await asyncio.to_thread(process.start, process.port)
        await asyncio.gather(*busy)
        for session, client in opened:
            await check(world, session, [client], timeout_s=120)
    assert sum(len(client.closes) for _, client in opened) > 0


async def _until_completed(client: Oracle) -> None:
    """Send, and continue by hand where that is not automatic, until a run has completed; three times."""
    for _ in range(3):
        run_id = await client.ask(MESSAGES[1])
        while await client.ended(run_id, 180) != "completed":
            try:
                run_id = await client.go_on(run_id)
            except Refused:
                # It is continued automatically.
                break


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _spread(delays: list[float]) -> str:
    p99 = delays[int(len(delays) * 0.99)]
    return f"median {1000 * median(delays):.0f} ms, p99 {1000 * p99:.0f} ms, longest {1000 * delays[-1]:.0f} ms"
