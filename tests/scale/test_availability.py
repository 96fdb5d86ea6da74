"""PostgreSQL and Redis as large installations run them: behind a PgBouncer, on two hosts, watched by Sentinels."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from tests import services
from tests.faults.conftest import OpenWorld
from tests.faults.invariants import check
from tests.faults.work import rounds
from tests.faults.world import USERS, World, until
from tests.model_server import ModelServer
from tests.serving import ROOT, Server

pytestmark = [pytest.mark.long, pytest.mark.scale]

MESSAGE = "Tell [reasoning=10 tokens=60 every=20 call=current_time:{}]"
#: So few that no process could have its connections to itself.
POOL = 3


class PgBouncer(services.Service):
    """A PgBouncer of Debian's that pools by transaction; all its other settings are the defaults."""

    def __init__(self, postgres_url: str, folder: Path) -> None:
        program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, "make test-scale brings it"
        server = psycopg.conninfo.conninfo_to_dict(postgres_url)
        self.port = services.free_port()
        file = folder / "pgbouncer.ini"
        file.write_text(
            f"[databases]\n{server['dbname']} = host={server['host']} port={server['port']} user={server['user']}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = transaction\ndefault_pool_size = {POOL}\nmax_client_conn = 500\n"
        )
        file.chmod(0o644)
        folder.chmod(0o755)
        user = "nobody" if os.geteuid() == 0 else None
        super().__init__([program, str(file)], ready="process up", user=user)
        login = f"{server['user']}@127.0.0.1:{self.port}/{server['dbname']}"
        self.url = f"postgres://{login}"


@pytest.fixture
def empty(postgres_server: str) -> Iterator[str]:
    """The address of an empty database."""
    with services.database(postgres_server, f"test_{uuid.uuid4().hex}") as address:
        yield address


@pytest.fixture
def bouncer(empty: str) -> Iterator[PgBouncer]:
    """A PgBouncer in front of it."""
    with tempfile.TemporaryDirectory(prefix="thinkaloud-pgbouncer-") as folder:
        server = PgBouncer(empty, Path(folder)).start()
        try:
            yield server
        finally:
            server.stop()


def prepare(folder: Path, address: str) -> subprocess.CompletedProcess[str]:
    """Make tables and a first account as an installation does."""
    environment = {**os.environ, "DATA_DIR": str(folder), "DATABASE_URL": address}
    return subprocess.run(
        [sys.executable, "-m", "config.prepare"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


async def ask_and_check(world: World, times: int = 3) -> None:
    """Send this many messages in a session with two clients, one at each process; both receive everything."""
    session = await world.new_session()
    async with (
        world.client(session, at=lambda: world.addresses[:1]) as one,
        world.client(session, at=lambda: world.addresses[-1:]) as other,
    ):
        for _ in range(times):
            assert await one.ended(await one.ask(MESSAGE), 90) == "completed"
        await check(world, session, [one, other], timeout_s=60)


async def test_postgresql_behind_a_pgbouncer_that_pools_by_transaction(
    empty: str, bouncer: PgBouncer, open_world: OpenWorld, tmp_path: Path
) -> None:
    address = f"{bouncer.url}?pgbouncer=true"
    done = prepare(tmp_path, address)
    assert done.returncode == 0, done.stderr
    assert "Log in as" in done.stdout
    # A process that is frozen in the middle of a transaction must not keep its locks: in no connection, also not in those that were open
    # before the role had its limits.
    with contextlib.ExitStack() as until_done:
        for _ in range(POOL):
            through = until_done.enter_context(psycopg.connect(bouncer.url))
            assert through.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("10s",)
            assert through.execute("SHOW lock_timeout").fetchone() == ("5s",)
    Server(tmp_path, DATABASE_URL=address).prepare(*USERS)
    world = open_world("workers", database_url=empty, DATABASE_URL=address)
    await ask_and_check(world)
    with psycopg.connect(empty) as server:
        (clients,) = server.execute(
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone() or (0,)
    assert 0 < clients <= POOL


def test_a_pgbouncer_that_nobody_told_of_is_told(bouncer: PgBouncer, tmp_path: Path) -> None:
    done = prepare(tmp_path, bouncer.url)
    assert done.returncode == 1
    assert "add pgbouncer=true to DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_redis_that_sentinels_watch_is_followed_to_its_successor(open_world: OpenWorld, tmp_path: Path) -> None:
    with contextlib.ExitStack() as until_done:
        master = until_done.enter_context(services.own_redis())
        until_done.enter_context(services.own_redis("--replicaof", "127.0.0.1", str(master.port)))
        sentinel = services.Sentinel(master, tmp_path).start()
        until_done.callback(sentinel.stop)
        address = f"sentinel://127.0.0.1:{sentinel.port}/main"
        world = open_world("workers", redis_url=f"{address}/0", broker_url=f"{address}/1")
        await ask_and_check(world, 1)
        with redis.Redis(port=sentinel.port, decode_responses=True) as watcher:
            await until(lambda: len(watcher.sentinel_slaves("main")) == 1, 30, "the replica to be known")
            master.end(signal.SIGKILL)
            await until(lambda: watcher.sentinel_get_master_addr_by_name("main")[1] != master.port, 60, "a new master")
        await ask_and_check(world)
        for server in world.servers:
            await until(lambda url=server.url: health(url) == "ok\n", 30, "all to be well")


async def test_postgresql_on_two_hosts_is_followed_to_the_one_that_is_promoted(
    open_world: OpenWorld, model: ModelServer, tmp_path: Path
) -> None:
    """The primary dies in the middle of a run and its standby is promoted: no run fails, no socket closes, nothing is lost."""
    model.respond = rounds(60, every_s=0.005)
    with services.own_postgres() as primary, services.standby_of(primary) as standby:
        # The standby first, as it may happen: it is read-only.
        hosts = f"127.0.0.1:{standby.port},127.0.0.1:{primary.port}"
        address = f"postgres://postgres@{hosts}/postgres?target_session_attrs=read-write"
        done = prepare(tmp_path / "prepare", address)
        assert done.returncode == 0, done.stderr
        Server(tmp_path / "users", DATABASE_URL=address).prepare(*USERS)
        world = open_world("workers", database_url=address)
        session = await world.new_session()
        one, other = (world.client(session, at=lambda server=server: [server.url]) for server in world.servers)
        async with one, other:
            run_id = await one.ask("Go on")
            await other.until(lambda: other.state.seq > 30)
            primary.end(signal.SIGQUIT)
            standby.promote()
            assert await one.ended(run_id, 90) == "completed"
            assert await other.ended(await other.ask("And now?"), 90) == "completed"
            await check(world, session, [one, other], timeout_s=60)
        assert (one.connections, other.connections) == (1, 1)
        for server in world.servers:
            await until(lambda url=server.url: health(url) == "ok\n", 30, "all to be well")


def health(url: str) -> str:
    """The health of a process, as it reports it."""
    with urllib.request.urlopen(f"{url}/healthz") as answer:
        text: str = answer.read().decode()
    return text
