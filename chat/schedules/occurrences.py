"""Occurrences: due, pending and ended ones. Each is claimed, started and settled once."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Window
from django.db.models.functions import RowNumber

from agents.sentence import Sentence
from chat.accounts.models import User
from chat.cases import set_runs
from chat.models import (
    IS_OPEN,
    OPEN,
    Door,
    MissedPolicy,
    Occurrence,
    Outcome,
    OverlapPolicy,
    PauseReason,
    Run,
    RunStatus,
    Schedule,
    SetRunState,
)
from chat.runs import auto_continue
from chat.runs import commands as run_commands
from chat.runs.admission import Refused
from chat.runs.commands import Accepted
from chat.runtime.prepared import PreparedQuery
from chat.schedules import recurrence
from chat.schedules.commands import (
    STATE_FIELDS,
    lock_schedule,
    lock_schedule_only,
    own_schedule,
    pause_locked,
    recurrence_of,
    set_paused,
)
from chat.schedules.recurrence import Invalid

#: A due time that is processed later than this counts as missed. It is more than thousands of simultaneous ones take.
ON_TIME = timedelta(minutes=5)
#: How many occurrences of a schedule are kept.
KEPT = 200

#: Outcomes that count as a failure; a run that a person stopped counts as nothing.
FAILED = (Outcome.FAILED, Outcome.INTERRUPTED, Outcome.MAX_ITERATIONS)


#: A schedule's occurrences that have not ended.
_UNFINISHED = PreparedQuery(
    lambda schedule_id: Occurrence.objects.filter(schedule=schedule_id, outcome__in=OPEN).values_list("outcome"),
    UUID,
    make=Outcome,
)


@dataclass(frozen=True, slots=True)
class TickResult:
    """The result of processing a schedule: a run that was queued, and occurrences whose end has to be notified."""

    accepted: Accepted | None = None
    settled: tuple[int, ...] = ()


def due_schedules(now: datetime, limit: int) -> list[UUID]:
    """Schedules that are due, alternating between owners, so that no one waits for all schedules of another."""
    turn = Window(RowNumber(), partition_by="owner", order_by="next_at")
    waiting = Schedule.objects.filter(enabled=True, next_at__lte=now).annotate(turn=turn)
    return list(waiting.order_by("turn", "next_at").values_list("id", flat=True)[:limit])


@transaction.atomic
def claim(schedule_id: UUID, now: datetime) -> TickResult:
    """Process a schedule that is due, unless another process is doing so, or has."""
    schedule = lock_schedule(schedule_id, skip_locked=True)
    if schedule is None or not schedule.enabled or schedule.next_at is None or schedule.next_at > now:
        return TickResult()
    try:
        again = recurrence_of(schedule)
    except Invalid as invalid:
        pause_locked(schedule, PauseReason.REFUSED, invalid.message)
        schedule.save(update_fields=STATE_FIELDS)
        return TickResult()
    settled = _settle_own(schedule, now)
    if schedule.paused_because:
        # That was one failure too many.
        schedule.save(update_fields=STATE_FIELDS)
        return TickResult(settled=settled)
    due_at = again.latest(schedule.next_at, now) or schedule.next_at
    earlier = recurrence.count(again, schedule.next_at, due_at)
    is_missed = now - due_at > ON_TIME and schedule.missed == MissedPolicy.SKIP
    if is_missed:
        _record_missed(schedule, due_at, earlier + 1)
    elif earlier:
        _record_missed(schedule, again.latest(schedule.next_at, due_at - timedelta(microseconds=1)), earlier)
    schedule.next_at = again.after(due_at)
    if schedule.next_at is None:
        set_paused(schedule, PauseReason.DONE)
    result = TickResult()
    # If the clock was set back, that time may already have been processed.
    if not is_missed and not Occurrence.objects.filter(schedule=schedule, due_at=due_at).exists():
        result = _process(schedule, Occurrence(schedule=schedule, due_at=due_at), now)
    schedule.save(update_fields=STATE_FIELDS)
    return replace(result, settled=(*settled, *result.settled))


def _record_missed(schedule: Schedule, due_at: datetime | None, times: int) -> None:
    if due_at is not None:
        Occurrence.objects.get_or_create(
            schedule=schedule, due_at=due_at, defaults={"outcome": Outcome.MISSED, "times": times}
        )


def _process(schedule: Schedule, occurrence: Occurrence, now: datetime) -> TickResult:
    """Start a due occurrence, or apply the schedule's rule if its last run has not ended."""
    if others := _UNFINISHED.rows(schedule.pk):
        is_full = 0 < settings.MAX_QUEUED_RUNS <= others.count(Outcome.WAITING)
        if schedule.overlap == OverlapPolicy.SKIP or is_full:
            occurrence.outcome = Outcome.SKIPPED
            occurrence.reason = "overlap" if schedule.overlap == OverlapPolicy.SKIP else "queue_full"
        else:
            occurrence.outcome = Outcome.WAITING
        occurrence.save()
        return TickResult()
    return _start(schedule, occurrence, now)


