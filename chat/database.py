"""The crossing from the event loop to the database.

Reads and writes run on threads of their own, each with its own connection, so that neither waits behind asgiref's single
shared thread. SQLite has one writer at a time anyway: one writing thread there turns lock contention into a queue.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import ParamSpec, TypeVar
from uuid import UUID

from django.db import close_old_connections, connection, connections

P = ParamSpec("P")
T = TypeVar("T")

READERS = 4
WRITERS = 1 if connection.vendor == "sqlite" else 6


class _Pool:
    """Threads that keep their database connections between calls."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._threads: ThreadPoolExecutor | None = None

    async def run(self, call: Callable[[], T]) -> T:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._size, thread_name_prefix=self._name)
        # Shielded: a commit that has begun ends, whatever becomes of the coroutine that asked for it.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._threads, _fresh, call))

    def close(self) -> None:
        """Close every thread's connection and end the threads."""
        threads, self._threads = self._threads, None
        if threads is None:
            return
        # One task per thread, none ends before all have begun: so each thread gets exactly one.
        together = threading.Barrier(self._size)

        def leave() -> None:
            together.wait()
            connections.close_all()

        for _ in range(self._size):
            threads.submit(leave)
        threads.shutdown(wait=True)


def _fresh(call: Callable[[], T]) -> T:
    """Call with a connection that works. Opening SQLite anew costs more than most calls, so a thread keeps its own."""
    if connection.vendor == "sqlite" and not connection.errors_occurred:
        return call()
    close_old_connections()
    return call()


_readers = _Pool("db-read", READERS)
_writers = _Pool("db-write", WRITERS)


def key(value: UUID) -> str | UUID:
    """A UUID as statements that are written out take it."""
    return value if connection.features.has_native_uuid_field else value.hex


def moment(value: datetime) -> str | None:
    """A date and time as statements that are written out take it."""
    return connection.ops.adapt_datetimefield_value(value)


async def read(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a reading function on a reading thread."""
    return await _readers.run(partial(function, *args, **kwargs))


async def write(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a writing function on a writing thread; it is not abandoned halfway when the caller is cancelled."""
    return await _writers.run(partial(function, *args, **kwargs))


def close() -> None:
    """Give all connections back; the next call opens new ones."""
    _readers.close()
    _writers.close()
