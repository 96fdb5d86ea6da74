"""The use case of schedules, and the only writer of their tables: make, change, pause, run now, see to what is due.

A due time is claimed by its row in the table of occurrences, in one transaction with the run that it causes and with the schedule's
move to the next one. So whoever does it, and wherever that process is killed or frozen, either all of it has happened or nothing: no
due time has two runs, and none is lost. That run waits in its session's line, to be started by any process.

At most one run of a schedule is unfinished. Rows are locked in the order session, schedule, occurrence.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, Window
from django.db.models.functions import RowNumber

import agents
from chat.access import may_drive, role_in
from chat.models import IS_OPEN, OPEN, Missed, Occurrence, Outcome, Overlap, Paused, Run, RunStatus, Schedule, Session
from chat.protocol import as_uuid
from chat.runs import auto_continue
from chat.runs import commands as run_commands
from chat.runs.commands import Accepted, Refused
from chat.schedules import recurrence
from chat.schedules.recurrence import Invalid, Recurrence

logger = logging.getLogger(__name__)

#: A due time that is seen to later than this was missed. Longer than thousands that are due at once may take.
ON_TIME = timedelta(minutes=5)
#: Occurrences of a schedule that are kept.
KEPT = 200
MOST_FAILURES = 100
LONGEST_NAME = 200

#: Ends that count as a failure; one that a person stopped counts as nothing.
FAILED = (Outcome.FAILED, Outcome.INTERRUPTED, Outcome.MAX_ITERATIONS)

#: What changes of a schedule while it runs.
_STATE = ("enabled", "paused_because", "paused_words", "failures", "next_at")

#: The three ways of saying when; exactly one is used.
WHEN = ("at", "every_minutes", "cron")


class BadField(Refused):
    """A schedule cannot be like this; ``field`` says of what."""

    def __init__(self, field: str, message: str, code: str = "bad_frame") -> None:
        super().__init__(code, message)
        self.field = field


def recurrence_of(schedule: Schedule) -> Recurrence:
    """When it is due. Raises `Invalid` where this machine does not know its zone any more."""
    if schedule.at is not None:
        return recurrence.Once(schedule.at)
    if schedule.every_minutes is not None:
        return recurrence.Every(schedule.every_minutes, schedule.since)
    return recurrence.Cron(schedule.cron, recurrence.zone(schedule.time_zone))


# Making and changing


@transaction.atomic
def make(user: User, fields: Mapping[str, Any], now: datetime) -> Schedule:
    """Make a schedule of what a person says; see `change` for the fields. Raises `Refused`."""
    most = settings.MAX_SCHEDULES_PER_USER
    # Held, so that of two made at once the second is counted too.
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if most and Schedule.objects.filter(owner=user).count() >= most:
        raise Refused("rate_limited", f"You have {most:,} schedules, and more are not allowed. Delete one first.")
    schedule = Schedule(owner=user, since=now)
    _apply(schedule, user, {"name": "", "message": "", "agent_name": "", "time_zone": "UTC", **fields}, now)
    if not any(fields.get(name) is not None for name in WHEN):
        raise BadField("when", "Say when: at, every_minutes or cron.")
    if fields.get("enabled", True):
        _resume(schedule, now)
    else:
        _stop(schedule, Paused.USER)
    schedule.save(force_insert=True)
    return schedule


def preview(user: User, fields: Mapping[str, Any], now: datetime) -> Schedule:
    """A schedule that is due as these fields say, to be looked at and never kept. Raises `Refused`."""
    schedule = Schedule(owner=user, since=now, time_zone="UTC")
    _apply(schedule, user, fields, now)
    _resume(schedule, now)
    return schedule


@transaction.atomic
def change(user: User, schedule_id: UUID, fields: Mapping[str, Any], now: datetime) -> Schedule:
    """Change what is named: name, message, agent_name, session_id, at or every_minutes or cron, time_zone, missed, overlap,
    pause_after, enabled. Raises `Refused`.
    """  # noqa: D205 - a list of names is no summary
    schedule = _own(user, schedule_id)
    was_done = schedule.paused_because == Paused.DONE
    moved = _apply(schedule, user, fields, now)
    enabled = fields.get("enabled", schedule.enabled or (moved and was_done))
    if enabled and (moved or not schedule.enabled):
        _resume(schedule, now)
    elif schedule.enabled and not enabled:
        _pause(schedule, Paused.USER)
    schedule.save()
    return schedule


@transaction.atomic
def pause(schedule_id: UUID) -> bool:
    """Pause it in an operator's name; False where it is gone or paused already."""
    schedule = _held(schedule_id)
    if schedule is None or not schedule.enabled:
        return False
    _pause(schedule, Paused.OPERATOR)
    schedule.save()
    return True


