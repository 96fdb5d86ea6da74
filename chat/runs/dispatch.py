"""From a session's queue to a running run: one process claims the next run and starts it."""

import asyncio
import logging
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection, transaction

from agents.history import ChatMessage
from chat.catalog import budgets
from chat.catalog.setups import find_setup
from chat.models import IS_ROOT, LIVE, Run, RunStatus, Session
from chat.runs import events as run_events
from chat.runs import quarantine, resuming, waiting
from chat.runs import queue as run_queue
from chat.runs import state as run_state
from chat.runs.children import ClaimedRun, helpers_of
from chat.runs.executor import execute_run, load_history
from chat.runs.publisher import publish_events, publish_queue
from chat.runs.registry import PROCESS, RunHandle, accepting, early_stops, running, write_and_start
from chat.runtime import background, broker, database, db_check
from chat.store import selectors, sent_along, step_log

logger = logging.getLogger(__name__)

#: For sessions with at most so many events, the history is read in the transaction that claims the next run, which saves a thread switch.
#: In longer sessions that would keep other writers waiting.
SHORT_LOG = 300


async def dispatch_next(session_id: UUID) -> None:
    """Call this after a session's queue has changed: starts its next run, if one may start, here or in a worker; publishes the queue."""
    if settings.BROKER_URL:
        broker.notify_workers(session_id)
    elif await claim_and_start_next(session_id) is not None:
        return
    await publish_queue(session_id)


async def claim_and_start_next(session_id: UUID) -> asyncio.Event | None:
    """Execute the session's next run here, if one is queued and may start, and publish the queue. Returns an event set at the run's end.

    A run that cannot be read is set aside as failed, and the next one is tried. Never raises: if the database does not answer, the poll
    of every second tries again.
    """
    while accepting.is_set():
        try:
            claim = await write_and_start(_start_if_claimed, claim_next, session_id)
        except Exception as error:
            if isinstance(error, DatabaseError) and db_check.is_away(error):
                logger.warning(
                    "The next run of session %s could not be started now; trying again", session_id, exc_info=True
                )
                return None
            logger.exception("The next run of session %s could not be started", session_id)
            if not await _set_aside_next(session_id):
                return None
            continue
        if claim is None:
            return None
        await publish_queue(session_id)
        return claim.ended
    return None


async def _set_aside_next(session_id: UUID) -> bool:
    """Fail the session's next run, which cannot be started. Returns whether that was possible."""
    try:
        failed = await database.write(quarantine.fail_next, session_id)
    except Exception:
        logger.exception("The next run of session %s could not be set aside", session_id)
        return False
    if failed is None:
        return False
    await publish_events(session_id, failed)
    await publish_queue(session_id)
    return True


async def adopt_run(run_id: UUID, fence: int) -> bool:
    """Start a run that belongs to this process by the table, but is not executed: the result of its claim's commit was lost.

    ``fence``: what it had when that was found; with another one it is another claim's. Returns False then, or if it has ended, is
    executed after all, or has already begun: then its state is not known.
    """
    return await write_and_start(_start_if_claimed, claim_again, run_id, fence) is not None


def start_run(claim: ClaimedRun) -> None:
    """Execute a claimed run in a task of its own."""
    handle = running[claim.run.pk] = RunHandle(claim.ended)
    reason = early_stops.pop(claim.run.pk, None)
    if reason is not None:
        handle.stop(reason)
    if not accepting.is_set():
        # It was accepted just before that.
        handle.pause()
    # Spawned eagerly, so that the agent's thread begins while others are notified of the run.
    background.spawn_eagerly(_execute_and_dispatch(claim, handle), f"run {claim.run.pk}")


async def _execute_and_dispatch(claim: ClaimedRun, handle: RunHandle) -> None:
    for session_id in await execute_run(claim, handle):
        await dispatch_next(session_id)


def _start_if_claimed(claim: ClaimedRun | None) -> None:
    if claim is not None:
        start_run(claim)


@transaction.atomic
def claim_next(session_id: UUID) -> ClaimedRun | None:
    """Claim the session's next run for this process, in one transaction in the caller's thread. None if none may start."""
    has_files = Session.objects.select_for_update().filter(pk=session_id).values_list("has_files", flat=True).first()
    if has_files is None:
        return None
    run = run_queue.next_in(session_id)
    if run is None:
        return None
    run.session_has_files = has_files
    if run.status == RunStatus.WAITING:
        return resuming.claim_resumed(run, [])
    if not run_state.claim(run, PROCESS):
        return None
    run.session_has_files = has_files
    return claim_events(run)


def claim_events(run: Run) -> ClaimedRun:
    """Store the first events of a run that was just claimed, in the same transaction."""
    events = step_log.append_unowned(run, run_events.initial_events(run))
    past = _history_along(run) if events[-1].seq <= SHORT_LOG else None
    setup, budget_states = find_setup(run), budgets.budget_states_for(run.user_id, run.agent_name)
    return ClaimedRun(
        run, events, setup, past, helpers_of(run, setup), budget_states, instructions=sent_along.instructions_of(run)
    )


@transaction.atomic
def claim_again(run_id: UUID, fence: int) -> ClaimedRun | None:
    """The claim of a run that belongs to this process by the table, from what was stored with it."""
    runs = Run.objects.select_related("user", "session")
    run = runs.filter(IS_ROOT, pk=run_id, owner=PROCESS, fence=fence, status__in=LIVE).first()
    if run is None or run_id in running:
        return None
    run.session_has_files = run.session.has_files
    if (resumed := waiting.spent_last(run)) is not None:
        return resuming.claim_continued(run, selectors.stored_of(run)[-1:], resumed)
    if run.steps.count() != len(run_events.initial_events(run)):
        return None
    setup = find_setup(run)
    return ClaimedRun(
        run,
        selectors.stored_of(run),
        setup,
        helpers=helpers_of(run, setup),
        budgets=budgets.budget_states_for(run.user_id, run.agent_name),
        instructions=sent_along.instructions_of(run),
    )


def _history_along(run: Run) -> list[ChatMessage] | None:
    """The session's history, read in the transaction that claims the run. If that fails, `_history` reads it again."""
    try:
        return load_history(run)
    except Exception as error:
        # After an error, PostgreSQL executes no further statement of a transaction.
        if isinstance(error, DatabaseError) and connection.vendor != "sqlite":
            raise
        logger.warning("The history before run %s could not be read together with the run", run.pk, exc_info=True)
        return None
