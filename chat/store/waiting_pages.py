"""Queries for calls that wait for people, with everything that pages show about them."""

from collections.abc import Sequence
from uuid import UUID

from django.db.models import QuerySet

from chat.models import Origin, Run, StandingApproval, WaitingCall


def shown_calls(keys: Sequence[int]) -> list[WaitingCall]:
    """The calls with these primary keys, in this order."""
    found = {call.pk: call for call in _shown().filter(pk__in=keys)}
    return [found[key] for key in keys if key in found]


def waiting_call(run_id: UUID, tool_call_id: str) -> WaitingCall | None:
    """A call that waits, or was decided; None if its run ended before."""
    return _shown().filter(run_id=run_id, tool_call_id=tool_call_id).first()


def _shown() -> QuerySet[WaitingCall]:
    return WaitingCall.objects.select_related("run__user", "run__agent_version", "session", "decided_by")


def is_by_clock(run: Run) -> bool:
    """Whether a schedule has started a run, or its root."""
    return run.origin == Origin.SCHEDULE if run.parent is None else is_by_clock(run.parent)


def session_of(run_id: UUID) -> UUID | None:
    """The session of a run."""
    return Run.objects.filter(pk=run_id).values_list("session_id", flat=True).first()


def standing_approvals(session_id: UUID) -> list[StandingApproval]:
    """The standing approvals of a session, each for the runs of one user."""
    found = StandingApproval.objects.filter(session_id=session_id).select_related("user", "made_by")
    return list(found.order_by("tool_name", "pk"))
