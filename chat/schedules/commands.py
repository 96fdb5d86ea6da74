"""The use cases of schedules, and the only writer of their tables: create, change, pause, run now, process what is due.

A due time is claimed by its row in the table of occurrences, in the same transaction as the run that it causes and the schedule's
advance to the next due time. So whichever process does it, and wherever it is killed or suspended, all of it happens or nothing: no
due time has two runs, and none is lost. The run is put into its session's queue, and any process may start it.

At most one run of a schedule is unfinished. Rows are locked in the order session, schedule, occurrence.
"""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

import agents
from agents.sentence import Sentence
from chat.access import may_drive, role_in, role_in_set
from chat.accounts.models import User
from chat.models import (
    Act,
    CaseSet,
    Door,
    MissedPolicy,
    Occurrence,
    Outcome,
    OverlapPolicy,
    PauseReason,
    Schedule,
    Session,
)
from chat.protocol import ErrorCode, as_uuid
from chat.runs import admission, sessions
from chat.runs.admission import Refused
from chat.runtime.prepared import PreparedQuery
from chat.schedules import recurrence
from chat.schedules.recurrence import Invalid, Recurrence
from chat.security import audit

logger = logging.getLogger(__name__)
MOST_FAILURES = 100
LONGEST_NAME = 200

#: Fields that change while a schedule runs.
STATE_FIELDS = ("enabled", "paused_because", "paused_words", "failures", "next_at")

#: The three ways to say when it runs; exactly one is used.
WHEN = ("at", "every_minutes", "cron")


class BadField(Refused):
    """A schedule cannot be like this; ``field`` names the wrong field."""

    def __init__(self, field: str, message: str, code: ErrorCode = "bad_frame") -> None:
        super().__init__(code, message)
        self.field = field


def recurrence_of(schedule: Schedule) -> Recurrence:
    """When it is due. Raises `Invalid` if this machine does not know its time zone any more."""
    if schedule.at is not None:
        return recurrence.Once(schedule.at)
    if schedule.every_minutes is not None:
        return recurrence.Every(schedule.every_minutes, schedule.since)
    return recurrence.Cron(schedule.cron, recurrence.zone(schedule.time_zone))


@transaction.atomic
def make(user: User, fields: Mapping[str, Any], now: datetime) -> Schedule:
    """Create a schedule from a user's fields; see `change` for them. Raises `Refused`."""
    most = settings.MAX_SCHEDULES_PER_USER
    # Locked, so that of two simultaneous requests the second counts the first.
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if most and Schedule.objects.filter(owner=user).count() >= most:
        raise Refused(
            "rate_limited",
            Sentence("The limit on schedules is %(n)s. Delete one first.", n=f"{most:,}"),
        )
    schedule = Schedule(owner=user, since=now)
    _apply(schedule, user, {"name": "", "message": "", "agent_name": "", "time_zone": "UTC", **fields}, now)
    if not any(fields.get(name) is not None for name in WHEN):
        raise BadField("when", Sentence("Say when: at, every_minutes or cron."))
    if fields.get("enabled", True):
        _resume(schedule, now)
    else:
        set_paused(schedule, PauseReason.USER)
    schedule.save(force_insert=True)
    return schedule


def preview(user: User, fields: Mapping[str, Any], now: datetime) -> Schedule:
    """A schedule with these fields, to be shown and never saved. Raises `Refused`."""
    schedule = Schedule(owner=user, since=now, time_zone="UTC")
    _apply(schedule, user, fields, now)
    _resume(schedule, now)
    return schedule


@transaction.atomic
def change(user: User, schedule_id: UUID, fields: Mapping[str, Any], now: datetime) -> Schedule:
    """Change the given fields of a schedule. Raises `Refused`.

    The fields: name, message or set_id, agent_name, session_id, at or every_minutes or cron, time_zone, missed, overlap,
    pause_after, enabled.
    """
    schedule = own_schedule(user, schedule_id)
    was_done = schedule.paused_because == PauseReason.DONE
    moved = _apply(schedule, user, fields, now)
    enabled = fields.get("enabled", schedule.enabled or (moved and was_done))
    if enabled and (moved or not schedule.enabled):
        _resume(schedule, now)
    elif schedule.enabled and not enabled:
        pause_locked(schedule, PauseReason.USER)
    schedule.save()
    return schedule


