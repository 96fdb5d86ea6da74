"""The only writer of runs: which state changes are allowed, which process executes a run, and since when.

Each change is one conditional UPDATE: if two race, the first to commit wins.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F, Max, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from agents.events import Usage
from chat.accounts.models import User
from chat.catalog.setups import name_model
from chat.models import (
    CURRENT,
    HAS_NOT_ENDED,
    IS_ROOT,
    LIVE,
    LIVE_SQL,
    UNFINISHED,
    Cost,
    Origin,
    Run,
    RunStatus,
    Session,
)
from chat.runtime import clock, metrics
from chat.runtime.db_values import (
    datetime_from_db,
    datetime_param,
    decimal_param,
    uuid_param,
)
from chat.store import notices, run_figures, steering, step_log

#: For each status, from which ones it can be reached.
MOVES: dict[RunStatus, tuple[RunStatus, ...]] = {
    RunStatus.RUNNING: (RunStatus.QUEUED, RunStatus.WAITING),
    RunStatus.CANCELLING: (RunStatus.RUNNING,),
    RunStatus.WAITING: (RunStatus.RUNNING,),
    RunStatus.COMPLETED: LIVE,
    RunStatus.CANCELLED: UNFINISHED,
    # From the queue, if it can't be read and so not be started.
    RunStatus.FAILED: UNFINISHED,
    RunStatus.MAX_ITERATIONS: LIVE,
    # Also a waiting run, together with the run around it.
    RunStatus.INTERRUPTED: CURRENT,
}
ENDED = tuple(status for status in RunStatus if status not in UNFINISHED)
CONTINUABLE = (RunStatus.INTERRUPTED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.MAX_ITERATIONS)


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended, as it is stored."""

    status: RunStatus
    iterations: int = 0
    usage: Usage = field(default_factory=Usage)
    code: str = ""
    cost: Cost | None = None
    """If it is known."""


def enqueue(run: Run, *, title: str, is_first: bool) -> None:
    """Append a new run to its session's queue. The caller has locked the session's row. ``is_first``: no earlier run is unfinished."""
    # If no version is set, the run takes the current one when it begins.
    run.agent_version_id = run.pinned_version
    _add(run)
    shown = {"status": RunStatus.QUEUED} if is_first else {}
    Session.objects.filter(pk=run.session_id).update(title=title, active_at=timezone.now(), **shown)


#: Raw SQL, because the model is only asked after it.
_BEGIN = "UPDATE chat_session SET title = %s, active_at = %s, status = %s WHERE id = %s"


def begin(run: Run, process: str, *, title: str) -> None:
    """Add a new run that a process executes at once. The caller has locked the session's row, and checked that the run may start.

    Its agent's version is already set.
    """
    run.status, run.owner, run.fence, run.begun_at = RunStatus.RUNNING, process, 1, time.monotonic()
    run.started_at = run.heartbeat_at = clock.now()
    name_model(run)
    _add(run)
    with connection.cursor() as cursor:
        cursor.execute(_BEGIN, [title, datetime_param(timezone.now()), RunStatus.RUNNING, uuid_param(run.session_id)])


#: Raw SQL for the same reason.
_ADD = """INSERT INTO chat_run (id, session_id, number, user_id, client_message_id, message, agent_name, agent_version_id, model,
    provider, enable_reasoning, origin, continues_id, parent_id, parent_call_id, depth, status, created_at, started_at, owner, fence,
    heartbeat_at, iterations, input_tokens, output_tokens, usage_estimated, code, files)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, {begun}, %s, %s, {begun}, 0, 0, 0, %s, '', %s)"""


def _add(run: Run) -> None:
    values = [
        uuid_param(run.pk),
        uuid_param(run.session_id),
        run.number,
        run.user_id,
        run.client_message_id,
        run.message,
        run.agent_name,
        run.agent_version_id,
        run.model,
        run.provider,
        run.enable_reasoning,
        run.origin,
        run.continues_id and uuid_param(run.continues_id),
        run.parent_id and uuid_param(run.parent_id),
        run.parent_call_id,
        run.depth,
        run.status,
        datetime_param(run.created_at),
        run.owner,
        run.fence,
        False,
        run.files,
    ]
    with connection.cursor() as cursor:
        cursor.execute(_ADD.format(begun=clock.now_expression() if run.started_at else "NULL"), values)


