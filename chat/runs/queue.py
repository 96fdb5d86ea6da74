"""The queue: its length, and which run is next.

A session's runs are executed one after the other, and a limited number of a user's runs at the same time.
"""

from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.utils import timezone

from chat.accounts.models import User
from chat.catalog.agents import with_current
from chat.models import (
    ANY_QUEUED_SQL,
    IS_AT_WORK,
    IS_LIVE,
    IS_QUEUED,
    IS_ROOT,
    QUEUED_SQL,
    UNFINISHED_SQL,
    Run,
    RunStatus,
)
from chat.runtime.db_values import datetime_from_db, uuid_param, uuids_from_db


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How many runs are queued and running in the whole installation."""

    queued: int
    at_work: int
    may_start: int
    """How many sessions have a next run that may start and has not."""
    oldest_s: float
    """How long the oldest message has been in the queue, in seconds."""


_COUNTS = f"SELECT status, COUNT(*), MIN(created_at) FROM chat_run WHERE {UNFINISHED_SQL} GROUP BY status"  # noqa: S608 - our own condition


def count_unfinished() -> QueueCounts:
    """Count the unfinished runs, by their partial index."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS)
        found = {status: (count, oldest) for status, count, oldest in cursor.fetchall()}
    queued, oldest = found.pop(RunStatus.QUEUED, (0, None))
    found.pop(RunStatus.WAITING, None)
    waited = 0.0 if oldest is None else (timezone.now() - datetime_from_db(oldest)).total_seconds()
    at_work = sum(count for count, _ in found.values())
    return QueueCounts(queued, at_work, len(waiting_sessions()) if queued else 0, max(0.0, waited))


def next_in(session_id: UUID) -> Run | None:
    """The run to start next in a session; None if one is live, none is queued, or its user has the most running runs that are allowed.

    A run that has waited for people and can continue comes before others, and counts for no limit.
    """
    live = Run.objects.filter(IS_LIVE, session_id=session_id).first()
    if live is not None:
        return live if live.decided_at is not None else None
    run = with_current(Run.objects.filter(IS_QUEUED, session_id=session_id)).order_by("number").first()
    return run if run is not None and under_run_limit(run.user_id) else None


def under_run_limit(user_id: int | None) -> bool:
    """Whether the user may have one more running run. Locks the user's row, so that no two processes use the same slot."""
    most = settings.MAX_ACTIVE_RUNS_PER_USER
    if not most:
        return True
    if user_id is not None:
        User.objects.select_for_update(no_key=True).filter(pk=user_id).first()
    return Run.objects.filter(IS_AT_WORK, IS_ROOT, user=user_id).count() < most


#: Raw SQL, because it is executed at the end of every run. It reads only as many of a user's queued runs as may start now, even if
#: schedules have queued a thousand.
_WAITING = """SELECT session_id FROM (
        SELECT session_id, user_id, created_at, ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY created_at) AS place
        FROM chat_run AS waiting WHERE {queued} {whose} AND NOT EXISTS (
            SELECT 1 FROM chat_run AS before_it WHERE before_it.session_id = waiting.session_id
            AND before_it.status IN ('queued', 'running', 'cancelling', 'waiting') AND before_it.parent_id IS NULL
            AND (before_it.status <> 'queued' OR before_it.number < waiting.number))
    ) AS first WHERE %s = 0 OR place <= %s - (
        SELECT COUNT(*) FROM chat_run AS live WHERE live.user_id = first.user_id
        AND live.status IN ('running', 'cancelling') AND live.parent_id IS NULL)
    ORDER BY created_at LIMIT %s"""
#: How many sessions are tried at a time.
_MOST_WAITING = 200
_DECIDED = (
    "SELECT session_id FROM chat_run WHERE status = 'waiting' AND decided_at IS NOT NULL ORDER BY decided_at LIMIT %s"
)


def sessions_to_start() -> list[UUID]:
    """Sessions in which a run may start, or may continue because people have decided; the latter first. Polled every second."""
    with connection.cursor() as cursor:
        cursor.execute(_DECIDED, [_MOST_WAITING])
        decided = uuids_from_db(found for (found,) in cursor.fetchall())
    return list(dict.fromkeys([*decided, *waiting_sessions()]))


def waiting_sessions(user_id: int | None = None) -> list[UUID]:
    """Sessions whose next queued run may start now, the longest waiting first; those of one user, or of all."""
    most = settings.MAX_ACTIVE_RUNS_PER_USER
    whose, values = ("", []) if user_id is None else ("AND user_id = %s", [user_id])
    with connection.cursor() as cursor:
        cursor.execute(_WAITING.format(queued=ANY_QUEUED_SQL, whose=whose), [*values, most, most, _MOST_WAITING])
        return uuids_from_db(found for (found,) in cursor.fetchall())


#: Raw SQL for the same reason.
_HAS_QUEUED = f"SELECT 1 FROM chat_run WHERE session_id = %s AND {QUEUED_SQL} LIMIT 1"  # noqa: S608 - our own condition


def sessions_unblocked_by(run: Run) -> list[UUID]:
    """Sessions whose next run may start because this one has ended: its own, and others of a user whose number of runs is limited.

    Not all sessions whose next run may start: every process would be notified of each of them at the end of each run.
    """
    with connection.cursor() as cursor:
        cursor.execute(_HAS_QUEUED, [uuid_param(run.session_id)])
        own = [run.session_id] if cursor.fetchone() else []
    others = waiting_sessions(run.user_id) if settings.MAX_ACTIVE_RUNS_PER_USER and run.user_id is not None else []
    return list(dict.fromkeys([*own, *others]))
