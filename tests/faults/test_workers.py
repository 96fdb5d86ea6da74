"""Workers execute the runs: messages are lost, duplicated or late, and the broker stops; no run is lost, executed twice or stuck."""

import asyncio
import contextlib
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from statistics import median
from typing import Any

import aiohttp
import pytest
from redis import Redis as Client

from chat.runtime import broker as runtime_broker
from config.celery import app
from tests import services
from tests.faults import work
from tests.faults.conftest import OpenWorld
from tests.faults.invariants import check
from tests.faults.oracle import Oracle
from tests.faults.world import World, make_ready, until
from tests.faults.world import workers as two_and_two
from tests.model_server import ModelServer
from tests.services import Redis
from tests.serving import Server

pytestmark = [pytest.mark.long, pytest.mark.scale]

SLOW = "Tell [tokens=3000 every=20]"
#: A worker polls the table every second; the rest is for a busy machine.
FOUND_WITHIN_S = 3.0
QUEUE = "thinkaloud"


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    """The model's side, shared by the tests of this module."""
    with ModelServer() as server:
        yield server


@pytest.fixture(scope="module")
def broker() -> Iterator[Redis]:
    """A broker of its own, separate from the channel layer, which tests break."""
    with services.own_redis() as server:
        yield server


@pytest.fixture(scope="module")
def world(
    model: ModelServer,
    broker: Redis,
    postgres_server: str,
    ready: str,
    redis_server: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    """Two processes that serve and two workers of two slots each, shared by the tests of this module."""
    with services.database(postgres_server, f"test_{uuid.uuid4().hex}", template=ready) as database:
        addresses = {"database_url": database, "redis_url": redis_server, "broker_url": broker.url}
        limits = {
            "MAX_RUNS_PER_WORKER": "2",
            "MAX_QUEUED_RUNS": "0",
            # Shorter than the runs take: a worker is sent its message again while it executes the run.
            "DJANGO_SETTINGS_MODULE": "tests.scale.impatient_settings",
        }
        with two_and_two(tmp_path_factory.mktemp("data"), model, **addresses, **limits) as opened:
            yield opened


def broker_client(broker: Redis) -> Any:
    """A connection to the broker."""
    return Client.from_url(broker.url)


def notify(broker: Redis, session: str, times: int) -> None:
    """Notify the workers of a session, as the product does."""
    with app.connection_for_write(url=broker.url) as connection:
        for _ in range(times):
            app.send_task(runtime_broker.TASK, [session], connection=connection, ignore_result=True)


def owners(world: World, session: str) -> set[str]:
    """The processes that executed the session's runs."""
    return {run.owner for run in world.database.runs(session)}


def at_work(world: World) -> list[tuple[Any, ...]]:
    """The owners of the runs at work, anywhere."""
    return world.database.rows("SELECT owner, user_id FROM chat_run WHERE status IN ('running', 'cancelling')")


async def test_the_processes_that_serve_execute_nothing(world: World, model: ModelServer) -> None:
    """Runs that were requested at either of them are executed by workers, and their events arrive at both."""
    model.reset()
    model.respond = work.rounds(3)
    session = await world.new_session()
    async with world.client(session) as here, world.client(session) as there:
        for client in (here, there):
            assert await client.ended(await client.ask("Go")) == "completed"
        await check(world, session, [here, there])
    pids = {f":{worker.pid}:" for worker in world.workers}
    assert all(any(pid in owner for pid in pids) for owner in owners(world, session))
    assert [process.heaps_of_threads for process in world.processes] == [0, 0, 0, 0]


async def test_messages_that_come_many_times_start_a_run_once(world: World, model: ModelServer, broker: Redis) -> None:
    """The broker delivers each message twenty times, sometimes after the run has ended: it is executed once."""
    model.reset()
    model.respond = work.rounds(2, every_s=0.01)
    session = await world.new_session()
    async with world.client(session) as client:
        run_id = await client.ask("Go")
        await asyncio.to_thread(notify, broker, session, 10)
        assert await client.ended(run_id) == "completed"
        await asyncio.to_thread(notify, broker, session, 10)
        await until(lambda: broker_client(broker).llen(QUEUE) == 0, wanted="the messages to be taken")
        await check(world, session, [client])
    assert [(run.status, run.fence) for run in world.database.runs(session)] == [("completed", 1)]


async def test_a_message_that_comes_again_while_its_run_is_at_work(world: World, model: ModelServer) -> None:
    """A run that takes longer than the broker's visibility timeout (a second here): the repeated message has no effect."""
    model.reset()
    session = await world.new_session()
    async with world.client(session) as client:
        run_id = await client.ask("Tell [tokens=250 every=20]")
        assert await client.ended(run_id) == "completed"
        await check(world, session, [client])
    assert [(run.status, run.fence) for run in world.database.runs(session)] == [("completed", 1)]
    assert len(model.requests) == 1


async def test_messages_that_are_lost(world: World, model: ModelServer, broker: Redis) -> None:
    """The broker is emptied again and again: queued runs are found in the table."""
    model.reset()
    model.respond = work.rounds(2)
    sessions = [await world.new_session() for _ in range(3)]
    stop = threading.Event()

    def lose() -> None:
        with broker_client(broker) as client:
            while not stop.is_set():
                client.delete(QUEUE)

    losing = asyncio.create_task(asyncio.to_thread(lose))
    async with contextlib.AsyncExitStack() as until_done:
        clients = [await until_done.enter_async_context(world.client(session)) for session in sessions]
        for client in clients:
            began = time.monotonic()
            assert await client.ended(await client.ask("Go")) == "completed"
            assert time.monotonic() - began < FOUND_WITHIN_S + 1
        stop.set()
        await losing
        for session, client in zip(sessions, clients, strict=True):
            await check(world, session, [client])


async def test_the_broker_is_away(world: World, model: ModelServer, broker: Redis) -> None:
    """Killed while messages are accepted and runs are at work: they are executed all the same; the outage and its end are logged."""
    model.reset()
    model.respond = work.rounds(10, every_s=0.02)
    session, later = [await world.new_session() for _ in range(2)]
    async with world.client(session) as client, world.client(later) as other:
        run_id = await client.ask("Go")
        broker.end(signal.SIGKILL)
        began = time.monotonic()
        accepted = await other.ask("And you")
        assert time.monotonic() - began < 2
        assert await client.ended(run_id) == "completed"
        assert await other.ended(accepted) == "completed"
        await until(lambda: "runs start up to a second later" in _health(world), wanted="it to be told")
        await asyncio.to_thread(broker.start)
        await until(lambda: "broker" not in _health(world), 30, "it to be told that it is back")
        again = await client.ask("Again")
        assert await client.ended(again) == "completed"
        await check(world, session, [client])
        await check(world, later, [other])
    assert any("The broker does not answer" in line for server in world.servers for line in server.output)
    assert any("The broker answers again" in line for server in world.servers for line in server.output)
    # The workers are connected to it again.
    await until(lambda: broker_client(broker).info("clients")["blocked_clients"] >= 2, 60, "the workers to listen")


async def test_the_brokers_password_is_changed_and_changed_back(
    open_world: OpenWorld, model: ModelServer, broker: Redis
) -> None:
    """Runs go on, the refusal is logged once by each worker in spite of its attempts, and they listen again afterwards."""

    def set_password(text: str) -> None:
        with broker_client(broker) as client:
            client.execute_command("ACL", "SETUSER", "worker", "reset", "on", f">{text}", "~*", "&*", "+@all")
            client.client_kill_filter(skipme=True)

    set_password("old")
    world = open_world("workers", broker_url=broker.url.replace("redis://", "redis://worker:old@"))
    model.reset()
    model.respond = work.rounds(2)
    session = await world.new_session()
    async with world.client(session) as client:
        assert await client.ended(await client.ask("Go")) == "completed"
        set_password("new")
        refused = "invalid username-password pair"
        with broker_client(broker) as redis:
            await until(lambda: sum(int(each["count"]) for each in redis.acl_log()) >= 8, 60, "several attempts")
        assert await client.ended(await client.ask("Again")) == "completed"
        set_password("old")
        await until(lambda: broker_client(broker).info("clients")["blocked_clients"] >= 2, 60, "the workers to listen")
        assert await client.ended(await client.ask("And again")) == "completed"
    for worker in world.workers:
        assert sum("Cannot connect" in line and refused in line for line in worker.output) == 1


async def test_no_worker_takes_more_than_it_has_slots_for(world: World, model: ModelServer) -> None:
    """Eight runs on two workers of two slots: four at a time, the others queued, and each in its turn."""
    model.reset()
    sessions = [await world.new_session() for _ in range(8)]
    async with contextlib.AsyncExitStack() as until_done:
        clients = [await until_done.enter_async_context(world.client(session)) for session in sessions]
        runs = [await client.ask("Tell [tokens=100 every=20]") for client in clients]
        most: list[int] = []
        waiting = asyncio.gather(
            *(client.ended(run_id) for client, run_id in zip(clients, runs, strict=True)), return_exceptions=True
        )
        while not waiting.done():
            owned = [owner for owner, _ in await asyncio.to_thread(at_work, world)]
            most.append(max((owned.count(owner) for owner in owned), default=0))
            await asyncio.sleep(0.05)
        assert set(await waiting) == {"completed"}
        for session, client in zip(sessions, clients, strict=True):
            await check(world, session, [client])
    assert max(most) == 2
    assert len({owner for session in sessions for owner in owners(world, session)}) == 2


async def test_a_worker_that_dies_is_followed_by_another(world: World, model: ModelServer) -> None:
    """SIGKILL of the worker that executes a run, without a restart: when its lease expires the run ends, and the other takes the queue."""
    model.reset()
    session = await world.new_session()
    async with world.client(session) as client:
        run_id = await client.ask(SLOW)
        await client.until(lambda: run_id in client.state.runs and client.state.runs[run_id].partial is not None)
        model.respond = work.rounds(2)
        behind = await client.ask("And then")
        dying = await asyncio.to_thread(world.executing_server, session)
        assert dying is not None
        began, dead = time.monotonic(), f":{dying.pid}:"
        await world.kill(dying)
        try:
            assert await client.ended(run_id, 30) == "interrupted"
            # The lease, a sweep, a tick, and the time that a busy machine adds.
            assert time.monotonic() - began < 3 + 1 + 1 + 5
            assert await client.ended(behind) == "completed"
            await check(world, session, [client])
        finally:
            await world.start(dying)
    # Any living process may end the dead one's run and is its owner then, also the one that continues it.
    assert not any(dead in owner for owner in owners(world, session))


async def test_a_worker_told_to_stop(world: World, model: ModelServer) -> None:
    """SIGTERM during a long text: the run is interrupted after SHUTDOWN_S, its worker exits with 0, the other one takes what is queued."""
    model.reset()
    session = await world.new_session()
    async with world.client(session) as client:
        run_id = await client.ask(SLOW)
        await client.until(lambda: run_id in client.state.runs and client.state.runs[run_id].partial is not None)
        model.respond = work.rounds(2)
        behind = await client.ask("And then")
        stopping = await asyncio.to_thread(world.executing_server, session)
        assert stopping is not None
        began = time.monotonic()
        assert await asyncio.to_thread(stopping.stop) == 0
        took = time.monotonic() - began
        try:
            assert await client.ended(run_id) == "interrupted"
            assert await client.ended(behind) == "completed"
            await check(world, session, [client])
        finally:
            await world.start(stopping)
    # SHUTDOWN_S, the time for stopped runs to end, and the time that Celery takes.
    assert took < 0.5 + 2 + 5
    assert len(owners(world, session)) == 2


async def test_all_workers_are_gone(world: World, model: ModelServer) -> None:
    """Messages are queued, the health check reports that, and the first worker that is back executes them."""
    model.reset()
    model.respond = work.rounds(2)
    session = await world.new_session()
    for worker in world.workers:
        await world.kill(worker)
    async with world.client(session) as client:
        try:
            run_id = await client.ask("Go")
            await until(lambda: "Messages wait in the queue" in _health(world), 30, "the queue to be noticed")
        finally:
            for worker in world.workers:
                await world.start(worker)
        assert await client.ended(run_id) == "completed"
        await check(world, session, [client])
    await until(lambda: _health(world) == "ok\n", wanted="the queue to be noticed again")


async def test_steps_reach_a_client_at_once(
    world: World, model: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run on a worker, watched at each process that serves: the time from a step's creation, before it is stored, to its receipt."""
    model.reset()
    model.respond = work.rounds(40, every_s=0.005)
    session = await world.new_session()
    async with _at(world, session, world.servers[0]) as here, _at(world, session, world.servers[1]) as there:
        await there.until(lambda: there.is_connected)
        assert await here.ended(await here.ask("Go")) == "completed"
        await check(world, session, [here, there])
        delays = sorted([*here.delays, *there.delays])
    with capsys.disabled():
        broker_client = f"median {1000 * median(delays):.1f} ms, p99 {1000 * delays[int(len(delays) * 0.99)]:.1f} ms"
        print(f"\nsteps from a worker to a client of another process: {len(delays)}, {broker_client}")  # noqa: T201
    assert median(delays) < 0.05


async def test_nobody_has_more_runs_at_work_than_allowed(open_world: OpenWorld, model: ModelServer) -> None:
    """Six sessions of one user start at once on two workers, with a limit of two: never more than two are at work, and all are executed."""
    model.reset()
    opened = open_world("workers", MAX_ACTIVE_RUNS_PER_USER="2")
    sessions = [await opened.new_session() for _ in range(6)]
    async with contextlib.AsyncExitStack() as until_done:
        clients = [await until_done.enter_async_context(opened.client(session)) for session in sessions]
        runs = await asyncio.gather(*(client.ask("Tell [tokens=40 every=10]") for client in clients))
        ends = asyncio.gather(*(client.ended(run_id) for client, run_id in zip(clients, runs, strict=True)))
        most = 0
        while not ends.done():
            most = max(most, len(await asyncio.to_thread(at_work, opened)))
        assert set(await ends) == {"completed"}
    assert most == 2


async def test_processes_start_while_all_databases_are_away(
    model: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Processes that serve and workers start before PostgreSQL, Redis and the broker: they log that, and work as soon as these are up."""
    model.reset()
    model.respond = work.rounds(2)
    with services.own_postgres() as postgres, services.own_redis() as redis, services.own_redis() as broker:
        address = make_ready(postgres.url, tmp_path_factory.mktemp("ready"))
        for server in (postgres, redis, broker):
            await asyncio.to_thread(server.end, signal.SIGTERM)
        addresses = {"database_url": address, "redis_url": redis.url, "broker_url": broker.url}
        with two_and_two(tmp_path_factory.mktemp("data"), model, **addresses) as opened:
            for process in opened.processes:
                await until(lambda p=process: any("The database does not answer" in x for x in p.output))  # type: ignore[misc]
            assert "The database does not answer" in await asyncio.to_thread(_health, opened)
            for server in (postgres, redis, broker):
                await asyncio.to_thread(server.start)
            await until(lambda: _health(opened) == "ok\n", 40, "everything to be found")
            session = await opened.new_session()
            async with opened.client(session) as client:
                assert await client.ended(await client.ask("Go")) == "completed"
                await check(opened, session, [client])
            for process in opened.processes:
                assert await asyncio.to_thread(process.stop) == 0


def _at(world: World, session: str, server: Server) -> Oracle:
    return world.client(session, name=f"at {server.port}", at=lambda: [server.url])


def _health(world: World) -> str:
    """The health checks of all processes that serve."""

    async def ask() -> set[str]:
        async with aiohttp.ClientSession() as http:
            broker_client = set()
            for server in world.servers:
                async with http.get(f"{server.url}/healthz") as answer:
                    assert answer.status == 200
                    broker_client.add(await answer.text())
            return broker_client

    return "".join(sorted(asyncio.run(ask())))
