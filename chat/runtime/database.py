"""The crossing from the event loop to the database.

Reads and writes run on threads of their own, each with its own connection, so that neither waits behind asgiref's single
shared thread. SQLite has one writer at a time anyway: one writing thread there turns lock contention into a queue.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from django.db import (
    DEFAULT_DB_ALIAS,
    DataError,
    Error,
    InterfaceError,
    InternalError,
    OperationalError,
    close_old_connections,
    connection,
    connections,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
#: Called on the loop with what a call returned, or with the error that it raised.
Settled = Callable[[T | None, BaseException | None], None]

READERS = 4
WRITERS = 1 if connection.vendor == "sqlite" else 6


class _Pool:
    """Threads that keep their database connections between calls."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._calls: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any], Settled[Any] | None] | None] = (
            SimpleQueue()
        )
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
        self._calls.put((call, answer, settled))
        try:
            return await answer
        finally:
            del answer  # an error holds this frame, and the future the error

    def _work(self) -> None:
        while (asked := self._calls.get()) is not None:
            call, answer, settled = asked
            result, error = None, None
            try:
                result = _fresh(call)
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


def as_uuid(value: str | UUID) -> UUID:
    """The UUID that a statement that is written out gave back."""
    return value if isinstance(value, UUID) else UUID(value)


#: What was no identifier, and has been told of.
_unreadable: set[str] = set()


def as_uuids(values: Iterable[str | UUID]) -> list[UUID]:
    """The UUIDs that a statement gave back, without what is none: that is told of in the log, once."""
    found = []
    for value in values:
        try:
            found.append(as_uuid(value))
        except ValueError:
            if value not in _unreadable:
                _unreadable.add(str(value))
                logger.warning("A row of the database is left out, because %r is no identifier", value)
    return found


def moment(value: datetime) -> str | None:
    """A date and time as statements that are written out take it."""
    return connection.ops.adapt_datetimefield_value(value)


def keep_apart() -> None:
    """Give this thread a connection apart from the pool that others share, from now on.

    It waits behind nobody, and after an outage it is there as soon as the database is: a pool tries less and less often.
    """
    connections[DEFAULT_DB_ALIAS] = _connection_apart()


def _connection_apart() -> BaseDatabaseWrapper:
    own = connections.create_connection(DEFAULT_DB_ALIAS)
    options = {name: value for name, value in own.settings_dict["OPTIONS"].items() if name != "pool"}
    lasting = {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
    own.settings_dict = {**own.settings_dict, "OPTIONS": options, **lasting}
    return own


async def read(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a reading function on a reading thread."""
    return await _readers.run(partial(function, *args, **kwargs))


async def write(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a writing function on a writing thread; it is not abandoned halfway when the caller is cancelled."""
    return await _writers.run(partial(function, *args, **kwargs))


async def write_settled(settled: Settled[T], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`write`, and call ``settled`` with what has come of it, also where the caller was cancelled meanwhile."""
    return await _writers.run(partial(function, *args, **kwargs), settled)


def is_away(error: BaseException) -> bool:
    """Whether a database error says that the database is away or takes no changes for now, and may be back soon.

    Other errors are about the tables or rows that were asked for.
    """
    return isinstance(error, _AWAY) and not is_unreadable(error)


def answers() -> bool:
    """Whether the database answers at all."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return False
    return True


#: Pauses before a tool's thread asks a database again that was away, in seconds.
_TOOL_RETRY_AFTER_S = (0.1, 0.3, 0.6, 1.0, 2.0)


def ask_patiently(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call on this thread, which is a tool's; a database that is away for a moment is asked again, and the connection given back."""
    try:
        for pause in _TOOL_RETRY_AFTER_S:
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


def is_unreadable(error: BaseException) -> bool:
    """Whether a database error says that what is stored can't be read, however often it is asked for."""
    # SQLite has only one kind of error for what is locked and for what is no text.
    return isinstance(error, DataError) or "decode to UTF-8" in str(error)


#: To PostgreSQL it is an internal error that it takes no changes for now.
_AWAY = (OperationalError, InterfaceError, InternalError)


class Away(Exception):
    """The database does not answer; the text is for people."""


class Outdated(Exception):
    """The database has not got this version's tables; the text is for people."""


def check_tables(*, explain: bool = False) -> None:
    """Raise `Away` or `Outdated` where this process cannot work on the database; to ``explain`` takes one more try."""
    try:
        executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    except OperationalError as away:
        told = _reason(away) if explain else away
        raise Away(f"The database does not answer: {' '.join(str(told).split())}") from None
    # Tables of a later version are well: a version only adds what the one before it can do without.
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise Outdated("The database's tables are not up to date. Run: python manage.py migrate")


def _reason(away: OperationalError) -> OperationalError:
    """Why the database does not answer: a pool says only that it has waited, a connection apart from it says what it was told."""
    own = _connection_apart()
    try:
        own.ensure_connection()
    except OperationalError as told:
        return told
    finally:
        own.close()
    return away


def close() -> None:
    """Give all connections back; the next call opens new ones."""
    _readers.close()
    _writers.close()
