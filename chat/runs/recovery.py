"""Ends runs whose processes have died, or are about to stop and have not ended them themselves."""

import logging
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import transaction

from chat.models import LIVE, Run, RunStatus, Session
from chat.runs import auto_continue, children, dispatch, publisher, quarantine, waiting
from chat.runs import events as run_events
from chat.runs import registry as run_registry
from chat.runs import state as run_state
from chat.runs.state import End
from chat.runtime import database, db_check
from chat.store import calls, selectors, step_log, waiting_calls
from chat.store.step_log import Stored

logger = logging.getLogger(__name__)


async def interrupt(run_id: UUID, fence: int | None = None) -> bool:
    """End a live run whose process has died or is stopping. Returns False if it has ended, or another process has taken it over.

    ``fence``: if given, also False if it has another one by now: then it has waited for people meanwhile, and was resumed.
    """
    result = await database.write(_end, run_id, fence)
    if result is None:
        return False
    session_id, events = result
    await publisher.publish_events(session_id, events)
    await dispatch.dispatch_next(session_id)
    return True


def interrupt_orphan(run_id: UUID) -> bool:
    """`interrupt` for a process that has no event loop and no clients yet."""
    return _end(run_id) is not None


def _end(run_id: UUID, fence: int | None = None) -> tuple[UUID, list[Stored]] | None:
    """Interrupt the run; if it can't be read, set it aside."""
    try:
        return interrupt_atomically(run_id, fence)
    except Exception as error:
        if isinstance(error, DatabaseError) and not db_check.is_unreadable(error):
            raise
        logger.exception("Run %s cannot be interrupted; it is set aside", run_id)
        return quarantine.fail_run(run_id)


@transaction.atomic
def interrupt_atomically(run_id: UUID, fence: int | None = None) -> tuple[UUID, list[Stored]] | None:
    """Take the run from its owner, close its open calls, and end it. ``fence`` as for `interrupt`."""
    run = Run.objects.select_related("cancelled_by", "draft").filter(pk=run_id, status__in=LIVE).first()
    if run is None or fence not in (None, run.fence):
        return None
    if not Session.objects.select_for_update().filter(pk=run.session_id).exists():
        return None
    if not run_state.take_over(run, run_registry.PROCESS):
        return None
    events: list[Stored] = []
    # The runs within it end with it, the deepest first, as when its own process ends it.
    for child in reversed(selectors.runs_within(run)):
        if child.status in LIVE:
            events += _close(child, stopped_with=run)[1]
    end, closing = _close(run)
    if run.parent_id is None:
        auto_continue.enqueue_continuation(run, end)
    return run.session_id, [*events, *closing]


def _close(run: Run, stopped_with: Run | None = None) -> tuple[End, list[Stored]]:
    """Close a run's open calls, and end it."""
    # If a stop of it, or of a run around it, was requested, it counts as cancelled.
    asked = next((each for each in (run, stopped_with) if each and each.status == RunStatus.CANCELLING), None)
    run.cancelled_by = None if asked is None else asked.cancelled_by
    steps = list(run.steps.order_by("position"))
    iterations = max((step.iteration for step in steps), default=0)
    calls.close_open(run.pk)
    usage, cost = calls.usage_of(run.pk)
    status = RunStatus.CANCELLED if asked else RunStatus.INTERRUPTED
    # Runs within it that wait have no process, and the call that they would answer does not exist any more.
    waits = Run.objects.filter(parent=run, status=RunStatus.WAITING)
    within = [
        event for child in waits for event in waiting.end(child, status, run_events.NO_RESULT, by=run.cancelled_by)
    ]
    end = End(status, iterations, usage, cost=cost)
    for child in Run.objects.filter(parent=run):
        end = children.with_child(end, children.end_of(child))
    entries = [
        *run_events.left_open(run, steps, begun=waiting_calls.begun_calls(run.pk)),
        run_events.completed(run, end),
    ]
    events = step_log.append(run, entries)
    run_state.finish(run.pk, run.session_id, end, fence=run.fence, by=run.cancelled_by)
    return end, [*within, *events]
