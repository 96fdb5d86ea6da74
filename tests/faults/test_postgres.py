"""PostgreSQL is stopped, and comes back as it was, in an earlier state, or empty: runs wait, and two histories are never mixed."""

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import psycopg
import pytest

from tests import services
from tests.faults.conftest import OpenWorld, Record
from tests.faults.invariants import check, quiet_logs
from tests.faults.oracle import Oracle
from tests.faults.proxy import Proxy
from tests.faults.work import keep_busy, rounds
from tests.faults.world import SCALE, World, make_ready, meanwhile, until
from tests.model_server import ModelServer
from tests.services import Postgres
from tests.serving import Server

NOT_LOGGED_IN, GONE, INTERNAL = 4401, 4404, 4500
#: The shortest time in seconds after which a run may give up on an unavailable database.
GIVES_UP_AFTER_S = 15

#: SHUTDOWN_S, two seconds for runs that go on, two for the database, five for requests, two for threads, and for a busy machine some more.
ENDS_WITHIN_S = 15

#: They share a PostgreSQL: in two processes of the tests it would be started twice.
pytestmark = pytest.mark.xdist_group("postgres")


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL of the module's own, which tests break, with tables and users in the database ``ready``."""
    with services.own_postgres() as server:
        make_ready(server.url, tmp_path_factory.mktemp("ready"))
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The address of the product's database on it, a new one for each test."""
    with services.database(postgres.url, "product", template="ready") as address:
        yield address


def orders(server: Postgres, *statements: str) -> None:
    """Execute SQL on the server, from outside the product's database."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


HANG_UP = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'product'"
#: PostgreSQL only copies and renames a database that nobody is connected to.
SHUT = ("ALTER DATABASE product ALLOW_CONNECTIONS false", HANG_UP)
OPEN = "ALTER DATABASE product ALLOW_CONNECTIONS true"


def copy(server: Postgres, name: str, *changes: str) -> None:
    """Copy the product's database, and change the copy."""
    orders(server, *SHUT, f"CREATE DATABASE {name} TEMPLATE product", OPEN)
    with psycopg.connect(f"{server.url.rpartition('/')[0]}/{name}") as connection:
        for statement in changes:
            connection.execute(statement.encode())


def is_ready(address: str) -> bool:
    """Whether a process reports that it is ready to be sent requests."""
    try:
        with urlopen(f"{address}/readyz") as answer:
            return bool(answer.status == 200)
    except HTTPError:
        return False


def fail_over(server: Postgres, name: str) -> None:
    """Replace the product's database by another one; the old one is dropped."""
    orders(server, *SHUT, "DROP DATABASE product WITH (FORCE)", f"ALTER DATABASE {name} RENAME TO product")


async def restarted(server: Postgres) -> None:
    await asyncio.to_thread(server.end, signal.SIGQUIT)  # PostgreSQL's mode "immediate"
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


@pytest.mark.parametrize(
    ("topology", "times"),
    [
        ("postgres", 1),
        pytest.param("postgres", 4, marks=pytest.mark.long),
        pytest.param("workers", 1, marks=SCALE.marks),
    ],
)
async def test_postgres_breaks_while_a_run_is_at_work(
    postgres: Postgres, database: str, open_world: OpenWorld, model: ModelServer, topology: str, times: int
) -> None:
    """All connections of PostgreSQL ended, and an immediate restart: no run fails, no socket is closed."""
    model.respond = rounds(30, every_s=0.005)
    world = open_world(topology, database_url=database)
    session = await world.new_session()
    breaks = iter([hung_up, restarted] * times)
    async with two_clients(world, session) as (here, there):
        async with meanwhile(lambda: next(breaks)(postgres), every_s=2, times=2 * times) as done:
            while len(done) < 2 * times:
                await keep_busy(here, here.state.seq + 100)
        await check(world, session, [here, there])
    assert (here.connections, there.connections) == (1, 1)
    assert {run.status for run in world.database.runs(session)} == {"completed"}