@transaction.atomic
def resume(schedule_id: UUID, now: datetime) -> None:
    """Let it run again, in an operator's name. Raises `Refused`."""
    schedule = _held(schedule_id)
    if schedule is None:
        raise Refused("not_found", "There is no such schedule.")
    _resume(schedule, now)
    schedule.save()


@transaction.atomic
def remove(user: User, schedule_id: UUID) -> None:
    """Delete it and its history; runs that it has caused stay, also one at work. Raises `Refused`."""
    schedule = _own(user, schedule_id)
    schedule.delete()


def _own(user: User, schedule_id: UUID) -> Schedule:
    schedule = _held(schedule_id)
    if schedule is None or schedule.owner_id != user.pk:
        raise Refused("not_found", "There is no such schedule.")
    return schedule


def _held(schedule_id: UUID, *, skip_locked: bool = False) -> Schedule | None:
    """The schedule, and before it the session it runs in, held for the rest of the transaction; None where it is gone.

    With ``skip_locked`` also None where somebody else holds one of them, who may be frozen: nobody is to wait for that.
    """
    session_id = Schedule.objects.filter(pk=schedule_id).values_list("session", flat=True).first()
    if session_id is not None:
        session = Session.objects.select_for_update(skip_locked=skip_locked).filter(pk=session_id)
        if session.values_list("pk").first() is None and skip_locked:
            return None
    return _alone(schedule_id, skip_locked=skip_locked)


def _alone(schedule_id: UUID, *, skip_locked: bool) -> Schedule | None:
    held = Schedule.objects.select_for_update(of=("self",), skip_locked=skip_locked)
    return held.select_related("owner").filter(pk=schedule_id).first()


def _apply(schedule: Schedule, user: User, fields: Mapping[str, Any], now: datetime) -> bool:
    """Take over what is named, checked; whether it says anew when the schedule is due."""
    if "message" in fields:
        run_commands.check_message(fields["message"])
        schedule.message = fields["message"]
    if "name" in fields:
        schedule.name = " ".join(fields["name"].split()) or run_commands.title_from(schedule.message)
        if len(schedule.name) > LONGEST_NAME:
            raise BadField(
                "name", f"The name has {len(schedule.name):,} characters; at most {LONGEST_NAME} are allowed."
            )
    if "session_id" in fields:
        _aim(schedule, user, fields["session_id"])
    if "agent_name" in fields:
        its_own = schedule.session.agent_name if schedule.session is not None else agents.DEFAULT_AGENT
        schedule.agent_name = fields["agent_name"] or its_own
        run_commands.check_agent(schedule.agent_name)
    _set_rules(schedule, fields)
    try:
        return _set_when(schedule, fields, now)
    except Invalid as invalid:
        raise BadField(invalid.field, invalid.message) from None


def _set_rules(schedule: Schedule, fields: Mapping[str, Any]) -> None:
    for rule, choices in (("missed", Missed), ("overlap", Overlap)):
        if rule in fields:
            if fields[rule] not in choices.values:
                raise BadField(rule, f"One of {', '.join(choices.values)}.")
            setattr(schedule, rule, fields[rule])
    if "pause_after" in fields:
        if not 0 <= fields["pause_after"] <= MOST_FAILURES:
            raise BadField("pause_after", f"It must be a whole number from 0, which is never, to {MOST_FAILURES}.")
        schedule.pause_after = fields["pause_after"]


def _aim(schedule: Schedule, user: User, session_id: str | None) -> None:
    """Let it run in one session from now on, or in a new one each time."""
    if session_id is None:
        schedule.keeps_session, schedule.session = False, None
        return
    key = as_uuid(session_id)
    session = Session.objects.filter(pk=key).first() if key else None
    role = role_in(user, session) if session is not None else None
    if session is None or role is None:
        raise BadField("session_id", "There is no such session.", "not_found")
    if not may_drive(role):
        raise BadField("session_id", "You may watch this session, but not steer it.", "not_allowed")
    schedule.keeps_session, schedule.session = True, session


def _set_when(schedule: Schedule, fields: Mapping[str, Any], now: datetime) -> bool:
    given = [name for name in WHEN if fields.get(name) is not None]
    if len(given) > 1:
        raise BadField("when", f"Say when in one way only, not by {' and '.join(given)}.")
    moved = bool(given)
    if "time_zone" in fields:
        zone = recurrence.zone(fields["time_zone"])
        # Only a cron expression is read by the zone's clock.
        moved = moved or (bool(schedule.cron) and schedule.time_zone != zone.key)
        schedule.time_zone = zone.key
    zone = recurrence.zone(schedule.time_zone)
    if given:
        schedule.at, schedule.every_minutes, schedule.cron = None, None, ""
    match given:
        case ["at"]:
            schedule.at = recurrence.once(fields["at"], now, zone).at
        case ["every_minutes"]:
            made = recurrence.every(fields["every_minutes"], now.replace(second=0, microsecond=0))
            schedule.every_minutes, schedule.since = made.minutes, made.since
        case ["cron"]:
            schedule.cron = recurrence.cron(fields["cron"], now, zone).expression
        case _ if moved:
            recurrence.cron(schedule.cron, now, zone)
    return moved


