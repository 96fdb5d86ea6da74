"""The crossing from the event loop to the database.

Reads and writes run on threads of their own, each with its own connection, so that neither waits behind asgiref's single
shared thread. SQLite has one writer at a time anyway: one writing thread there turns lock contention into a queue.
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
#: Called on the loop with what a call returned, or with the error that it raised.
Settled = Callable[[T | None, BaseException | None], None]

READERS = 4
WRITERS = 1 if connection.vendor == "sqlite" else 6


#: What is to be called, for whom, and since when it waits.
_Call = tuple[Callable[[], Any], "asyncio.Future[Any]", Settled[Any] | None, float]


class _Pool:
    """Threads that keep their database connections between calls."""

    def __init__(self, name: str, size: int, waited: Histogram) -> None:
        """``waited``: how long calls wait until one of the threads takes them."""
        self._name = name
        self._size = size
        self._waited = waited
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def run(self, call: Callable[[], T], settled: Settled[T] | None = None) -> T:
        """Call on one of the threads. What has been handed over is done, whatever becomes of the coroutine that asked for it.

        So is ``settled``, which the loop calls right after that coroutine has been told.
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
            del answer  # an error holds this frame, and the future the error

    def _work(self) -> None:
        while (asked := self._calls.get()) is not None:
            call, answer, settled, asked_at = asked
            self._waited.observe(time.perf_counter() - asked_at)
            result, error = None, None
            try:
                result = with_usable_connection(call)
            except BaseException as raised:  # noqa: BLE001 - for whoever asked
                error = raised
            # A loop that is closed has nobody waiting any more.
            with contextlib.suppress(RuntimeError):
                answer.get_loop().call_soon_threadsafe(_settle, answer, settled, result, error)
        connections.close_all()

    def close(self) -> None:
        """Close every thread's connection and end the threads, once all that was handed over is done."""
        threads, self._threads = self._threads, []
        for _ in threads:
            self._calls.put(None)
        for thread in threads:
            thread.join()


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
    """Call with a connection that works. Opening SQLite anew costs more than most calls, so a thread keeps its own."""
    if connection.vendor == "sqlite" and not connection.errors_occurred:
        return call()
    close_old_connections()
    return call()


_readers = _Pool("db-read", READERS, metrics.read_wait_seconds)
_writers = _Pool("db-write", WRITERS, metrics.write_wait_seconds)


def use_dedicated_connection() -> None:
    """Give this thread a connection apart from the pool that others share, from now on.

    It waits behind nobody, and after an outage it is there as soon as the database is: a pool tries less and less often.
    """
    connections[DEFAULT_DB_ALIAS] = dedicated_connection()


async def read(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a reading function on a reading thread."""
    return await _readers.run(partial(function, *args, **kwargs))


async def write(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a writing function on a writing thread; it is not abandoned halfway when the caller is cancelled."""
    return await _writers.run(partial(function, *args, **kwargs))


async def write_settled(settled: Settled[T], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`write`, and call ``settled`` with what has come of it, also where the caller was cancelled meanwhile."""
    return await _writers.run(partial(function, *args, **kwargs), settled)


#: Pauses before a tool's thread asks a database again that was away, in seconds.
TOOL_RETRY_AFTER_S = (0.1, 0.3, 0.6, 1.0, 2.0)


def ask_patiently(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call on this thread, which is a tool's; a database that is away for a moment is asked again, and the connection given back."""
    try:
        for pause in TOOL_RETRY_AFTER_S:
            try:
                return function(*args, **kwargs)
            except Error as error:
                if not is_away(error):
                    raise
                logger.warning("A tool could not ask the database; trying again in %s s", pause, exc_info=True)
                connections.close_all()
                time.sleep(pause)
        return function(*args, **kwargs)
    finally:
        # The thread ends with its call, and nobody else would give it back.
        connections.close_all()


def close() -> None:
    """Give all connections back; the next call opens new ones."""
    _readers.close()
    _writers.close()