def add_ended(run: Run) -> None:
    """Add a run that was executed elsewhere, in its final state."""
    run.save(force_insert=True)


def add_copies(runs: Sequence[Run]) -> None:
    """Add copies of ended runs: no process executes them, and they count for no limit."""
    Run.objects.bulk_create(runs)


def begin_within(run: Run, parent: Run) -> None:
    """Add a run within another one, executed by the same process under the same fence. The caller has locked the session's row.

    Its agent's version is already set.
    """
    name_model(run)
    run.parent, run.depth = parent, parent.depth + 1
    run.session_id, run.number, run.user = parent.session_id, parent.number, parent.user
    run.session_has_files = parent.session_has_files
    run.origin = Origin.SET if parent.origin == Origin.SET else Origin.AGENT
    run.enable_reasoning = parent.enable_reasoning
    run.client_message_id = f"agent:{run.pk.hex}"
    run.status, run.owner, run.fence, run.begun_at = RunStatus.RUNNING, parent.owner, parent.fence, time.monotonic()
    run.started_at = run.heartbeat_at = clock.now()
    _add(run)


def claim(run: Run, process: str) -> bool:
    """Claim a queued run for a process. Returns False if another one was faster. The caller has locked the session's row.

    From now on the run has the version of its agent that `next_in` has found, or the one that it was pinned to.
    """
    if run.current_version is None or run.agent_version_id is None:
        run.agent_version_id = run.current_version
    name_model(run)
    moved = _moving(run.pk, RunStatus.RUNNING).update(
        status=RunStatus.RUNNING,
        owner=process,
        fence=F("fence") + 1,
        started_at=Now(),
        heartbeat_at=Now(),
        agent_version=run.agent_version_id,
        model=run.model,
        provider=run.provider,
    )
    if moved:
        run.refresh_from_db()
        run.begun_at = time.monotonic()
        _repeat_status(run.session_id)
    return bool(moved)


def suspend(run: Run, end: End, *, is_news: bool = True) -> bool:
    """Let a run wait for people: no process executes it any more. Returns False if it isn't running under this fence any more.

    ``end``: what it has used so far. ``is_news``: whether people are notified that it waits.
    """
    usage = end.usage
    moved = _moving(run.pk, RunStatus.WAITING).filter(fence=run.fence)
    suspended = moved.update(
        status=RunStatus.WAITING,
        owner="",
        heartbeat_at=None,
        waiting_since=Now(),
        decided_at=None,
        iterations=end.iterations,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        usage_estimated=usage.estimated,
        cached_tokens=usage.cached_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost=end.cost and end.cost.amount,
        currency=end.cost.currency if end.cost else "",
    )
    if suspended:
        step_log.forget_draft(run.pk)
        _repeat_status(run.session_id)
        if is_news:
            notices.record_waiting(run.pk)
    return bool(suspended)


def has_suspended(run: Run) -> bool:
    """Whether a run that its process has suspended waits, or did since: under this fence no other process can have claimed it."""
    return not Run.objects.filter(pk=run.pk, status__in=LIVE, fence=run.fence).exists()


def is_any_ready(run_ids: Collection[UUID]) -> bool:
    """Whether one of these runs, which have waited, does not wait any more, or may continue."""
    return bool(run_ids) and bool(ready_among(run_ids))


def ready_among(run_ids: Collection[UUID]) -> list[UUID]:
    """Those of these runs, which have waited, that do not wait any more, or may continue."""
    waiting = Run.objects.filter(pk__in=run_ids, status=RunStatus.WAITING, decided_at=None)
    return list(set(run_ids) - set(waiting.values_list("pk", flat=True)))


