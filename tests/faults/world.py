"""The product as it is deployed, in parts that can be broken: one process on SQLite, or two on PostgreSQL and Redis."""

import asyncio
import contextlib
import json
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.faults.oracle import Oracle
from tests.model_server import ModelServer
from tests.serving import Browser, Server, Worker

USERS = ("ada", "bo", "cy")
#: Without the limits that tests would otherwise reach, and with a short lease.
USUAL = {
    "MAX_MESSAGES_PER_MINUTE": "0",
    "MAX_ACTIVE_RUNS_PER_USER": "0",
    "MAX_SOCKETS_PER_USER": "0",
    "MAX_ITERATIONS": "0",
    "RUN_LEASE_S": "3",
    "LLM_TIMEOUT_S": "10",
}
#: A process whose state can be inspected, see ``tests.faults.inside``; with ``GROUP_MESSAGES`` its channel layer is faulty too.
LOOKED_INTO = {"DJANGO_SETTINGS_MODULE": "tests.faults.settings"}
FAULTY_LAYER = LOOKED_INTO
#: The topology of `make test-scale`: it takes longer to start than most tests take.
SCALE = pytest.param("workers", marks=[pytest.mark.long, pytest.mark.scale])


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A numbered event as stored in the database."""

    seq: int
    id: str
    run_id: str
    event: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as stored in the database."""

    id: str
    number: int
    status: str
    client_message_id: str
    user_id: int
    fence: int
    owner: str
    code: str


class Database:
    """The product's database, read and written without any code of the product."""

    def __init__(self, address: str) -> None:
        self.address = address

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a query; ``?`` stands for the values."""
        if self.address.startswith("postgres"):
            with psycopg.connect(self.address) as server:
                found = server.execute(statement.replace("?", "%s").encode(), values)
                return found.fetchall() if found.description else []
        with contextlib.closing(sqlite3.connect(self.address, timeout=20)) as file, file:
            return file.execute(
                statement, [str(v).replace("-", "") if isinstance(v, UUID) else v for v in values]
            ).fetchall()

    def head(self, session_id: str) -> int:
        """The number of the session's last event."""
        return int(self.rows("SELECT last_seq FROM chat_session WHERE id = ?", UUID(session_id))[0][0])

    def events(self, session_id: str) -> list[StoredEvent]:
        """The session's numbered events, in order."""
        return [
            StoredEvent(seq, str(UUID(str(event_id))), str(UUID(str(run_id))), event, json.loads(body))
            for seq, event_id, run_id, event, body in self.rows(
                "SELECT seq, event_id, run_id, event, body FROM chat_step WHERE session_id = ? AND seq IS NOT NULL ORDER BY seq",
                UUID(session_id),
            )
        ]

    def runs(self, session_id: str) -> list[StoredRun]:
        """The session's runs, in the order in which they were requested."""
        return [
            StoredRun(str(UUID(str(run_id))), *rest)
            for run_id, *rest in self.rows(
                "SELECT id, number, status, client_message_id, user_id, fence, owner, code FROM chat_run "
                "WHERE session_id = ? ORDER BY number",
                UUID(session_id),
            )
        ]


class World:
    """The product's processes, their data, and the clients that talk to them."""

    def __init__(
        self, servers: Sequence[Server], model: ModelServer, database: Database, workers: Sequence[Worker] = ()
    ) -> None:
        self.servers = servers
        self.workers = workers
        self.model = model
        self.database = database
        self._cookies: dict[str, dict[str, str]] = {}
        self._read_to: dict[Server, int] = {}

    @property
    def addresses(self) -> list[str]:
        """The URLs of the processes, also of those that are being restarted."""
        return [server.url for server in self.servers]

    @property
    def processes(self) -> list[Server]:
        """All of them."""
        return [*self.servers, *self.workers]

    @property
    def executors(self) -> Sequence[Server]:
        """The processes that execute runs."""
        return self.workers or self.servers

    def executing_server(self, session_id: str) -> Server | None:
        """The process that executes the session's run; None if none is at work."""
        owners = [run.owner for run in self.database.runs(session_id) if run.status in ("running", "cancelling")]
        return next((process for process in self.executors if owners and f":{process.pid}:" in owners[0]), None)

    @property
    def output(self) -> list[str]:
        """All that the processes have printed since `begin_anew`, or since their start."""
        return [line for server in self.processes for line in server.output[self._read_to.get(server, 0) :]]

    def begin_anew(self) -> None:
        """Forget what was printed so far, and what the model server was asked, before another test begins."""
        self._read_to = {server: len(server.output) for server in self.processes}
        for server in self.processes:
            server.rest()
        self.model.reset()

    @contextlib.asynccontextmanager
    async def browser(self, username: str = "bo", process: int = 0) -> AsyncIterator[Browser]:
        """A logged-in browser at one of the processes. A user logs in only once for all processes, because checking a password is slow."""
        cookies = self._cookies.get(username, {})
        async with Browser.logged_in(self.servers[process].url, username, cookies) as browser:
            if not cookies:
                # Checking a password takes 100 MB for a moment, by design.
                self.servers[process].forget_most()
            self._cookies[username] = browser.cookies
            yield browser

    async def new_session(self, username: str = "bo", **body: Any) -> str:
        """Open a session; returns its id."""
        async with self.browser(username) as browser:
            return await browser.new_session(**body)

    def client(
        self, session_id: str, username: str = "bo", *, at: Callable[[], Sequence[str]] | None = None, **options: Any
    ) -> Oracle:
        """A client of a session, for a user who is already logged in (as by `new_session`)."""
        options.setdefault("name", f"{username} {uuid4().hex[:4]}")
        cookie = "; ".join(f"{key}={value}" for key, value in self._cookies[username].items())
        return Oracle(at or (lambda: self.addresses), cookie, session_id, **options)

    async def kill(self, server: Server) -> None:
        """End a process with SIGKILL."""
        await asyncio.to_thread(server.kill)

    async def start(self, server: Server) -> None:
        """Start a process again that has ended, at the same address."""
        await asyncio.to_thread(server.start, server.port)

    async def quiet(self, session_id: str, timeout_s: float = 60.0) -> int:
        """Wait until no run of the session is at work or queued; returns the number of its last event."""

        def at_work() -> bool:
            return any(run.status in ("queued", "running", "cancelling") for run in self.database.runs(session_id))

        await until(lambda: not at_work(), timeout_s, "the session's runs to end")
        return await asyncio.to_thread(self.database.head, session_id)

    async def everything(self, session_id: str) -> list[dict[str, Any]]:
        """All events of a session as the API tells them."""
        events: list[dict[str, Any]] = []
        async with self.browser() as browser:
            while True:
                path = f"sessions/{session_id}/events/?limit=1000&after={len(events)}"
                status, answer = await browser.call("GET", path)
                assert status == 200, answer
                events += answer["events"]
                if len(events) >= answer["last_seq"] or not answer["events"]:
                    return events