def _resume(schedule: Schedule, now: datetime) -> None:
    """Let it run from now on; what was due while it was paused has not been missed."""
    schedule.next_at = recurrence_of(schedule).after(now)
    if schedule.next_at is None:
        raise BadField("at", "That time is past. Choose one that is still to come.")
    schedule.enabled, schedule.paused_because, schedule.paused_words, schedule.failures = True, "", "", 0


def _pause(schedule: Schedule, because: Paused, words: str = "") -> None:
    """Let it run no more; what waits is given up."""
    _stop(schedule, because, words)
    waiting = Occurrence.objects.filter(schedule=schedule, outcome=Outcome.WAITING)
    waiting.update(outcome=Outcome.SKIPPED, reason="paused")


def _stop(schedule: Schedule, because: Paused, words: str = "") -> None:
    schedule.enabled, schedule.next_at = False, None
    schedule.paused_because, schedule.paused_words = because, words[:300]


# What is due


@dataclass(frozen=True, slots=True)
class Seen:
    """What seeing to something has brought about: a run that is in line now, and occurrences whose end is to be told."""

    accepted: Accepted | None = None
    settled: tuple[int, ...] = ()


def due(now: datetime, limit: int) -> list[UUID]:
    """Schedules that are due: the owners in turn, so that nobody waits behind all of somebody else's."""
    turn = Window(RowNumber(), partition_by="owner", order_by="next_at")
    waiting = Schedule.objects.filter(enabled=True, next_at__lte=now).annotate(turn=turn)
    return list(waiting.order_by("turn", "next_at").values_list("id", flat=True)[:limit])


@transaction.atomic
def claim(schedule_id: UUID, now: datetime) -> Seen:
    """See to a schedule that is due, unless somebody else does, or has."""
    schedule = _held(schedule_id, skip_locked=True)
    if schedule is None or not schedule.enabled or schedule.next_at is None or schedule.next_at > now:
        return Seen()
    try:
        again = recurrence_of(schedule)
    except Invalid as invalid:
        _pause(schedule, Paused.REFUSED, invalid.message)
        schedule.save(update_fields=_STATE)
        return Seen()
    settled = _settle_own(schedule, now)
    if schedule.paused_because:
        # That was one failure too many.
        schedule.save(update_fields=_STATE)
        return Seen(settled=settled)
    due_at = again.latest(schedule.next_at, now) or schedule.next_at
    earlier = recurrence.count(again, schedule.next_at, due_at)
    is_missed = now - due_at > ON_TIME and schedule.missed == Missed.SKIP
    if is_missed:
        _record_missed(schedule, due_at, earlier + 1)
    elif earlier:
        _record_missed(schedule, again.latest(schedule.next_at, due_at - timedelta(microseconds=1)), earlier)
    schedule.next_at = again.after(due_at)
    if schedule.next_at is None:
        _stop(schedule, Paused.DONE)
    seen = Seen()
    # Where the clock was set back, that time may have been seen to before.
    if not is_missed and not Occurrence.objects.filter(schedule=schedule, due_at=due_at).exists():
        seen = _see_to(schedule, Occurrence(schedule=schedule, due_at=due_at), now)
    schedule.save(update_fields=_STATE)
    return replace(seen, settled=(*settled, *seen.settled))


def _record_missed(schedule: Schedule, due_at: datetime | None, times: int) -> None:
    if due_at is not None:
        Occurrence.objects.get_or_create(
            schedule=schedule, due_at=due_at, defaults={"outcome": Outcome.MISSED, "times": times}
        )


def _see_to(schedule: Schedule, occurrence: Occurrence, now: datetime) -> Seen:
    """Start what is due, or do as the schedule's rule says where its last run has not ended."""
    unfinished = Occurrence.objects.filter(schedule=schedule, outcome__in=OPEN).values_list("outcome", flat=True)
    if others := list(unfinished):
        is_full = 0 < settings.MAX_QUEUED_RUNS <= others.count(Outcome.WAITING)
        if schedule.overlap == Overlap.SKIP or is_full:
            occurrence.outcome = Outcome.SKIPPED
            occurrence.reason = "overlap" if schedule.overlap == Overlap.SKIP else "queue_full"
        else:
            occurrence.outcome = Outcome.WAITING
        occurrence.save()
        return Seen()
    return _start(schedule, occurrence, now)


