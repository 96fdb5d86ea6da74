"""A process that serves, from its first act to its last, whichever server it runs under.

`manage.py serve` does all of it by itself. Other servers start it by ASGI's lifespan. One that has no lifespan, as daphne's own program,
starts it by its first request, and ends it before its reactor stops. A process that must not serve says so to whoever asks, and in the log.
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
    """This process must not serve; the text is for people."""


#: A process that has just started waits so long for a request for a page before it loads the agents, in seconds.
_FIRST_PAGE_S = 2.0


class _Start:
    """Whether this process has been prepared, and why not where it was refused."""

    done = False
    refusal = ""
    answered = threading.Event()


def prepare_process() -> int:
    """Own the data, see that database and Redis will do, and end what an earlier process left; returns how many runs that were.

    Called before the first request, on a thread that may wait. Raises `StartRefused`.
    """
    malloc.limit_malloc_arenas()
    os.umask(0o077)  # files made in the data folder are readable by this account alone
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
    # Imported here, because processes without Redis need not wait for its client.
    from chat.runtime.redis_check import RedisRefused, check_redis  # noqa: PLC0415

    try:
        check_redis()
    except RedisRefused as refused:
        raise StartRefused(str(refused)) from None


def _offer_extensions() -> None:
    """Make the agents of extensions that are new here; those that the program comes with are there since the last migration."""
    if not any(spec.agent_class for spec in agents.AGENTS.values()):
        return
    try:
        built_in.make_built_in()
    except IntegrityError:
        logger.info("Another process has just made the agents of extensions")
    except DatabaseError as away:
        logger.warning("New agents of extensions could not be made: %s", away)


def _preload() -> None:
    """Load what the first run would wait for, when the first page, which it would hold up, has been answered."""
    markdown.start_workers()
    _Start.answered.wait(_FIRST_PAGE_S)
    for addresses in get_resolver().url_patterns:
        # The API's addresses are loaded when they are requested.
        getattr(addresses, "url_patterns", None)
    (broker.preload_notifier if settings.BROKER_URL else executor.preload_agents)()


def _check_tables(*, alone: bool) -> None:
    try:
        db_check.check_tables(explain=True)
    except db_check.DatabaseUnavailable as away:
        if alone:
            raise
        # One of many is started again and again until the database answers, or waits for it: it may as well wait here.
        logger.warning("%s; serving, and trying until it does", away)


class LifespanApplication:
    """The ASGI application with the start and the end of its process around it."""

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
        """Prepare the process, once; whether it may serve."""
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
    """Where Twisted's reactor serves, as in daphne's own program, end the clockwork before it stops."""
    twisted: Any = sys.modules.get("twisted.internet.reactor")
    if twisted is None or not twisted.running:
        logger.warning(
            "This server tells of no end: runs at work when it stops are ended as interrupted at the next start"
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
