"""Whether this process serves, and whether everything that it needs answers: for load balancers and operators."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from uuid import uuid4

from django.core.exceptions import DisallowedHost
from django.db import DEFAULT_DB_ALIAS, connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from chat.runs import queue_watch
from chat.runtime import broker, clock, database, db_check, groups
from chat.serving import supervisor

logger = logging.getLogger(__name__)

_PATIENCE_S = 5.0


#: Problems that this process has noticed, for operators. None of them is a reason to end the process, or to send users
#: elsewhere: it recovers when the other part does.
_AWAY: dict[str, Callable[[], bool]] = {
    "The database does not answer: nothing is taken in, and what is at work waits for it.": supervisor.misses_database,
    "The channel layer (REDIS_URL) does not answer: clients see steps up to a second later.": groups.is_failing,
    "The broker (BROKER_URL) does not answer: runs start up to a second later.": broker.is_broken,
    "Messages wait in the queue and nothing executes them: no worker is running, or none has a free slot.": queue_watch.is_stuck,
}


@require_safe
@never_cache
async def healthz(request: HttpRequest) -> HttpResponse:
    """Answer that requests are served, and which parts do not answer."""
    lines = ["ok"]
    if _is_asked_by_name(request):
        lines += [line for line, is_away in _AWAY.items() if is_away()]
        lines += [skew] if (skew := clock.describe_skew()) else []
    return HttpResponse("\n".join([*lines, ""]), content_type="text/plain; charset=utf-8")


@require_safe
@never_cache
async def readyz(request: HttpRequest) -> HttpResponse:
    """Answer whether users can be sent here, and the names of parts that are missing."""
    checks: dict[str, Callable[[], Awaitable[None]]] = {
        "database": lambda: database.read(_query),
        "migrations": lambda: database.read(db_check.check_tables),
        "channel_layer": _round_trip,
        "serving": _serving,
    }
    results = await asyncio.gather(*(_holds(name, check) for name, check in checks.items()))
    answer = {name: "ok" if holds else "failed" for name, holds in zip(checks, results, strict=True)}
    ready = all(results)
    if not _is_asked_by_name(request):
        answer = {}
    return JsonResponse({"ready": ready, **answer}, status=200 if ready else 503)


def _is_asked_by_name(request: HttpRequest) -> bool:
    """Whether the request names a host of this installation. Probes that use its IP address get only the status."""
    try:
        request.get_host()
    except DisallowedHost:
        return False
    return True


async def _holds(name: str, check: Callable[[], Awaitable[None]]) -> bool:
    try:
        await asyncio.wait_for(check(), _PATIENCE_S)
    except Exception:
        logger.warning("Not ready: %s", name, exc_info=True)
        return False
    return True


class _NotReady(Exception):
    """The names of the missing parts."""


def _query() -> None:
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT 1")


async def _round_trip() -> None:
    """Send a message through the channel layer, and receive it."""
    received = asyncio.Event()

    def on_message(_message: groups.Message) -> None:
        received.set()

    group = f"ready.{uuid4().hex}"
    subscription = groups.GroupSubscription(group, on_message)
    await subscription.open()
    try:
        await groups.publish(group, {"type": "ready"})
        await received.wait()
    finally:
        await subscription.close()


async def _serving() -> None:
    if supervisor.is_draining():
        raise _NotReady("The process is about to stop")
