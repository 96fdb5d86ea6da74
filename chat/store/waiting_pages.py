"""Calls that wait for people, as pages read them."""

from uuid import UUID

from django.db.models import Q, QuerySet

from chat.access import Role, shares_with
from chat.accounts.models import User
from chat.models import Run, Share, StandingApproval, WaitingCall

#: A badge tells no more than this.
_MOST_COUNTED = 99


def waiting_for(user: User) -> QuerySet[WaitingCall]:
    """The calls that wait, in all sessions where the user may decide, those first that are decided by themselves first."""
    driven = Share.objects.filter(shares_with(user.pk), role=Role.DRIVER).values("session_id")
    return WaitingCall.objects.filter(
        Q(session__owner=user) | Q(session_id__in=driven), decided_at=None, session__deleted_at=None
    ).order_by("deadline", "pk")


def count_waiting_for(user: User) -> int:
    """How many they are, up to 99. One statement."""
    return waiting_for(user).order_by()[:_MOST_COUNTED].count()


def waiting_call(run_id: UUID, tool_call_id: str) -> WaitingCall | None:
    """A call that waits, or has waited and was decided; None where its run has ended before."""
    found = WaitingCall.objects.select_related("run__user", "run__agent_version", "session", "decided_by")
    return found.filter(run_id=run_id, tool_call_id=tool_call_id).first()


def session_of(run_id: UUID) -> UUID | None:
    """The session that a run is in."""
    return Run.objects.filter(pk=run_id).values_list("session_id", flat=True).first()


def standing_approvals(user: User, session_id: UUID) -> QuerySet[StandingApproval]:
    """What needs no further decision in a session, in runs that the user asks for."""
    found = StandingApproval.objects.filter(session_id=session_id, user=user).select_related("made_by")
    return found.order_by("tool_name", "pk")