def _start(schedule: Schedule, occurrence: Occurrence, now: datetime) -> TickResult:
    """Queue the run. A refusal pauses the schedule, except if the queue is just full."""
    try:
        accepted = _ask(schedule, occurrence)
    except Refused as refused:
        occurrence.outcome, occurrence.reason = Outcome.SKIPPED, refused.code
        # A set that is already running is run the next time.
        if refused.code not in ("queue_full", "conflict"):
            pause_locked(schedule, PauseReason.REFUSED, refused.message)
            occurrence.settled_at = now
        occurrence.save()
        return TickResult(settled=(occurrence.pk,) if occurrence.settled_at else ())
    occurrence.save()
    return TickResult(accepted=accepted)


def _ask(schedule: Schedule, occurrence: Occurrence) -> Accepted | None:
    """Queue the run; for a set, start to run it, which queues its runs itself."""
    if schedule.case_set_id is None:
        return _ask_message(schedule, occurrence)
    agent = schedule.agent_name
    occurrence.set_run = set_runs.begin(schedule.owner, schedule.case_set_id, agent_name=agent, door=Door.SCHEDULE)
    occurrence.outcome = Outcome.STARTED
    return None


def _ask_message(schedule: Schedule, occurrence: Occurrence) -> Accepted:
    if schedule.keeps_session and schedule.session_id is None:
        raise Refused("not_found", Sentence("Its session was deleted. Choose another one, or a new one each time."))
    accepted = run_commands.ask_by_clock(
        schedule.owner,
        schedule.session_id,
        message=schedule.message,
        agent_name=schedule.agent_name,
        title=schedule.name,
        client_message_id=f"sched:{schedule.pk.hex}:{round(occurrence.due_at.timestamp() * 1_000_000)}",
    )
    occurrence.outcome, occurrence.run_id = Outcome.STARTED, accepted.run_id
    return accepted


@transaction.atomic
def run_now(schedule_id: UUID, now: datetime, user: User | None = None) -> Accepted:
    """Run a schedule now, besides its times; the caller then calls `dispatch_accepted`. Without ``user``: an operator. Raises `Refused`."""
    schedule = lock_schedule(schedule_id) if user is None else own_schedule(user, schedule_id)
    if schedule is None:
        raise Refused("not_found", Sentence("There is no such schedule."))
    if schedule.case_set_id is not None:
        raise Refused("conflict", Sentence("It asks a set: ask that one now."))
    _settle_own(schedule, now)
    if Occurrence.objects.filter(schedule=schedule, outcome__in=OPEN).exists():
        raise Refused("conflict", Sentence("Its last run has not ended yet."))
    due_at = now
    while Occurrence.objects.filter(schedule=schedule, due_at=due_at).exists():
        due_at += timedelta(microseconds=1)
    occurrence = Occurrence(schedule=schedule, due_at=due_at, by_hand=True)
    accepted = _ask_message(schedule, occurrence)
    occurrence.save()
    schedule.save(update_fields=STATE_FIELDS)
    return accepted


def _waiting() -> QuerySet[Occurrence, tuple[UUID]]:
    at_work = Occurrence.objects.filter(IS_OPEN, schedule=OuterRef("schedule"), outcome=Outcome.STARTED)
    ready = Occurrence.objects.filter(IS_OPEN, ~Exists(at_work), outcome=Outcome.WAITING).order_by()
    return ready.values_list("schedule").distinct()


_WAITING: PreparedQuery[UUID] = PreparedQuery(_waiting, make=lambda key: key)


def waiting_schedules() -> list[UUID]:
    """Schedules with an occurrence that waits for a run which has ended meanwhile."""
    return _WAITING.rows()


@transaction.atomic
def start_waiting(schedule_id: UUID, now: datetime) -> TickResult:
    """Start the occurrence that has waited longest, if it may start now."""
    schedule = lock_schedule(schedule_id, skip_locked=True)
    if schedule is None or Occurrence.objects.filter(schedule=schedule, outcome=Outcome.STARTED).exists():
        return TickResult()
    occurrence = Occurrence.objects.filter(schedule=schedule, outcome=Outcome.WAITING).order_by("due_at").first()
    if occurrence is None:
        return TickResult()
    result = _start(schedule, occurrence, now)
    schedule.save(update_fields=STATE_FIELDS)
    return result


def _ended() -> QuerySet[Occurrence, tuple[UUID]]:
    ended = Q(set_run=None) & (Q(run=None) | ~Q(run__ended_at=None)) | Q(set_run__ended_at__isnull=False)
    started = Occurrence.objects.filter(IS_OPEN, ended, outcome=Outcome.STARTED)
    return started.order_by("pk").values_list("schedule")


_ENDED: PreparedQuery[UUID] = PreparedQuery(_ended, make=lambda key: key)


def ended_schedules() -> list[UUID]:
    """Schedules with an unsettled occurrence whose run has ended or was deleted."""
    return _ENDED.rows()


@transaction.atomic
def settle(schedule_id: UUID, now: datetime) -> TickResult:
    """Store how a schedule's run has ended, and pause the schedule if it has failed too often in a row."""
    schedule = lock_schedule_only(schedule_id, skip_locked=True)
    if schedule is None:
        return TickResult()
    settled = _settle_own(schedule, now)
    if settled:
        schedule.save(update_fields=STATE_FIELDS)
        _forget_old(schedule)
    return TickResult(settled=settled)


def _settle_own(schedule: Schedule, now: datetime) -> tuple[int, ...]:
    """Store how the run of a locked schedule has ended, if it has; the caller saves the schedule."""
    if Outcome.STARTED not in _UNFINISHED.rows(schedule.pk):
        return ()
    started = Occurrence.objects.select_related("run", "set_run")
    occurrence = started.filter(schedule=schedule, outcome=Outcome.STARTED).first()
    if occurrence is None or (ended := _end_of(occurrence)) is None:
        return ()
    occurrence.outcome, occurrence.reason = ended
    occurrence.settled_at = now
    occurrence.save(update_fields=("outcome", "reason", "settled_at"))
    if occurrence.outcome in FAILED:
        schedule.failures += 1
        if schedule.enabled and 0 < schedule.pause_after <= schedule.failures:
            pause_locked(schedule, PauseReason.FAILURES)
    elif occurrence.outcome == Outcome.COMPLETED:
        schedule.failures = 0
    return (occurrence.pk,)


def _end_of(occurrence: Occurrence) -> tuple[Outcome, str] | None:
    """The outcome of a started occurrence, and why; None while it is running. A set that was run to its end counts as completed."""
    run, set_run = occurrence.run, occurrence.set_run
    if set_run is not None:
        if set_run.ended_at is None:
            return None
        return (Outcome.CANCELLED if set_run.state == SetRunState.STOPPED else Outcome.COMPLETED), ""
    if run is None:
        # Its session was deleted, and the run with it.
        return Outcome.CANCELLED, "deleted"
    return None if run.ended_at is None or _is_continued(occurrence, run) else (Outcome(run.status), "")


def _is_continued(occurrence: Occurrence, run: Run) -> bool:
    """Whether the server continues an interrupted run automatically; then the continuation counts."""
    onward = auto_continue.continuation_of(run) if run.status == RunStatus.INTERRUPTED else None
    if onward is None:
        return False
    occurrence.run = onward
    occurrence.save(update_fields=("run",))
    return True


def _forget_old(schedule: Schedule) -> None:
    history = Occurrence.objects.filter(schedule=schedule).order_by("-due_at")
    oldest = history.values_list("due_at", flat=True)[KEPT : KEPT + 1].first()
    if oldest is not None:
        history.filter(due_at__lte=oldest).exclude(outcome__in=OPEN).delete()