@transaction.atomic
def pause(schedule_id: UUID) -> bool:
    """Pause a schedule in an operator's name. Returns False if it was deleted or is already paused."""
    schedule = lock_schedule(schedule_id)
    if schedule is None or not schedule.enabled:
        return False
    pause_locked(schedule, PauseReason.OPERATOR)
    schedule.save()
    return True


@transaction.atomic
def resume(schedule_id: UUID, now: datetime) -> None:
    """Resume a schedule in an operator's name. Raises `Refused`."""
    schedule = lock_schedule(schedule_id)
    if schedule is None:
        raise Refused("not_found", Sentence("There is no such schedule."))
    _resume(schedule, now)
    schedule.save()


@transaction.atomic
def remove(user: User, schedule_id: UUID, door: Door) -> None:
    """Delete a schedule and its history; its runs stay, including a running one. Raises `Refused`."""
    schedule = own_schedule(user, schedule_id)
    audit.record_action(user.pk, Act.DELETE, door, subject_id=user.pk, about=f"schedule {schedule.pk}")
    schedule.delete()


def own_schedule(user: User, schedule_id: UUID) -> Schedule:
    """A user's schedule, locked for the rest of the transaction. Raises `Refused`."""
    schedule = lock_schedule(schedule_id)
    if schedule is None or schedule.owner_id != user.pk:
        raise Refused("not_found", Sentence("There is no such schedule."))
    return schedule


#: The session that a schedule runs in; None if it creates a new one each time.
_SESSION_OF: PreparedQuery[UUID | None] = PreparedQuery(
    lambda schedule_id: Schedule.objects.filter(pk=schedule_id).order_by().values_list("session"),
    UUID,
    make=lambda key: key,
)


def lock_schedule(schedule_id: UUID, *, skip_locked: bool = False) -> Schedule | None:
    """Lock a schedule, and before it the session it runs in, for the rest of the transaction. None if it was deleted.

    With ``skip_locked`` also None if another transaction has locked one of them: that one may hang, and nobody should wait for it.
    """
    session_id = next(iter(_SESSION_OF.rows(schedule_id)), None)
    if session_id is not None:
        session = Session.objects.select_for_update(skip_locked=skip_locked).filter(pk=session_id)
        if session.values_list("pk").first() is None and skip_locked:
            return None
    return lock_schedule_only(schedule_id, skip_locked=skip_locked)


def lock_schedule_only(schedule_id: UUID, *, skip_locked: bool) -> Schedule | None:
    """Lock only the schedule for the rest of the transaction. None if it was deleted."""
    held = Schedule.objects.select_for_update(of=("self",), skip_locked=skip_locked)
    return held.select_related("owner").filter(pk=schedule_id).first()


def _apply(schedule: Schedule, user: User, fields: Mapping[str, Any], now: datetime) -> bool:
    """Validate and apply the given fields. Returns whether the due times have changed."""
    if "set_id" in fields:
        _set_case_set(schedule, user, fields["set_id"])
    if schedule.case_set is not None:
        fields = _of_a_set(schedule, schedule.case_set, fields)
    if "message" in fields:
        admission.check_message(fields["message"])
        schedule.message = fields["message"]
    if "name" in fields:
        schedule.name = " ".join(fields["name"].split()) or sessions.title_from(schedule.message)
        if len(schedule.name) > LONGEST_NAME:
            raise BadField(
                "name",
                Sentence(
                    "The name has %(n)s characters; at most %(most)s are allowed.",
                    n=f"{len(schedule.name):,}",
                    most=LONGEST_NAME,
                ),
            )
    if "session_id" in fields:
        _set_session(schedule, user, fields["session_id"])
    if "agent_name" in fields:
        its_own = schedule.session.agent_name if schedule.session is not None else agents.DEFAULT_AGENT
        schedule.agent_name = fields["agent_name"] or its_own
        admission.check_agent(schedule.agent_name, schedule.owner_id)
    _set_rules(schedule, fields)
    try:
        return _set_when(schedule, fields, now)
    except Invalid as invalid:
        raise BadField(invalid.field, invalid.message) from None


