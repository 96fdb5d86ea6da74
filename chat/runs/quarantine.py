"""Sets aside runs that cannot be read or started: each ends as failed, so that it blocks nothing and is not tried again.

Only the columns that are needed to end such a run are read, because reading the whole row is what has failed.
"""

import logging
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from agents import Outcome
from chat.models import IS_LIVE, QUEUED_SQL, UNFINISHED, Run, RunStatus, Session
from chat.runs import events as run_events
from chat.runs import state as run_state
from chat.runs.state import End
from chat.runtime.db_values import uuid_from_db, uuid_param
from chat.store import step_log
from chat.store.step_log import Stored

logger = logging.getLogger(__name__)

_UNREADABLE = "What is stored of this run cannot be read, so it was set aside. Please ask again."
_NEXT = f"SELECT id FROM chat_run WHERE session_id = %s AND {QUEUED_SQL} ORDER BY number LIMIT 1"  # noqa: S608 - our own condition
_COLUMNS = """SELECT session_id, status, enable_reasoning, parent_id,
    (SELECT COALESCE(MAX(position), 0) FROM chat_step WHERE run_id = chat_run.id) FROM chat_run WHERE id = %s"""


@transaction.atomic
def fail_next(session_id: UUID) -> list[Stored] | None:
    """Set aside the session's next queued run. Returns its last events; None if none is queued, or one is running."""
    if not Session.objects.select_for_update().filter(pk=session_id).exists():
        return None
    live = Run.objects.filter(IS_LIVE, session_id=session_id).values_list("pk", "decided_at").first()
    if live is not None:
        # A run that is to continue, but can't be.
        failed = fail_run(live[0]) if live[1] is not None else None
        return None if failed is None else failed[1]
    with connection.cursor() as cursor:
        cursor.execute(_NEXT, [uuid_param(session_id)])
        row = cursor.fetchone()
    failed = None if row is None else fail_run(uuid_from_db(row[0]))
    return None if failed is None else failed[1]


@transaction.atomic
def fail_run(run_id: UUID) -> tuple[UUID, list[Stored]] | None:
    """Set an unfinished run aside, whichever process executes it. Returns its session and last events; None if it has ended."""
    with connection.cursor() as cursor:
        cursor.execute(_COLUMNS, [uuid_param(run_id)])
        row = cursor.fetchone()
    if row is None or row[1] not in UNFINISHED:
        return None
    session_id, status, numbered, position = uuid_from_db(row[0]), row[1], bool(row[2]), row[4]
    within = Run.objects.filter(parent=run_id, status__in=UNFINISHED).values_list("pk", flat=True)
    events = [event for child_id in within for event in (fail_run(child_id) or (session_id, []))[1]]
    outcome = Outcome("failed", 0, code="internal", error=_UNREADABLE)
    end = End(RunStatus.FAILED, code=outcome.code)
    if not Session.objects.select_for_update().filter(pk=session_id).exists():
        return None
    if not run_state.finish(run_id, session_id, end):
        return None
    step_log.forget_draft(run_id)
    parent_id = None if row[3] is None else uuid_from_db(row[3])
    run = Run(pk=run_id, session_id=session_id, enable_reasoning=numbered, parent_id=parent_id)
    entries = [
        run_events.failed_step(outcome, numbered=numbered),
        run_events.failed(outcome),
        run_events.completed(run, end),
    ]
    try:
        with transaction.atomic():
            first = [_started(run)] if status == RunStatus.QUEUED else []
            return session_id, [*events, *step_log.append_unowned(run, [*first, *entries], position=position)]
    except Exception:
        logger.exception("The end of run %s could not be stored in the log of its session", run_id)
        return session_id, events


def _started(run: Run) -> step_log.Entry:
    """The first event of a run that never started, with its message if that can be read."""
    try:
        with transaction.atomic():
            return run_events.started(Run.objects.select_related("user").get(pk=run.pk))
    except Exception:
        logger.warning("Run %s cannot be read", run.pk, exc_info=True)
        unread = Run(
            pk=run.pk, message="", agent_name="", enable_reasoning=run.enable_reasoning, created_at=timezone.now()
        )
        return run_events.started(unread)