def mark_decided(run: Run) -> None:
    """Let a waiting run continue: none of its requests is open, or a run within it waits no more. The same for the runs around it."""
    Run.objects.filter(pk=run.pk, status=RunStatus.WAITING, decided_at=None).update(decided_at=Now())
    if run.parent is not None:
        mark_decided(run.parent)


def resume(run: Run, process: str) -> bool:
    """Claim a run that has waited for a process. Returns False if another one was faster. The caller has locked the session's row."""
    moved = _reclaim(run, owner=process, fence=F("fence") + 1)
    if moved:
        _repeat_status(run.session_id)
    return moved


def resume_within(run: Run, parent: Run) -> bool:
    """As `resume`, for a run within another one, whose process executes it under the same fence."""
    return _reclaim(run, owner=parent.owner, fence=parent.fence)


def _reclaim(run: Run, **by: Any) -> bool:
    moved = Run.objects.filter(pk=run.pk, status=RunStatus.WAITING, decided_at__isnull=False).update(
        status=RunStatus.RUNNING,
        **by,
        heartbeat_at=Now(),
        waited_ms=waited_ms(run),
        waiting_since=None,
        decided_at=None,
    )
    return bool(moved)


def waited_ms(run: Run) -> int:
    """How long a run has waited for people, in milliseconds; until now if it still does."""
    if run.waiting_since is None:
        return run.waited_ms
    return run.waited_ms + max(0, round((clock.now() - run.waiting_since).total_seconds() * 1000))


def end_waiting(run: Run) -> None:
    """Store how long a waiting run has waited, before it ends."""
    run.waited_ms, run.waiting_since = waited_ms(run), None
    Run.objects.filter(pk=run.pk, status=RunStatus.WAITING).update(
        waited_ms=run.waited_ms, waiting_since=None, decided_at=None
    )


def request_cancel(run: Run, user: User | None) -> bool:
    """Request the stop of a running run. Returns False if it isn't running any more."""
    moved = _moving(run.pk, RunStatus.CANCELLING).update(
        status=RunStatus.CANCELLING, cancel_requested_at=timezone.now(), cancelled_by=user
    )
    if moved:
        _repeat_status(run.session_id)
    return bool(moved)


#: Raw SQL, because it is executed at the end of every run: as querysets the two statements took longer than the commit.
_FINISH = """UPDATE chat_run SET status = %s, ended_at = {now}, iterations = %s, input_tokens = %s, output_tokens = %s,
    usage_estimated = %s, cached_tokens = %s, reasoning_tokens = %s, cost = %s, currency = %s, code = %s,
    cancelled_by_id = COALESCE(%s, cancelled_by_id), first_token_ms = ({spoke})
    WHERE id = %s AND status IN ({moves}) AND fence = COALESCE(%s, fence)
    RETURNING agent_name, started_at, cancel_requested_at, waited_ms,
    EXISTS (SELECT 1 FROM chat_steeringword word WHERE word.run_id = chat_run.id AND word.state = 'pending')"""


def finish(run_id: UUID, session_id: UUID, end: End, *, fence: int | None = None, by: User | None = None) -> bool:
    """End a run. Returns False if it has already ended, or if ``fence`` is given and has risen."""
    usage, moves = end.usage, MOVES[end.status]
    values: list[Any] = [
        end.status,
        end.iterations,
        usage.input_tokens,
        usage.output_tokens,
        usage.estimated,
        usage.cached_tokens,
        usage.reasoning_tokens,
        end.cost and decimal_param(end.cost.amount),
        end.cost.currency if end.cost else "",
        end.code,
    ]
    statement = _FINISH.format(
        now=clock.now_expression(), spoke=run_figures.first_token_expression(), moves=", ".join(["%s"] * len(moves))
    )
    with connection.cursor() as cursor:
        cursor.execute(
            statement,
            [*values, by.pk if by is not None else None, uuid_param(run_id), *moves, fence],
        )
        moved = cursor.fetchone()
    if moved is not None:
        # The run's row is locked from here on, so no draft of it can be saved any more.
        step_log.forget_draft(run_id)
        *facts, has_words = moved
        if has_words:
            _queue_words(run_id)
        _repeat_status(session_id)
        notices.record_end(run_id)
        transaction.on_commit(lambda: _count(end.status, *facts))
    return moved is not None


def _queue_words(run_id: UUID) -> None:
    """Put a run's unread steering words into the queue, as if they had been sent there; no limit applies."""
    # Only these columns: the run may be ending because the others cannot be read.
    ended = Run.objects.only("session_id", "agent_name", "enable_reasoning").get(pk=run_id)
    number = Run.objects.filter(IS_ROOT, session_id=ended.session_id).aggregate(last=Max("number"))["last"]
    for place, word in enumerate(steering.queue_unread(run_id), start=1):
        run = Run(
            session_id=ended.session_id,
            number=number + place,
            user_id=word.user_id,
            client_message_id=word.client_message_id,
            message=word.message,
            agent_name=ended.agent_name,
            enable_reasoning=ended.enable_reasoning,
        )
        _add(run)


def _count(status: RunStatus, agent_name: str, started_at: Any, cancel_requested_at: Any, waited_ms: int) -> None:
    """Count a run that has ended in the metrics; the times are the database's."""
    metrics.runs_ended.labels(status.value, metrics.agents.of(agent_name)).inc()
    if started_at is not None:
        lasted = (clock.now() - datetime_from_db(started_at)).total_seconds() - waited_ms / 1000
        metrics.run_seconds.labels(status.value).observe(max(0.0, lasted))
        if cancel_requested_at is not None and status is RunStatus.CANCELLED:
            waited = (timezone.now() - datetime_from_db(cancel_requested_at)).total_seconds()
            metrics.stop_seconds.observe(max(0.0, waited))


def abandon(of: Q) -> list[UUID]:
    """End the unfinished runs of a deleted log, so that they count for no limit. Returns those that were running."""
    found = dict(Run.objects.filter(HAS_NOT_ENDED, of).values_list("pk", "status"))
    Run.objects.filter(HAS_NOT_ENDED, pk__in=found).update(status=RunStatus.CANCELLED, ended_at=timezone.now())
    return [run_id for run_id, status in found.items() if status != RunStatus.QUEUED]


def take_over(run: Run, process: str) -> bool:
    """Take a live run from a process that no longer sends heartbeats, so that nothing more is stored by that process."""
    updated = Run.objects.filter(pk=run.pk, fence=run.fence, status__in=LIVE).update(
        owner=process, fence=F("fence") + 1
    )
    if updated:
        run.refresh_from_db()
    return bool(updated)


def beat(process: str, run_ids: Collection[UUID]) -> None:
    """Renew a process's heartbeat on the runs that it executes and still owns."""
    Run.objects.filter(pk__in=run_ids, owner=process, status__in=LIVE).update(heartbeat_at=Now())


def interrupted_by(username: str) -> str:
    """The sentence about who has interrupted what a run was doing."""
    return f"Interrupted by {username}."


def stopped_by(username: str | None) -> str:
    """The sentence about who has stopped a run."""
    return f"Stopped by {username}." if username else "Stopped by an operator."


def _moving(run_id: UUID, to: RunStatus) -> QuerySet[Run]:
    return Run.objects.filter(pk=run_id, status__in=MOVES[to])


_REPEAT = f"""UPDATE chat_session SET active_at = %s, status = COALESCE(
        (SELECT status FROM chat_run WHERE session_id = %s AND {LIVE_SQL}),
        (SELECT status FROM chat_run WHERE session_id = %s AND parent_id IS NULL ORDER BY number DESC LIMIT 1)
    ) WHERE id = %s"""  # noqa: S608 - our own condition


def _repeat_status(session_id: UUID) -> None:
    """Copy the live run's status to the session, or the newest run's if none is live."""
    session = uuid_param(session_id)
    with connection.cursor() as cursor:
        cursor.execute(_REPEAT, [datetime_param(timezone.now()), session, session, session])
