"""Calls the database from the event loop.

Reads and writes run on threads of their own, each with its own connection, so that neither waits behind asgiref's single shared thread.
SQLite has one writer at a time anyway: with one writing thread, lock contention becomes a queue.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from django.db import DEFAULT_DB_ALIAS, Error, close_old_connections, connection, connections
from prometheus_client import Histogram

from chat.runtime import metrics
from chat.runtime.db_check import dedicated_connection, is_away

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
#: Called on the event loop with the result of a call, or with its exception.
Settled = Callable[[T | None, BaseException | None], None]

READERS = 4
WRITERS = 1 if connection.vendor == "sqlite" else 6


#: A call to make: the function, the future of its result, and when it was queued.
_Call = tuple[Callable[[], Any], "asyncio.Future[Any]", Settled[Any] | None, float]


class _Pool:
    """Threads that keep their database connections between calls."""

    def __init__(self, name: str, size: int, waited: Histogram) -> None:
        """``waited``: a histogram of how long calls wait for a thread."""
        self._name = name
        self._size = size
        self._waited = waited
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def run(self, call: Callable[[], T], settled: Settled[T] | None = None) -> T:
        """Call a function on one of the threads. Once it is queued, it is called even if the waiting coroutine is cancelled.

        ``settled`` is also called then, on the event loop, right after that coroutine has its result.
        """
        if not self._threads:
            self._threads = [
                threading.Thread(target=self._work, name=self._name, daemon=True) for _ in range(self._size)
            ]
            for thread in self._threads:
                thread.start()
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put((call, answer, settled, time.perf_counter()))
        try:
            return await answer
        finally:
            del answer  # an exception refers to this frame, and the future to the exception

    def _work(self) -> None:
        while (asked := self._calls.get()) is not None:
            call, answer, settled, asked_at = asked
            self._waited.observe(time.perf_counter() - asked_at)
            result, error = None, None
            try:
                result = with_usable_connection(call)
            except BaseException as raised:  # noqa: BLE001 - the caller gets it
                error = raised
            # If the loop is closed, nothing waits for the result.
            with contextlib.suppress(RuntimeError):
                answer.get_loop().call_soon_threadsafe(_settle, answer, settled, result, error)
            # While it waits for the next call, a thread keeps no object of the last one alive.
            del asked, call, answer, settled, result, error
        connections.close_all()

    def close(self, until: float | None) -> None:
        """End the threads once all queued calls are made, and close their connections; wait for that until then by the monotonic clock."""
        threads, self._threads = self._threads, []
        for _ in threads:
            self._calls.put(None)
        for thread in threads:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))


def _settle(
    answer: "asyncio.Future[Any]", settled: Settled[Any] | None, result: Any, error: BaseException | None
) -> None:
    if answer.done():  # cancelled
        pass
    elif error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
    if settled is not None:
        settled(result, error)


def with_usable_connection(call: Callable[[], T]) -> T:
    """Call a function with a usable connection. Opening SQLite costs more than most calls, so a thread keeps its connection."""
    if connection.vendor == "sqlite" and not connection.errors_occurred:
        return call()
    close_old_connections()
    return call()


_readers = _Pool("db-read", READERS, metrics.read_wait_seconds)
_writers = _Pool("db-write", WRITERS, metrics.write_wait_seconds)


def use_dedicated_connection() -> None:
    """Have this thread use a connection of its own from now on, outside the pool.

    It waits for no other caller, and works as soon as the database does after an outage: a pool retries less and less often.
    """
    connections[DEFAULT_DB_ALIAS] = dedicated_connection()


async def read(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that reads, on a reading thread, and return its result or raise its exception. Await it on the event loop."""
    return await _readers.run(partial(function, *args, **kwargs))


async def write(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that writes, on a writing thread. It is completed even if the caller is cancelled. Await it on the event loop."""
    return await _writers.run(partial(function, *args, **kwargs))


async def write_settled(settled: Settled[T], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `write`; also calls ``settled`` on the event loop with the result, even if the caller was cancelled meanwhile."""
    return await _writers.run(partial(function, *args, **kwargs), settled)


#: Pauses before a tool's thread retries a database that does not answer, in seconds.
TOOL_RETRY_AFTER_S = (0.1, 0.3, 0.6, 1.0, 2.0)


def ask_patiently(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function on the current thread, a tool's. Retries while the database does not answer; closes the connection afterwards."""
    try:
        for pause in TOOL_RETRY_AFTER_S:
            try:
                return function(*args, **kwargs)
            except Error as error:
                if not is_away(error):
                    raise
                logger.warning("A tool's query of the database failed; trying again in %s s", pause, exc_info=True)
                connections.close_all()
                time.sleep(pause)
        return function(*args, **kwargs)
    finally:
        # The thread ends with the call, and nothing else would close the connection.
        connections.close_all()


def close(timeout_s: float | None = None) -> None:
    """Make all queued calls, and close all connections; the next call opens new ones. Blocks, but no longer than the timeout.

    What a database does not answer in that time is left to daemon threads, which end with the process.
    """
    until = None if timeout_s is None else time.monotonic() + timeout_s
    _readers.close(until)
    _writers.close(until)