async def until(condition: Callable[[], bool], timeout_s: float = 20.0, wanted: str = "what was wanted") -> None:
    """Wait until something outside this process is true. If it cannot be checked at the moment, it counts as not yet true."""
    ends_at = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(psycopg.Error, sqlite3.OperationalError):
            if await asyncio.to_thread(condition):
                return
        assert time.monotonic() < ends_at, f"waited {timeout_s:g} s in vain for {wanted}"
        await asyncio.sleep(0.05)


# Faults that are repeated during a test


@contextlib.asynccontextmanager
async def meanwhile(
    fault: Callable[[], Awaitable[Any]], *, every_s: float, times: int = 1_000_000, seed: int = 0
) -> AsyncIterator[list[float]]:
    """Do something this many times at random intervals, for the length of a block; yields the times at which it was done.

    Where it returns False, there was nothing to break at that moment. One that is under way at the end is finished, so that everything
    works again.
    """
    done_at: list[float] = []
    stop = asyncio.Event()
    draw = random.Random(seed)

    async def again_and_again() -> None:
        while len(done_at) < times:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), draw.uniform(0.5, 1.5) * every_s)
            if stop.is_set():
                return
            if await fault() is not False:
                done_at.append(time.monotonic())

    task = asyncio.create_task(again_and_again())
    try:
        yield done_at
    finally:
        stop.set()
        await task


# Topologies


@contextlib.contextmanager
def alone(folder: Path, model: ModelServer, *, database_url: str = "", **environment: str) -> Iterator[World]:
    """One process on SQLite, or on a PostgreSQL database that has tables and users."""
    process = Server(folder, **{**USUAL, **_model(model), "DATABASE_URL": database_url, **environment})
    if database_url:
        process.data_dir.mkdir(parents=True)
    else:
        process.prepare(*USERS)
    with _started([process]):
        yield World([process], model, Database(database_url or str(folder / "thinkaloud.sqlite3")))


@contextlib.contextmanager
def pair(folder: Path, model: ModelServer, *, database_url: str, redis_url: str, **environment: str) -> Iterator[World]:
    """Two processes on a PostgreSQL database that has tables and users, and a Redis."""
    shared = {**USUAL, **_model(model), "DATABASE_URL": database_url, "REDIS_URL": redis_url, **environment}
    processes = [Server(folder / str(number), **shared) for number in (1, 2)]
    for process in processes:
        process.data_dir.mkdir(parents=True)
    with _started(processes):
        yield World(processes, model, Database(database_url))


@contextlib.contextmanager
def workers(
    folder: Path,
    model: ModelServer,
    *,
    database_url: str,
    redis_url: str,
    broker_url: str,
    **environment: str,
) -> Iterator[World]:
    """Two processes that serve and two that execute the runs, on a PostgreSQL database that has tables and users, a Redis and a broker."""
    addresses = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "BROKER_URL": broker_url}
    shared = {**USUAL, **_model(model), **addresses, **environment}
    servers = [Server(folder / f"web-{number}", **shared) for number in (1, 2)]
    executors = [Worker(folder / f"worker-{number}", **shared) for number in (1, 2)]
    for process in (*servers, *executors):
        process.data_dir.mkdir(parents=True)
    with _started([*servers, *executors]):
        yield World(servers, model, Database(database_url), executors)


def _model(model: ModelServer) -> dict[str, str]:
    return {"LLM_MODEL_SERVER": model.url, "LLM_MODEL": "stub", "LLM_API_KEY": "key"}


@contextlib.contextmanager
def _started(processes: Sequence[Server]) -> Iterator[None]:
    try:
        for process in processes:
            process.start()
        yield
    finally:
        for process in processes:
            if process.process is not None:
                process.stop()


def make_ready(server_url: str, folder: Path, name: str = "ready") -> str:
    """Make a database with tables and users on a PostgreSQL server, as a template for others; returns its URL."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    address = f"{server_url.rpartition('/')[0]}/{name}"
    Server(folder, DATABASE_URL=address).prepare(*USERS)
    return address
