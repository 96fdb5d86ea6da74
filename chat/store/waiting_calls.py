"""Queries about calls that wait for people, and about calls that people have decided."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Literal, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Q

from chat.access import not_expired, shares_with
from chat.accounts.models import User
from chat.models import (
    CURRENT,
    SUPPORTS_WAITING,
    Process,
    Run,
    RunStatus,
    Session,
    Share,
    StandingApproval,
    WaitingCall,
    WaitingKind,
)
from chat.protocol.frame_data import WaitingData
from chat.runtime.db_values import datetime_param
from chat.runtime.prepared import PreparedQuery

#: How many overdue requests are handled at a time, and how many people are notified of one.
_MOST_DUE = 200
_MOST_NOTIFIED = 200
_DUE = "SELECT id FROM chat_waitingcall WHERE decided_at IS NULL AND deadline <= %s ORDER BY deadline LIMIT %s"


def is_known_everywhere() -> bool:
    """Whether all processes know waiting runs. One of an earlier version would start what is queued behind such a run, and fail it."""
    return not Process.objects.filter(knows__lt=SUPPORTS_WAITING).exists()


def due_calls(now: datetime) -> list[int]:
    """The open requests past their deadline, the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(_DUE, [datetime_param(now), _MOST_DUE])
        return [pk for (pk,) in cursor.fetchall()]


def begun_calls(run_id: UUID) -> set[str]:
    """The ids of a run's calls that people have allowed and that were begun, with or without a result."""
    begun = WaitingCall.objects.filter(run=run_id, decision="allow", spent_at__isnull=False)
    return set(begun.values_list("tool_call_id", flat=True))


def has_waited(run_id: UUID) -> bool:
    """Whether a run has waited for people."""
    return WaitingCall.objects.filter(run=run_id).exists()


def is_allowed(session_id: UUID, user_id: int, tool_name: str, rule: str) -> bool:
    """Whether a tool's calls under this rule are allowed for the whole session, in runs of this user."""
    return StandingApproval.objects.filter(session=session_id, user=user_id, tool_name=tool_name, rule=rule).exists()


def open_calls(run_id: UUID) -> list[WaitingCall]:
    """The open requests of a run, in the order of its calls."""
    return list(WaitingCall.objects.filter(run=run_id, decided_at=None).order_by("pk"))


def open_within(run_id: UUID) -> list[WaitingCall]:
    """The open requests of a root and of all runs within it; empty if it has ended."""
    # A session has one current root at a time.
    session_id = Run.objects.filter(pk=run_id, status__in=CURRENT).values_list("session_id", flat=True).first()
    found = WaitingCall.objects.filter(session=session_id, decided_at=None, run__status__in=CURRENT)
    return [] if session_id is None else list(found.order_by("pk"))


def kinds_open(session_ids: Collection[UUID]) -> dict[UUID, str]:
    """What sessions with a waiting run wait for: ``question``, or ``approval`` if at least one request is a decision."""
    found = WaitingCall.objects.filter(session__in=session_ids, decided_at=None, run__status=RunStatus.WAITING)
    kinds: dict[UUID, set[str]] = {}
    for session_id, kind in found.values_list("session_id", "kind") if session_ids else ():
        kinds.setdefault(session_id, set()).add(kind)
    return {session_id: "question" if kind == {"question"} else "approval" for session_id, kind in kinds.items()}


def deciders(session_id: UUID) -> list[int]:
    """The users who may decide in a session: its owner, and the drivers that it is shared with."""
    shares = Share.objects.filter(not_expired(), session=session_id, role="driver")
    members = User.groups.through.objects.filter(group__in=shares.exclude(group=None).values("group_id"))
    # Each by its own index: joined with all sessions, PostgreSQL would read the whole table.
    people = User.objects.filter(
        Q(pk__in=Session.objects.filter(pk=session_id).values("owner_id"))
        | Q(pk__in=shares.exclude(user=None).values("user_id"))
        | Q(pk__in=members.values("user_id")),
        is_active=True,
    )
    return list(people.values_list("pk", flat=True)[:_MOST_NOTIFIED])


class WaitingEntry(NamedTuple):
    """An open request in a list over all sessions."""

    pk: int
    session_id: UUID
    title: str
    run_id: UUID
    tool_call_id: str
    kind: Literal["approval", "question"]
    tool_name: str
    deadline: datetime


@dataclass(frozen=True, slots=True)
class WaitingPage:
    """A page of open requests; ``next_after`` is where the next page begins, None if there is none."""

    entries: Sequence[WaitingEntry]
    next_after: tuple[datetime, int] | None


def list_open(user_id: int, after: tuple[datetime, int] | None = None, limit: int = 50) -> WaitingPage:
    """The open requests in all sessions in which the user may decide, by deadline."""
    found = _open_for(user_id).order_by("deadline", "pk")
    if after is not None:
        deadline, pk = after
        found = found.filter(Q(deadline__gt=deadline) | Q(deadline=deadline, pk__gt=pk))
    rows = found.values_list(
        "pk", "session_id", "session__title", "run_id", "tool_call_id", "kind", "tool_name", "deadline"
    )
    entries = [WaitingEntry(*row) for row in rows[: limit + 1]]
    more = len(entries) > limit
    entries = entries[:limit]
    return WaitingPage(entries, (entries[-1].deadline, entries[-1].pk) if more else None)


def begun_since(user_id: int, since: datetime, most: int) -> list[WaitingData]:
    """The newest ``most`` requests to a user that were made since a time and are still open, oldest first."""
    begun = _open_for(user_id).filter(created_at__gt=since).select_related("session").order_by("-created_at", "-pk")
    return [notification_of(call, call.session.title) for call in reversed(begun[:most])]


def notification_of(call: WaitingCall, title: str) -> WaitingData:
    """The notification about a call that has begun to wait, in a session with this title."""
    return {
        "kind": "question" if call.kind == WaitingKind.QUESTION else "approval",
        "session_id": str(call.session_id),
        "title": title,
        "run_id": str(call.run_id),
        "tool_call_id": call.tool_call_id,
        "tool_name": call.tool_name,
        "deadline": call.deadline.timestamp(),
        "timestamp": call.created_at.timestamp(),
    }


def open_keys(user_id: int, most: int = 100) -> list[str]:
    """The open requests of a user in any order, up to ``most``, each as its run and its call."""
    return _keys(most).rows(user_id)


@cache
def _keys(most: int) -> PreparedQuery[str]:
    return PreparedQuery(
        lambda user_id: _open_for(user_id).order_by().values_list("run_id", "tool_call_id")[:most], int, make=_key
    )


def _key(run_id: UUID, tool_call_id: str) -> str:
    return f"{run_id}/{tool_call_id}"


def _open_for(user_id: int):  # type: ignore[no-untyped-def] # a queryset of the table's
    """The open requests of waiting runs in sessions that the user owns or drives."""
    driven = Share.objects.filter(shares_with(user_id), role="driver").values("session_id")
    return WaitingCall.objects.filter(
        Q(session__owner=user_id) | Q(session__in=driven),
        decided_at=None,
        run__status="waiting",
        session__deleted_at=None,
        # Runs of sets do not wait for people.
        session__for_set=None,
    )
