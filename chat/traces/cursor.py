"""Which runs have been sent, and which process sends: so that no run is left out after a restart, and no two processes send the same.

Transactions commit in another order than the times at which runs ended. So the cursor stays some minutes behind, and each run that was
sent after it has a row of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from chat.models import UNFINISHED, Run, TraceCursor, TracedRun
from chat.runtime import clock
from chat.runtime.prepared import PreparedQuery
from chat.traces.spans import with_columns

#: How many runs are read at a time.
AT_ONCE = 100
LEASE_S = 60
#: A run that ended this long ago is visible to all processes: no transaction lasts that long.
_SETTLED_AFTER = timedelta(minutes=10)
#: The cursor only moves by at least this much, so that it is seldom written.
_MOVED_BY = timedelta(minutes=5)
_THE_ONE = 1


@dataclass(frozen=True, slots=True)
class Lease:
    """The permission to send: runs that ended ``since`` then may be unsent; ``now`` was the database's time when it was granted."""

    since: datetime
    now: datetime


def acquire_lease(process: str, since: datetime | None = None) -> Lease | None:
    """Take or renew the lease for `LEASE_S` seconds; None while another process has it.

    ``since``: where to begin when nothing was ever sent.
    """
    now = clock.read_database()
    lease = {"process": process, "leased_until": now + timedelta(seconds=LEASE_S)}
    held, is_new = TraceCursor.objects.get_or_create(pk=_THE_ONE, defaults={"since": since or now, **lease})
    if is_new or (held.process == process and held.leased_until - now > timedelta(seconds=LEASE_S / 2)):
        return Lease(held.since, now)
    free = Q(process=process) | Q(leased_until__lte=Now())
    return Lease(held.since, now) if TraceCursor.objects.filter(free, pk=_THE_ONE).update(**lease) else None


def give_up_lease(process: str) -> None:
    """Release the lease, so that another process can take it immediately."""
    TraceCursor.objects.filter(pk=_THE_ONE, process=process).update(leased_until=Now())


def unsent_runs() -> list[Run]:
    """The unsent runs that ended first, at most `AT_ONCE`. Runs within others are not listed: they are sent with their root."""
    found = _UNSENT.rows()
    return list(ended_roots().filter(pk__in=found).order_by("ended_at")) if found else []


def _unsent() -> "models.QuerySet[Run, UUID]":
    since = TraceCursor.objects.filter(pk=_THE_ONE).values("since")
    sent = TracedRun.objects.filter(run_id=OuterRef("pk"))
    found = ended_roots().filter(~Exists(sent), ended_at__gte=since).order_by("ended_at")
    return found.values_list("pk", flat=True)[:AT_ONCE]


# Executed every few seconds, mostly without a result.
_UNSENT = PreparedQuery(_unsent, make=lambda pk: pk)


def ended_roots() -> "models.QuerySet[Run]":
    """Ended runs that are not within another run and not copied."""
    ended = Run.objects.filter(ended_at__isnull=False, parent__isnull=True, copied_from=None)
    ended = ended.exclude(status__in=UNFINISHED)
    return with_columns(ended)


def mark_sent(lease: Lease, runs: Sequence[Run], *, are_last: bool) -> None:
    """Store that these runs have been sent. ``are_last``: no others are unsent, so the cursor may move forward."""
    noted = [TracedRun(run_id=run.pk, ended_at=run.ended_at) for run in runs if run.ended_at]
    if noted:
        TracedRun.objects.bulk_create(noted, ignore_conflicts=True)
    settled = lease.now - _SETTLED_AFTER
    if are_last and lease.since < settled - _MOVED_BY:
        with transaction.atomic():
            TraceCursor.objects.filter(pk=_THE_ONE).update(since=settled)
            TracedRun.objects.filter(ended_at__lt=settled).delete()
