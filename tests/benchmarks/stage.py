"""The processes of a benchmark: the stub, the relay, the product on a data folder of its own, and clients."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson
import psutil

from tests import services
from tests.benchmarks.client import Job, Observed
from tests.benchmarks.measuring import Lateness, Turn, Window
from tests.benchmarks.stub import Note
from tests.serving import ROOT, START_S, Server, Worker

_LIMITS_OFF = dict.fromkeys(
    ("MAX_SOCKETS_PER_USER", "MAX_ACTIVE_RUNS_PER_USER", "MAX_MESSAGES_PER_MINUTE", "MAX_QUEUED_RUNS"), "0"
)
_LONGEST_JOB_S = 180


@dataclass(frozen=True, slots=True)
class Side:
    """A server that clients connect to: the product or the relay."""

    url: str
    pid: int
    cookie: str = ""


@dataclass(slots=True)
class Outcome:
    """What clients saw of one server, the stub's record of that time, and how late both were."""

    window: Window
    notes: dict[str, list[Note]]
    turns: list[Turn] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    series: dict[str, list[float]] = field(default_factory=dict)
    frames: int = 0
    bytes_each: float = 0.0
    cpu_s: float = 0.0
    problems: list[str] = field(default_factory=list)


class Stage:
    """Keeps the processes for the length of a ``with`` block."""

    def __init__(self, folder: Path, *, clients: int = 1, profiles: Path | None = None) -> None:
        self._profiles = profiles
        self._folder = folder
        self._clients = clients
        self._running = contextlib.ExitStack()
        self._stub_url = ""
        self._server: Server | None = None
        self._cookies: dict[Path, str] = {}

    def __enter__(self) -> Self:
        self._stub_url, _ = self._running.enter_context(_process("tests.benchmarks.stub"))
        self._server = self._prepared(self._folder)
        self._server.manage("collectstatic", "--no-input", "--verbosity", "0")
        return self

    def _prepared(self, folder: Path, **environment: str) -> Server:
        """The product on a data folder of its own, with tables and an account."""
        server = Server(
            folder,
            LLM_MODEL_SERVER=self._stub_url,
            LLM_MODEL="stub",
            LLM_API_KEY="none",
            **_LIMITS_OFF,
            **environment,
        )
        server.prepare()
        return server

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @contextlib.contextmanager
    def product(self) -> Iterator[Side]:
        """The product, newly started, so that no figure depends on earlier ones."""
        assert self._server is not None
        folder = self._server.data_dir
        if folder not in self._cookies:
            self._cookies[folder] = self.rows("login")
        self._server.url = ""
        self._server.start()
        try:
            yield Side(self._server.url, self._server.pid, self._cookies[folder])
        finally:
            self._server.stop()

    @contextlib.contextmanager
    def beside(self) -> Iterator[Side]:
        """One more process of the product on the same data as another one."""
        assert self._server is not None
        another = Server(self._server.data_dir)
        another.environment = self._server.environment
        another.start()
        try:
            yield Side(another.url, another.pid, self._cookies[another.data_dir])
        finally:
            another.stop()

    def wait_loaded(self) -> None:
        """Wait until the product has loaded what its runs need."""
        assert self._server is not None
        if not self._server.loaded.wait(START_S):
            raise RuntimeError("The product has not loaded its agents.")

    @contextlib.contextmanager
    def make_run(self) -> Iterator[str]:
        """The product as ``make run`` starts it, on a data folder that is kept for the next time; yields its future address."""
        port = services.free_port()
        environment = {
            "DATA_DIR": str(self._folder / "make-run"),
            "PORT": str(port),
            "LLM_MODEL_SERVER": self._stub_url,
            "LLM_MODEL": "stub",
        }
        command = [sys.executable, str(ROOT / "scripts" / "bootstrap.py"), "run"]
        with subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()

    @contextlib.contextmanager
    def apart(
        self, name: str, *, served: bool = False, has_redis: bool = False, has_worker: bool = False, **environment: str
    ) -> Iterator[None]:
        """Give the product data of its own for a block, with ``served`` on PostgreSQL, so that they affect no other figure.

        ``has_redis``: so that several processes can serve. ``has_worker``: which executes the runs in a process of its own,
        notified through Redis.
        """
        usual = self._server
        with contextlib.ExitStack() as until_done:
            folder = Path(until_done.enter_context(tempfile.TemporaryDirectory(prefix=f"{name}-", dir=self._folder)))
            (folder / "static").symlink_to(self._folder / "static")
            if served or has_redis or has_worker:
                environment["DATABASE_URL"] = until_done.enter_context(services.postgres())
            if has_redis or has_worker:
                redis = until_done.enter_context(services.redis())
                environment |= {"REDIS_URL": redis, "SECRET_KEY": "measured" * 8}
            if has_worker:
                environment["BROKER_URL"] = environment["REDIS_URL"]
            self._server = self._prepared(folder, **environment)
            if has_worker:
                until_done.enter_context(_worker_of(self._server))
            try:
                yield
            finally:
                self._server = usual

    @contextlib.contextmanager
    def stock(self) -> Iterator[Side]:
        """Qwen-Agent's own loop, newly started."""
        folder = {"QWEN_AGENT_DEFAULT_WORKSPACE": str(self._folder / "qwen-agent")}
        with _process("tests.benchmarks.stock", self._stub_url, **folder) as (url, pid):
            yield Side(url, pid)

    @contextlib.contextmanager
    def relay(self) -> Iterator[Side]:
        """The relay, newly started."""
        with _process("tests.benchmarks.relay", self._stub_url) as (url, pid):
            yield Side(url, pid)

    @contextlib.contextmanager
    def bare(self) -> Iterator[Side]:
        """The minimal application on the product's server, newly started."""
        with _process("tests.benchmarks.bare") as (url, pid):
            yield Side(url, pid)

    def rows(self, what: str, *arguments: int) -> Any:
        """Write rows to the product's database; see `tests.benchmarks.rows`."""
        assert self._server is not None
        call = f"{what}({', '.join(map(str, arguments))})"
        return json.loads(
            self._server.manage("shell", "--no-imports", "--command", f"from tests.benchmarks.rows import *; {call}")
        )

    def look(self, side: Side, kind: str, session: str, **job: Any) -> Outcome:
        """Run a job in a browser."""
        return self._run(
            side, [Job(kind, side.url, side.cookie, side.pid, [session], **job)], "tests.benchmarks.browser"
        )

    def run(
        self,
        side: Side,
        kind: str,
        sessions: Sequence[str] = (),
        *,
        message: str = "",
        clients: int = 1,
        beside: Sequence[Side] = (),
        **job: Any,
    ) -> Outcome:
        """Run a job in clients, which share the sessions where it is a load. Of clients that watch, one sends the message.

        With further processes ``beside``, the clients connect to each of them in turn, and CPU is that of all together.
        """
        shares = max(clients, self._clients) if kind in {"load", "openings", "completions", "watch"} else 1
        jobs = [
            Job(
                kind,
                to.url,
                to.cookie,
                to.pid,
                list(sessions[i::shares]),
                message="" if kind == "watch" and i else message,
                **job,
            )
            for i, to in zip(range(shares), itertools.cycle([side, *beside]), strict=False)
        ]
        return self._run(side, jobs, "tests.benchmarks.client")

    def _run(self, side: Side, jobs: Sequence[Job], module: str) -> Outcome:
        clients = [_client(each, module) for each in jobs]
        try:
            for client in clients:
                _line(client, "ready")
            self._journal()
            began = {job.pid: _cpu_s(job.pid) for job in jobs}
            with self._profiled(side, jobs[0].kind):
                for client in clients:
                    assert client.stdin is not None
                    client.stdin.write("go\n")
                    client.stdin.flush()
                seen = [_seen(_line(client)) for client in clients]
        finally:
            for client in clients:
                client.kill()
                client.wait()
        journal = self._journal()
        notes: dict[str, list[Note]] = {}
        for note in journal["notes"]:
            notes.setdefault(note["tag"], []).append(Note(**note))
        late = [each.lateness for each in seen if each.lateness is not None]
        client_lateness = Lateness(max(each.p50 for each in late), max(each.p99 for each in late))
        return Outcome(
            Window(client_lateness, Lateness(**journal["lateness"])),
            notes,
            [turn for each in seen for turn in each.turns],
            [seconds for each in seen for seconds in each.seconds],
            seen[0].series,
            sum(each.frames for each in seen),
            seen[0].bytes_each,
            sum(
                max(each.cpu_s for each, job in zip(seen, jobs, strict=True) if job.pid == pid) - before
                for pid, before in began.items()
            ),
            [problem for each in seen for problem in each.problems],
        )

    @contextlib.contextmanager
    def sampling(self) -> Iterator[Callable[[], list[str]]]:
        """Sample the product's stacks during the jobs of this block; call the yielded function for the collapsed stacks."""
        usual = self._profiles
        with tempfile.TemporaryDirectory(prefix="stacks-", dir=self._folder) as folder:
            self._profiles = Path(folder)
            try:
                yield lambda: [line for file in Path(folder).iterdir() for line in file.read_text().splitlines()]
            finally:
                self._profiles = usual

    @contextlib.contextmanager
    def _profiled(self, side: Side, kind: str) -> Iterator[None]:
        """If wanted, sample the product's stacks meanwhile; a file of collapsed stacks for each job."""
        if self._profiles is None or not side.cookie:
            yield
            return
        file = self._profiles / f"{time.strftime('%H%M%S')}-{kind}.txt"
        command = ["py-spy", "record", "--pid", str(side.pid), "--rate", "200", "--gil", "--format", "raw"]
        command += ["--duration", str(_LONGEST_JOB_S), "--output", str(file)]
        program = Path(sys.executable).with_name("py-spy")
        with subprocess.Popen(
            command, executable=program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as sampler:
            try:
                yield
            finally:
                sampler.send_signal(signal.SIGINT)

    def _journal(self) -> Any:
        """The stub's record since the last time."""
        address = f"{self._stub_url.removesuffix('/v1')}/journal"
        with urllib.request.urlopen(address, timeout=30) as answer:
            return orjson.loads(answer.read())


@contextlib.contextmanager
def _process(module: str, *arguments: str, **environment: str) -> Iterator[tuple[str, int]]:
    """Start a process of ours, which prints its address when it is ready."""
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, **environment}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process.pid
        finally:
            process.terminate()


@contextlib.contextmanager
def _worker_of(server: Server) -> Iterator[None]:
    """A worker with the settings of a server."""
    worker = Worker(server.data_dir)
    worker.environment = server.environment
    worker.start()
    try:
        worker.loaded.wait(START_S)
        yield
    finally:
        worker.stop()


def _client(job: Job, module: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", module]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(orjson.dumps(asdict(job)).decode() + "\n")
    process.stdin.flush()
    return process


def _line(client: "subprocess.Popen[str]", expected: str = "") -> str:
    """The client's next line; a client that takes too long is ended."""
    assert client.stdout is not None
    watchdog = threading.Timer(_LONGEST_JOB_S, client.kill)
    watchdog.start()
    try:
        line = client.stdout.readline().strip()
    finally:
        watchdog.cancel()
    if not line or (expected and line != expected):
        raise RuntimeError("A client ended before its job was done; what it said is above.")
    return line


def _cpu_s(pid: int) -> float:
    """A process's CPU time so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _seen(line: str) -> Observed:
    raw = orjson.loads(line)
    raw["turns"] = [Turn(**turn) for turn in raw["turns"]]
    raw["lateness"] = Lateness(**raw["lateness"])
    return Observed(**raw)
