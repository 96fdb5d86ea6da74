"""Starts programs of the product, in forks of a process that has imported the libraries.

Most of what a start costs is reading the libraries, and the suite starts hundreds of processes. So one process per process of the tests
(``tests/forking.py``) has imported them, and nothing of the product; it forks. A start then costs some 0.7 s of processor time, not 1.9.

A child has its own environment, arguments and output, and the hash seed of that process. What a new interpreter alone reads
(`INTERPRETERS_OWN`) must be as in that process, and the settings the product's: otherwise `start_program` starts a new one. Tests of
starting itself use `subprocess`.
"""

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

ROOT = Path(__file__).resolve().parent.parent
#: How the names of variables begin that an interpreter, its C library or its loader read when it starts.
INTERPRETERS_OWN = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC_", "GLIBC_", "TZ")


class Program(Protocol):
    """A started process: what tests use of `subprocess.Popen`."""

    pid: int
    returncode: int | None
    stdout: IO[str] | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


class _Fork:
    """A `Program` that is a child of a fork of the process with the libraries, which tells when it has ended."""

    def __init__(self, keeper: socket.socket, stdout: IO[str] | None) -> None:
        self._keeper = keeper
        self._lock = threading.Lock()
        self.stdout = stdout
        self.returncode: int | None = None
        self.pid = int(keeper.recv(32))

    def poll(self) -> int | None:
        """Its exit status if it has ended: that of a signal is negative."""
        with self._lock:
            if self.returncode is None and self._has_news(0):
                self.returncode = int(self._keeper.recv(32))
                # Only now its number may go to another process.
                self._keeper.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; returns its exit status. Raises `subprocess.TimeoutExpired`."""
        if self.returncode is None and not self._has_news(timeout):
            raise subprocess.TimeoutExpired("a forked program", timeout or 0)
        status = self.poll()
        assert status is not None
        return status

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _has_news(self, timeout: float | None) -> bool:
        try:
            return bool(select.select([self._keeper], [], [], timeout)[0])
        except (OSError, ValueError):
            # Another thread has been told of its end, and has closed the connection.
            return True


def start_program(arguments: Sequence[str], environment: Mapping[str, str]) -> Program:
    """Start Python in the repository's folder with these arguments: ``manage.py …`` or ``-m module …``.

    Its output and its errors are both in `stdout`.
    """
    if not _can_fork(environment):
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    read, write = os.pipe()
    try:
        return _Fork(_ask_for(arguments, environment, write, write), os.fdopen(read, encoding="utf-8"))
    finally:
        os.close(write)


def run_program(
    arguments: Sequence[str], environment: Mapping[str, str], timeout: float | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run Python like `start_program`, and wait for its end; returns what `subprocess.run` does, with output and errors apart.

    A program that takes longer than `timeout` seconds is killed, and `subprocess.TimeoutExpired` is raised.
    """
    if not _can_fork(environment):
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, tempfile.TemporaryFile("w+", encoding="utf-8") as err:
        process = _Fork(_ask_for(arguments, environment, out.fileno(), err.fileno()), None)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(arguments, status, out.read(), err.read())


def _interpreters_own(environment: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in environment.items() if name.startswith(INTERPRETERS_OWN)}
    # Nobody minds when output comes at once.
    return own | {"PYTHONUNBUFFERED": "1"}


def _can_fork(environment: Mapping[str, str]) -> bool:
    # Benchmarks, which are no tests, measure processes that were started as usual.
    is_of_tests = "PYTEST_VERSION" in os.environ
    # Other settings change what libraries do, before anything has imported from them.
    is_usual = environment.get("DJANGO_SETTINGS_MODULE", "config.settings") == "config.settings"
    return is_of_tests and is_usual and _interpreters_own(environment) == _interpreters_own(os.environ)


def _ask_for(arguments: Sequence[str], environment: Mapping[str, str], out: int, err: int) -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        request = json.dumps([list(arguments), dict(environment)]).encode()
        socket.send_fds(_forking_process(), [request], [out, err, theirs.fileno()])
    return ours


@functools.cache
def _forking_process() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forking", str(theirs.fileno())],
            cwd=ROOT,
            env={**os.environ, **_interpreters_own(os.environ)},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours
