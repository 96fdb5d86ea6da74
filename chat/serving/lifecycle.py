"""The start and end of a process that serves, whichever server it runs under.

`manage.py serve` calls this directly. Other servers use ASGI's lifespan. A server without lifespan, such as daphne's own program,
starts it with its first request, and ends it before its reactor stops. A process that must not serve answers so, and logs why.
"""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings
from django.db import DatabaseError, IntegrityError, connection
from django.urls import get_resolver

import agents
from chat.catalog import built_in
from chat.rendering import markdown
from chat.runs import executor
from chat.runtime import broker, db_check, malloc, open_files, process_lock
from chat.serving import supervisor

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Receive, Send], Awaitable[None]]


class StartRefused(Exception):
    """This process must not serve; the message is for people."""


#: How many seconds a new process waits for a request for a page before it loads the agents.
_FIRST_PAGE_S = 2.0


class _Start:
    """Whether this process was prepared, and why that was refused, if it was."""

    done = False
    refusal = ""
    answered = threading.Event()


def prepare_process() -> int:
    """Lock the data, check database and Redis, and end what an earlier process left. Returns how many runs that were.

    To be called before the first request. Blocks. Raises `StartRefused`.
    """
    malloc.limit_malloc_arenas()
    os.umask(0o077)  # only this account may read the files that are created in the data folder
    try:
        open_files.raise_limit()
        alone = process_lock.acquire_lock()
        process_lock.warn_if_open()
        _check_tables(alone=alone)
        _check_redis()
    except (
        process_lock.AlreadyServing,
        db_check.MigrationsPending,
        db_check.DatabaseUnavailable,
        open_files.TooFewFiles,
    ) as refused:
        raise StartRefused(str(refused)) from None
    except DatabaseError as refused:
        raise StartRefused(f"The database of DATABASE_URL cannot be read: {_reason_of(refused)}.") from None
    _offer_extensions()
    try:
        ended = supervisor.recover_runs() if alone else 0
    except DatabaseError as refused:
        raise StartRefused(f"The database of DATABASE_URL cannot be written: {_reason_of(refused)}.") from None
    connection.close()
    threading.Thread(target=_preload, name="warm", daemon=True).start()
    _Start.done = True
    return ended


def _reason_of(refused: DatabaseError) -> str:
    return " ".join(str(refused).split()) or type(refused).__name__


def _check_redis() -> None:
    if not (settings.REDIS_URL or settings.BROKER_URL):
        return
    # Imported here: processes without Redis should not wait for its client.
    from chat.runtime.redis_check import RedisRefused, check_redis  # noqa: PLC0415

    try:
        check_redis()
    except RedisRefused as refused:
        raise StartRefused(str(refused)) from None


def _offer_extensions() -> None:
    """Create new agents of extensions in the tables; those of the program were created by the last migration."""
    if not any(spec.agent_class for spec in agents.AGENTS.values()):
        return
    try:
        built_in.make_built_in()
    except IntegrityError:
        logger.info("Another process has just made the agents of extensions")
    except DatabaseError as error:
        logger.warning("New agents of extensions could not be made: %s", error)


def _preload() -> None:
    """Import what the first run would wait for, once the first page is answered, which the import would delay."""
    markdown.start_workers()
    _Start.answered.wait(_FIRST_PAGE_S)
    for addresses in get_resolver().url_patterns:
        # The API's addresses are loaded when they are requested.
        getattr(addresses, "url_patterns", None)
    (broker.preload_notifier if settings.BROKER_URL else executor.preload_agents)()


def _check_tables(*, alone: bool) -> None:
    try:
        db_check.check_tables(explain=True)
    except db_check.DatabaseUnavailable as error:
        if alone:
            raise
        # One of several processes would be restarted until the database answers: it can just as well wait here.
        logger.warning("%s; serving, and trying until it does", error)


class LifespanApplication:
    """The ASGI application, with the start and the end of its process."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._starting: asyncio.Lock | None = None

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one connection, or the server's lifespan."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif _Start.done or await self._has_started():
            await self._application(scope, receive, send)
            _Start.answered.set()
        else:
            await _refuse(scope, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        if await self._has_started(ends_itself=True):
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await supervisor.stop_clockwork()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await send({"type": "lifespan.startup.failed", "message": f"Thinkaloud cannot start: {_Start.refusal}"})

    async def _has_started(self, *, ends_itself: bool = False) -> bool:
        """Prepare the process, once. Returns whether it may serve."""
        self._starting = self._starting or asyncio.Lock()
        async with self._starting:
            if _Start.done or _Start.refusal:
                return _Start.done
            try:
                await asyncio.to_thread(prepare_process)
            except StartRefused as refused:
                _Start.refusal = str(refused)
                logger.critical("This process does not serve: %s", refused)
                return False
            supervisor.start_clockwork()
            if not ends_itself:
                _end_with_reactor()
            return True


def _end_with_reactor() -> None:
    """If Twisted's reactor serves, as in daphne's own program, end the clockwork before it stops."""
    twisted: Any = sys.modules.get("twisted.internet.reactor")
    if twisted is None or not twisted.running:
        logger.warning(
            "This server does not announce its end (no lifespan): runs that are running when it stops are ended as interrupted "
            "at the next start"
        )
        return
    deferred: Any = sys.modules["twisted.internet.defer"]
    twisted.addSystemEventTrigger(
        "before", "shutdown", lambda: deferred.Deferred.fromFuture(asyncio.ensure_future(supervisor.stop_clockwork()))
    )


async def _refuse(scope: Any, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1011})
        return
    body = f"This process does not serve. {_Start.refusal}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"retry-after", b"10"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
