"""Calls that wait for people, with everything that a page shows of them."""

from collections.abc import Sequence
from uuid import UUID

from django.db.models import QuerySet

from chat.models import Origin, Run, StandingApproval, WaitingCall


def shown_calls(keys: Sequence[int]) -> list[WaitingCall]:
    """The calls of these primary keys, in their order."""
    found = {call.pk: call for call in _shown().filter(pk__in=keys)}
    return [found[key] for key in keys if key in found]


def waiting_call(run_id: UUID, tool_call_id: str) -> WaitingCall | None:
    """A call that waits, or has waited and was decided; None where its run has ended before."""
    return _shown().filter(run_id=run_id, tool_call_id=tool_call_id).first()


def _shown() -> QuerySet[WaitingCall]:
    return WaitingCall.objects.select_related("run__user", "run__agent_version", "session", "decided_by")


def is_by_clock(run: Run) -> bool:
    """Whether a schedule has started a run, or the root that it is within."""
    return run.origin == Origin.SCHEDULE if run.parent is None else is_by_clock(run.parent)


def session_of(run_id: UUID) -> UUID | None:
    """The session that a run is in."""
    return Run.objects.filter(pk=run_id).values_list("session_id", flat=True).first()


def standing_approvals(session_id: UUID) -> list[StandingApproval]:
    """The standing approvals of a session, each for the runs of one person."""
    found = StandingApproval.objects.filter(session_id=session_id).select_related("user", "made_by")
    return list(found.order_by("tool_name", "pk"))