@pytest.mark.parametrize("topology", [pytest.param("postgres_alone", marks=pytest.mark.long), SCALE])
async def test_a_process_ends_soon_though_the_database_no_longer_answers(
    postgres: Postgres, database: str, open_world: OpenWorld, model: ModelServer, topology: str
) -> None:
    """SIGTERM after all connections have frozen, with a run at work and a page requested: nobody has to kill the process."""
    model.respond = rounds(1_000, every_s=0.005)
    async with Proxy.before("127.0.0.1", postgres.port) as line:
        world = await asyncio.to_thread(
            open_world, topology, database_url=line.instead_of(database), SHUTDOWN_S="1", RUN_LEASE_S="6"
        )
        session = await world.new_session()
        async with world.client(session) as here, world.browser() as browser:
            await here.ask("Go on")
            await here.until(lambda: here.state.seq > 30)
            line.freeze()
            page = asyncio.create_task(browser.call("GET", "sessions/"))
            await asyncio.wait({page}, timeout=0.5)
            took = await asyncio.gather(*(asyncio.to_thread(stop, process) for process in world.processes))
            page.cancel()
    assert max(took) < ENDS_WITHIN_S, took


def stop(process: Server) -> float:
    """Stop a process; returns how many seconds it took."""
    began = time.monotonic()
    assert process.stop() == 0
    return time.monotonic() - began


async def test_connections_are_ended_as_runs_begin(
    postgres: Postgres, database: str, open_world: OpenWorld, model: ModelServer
) -> None:
    """In a long session, whose history is read separately, all connections are ended just as each run begins: none fails."""
    model.respond = rounds(60, every_s=0.001)
    world = open_world("postgres", database_url=database)
    session = await world.new_session()
    async with two_clients(world, session) as (here, there):
        assert await here.ended(await here.ask("Go on"), 120) == "completed"
        assert await world.quiet(session) > 300
        model.respond = rounds(1)
        for number in range(8):
            run_id = await here.ask(f"And {number}?")
            await hung_up(postgres)
            assert await here.ended(run_id, 120) == "completed"
        await check(world, session, [here, there])
    assert {(run.status, run.code) for run in world.database.runs(session)} == {("completed", "")}


def cut_again_and_again(server: Postgres, every_s: float, until: threading.Event) -> int:
    """End all connections again and again, with pauses of this length; returns how many were ended."""
    ended = 0
    with psycopg.connect(server.url, autocommit=True) as operator:
        while not until.wait(every_s):
            ended += len(operator.execute(HANG_UP).fetchall())
    return ended


#: The pauses between the cuts in seconds, and for how many seconds they go on; None: until the run has ended.
CUTS: dict[str, Any] = {
    "time for something between them": (0.1, None),
    "no time": pytest.param(0.0, 5.0, marks=pytest.mark.long),
    "no time, for longer than a run waits": pytest.param(0.0, 60.0, marks=pytest.mark.long),
}


@pytest.mark.parametrize(("every_s", "for_s"), CUTS.values(), ids=list(CUTS))
async def test_connections_are_ended_again_and_again(
    postgres: Postgres,
    database: str,
    open_world: OpenWorld,
    model: ModelServer,
    every_s: float,
    for_s: float | None,
    record_property: Record,
) -> None:
    """With enough time between two cuts a run makes progress in between; with too little it ends soon after the last cut."""
    model.respond = rounds(10, every_s=0.001)
    world = open_world("postgres", database_url=database)
    session = await world.new_session()
    over = threading.Event()
    async with two_clients(world, session) as (here, there):
        run_id = await here.ask("Go on")
        cutting = asyncio.create_task(asyncio.to_thread(cut_again_and_again, postgres, every_s, over))
        try:
            if for_s is None:
                await here.ended(run_id, 60)
            else:
                await asyncio.wait([cutting], timeout=for_s)
        finally:
            over.set()
        assert await cutting > 10
        began = time.monotonic()
        status = await here.ended(run_id, 20)
        record_property("ended after the last cut within, s", round(time.monotonic() - began, 1))
        assert status == "completed" or (for_s or 0) > GIVES_UP_AFTER_S
        await check(world, session, [here, there])
    # Thousands of such lines would say nothing more than the errors of the runs.
    assert not any("discarding closed connection" in line for line in world.output)


