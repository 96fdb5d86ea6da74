"""Which runs have been sent, and which process sends: so that none is left out, whatever is restarted when, and two don't send the same.

Ends become visible in another order than they have their times. Hence the cursor stays behind, and what is sent beyond it is noted by run.
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

#: Runs that are sent together.
AT_ONCE = 100
LEASE_S = 60
#: An end is visible to others well before it is so old: no transaction lasts that long.
_SETTLED_AFTER = timedelta(minutes=10)
#: The cursor moves by so much at least: most of the time nothing is written.
_MOVED_BY = timedelta(minutes=5)
_THE_ONE = 1


@dataclass(frozen=True, slots=True)
class Lease:
    """That a process may send: from when on, and what time it was by the database's clock when it asked."""

    since: datetime
    now: datetime


def take_lease(process: str, since: datetime | None = None) -> Lease | None:
    """Let this process send for a while, unless another does. The first time, what ended ``since`` then, or from now on, is sent."""
    now = clock.read_database()
    lease = {"process": process, "leased_until": now + timedelta(seconds=LEASE_S)}
    held, is_new = TraceCursor.objects.get_or_create(pk=_THE_ONE, defaults={"since": since or now, **lease})
    if is_new or (held.process == process and held.leased_until - now > timedelta(seconds=LEASE_S / 2)):
        return Lease(held.since, now)
    free = Q(process=process) | Q(leased_until__lte=Now())
    return Lease(held.since, now) if TraceCursor.objects.filter(free, pk=_THE_ONE).update(**lease) else None


def give_up_lease(process: str) -> None:
    """Let another process send at once."""
    TraceCursor.objects.filter(pk=_THE_ONE, process=process).update(leased_until=Now())


def unsent_runs() -> list[Run]:
    """The `AT_ONCE` runs that ended first of those that have not been sent; those within others go with them."""
    found = _UNSENT.rows()
    return list(ended_roots().filter(pk__in=found).order_by("ended_at")) if found else []


def _unsent() -> "models.QuerySet[Run, UUID]":
    since = TraceCursor.objects.filter(pk=_THE_ONE).values("since")
    sent = TracedRun.objects.filter(run_id=OuterRef("pk"))
    found = ended_roots().filter(~Exists(sent), ended_at__gte=since).order_by("ended_at")
    return found.values_list("pk", flat=True)[:AT_ONCE]


# Asked every few seconds, mostly for nothing.
_UNSENT = PreparedQuery(_unsent, make=lambda pk: pk)


def ended_roots() -> "models.QuerySet[Run]":
    """Runs that were asked for and have ended."""
    ended = Run.objects.filter(ended_at__isnull=False, parent__isnull=True, copied_from=None)
    ended = ended.exclude(status__in=UNFINISHED)
    return with_columns(ended)


def mark_sent(lease: Lease, runs: Sequence[Run], *, are_last: bool) -> None:
    """These have been sent. ``are_last``: no other was waiting, so the cursor moves on to what is settled."""
    noted = [TracedRun(run_id=run.pk, ended_at=run.ended_at) for run in runs if run.ended_at]
    if noted:
        TracedRun.objects.bulk_create(noted, ignore_conflicts=True)
    settled = lease.now - _SETTLED_AFTER
    if are_last and lease.since < settled - _MOVED_BY:
        with transaction.atomic():
            TraceCursor.objects.filter(pk=_THE_ONE).update(since=settled)
            TracedRun.objects.filter(ended_at__lt=settled).delete()