def _start(schedule: Schedule, occurrence: Occurrence, now: datetime) -> Seen:
    """Put the run in line. What refuses it pauses the schedule, but for a line that is full just now."""
    try:
        accepted = _ask(schedule, occurrence)
    except Refused as refused:
        occurrence.outcome, occurrence.reason = Outcome.SKIPPED, refused.code
        if refused.code != "queue_full":
            _pause(schedule, Paused.REFUSED, refused.message)
            occurrence.settled_at = now
        occurrence.save()
        return Seen(settled=(occurrence.pk,) if occurrence.settled_at else ())
    occurrence.save()
    return Seen(accepted=accepted)


def _ask(schedule: Schedule, occurrence: Occurrence) -> Accepted:
    if schedule.keeps_session and schedule.session_id is None:
        raise Refused("not_found", "Its session was deleted. Choose another one, or a new one each time.")
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
    """Run it once more, besides its times; the caller then calls `runs.set_going`. None is an operator's. Raises `Refused`."""
    schedule = _held(schedule_id) if user is None else _own(user, schedule_id)
    if schedule is None:
        raise Refused("not_found", "There is no such schedule.")
    _settle_own(schedule, now)
    if Occurrence.objects.filter(schedule=schedule, outcome__in=OPEN).exists():
        raise Refused("conflict", "Its last run has not ended yet.")
    due_at = now
    while Occurrence.objects.filter(schedule=schedule, due_at=due_at).exists():
        due_at += timedelta(microseconds=1)
    occurrence = Occurrence(schedule=schedule, due_at=due_at, by_hand=True)
    accepted = _ask(schedule, occurrence)
    occurrence.save()
    schedule.save(update_fields=_STATE)
    return accepted


def waiting() -> list[UUID]:
    """Schedules of which an occurrence waits for a run that has ended meanwhile."""
    at_work = Occurrence.objects.filter(IS_OPEN, schedule=OuterRef("schedule"), outcome=Outcome.STARTED)
    ready = Occurrence.objects.filter(IS_OPEN, ~Exists(at_work), outcome=Outcome.WAITING).order_by()
    return list(ready.values_list("schedule", flat=True).distinct())


@transaction.atomic
def start_waiting(schedule_id: UUID, now: datetime) -> Seen:
    """Start the occurrence that has waited longest, where nothing stands in its way any more."""
    schedule = _held(schedule_id, skip_locked=True)
    if schedule is None or Occurrence.objects.filter(schedule=schedule, outcome=Outcome.STARTED).exists():
        return Seen()
    occurrence = Occurrence.objects.filter(schedule=schedule, outcome=Outcome.WAITING).order_by("due_at").first()
    if occurrence is None:
        return Seen()
    seen = _start(schedule, occurrence, now)
    schedule.save(update_fields=_STATE)
    return seen


# How it ended


def ended() -> list[UUID]:
    """Schedules whose run has ended, or is gone, which nobody has noted yet."""
    started = Occurrence.objects.filter(IS_OPEN, Q(run=None) | ~Q(run__ended_at=None), outcome=Outcome.STARTED)
    return list(started.order_by("pk").values_list("schedule", flat=True))


@transaction.atomic
def settle(schedule_id: UUID, now: datetime) -> Seen:
    """Note how a schedule's run has ended, and pause it where it has failed too often in a row."""
    schedule = _alone(schedule_id, skip_locked=True)
    if schedule is None:
        return Seen()
    settled = _settle_own(schedule, now)
    if settled:
        schedule.save(update_fields=_STATE)
        _forget_old(schedule)
    return Seen(settled=settled)


def _settle_own(schedule: Schedule, now: datetime) -> tuple[int, ...]:
    """Note how the run of a schedule that is held has ended, where it has; the caller saves the schedule."""
    occurrence = Occurrence.objects.select_related("run").filter(schedule=schedule, outcome=Outcome.STARTED).first()
    if occurrence is None:
        return ()
    run = occurrence.run
    if run is not None and (run.ended_at is None or _goes_on(occurrence, run)):
        return ()
    if run is None:
        # Its session was deleted, and the run with it.
        occurrence.outcome, occurrence.reason = Outcome.CANCELLED, "deleted"
    else:
        occurrence.outcome = Outcome(run.status)
    occurrence.settled_at = now
    occurrence.save(update_fields=("outcome", "reason", "settled_at"))
    if occurrence.outcome in FAILED:
        schedule.failures += 1
        if schedule.enabled and 0 < schedule.pause_after <= schedule.failures:
            _pause(schedule, Paused.FAILURES)
    elif occurrence.outcome == Outcome.COMPLETED:
        schedule.failures = 0
    return (occurrence.pk,)


def _goes_on(occurrence: Occurrence, run: Run) -> bool:
    """Whether the server itself goes on from an interrupted run; then that one counts."""
    onward = auto_continue.of(run) if run.status == RunStatus.INTERRUPTED else None
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