@pytest.mark.long
async def test_postgres_is_away_for_longer_than_the_lease(
    postgres: Postgres, database: str, open_world: OpenWorld, model: ModelServer
) -> None:
    """PostgreSQL is unavailable for 40 s, and no lease can be renewed: no process counts another as dead, and the run goes on."""
    model.respond = rounds(200, every_s=0.005)
    world = open_world("postgres", database_url=database)
    session = await world.new_session()
    async with two_clients(world, session) as (here, there):
        run_id = await here.ask("Go on")
        await there.until(lambda: there.state.seq > 30)
        await asyncio.to_thread(postgres.end, signal.SIGQUIT)
        await asyncio.sleep(20)
        asking = asyncio.create_task(there.ask("Are you there?"))
        await asyncio.sleep(20)
        await asyncio.to_thread(postgres.start)
        assert await here.ended(run_id, 60) == "completed"
        assert await there.ended(await asyncio.wait_for(asking, 60), 60) == "completed"
        await check(world, session, [here, there])
    assert (here.connections, there.connections) == (1, 1)
    assert {error["code"] for error in there.errors} <= {"storage"}


def is_read_only(server: Postgres) -> bool:
    """Whether a new connection may change nothing."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        return connection.execute("SHOW default_transaction_read_only").fetchone() == ("on",)


@contextlib.contextmanager
def read_only(server: Postgres) -> Iterator[None]:
    """Make the server read-only, like one whose disk is nearly full, or that is still a standby."""
    reload = "SELECT pg_reload_conf()"
    orders(server, "ALTER SYSTEM SET default_transaction_read_only TO on", reload)
    # The server reads its settings a little later; then it notifies those who are connected.
    ends_at = time.monotonic() + 20
    while not is_read_only(server):
        assert time.monotonic() < ends_at, "the setting is not read"
    try:
        yield
    finally:
        orders(server, "ALTER SYSTEM RESET default_transaction_read_only", reload)


@pytest.mark.parametrize("stays", [False, pytest.param(True, marks=pytest.mark.long)])
async def test_postgres_takes_no_changes(
    postgres: Postgres, database: str, open_world: OpenWorld, model: ModelServer, stays: bool
) -> None:
    """Read-only for a moment, or for longer than a run waits: people can read, the run goes on or ends as failed; the next one works."""
    model.respond = rounds(60, every_s=0.005)
    world = open_world("postgres", database_url=database)
    session = await world.new_session()
    async with world.browser() as reader, two_clients(world, session) as (here, there):
        run_id = await here.ask("Go on")
        await there.until(lambda: there.state.seq > 30)
        with read_only(postgres):
            asking = asyncio.create_task(there.ask("Are you there?"))
            await there.until(lambda: "storage" in [error["code"] for error in there.errors])
            status, answer = await reader.call("GET", f"sessions/{session}/events/")
            assert status == 200
            await here.until(lambda: here.state.seq == answer["last_seq"])
            if stays:
                words = f"The end of run {run_id} could not be stored"
                await until(lambda: any(words in line for line in world.output), 60, "the run to give up")
        assert await here.ended(run_id, 60) == ("failed" if stays else "completed")
        assert await there.ended(await asking, 60) == "completed"
        await check(world, session, [here, there])
    assert (here.connections, there.connections) == (1, 1)


@pytest.mark.long
async def test_postgres_stays_away(
    postgres: Postgres, database: str, open_world: OpenWorld, model: ModelServer, record_property: Record
) -> None:
    """PostgreSQL is unavailable until the run has given up: the run is failed when PostgreSQL is back, and the next one works."""
    model.respond = rounds(200, every_s=0.005)
    world = open_world("postgres", database_url=database)
    session = await world.new_session()

    def has_given_up() -> bool:
        return any(f"Run {run_id} could not be stored" in line and "trying again" not in line for line in world.output)

    async with two_clients(world, session) as (here, there):
        run_id = await here.ask("Go on")
        await there.until(lambda: there.state.seq > 30)
        began = time.monotonic()
        await asyncio.to_thread(postgres.end, signal.SIGQUIT)
        await until(has_given_up, 150, "the run to give up")
        record_property("given up after, s", round(time.monotonic() - began))
        await asyncio.to_thread(postgres.start)
        assert await here.ended(run_id, 60) == "failed"
        model.respond = rounds(2)
        assert await here.ended(await there.ask("And now?"), 60) == "completed"
        await check(world, session, [here, there])
    assert [run.code for run in world.database.runs(session)] == ["storage", ""]


async def test_postgres_comes_back_as_it_was_earlier(
    postgres: Postgres, database: str, open_world: OpenWorld, model: ModelServer
) -> None:
    """A failover to an older copy, while the processes serve: every client drops what no longer exists, and mixes nothing."""
    model.respond = rounds(5)
    world = open_world("postgres", database_url=database)
    session = await world.new_session()
    async with two_clients(world, session) as (here, there):
        await here.ended(await here.ask("Before"))
        await there.until_seq(await world.quiet(session))
        kept = there.state.seq
        copy(postgres, "older")
        await here.ended(await here.ask("After"))
        await there.until_seq(await world.quiet(session))
        assert there.state.seq > kept
        fail_over(postgres, "older")
        for client in (here, there):
            await client.until(lambda client=client: client.resets == 1 and client.state.seq == kept)  # type: ignore[misc]
        await there.ended(await there.ask("Another after"))
        await check(world, session, [here, there], restored=True)
    assert (here.resets, there.resets) == (1, 1)


async def test_postgres_comes_back_empty(
    postgres: Postgres, database: str, open_world: OpenWorld, model: ModelServer
) -> None:
    """Failovers to copies without tables, sessions or users: clients get an error or a close code, and nothing else breaks."""
    model.respond = rounds(300, every_s=0.02)
    world = open_world("postgres", database_url=database)
    session = await world.new_session()
    orders(postgres, "CREATE DATABASE no_tables")
    copy(postgres, "no_sessions", "TRUNCATE chat_session CASCADE")
    copy(postgres, "no_people", "TRUNCATE chat_session, auth_user, django_session CASCADE")
    async with two_clients(world, session) as (here, there):
        await here.ask("Go on")
        await there.until(lambda: there.state.seq > 20)
        await asyncio.to_thread(fail_over, postgres, "no_tables")
        # As while a database is unavailable: open sockets stay and are sent an error, and new ones are refused.
        asking = asyncio.create_task(here.ask("Are you there?"))
        await here.until(lambda: "storage" in [error["code"] for error in here.errors])
        there.cut()
        await there.until(lambda: INTERNAL in there.closes)
        await asyncio.to_thread(fail_over, postgres, "no_sessions")
        for client in (here, there):
            await client.until(lambda client=client: client.closes[-1:] == [GONE])  # type: ignore[misc]
        asking.cancel()
        # What the process kept for the session's run is freed.
        await model.until(lambda: all(request.closed_at or request.finished_at for request in model.requests))
    assert here.violations == there.violations == []
    async with two_clients(world, await world.new_session()) as (here, there):
        for client in (here, there):
            await client.until(lambda client=client: client.is_connected)  # type: ignore[misc]
        await asyncio.to_thread(fail_over, postgres, "no_people")
        for client in (here, there):
            await client.until(lambda client=client: client.closes[-1:] == [NOT_LOGGED_IN])  # type: ignore[misc]
    # A broken connection is only noticed when it is used next.
    for address in world.addresses:
        await until(lambda address=address: is_ready(address), wanted="the process to be ready")  # type: ignore[misc]
    assert not list(quiet_logs(world.output, "could not be"))
