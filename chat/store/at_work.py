"""What is running, pending, or has just failed in the whole installation, for operators.

Each function makes one or two bounded queries by an index; none reads the step log. Call them on a database thread.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.utils import timezone

from chat.models import HAS_NOT_ENDED, IS_ROOT, LIVE, Connection, ModelCall, Process, Run, RunStatus, Step
from chat.runtime import clock

#: The most runs that are listed, running ones first.
MOST = 200
#: How many of the newest model calls are read.
CALLS = 1_000
#: For how long after its end an interrupted or failed run is listed.
LATELY = timedelta(hours=1)
#: A run that was asked to stop counts as hanging after so long.
_STOPS_WITHIN = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class ProcessLoad:
    """A process, the seconds since its last heartbeat, the runs that it executes and the sockets that it serves."""

    name: str
    silent_s: int
    runs: int
    sockets: int
    noticed: tuple[str, ...]

    @property
    def is_silent(self) -> bool:
        """Whether it has missed two heartbeats in a row."""
        return self.silent_s > silent_after_s()


@dataclass(slots=True)
class ServerTrouble:
    """A model server's calls among the newest ones: how many there were, how many failed, and the last failure."""

    name: str
    calls: int = 0
    failed: int = 0
    last_error: str = ""
    last_at: datetime | None = None


@dataclass(slots=True)
class Failures:
    """How many runs were interrupted, and how many have failed, since a time; the failures by code."""

    failed: int = 0
    interrupted: int = 0
    codes: Counter[str] = field(default_factory=Counter)


def silent_after_s() -> float:
    """After how many seconds without a heartbeat a process counts as silent; it sends one each sixth of the lease."""
    return settings.RUN_LEASE_S / 2


def unfinished_runs() -> Sequence[Run]:
    """Unfinished runs, running ones first, the oldest first; each with its newest step's time and iteration."""
    last = Step.objects.filter(run=OuterRef("pk")).order_by("-position")
    found = _shown(Run.objects.filter(HAS_NOT_ENDED)).annotate(
        last_step_at=Subquery(last.values("created_at")[:1]), at_iteration=Subquery(last.values("iteration")[:1])
    )
    # Sorted here: with an order and a limit, SQLite would scan all runs by date.
    places = Run.objects.filter(HAS_NOT_ENDED).order_by().values_list("status", "created_at", "pk")
    first = sorted(places, key=lambda place: (place[0] == RunStatus.QUEUED, place[1]))[:MOST]
    shown = {run.pk: run for run in found.filter(pk__in=[pk for _status, _at, pk in first])}
    return [shown[pk] for _status, _at, pk in first if pk in shown]


def continuable_runs() -> list[Run]:
    """Roots that were interrupted or failed shortly ago, the newest first."""
    ended = Run.objects.filter(IS_ROOT, copied_from=None, ended_at__gte=timezone.now() - LATELY)
    ended = ended.filter(status__in=(RunStatus.INTERRUPTED, RunStatus.FAILED))
    return list(_shown(ended).order_by("-ended_at")[:20])


def _shown(runs: QuerySet[Run]) -> QuerySet[Run]:
    return runs.filter(session__deleted_at=None).select_related("session", "user").defer("session__creation_key")


def is_stuck(run: Run, now: datetime) -> bool:
    """Whether a running run seems to hang: its process is silent, or it should have stopped by now."""
    if run.status not in LIVE:
        return False
    silent = run.heartbeat_at is not None and (now - run.heartbeat_at).total_seconds() > silent_after_s()
    asked_at = run.cancel_requested_at
    return silent or (run.status == RunStatus.CANCELLING and asked_at is not None and now - asked_at > _STOPS_WITHIN)


def processes() -> list[ProcessLoad]:
    """The known processes, by name, and any others that own runs."""
    at_work = _counted(Run.objects.filter(HAS_NOT_ENDED, status__in=LIVE), "owner")
    sockets = _counted(Connection.objects.all(), "process")
    now, loads = clock.now(), []
    for name, seen_at, noticed in Process.objects.order_by("name").values_list("name", "seen_at", "noticed"):
        silent_s = max(0, round((now - seen_at).total_seconds()))
        lines = tuple(noticed.splitlines())
        loads.append(ProcessLoad(name, silent_s, at_work.pop(name, 0), sockets.get(name, 0), lines))
    return loads


def _counted(rows: QuerySet[Run] | QuerySet[Connection], by: str) -> dict[str, int]:
    found: Iterable[tuple[str, int]] = rows.order_by().values_list(by).annotate(number=Count("pk"))
    return dict(found)


def model_servers() -> list[ServerTrouble]:
    """The model servers of the newest calls, those with most failures first. Stopped calls do not count as failed."""
    servers: dict[str, ServerTrouble] = {}
    newest = ModelCall.objects.order_by("-pk").values_list("provider", "error", "started_at")[:CALLS]
    for provider, error, started_at in newest:
        server = servers.setdefault(provider, ServerTrouble(provider))
        server.calls += 1
        if error and error != "stopped":
            server.failed += 1
            if server.last_at is None:
                server.last_error, server.last_at = error, started_at
    return sorted(servers.values(), key=lambda server: (-server.failed, server.name))


def failures_since(moment: datetime) -> Failures:
    """How many roots have failed or were interrupted since a time."""
    rows = Run.objects.filter(
        IS_ROOT, copied_from=None, ended_at__gte=moment, status__in=(RunStatus.FAILED, RunStatus.INTERRUPTED)
    )
    failures = Failures()
    for status, code, number in rows.order_by().values_list("status", "code").annotate(number=Count("pk")):
        if status == RunStatus.FAILED:
            failures.failed += number
        else:
            failures.interrupted += number
        if code:
            failures.codes[code] += number
    return failures