def _of_a_set(schedule: Schedule, case_set: CaseSet, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The given fields, for a schedule of a set: the questions are the set's, and each has a session of its own."""
    if fields.get("message", "").strip() or fields.get("session_id") is not None:
        raise BadField(
            "set_id", Sentence("A set has questions and sessions of its own: name no message and no session.")
        )
    schedule.message = ""
    _set_session(schedule, schedule.owner, None)
    named = {name: value for name, value in fields.items() if name not in ("message", "session_id")}
    if "name" in named:
        named["name"] = named["name"].strip() or case_set.name
    if "agent_name" in named:
        named["agent_name"] = named["agent_name"] or case_set.agent_name
    return named


def _set_case_set(schedule: Schedule, user: User, set_id: str | None) -> None:
    """Have it run a set of the user's from now on, or send a message."""
    if set_id is None:
        schedule.case_set = None
        return
    key = as_uuid(set_id)
    case_set = CaseSet.objects.filter(pk=key).first() if key else None
    role = role_in_set(user.pk, case_set) if case_set is not None else None
    if role is None:
        raise BadField("set_id", Sentence("There is no such set."), "not_found")
    if not may_drive(role):
        raise BadField("set_id", Sentence("You may see this set, but neither change nor ask it."), "not_allowed")
    schedule.case_set = case_set


def _set_rules(schedule: Schedule, fields: Mapping[str, Any]) -> None:
    for rule, choices in (("missed", MissedPolicy), ("overlap", OverlapPolicy)):
        if rule in fields:
            if fields[rule] not in choices.values:
                raise BadField(rule, Sentence("One of %(choices)s.", choices=", ".join(choices.values)))
            setattr(schedule, rule, fields[rule])
    if "pause_after" in fields:
        if not 0 <= fields["pause_after"] <= MOST_FAILURES:
            raise BadField(
                "pause_after",
                Sentence("It must be a whole number from 0, which is never, to %(most)d.", most=MOST_FAILURES),
            )
        schedule.pause_after = fields["pause_after"]


def _set_session(schedule: Schedule, user: User, session_id: str | None) -> None:
    """Have it use one session from now on, or a new one each time."""
    if session_id is None:
        schedule.keeps_session, schedule.session = False, None
        return
    key = as_uuid(session_id)
    session = Session.objects.filter(pk=key).first() if key else None
    role = role_in(user, session) if session is not None else None
    if session is None or role is None:
        raise BadField("session_id", Sentence("There is no such session."), "not_found")
    if not may_drive(role):
        raise BadField("session_id", Sentence("You may watch this session, but not steer it."), "not_allowed")
    schedule.keeps_session, schedule.session = True, session


def _set_when(schedule: Schedule, fields: Mapping[str, Any], now: datetime) -> bool:
    given = [name for name in WHEN if fields.get(name) is not None]
    if len(given) > 1:
        raise BadField("when", Sentence("Say when in one way only, not by %(ways)s.", ways=" and ".join(given)))
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
    """Let it run from now on; times that were due while it was paused do not count as missed."""
    schedule.next_at = recurrence_of(schedule).after(now)
    if schedule.next_at is None:
        raise BadField("at", Sentence("That time is past. Choose one that is still to come."))
    schedule.enabled, schedule.paused_because, schedule.paused_words, schedule.failures = True, "", "", 0


def pause_locked(schedule: Schedule, reason: PauseReason, text: str = "") -> None:
    """Pause a locked schedule; pending occurrences are dropped."""
    set_paused(schedule, reason, text)
    waiting = Occurrence.objects.filter(schedule=schedule, outcome=Outcome.WAITING)
    waiting.update(outcome=Outcome.SKIPPED, reason="paused")


def pause_into(session_id: UUID) -> None:
    """Pause all schedules of a session, which the caller has locked, because it has a new owner."""
    for schedule in Schedule.objects.select_for_update().filter(session=session_id, enabled=True):
        pause_locked(schedule, PauseReason.HANDED_OVER)
        schedule.save()


def set_paused(schedule: Schedule, reason: PauseReason, text: str = "") -> None:
    """Mark a schedule as paused, with a reason; pending occurrences stay."""
    schedule.enabled, schedule.next_at = False, None
    schedule.paused_because, schedule.paused_words = reason, text[:300]
