"""Worker processes for untrusted text, each of which can be killed at any moment.

A pool has no thread of its own and costs nothing while nobody calls: the caller's thread talks to the worker over a socket, and kills it
when the time is up. The interpreter of the serving process is never blocked. (Of the libraries, pebble polls in three threads and starts
workers from the caller's main module; anyio's processes can be used from a loop only, and have no limits.)
"""

import atexit
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from agents.untrusted import worker

logger = logging.getLogger(__name__)

_WORKER = str(Path(worker.__file__).resolve())
#: How long a worker may take to start, whatever time the call has left: on a busy machine none would ever be ready otherwise.
_START_S = 10.0
#: The only variables of our environment that a worker gets: it needs no others, and some are secrets.
_ENVIRONMENT = ("LD_LIBRARY_PATH",)


class Unfinished(Exception):
    """The work was not done: no worker was free in time, the call was stopped, or the worker failed."""


class TooSlow(Unfinished):
    """The work itself exceeded its limit."""


class Stoppable(Protocol):
    """What can end a call from another thread. ``add_callback`` registers a callback, which is called once, and returns what removes it."""

    def add_callback(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Register a function to be called when it is set."""


class Pool:
    """Worker processes, at most ``size`` of them, started when first needed. May be used from any thread, and after a fork.

    ``modules`` are imported by each worker; a function is named by the last part of its module's name and its own name:
    ``markdown.render_markdown``.
    """

    def __init__(self, size: int, *modules: str) -> None:
        self._size = size
        self._modules = modules
        self._reset()
        _pools.add(self)

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._idle: list[_Worker] = []
        self._workers: set[_Worker] = set()

    def run(self, function: str, *arguments: Any, cpu_s: float, timeout_s: float, stop: Stoppable | None = None) -> Any:
        """Call ``function`` with ``arguments`` in a worker, and wait for its result.

        ``cpu_s``: seconds of CPU time that the call may use; ``timeout_s``: seconds by the clock, waiting for a worker included;
        ``stop`` ends it early. Raises `Unfinished`, or its subclass `TooSlow`.
        """
        (result,) = self.run_each(function, [arguments], cpu_s=cpu_s, timeout_s=timeout_s, stop=stop)
        if isinstance(result, Unfinished):
            raise result
        return result

    def run_each(
        self,
        function: str,
        items: Sequence[Sequence[Any]],
        *,
        cpu_s: float,
        timeout_s: float,
        stop: Stoppable | None = None,
    ) -> list[Any]:
        """Call ``function`` once for each of ``items`` in one message; returns each result, or the `Unfinished` in its place.

        Each call may use ``cpu_s`` seconds of CPU; together they may take ``timeout_s`` seconds by the clock. One that takes too
        long does not lose the results of the others.
        """
        deadline = time.monotonic() + timeout_s
        results: list[Any] = []
        while len(results) < len(items):
            if time.monotonic() >= deadline:
                return results + [Unfinished("no time left")] * (len(items) - len(results))
            try:
                with self._worker(deadline) as free, free.stopped_by(stop):
                    free.begin(function, items[len(results) :], cpu_s, deadline)
                    while len(results) < len(items):
                        results.append(free.next_result(cpu_s, deadline))
            except Unfinished as why:
                results.append(why)
        return results

    def preload(self) -> None:
        """Start a worker, so that the first call does not wait for it."""
        with contextlib.suppress(Unfinished), self._worker(time.monotonic() + _START_S):
            pass

    def close(self) -> None:
        """Kill all workers."""
        with self._changed:
            for each in list(self._workers):
                self._drop(each)

    @contextlib.contextmanager
    def _worker(self, deadline: float) -> "Iterator[_Worker]":
        worker = self._acquire(deadline)
        try:
            worker.wait_ready()
            yield worker
        finally:
            self._give_back(worker)

    def _acquire(self, deadline: float) -> "_Worker":
        with self._changed:
            while True:
                while self._idle:
                    # The one used last: its memory is warm.
                    free = self._idle.pop()
                    if free.is_alive:
                        return free
                    self._drop(free)
                if len(self._workers) < self._size:
                    return self._start()
                if not self._changed.wait(deadline - time.monotonic()):
                    raise Unfinished("no worker was free")

    def _give_back(self, used: "_Worker") -> None:
        with self._changed:
            if used.is_spent:
                self._drop(used)
                # Immediately, so that it is ready when it is needed.
                with contextlib.suppress(Unfinished):
                    self._idle.append(self._start())
            elif used in self._workers:
                self._idle.append(used)
            self._changed.notify()

    def _start(self) -> "_Worker":
        try:
            started = _Worker(self._modules)
        except OSError as error:
            raise Unfinished(f"no worker could be started: {error}") from error
        self._workers.add(started)
        return started

    def _drop(self, worker: "_Worker") -> None:
        self._workers.discard(worker)
        worker.kill()

    def after_fork(self) -> None:
        """Called in a forked child: forget the parent's workers."""
        for each in self._workers:
            each.forget()
        self._reset()


_pools: "weakref.WeakSet[Pool]" = weakref.WeakSet()


def _after_fork() -> None:
    for pool in _pools:
        pool.after_fork()


@atexit.register
def _at_exit() -> None:
    for pool in _pools:
        pool.close()


os.register_at_fork(after_in_child=_after_fork)


class _Worker:
    """One process and the socket to it; used by one thread at a time."""

    def __init__(self, modules: Sequence[str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", _WORKER, str(theirs.fileno()), *modules],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                    pass_fds=[theirs.fileno()],
                )
            except OSError:
                ours.close()
                raise
        self._socket = ours
        self._is_ready = False
        #: Whether the worker has to be replaced, and whether that is because the time was up.
        self.is_spent = self.is_late = False

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait_ready(self) -> None:
        if not self._is_ready:
            self._receive(time.monotonic() + _START_S)
            self._is_ready = True

    def begin(self, function: str, items: Sequence[Sequence[Any]], cpu_s: float, deadline: float) -> None:
        # The worker's results wait in the socket until they are read here: sending the last items must not wait for that.
        with self._talking(deadline):
            self._socket.sendall(worker.pack_message([function, [list(each) for each in items], cpu_s]))

    def next_result(self, cpu_s: float, deadline: float) -> Any:
        began = time.monotonic()
        try:
            ok, came, spent = self._receive(deadline)
        except Unfinished as why:
            # The items before it may have used up the time.
            raise TooSlow(str(why)) if self.is_late and time.monotonic() - began >= cpu_s else why from None
        if not ok:
            logger.warning("Processing a text failed: %s", came)
            return Unfinished(came)
        if spent:
            self.is_spent = True
        return came

    def _receive(self, deadline: float) -> Any:
        with self._talking(deadline):
            return worker.receive_message(self._socket)

    @contextlib.contextmanager
    def _talking(self, deadline: float) -> Iterator[None]:
        """Kills the worker if anything ends the exchange early."""
        self._socket.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            yield
        except TimeoutError:
            self.is_spent = self.is_late = True
            raise Unfinished("no time left") from None
        except (EOFError, OSError, ValueError) as error:
            self.is_spent = True
            self._process.kill()
            # The kernel has killed it at its CPU limit, or the caller has stopped the call.
            if self._process.wait() == -signal.SIGPROF:
                raise TooSlow("took too much CPU") from None
            raise Unfinished("the worker has ended") from error

    @contextlib.contextmanager
    def stopped_by(self, stop: Stoppable | None) -> Iterator[None]:
        remove_callback = stop.add_callback(self._process.kill) if stop is not None else None
        try:
            yield
        finally:
            if remove_callback is not None:
                # Before it is returned to the pool, where another call may take it.
                remove_callback()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self.discard()

    def forget(self) -> None:
        """Leave the process alone: it is another process's child."""
        self._process.returncode = 0
        self.discard()

    def discard(self) -> None:
        self._socket.close()
        if self._process.stdin is not None:
            self._process.stdin.close()
