"""Ends the runs of processes that are gone, or that are about to go and have not ended them themselves."""

import logging
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import transaction

from chat.models import LIVE, Run, RunStatus, Session
from chat.runs import auto_continue, dispatch, publisher, quarantine
from chat.runs import events as run_events
from chat.runs import registry as run_registry
from chat.runs import state as run_state
from chat.runs.state import End
from chat.runtime import database, db_check
from chat.store import calls, step_log
from chat.store.step_log import Stored

logger = logging.getLogger(__name__)


async def interrupt(run_id: UUID) -> bool:
    """End a live run whose process has gone or is going; False where it has ended or moved on meanwhile."""
    result = await database.write(_end, run_id)
    if result is None:
        return False
    session_id, events = result
    await publisher.publish_events(session_id, events)
    await dispatch.dispatch_next(session_id)
    return True


def interrupt_orphan(run_id: UUID) -> bool:
    """`interrupt` for a process that has no loop yet and nobody to tell."""
    return _end(run_id) is not None


def _end(run_id: UUID) -> tuple[UUID, list[Stored]] | None:
    """Interrupt the run, or where it can't be read set it aside."""
    try:
        return interrupt_atomically(run_id)
    except Exception as error:
        if isinstance(error, DatabaseError) and not db_check.is_unreadable(error):
            raise
        logger.exception("Run %s cannot be interrupted; it is set aside", run_id)
        return quarantine.fail_run(run_id)


@transaction.atomic
def interrupt_atomically(run_id: UUID) -> tuple[UUID, list[Stored]] | None:
    """Take the run from its owner, close what it left open, and end it."""
    run = Run.objects.select_related("cancelled_by", "draft").filter(pk=run_id, status__in=LIVE).first()
    if run is None or not Session.objects.select_for_update().filter(pk=run.session_id).exists():
        return None
    if not run_state.take_from(run, run_registry.PROCESS):
        return None
    # Someone had asked for it to be stopped: then that is what has happened.
    status = RunStatus.CANCELLED if run.status == RunStatus.CANCELLING else RunStatus.INTERRUPTED
    steps = list(run.steps.order_by("position"))
    calls.close_open(run.pk)
    usage, cost = calls.usage_of(run.pk)
    end = End(status, max((step.iteration for step in steps), default=0), usage, cost=cost)
    entries = [*run_events.left_open(run, steps), run_events.completed(run, end)]
    events = step_log.append(run, entries)
    run_state.finish(run.pk, run.session_id, end, fence=run.fence)
    auto_continue.after(run, end)
    return run.session_id, events
