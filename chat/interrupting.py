"""Ends the runs of processes that are gone, and goes on with them where that is wanted and harmless."""

from uuid import UUID

from django.conf import settings
from django.db import transaction

from agents import Usage
from chat import carrying, database, run_events, run_state, step_log
from chat.models import LIVE, Origin, Run, RunStatus, Session
from chat.run_state import End
from chat.step_log import Stored

#: Tools that change nothing outside, after which a run may be continued without asking anyone.
_HARMLESS_TOOLS = frozenset({"python", "current_time", "search_history", "fetch_page"})
_AUTOMATIC = "auto:"
_AUTOMATIC_LIMIT = 3


async def interrupt(run_id: UUID) -> bool:
    """End a live run whose process has gone; False where it has ended or moved on meanwhile."""
    result = await database.write(_interrupt, run_id)
    if result is None:
        return False
    session_id, events = result
    await carrying.tell_stored(session_id, events)
    await carrying.dispatch(session_id)
    return True


def interrupt_orphan(run_id: UUID) -> bool:
    """`interrupt` for a process that has no loop yet and nobody to tell."""
    return _interrupt(run_id) is not None


@transaction.atomic
def _interrupt(run_id: UUID) -> tuple[UUID, list[Stored]] | None:
    """Take the run from its silent owner, close what it left open, and end it."""
    run = Run.objects.select_related("cancelled_by", "draft").filter(pk=run_id, status__in=LIVE).first()
    if run is None or not Session.objects.select_for_update().filter(pk=run.session_id).exists():
        return None
    if not run_state.take_from(run, carrying.PROCESS):
        return None
    # Someone had asked for it to be stopped: then that is what has happened.
    status = RunStatus.CANCELLED if run.status == RunStatus.CANCELLING else RunStatus.INTERRUPTED
    steps = list(run.steps.order_by("position"))
    end = End(status, max((step.iteration for step in steps), default=0), Usage(estimated=True))
    entries = [*run_events.left_open(run, steps), run_events.completed(run, end)]
    events = step_log.append(run, entries)
    step_log.forget_draft(run.pk)
    run_state.finish(run.pk, run.session_id, end, fence=run.fence)
    if settings.AUTO_CONTINUE and status is RunStatus.INTERRUPTED:
        _continue_automatically(run)
    return run.session_id, events


def _continue_automatically(run: Run) -> None:
    """Put an interrupted run's continuation in line, where nothing outside can be done twice by it."""
    session = run.session
    if run.user is None or session.runs.filter(number__gt=run.number).exists():
        return
    if run.steps.filter(type="tool_use").exclude(tool_name__in=_HARMLESS_TOOLS).exists():
        return
    times, earlier = 0, run
    while earlier.client_message_id.startswith(_AUTOMATIC) and earlier.continues is not None:
        times, earlier = times + 1, earlier.continues
    if times < _AUTOMATIC_LIMIT:
        again = Run(
            session=session,
            number=run.number + 1,
            user=run.user,
            message=run.message,
            agent_name=run.agent_name,
            enable_reasoning=run.enable_reasoning,
            client_message_id=f"{_AUTOMATIC}{run.pk.hex}",
            origin=Origin.CONTINUE,
            continues=run,
        )
        run_state.enqueue(again, title=session.title, is_first=True)
