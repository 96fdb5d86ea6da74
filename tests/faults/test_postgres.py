"""PostgreSQL goes away, drops its connections, comes back as it was or as it was earlier: runs wait, and no two histories are mixed."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from tests import services
from tests.faults.conftest import OpenWorld
from tests.faults.invariants import check
from tests.faults.oracle import Oracle
from tests.faults.work import keep_busy, rounds
from tests.faults.world import World, make_ready, meanwhile
from tests.model_server import ModelServer
from tests.services import Postgres


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL of the test's own, with tables and users in the database ``ready``."""
    with services.own_postgres() as server:
        make_ready(server.url, tmp_path_factory.mktemp("ready"))
        yield server


def ready(server: Postgres) -> str:
    """The address of the product's database on it."""
    return f"{server.url.rpartition('/')[0]}/ready"


def orders(server: Postgres, *statements: str) -> None:
    """Give the server orders, from outside the product's database."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


HANG_UP = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'ready'"


async def restarted(server: Postgres) -> None:
    await asyncio.to_thread(server.end, signal.SIGQUIT)  # what pg_ctl calls immediate
    await asyncio.sleep(1)
    await asyncio.to_thread(server.start)


async def hung_up(server: Postgres) -> None:
    await asyncio.to_thread(orders, server, HANG_UP)


@contextlib.asynccontextmanager
async def two_clients(world: World, session: str, **options: float) -> AsyncIterator[tuple[Oracle, Oracle]]:
    """A client at each process."""
    here, there = (
        world.client(session, name=f"at process {number + 1}", at=lambda server=server: [server.url], **options)
        for number, server in enumerate(world.servers)
    )
    async with here, there:
        yield here, there


@pytest.mark.parametrize("times", [1, pytest.param(4, marks=pytest.mark.long)])
async def test_postgres_breaks_while_a_run_is_at_work(
    postgres: Postgres, open_world: OpenWorld, model: ModelServer, times: int
) -> None:
    """All connections of PostgreSQL ended, and its immediate restart: no run fails, no socket closes."""
    model.respond = rounds(30, every_s=0.005)
    world = open_world("postgres", database_url=ready(postgres))
    session = await world.new_session()
    breaks = iter([hung_up, restarted] * times)
    async with two_clients(world, session) as (here, there):
        async with meanwhile(lambda: next(breaks)(postgres), every_s=2, times=2 * times) as done:
            while len(done) < 2 * times:
                await keep_busy(here, here.state.seq + 100)
        await check(world, session, [here, there])
    assert (here.connections, there.connections) == (1, 1)
    assert {run.status for run in world.database.runs(session)} == {"completed"}


@pytest.mark.long
async def test_postgres_stays_away_for_long(postgres: Postgres, open_world: OpenWorld, model: ModelServer) -> None:
    """PostgreSQL is away for longer than a run waits: the run ends as failed when it is back, and the next one works."""
    model.respond = rounds(200, every_s=0.005)
    world = open_world("postgres", database_url=ready(postgres), RUN_LEASE_S="120")
    session = await world.new_session()
    async with two_clients(world, session) as (here, there):
        run_id = await here.ask("Go on")
        await there.until(lambda: there.state.seq > 30)
        await asyncio.to_thread(postgres.end, signal.SIGQUIT)
        await asyncio.sleep(40)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(here.ask("Are you there?"), 5)
        assert {error["code"] for error in here.errors} <= {"storage"}
        await asyncio.to_thread(postgres.start)
        assert await here.ended(run_id, 90) == "failed"
        model.respond = rounds(2)
        assert await here.ended(await there.ask("And now?"), 60) == "completed"
        await check(world, session, [here, there], timeout_s=120)
    codes = [run.code for run in world.database.runs(session) if run.id == run_id]
    assert codes == ["storage"]


async def test_postgres_comes_back_as_it_was_earlier(
    postgres: Postgres, open_world: OpenWorld, model: ModelServer
) -> None:
    """A failover to an older copy, while the processes serve: every client drops what is no more, and mixes nothing."""
    model.respond = rounds(5)
    world = open_world("postgres", database_url=ready(postgres))
    session = await world.new_session()
    async with two_clients(world, session) as (here, there):
        await here.ended(await here.ask("Before"))
        await there.until_seq(await world.quiet(session))
        kept = there.state.seq
        # Copied while nobody looks: PostgreSQL copies only what nobody is connected to.
        orders(
            postgres, "ALTER DATABASE ready ALLOW_CONNECTIONS false", HANG_UP, "CREATE DATABASE older TEMPLATE ready"
        )
        orders(postgres, "ALTER DATABASE ready ALLOW_CONNECTIONS true")
        await here.ended(await here.ask("After"))
        await there.until_seq(await world.quiet(session))
        assert there.state.seq > kept
        orders(postgres, "ALTER DATABASE ready ALLOW_CONNECTIONS false", HANG_UP)
        orders(postgres, "ALTER DATABASE ready RENAME TO newer", "ALTER DATABASE older RENAME TO ready")
        for client in (here, there):
            await client.until(lambda client=client: client.resets == 1 and client.state.seq == kept)  # type: ignore[misc]
        await there.ended(await there.ask("Another after"))
        await check(world, session, [here, there], restored=True)
    assert (here.resets, there.resets) == (1, 1)
