"""Schedules as pages, API and admin show them: next times, last occurrences, and rules as texts. Reads only."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import F, Q, QuerySet, Window
from django.db.models.functions import RowNumber
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from chat.accounts.models import User
from chat.models import MissedPolicy, Occurrence, Outcome, OverlapPolicy, PauseReason, Schedule
from chat.rendering import humanize
from chat.rendering.sentences import translate_sentence
from chat.schedules import humanize as schedule_humanize
from chat.schedules import recurrence
from chat.schedules.commands import recurrence_of
from chat.schedules.occurrences import FAILED
from chat.schedules.recurrence import Invalid

#: How many outcomes and times of a schedule are shown.
LAST = 20
NEXT = 5


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A schedule, its next times, and its last occurrences, oldest first."""

    schedule: Schedule
    zone: ZoneInfo
    words: str
    next: list[datetime]
    last: list[Occurrence]

    @property
    def running(self) -> Occurrence | None:
        """The occurrence whose run has not ended."""
        return next((one for one in reversed(self.last) if one.outcome == Outcome.STARTED), None)

    @property
    def rules(self) -> list[str]:
        """Its rules, as texts."""
        return schedule_rules(self.schedule)

    @property
    def paused(self) -> str:
        """Why it is paused, as a text; empty if it is not."""
        return pause_reason(self.schedule)


def schedule_row(schedule: Schedule) -> ScheduleRow:
    """One schedule for display."""
    return schedule_rows([schedule])[0]


def schedule_rows(schedules: Iterable[Schedule]) -> list[ScheduleRow]:
    """Schedules for display."""
    shown = list(schedules)
    last = _last([schedule.pk for schedule in shown])
    return [_schedule_row(schedule, last.get(schedule.pk, [])) for schedule in shown]


def _schedule_row(schedule: Schedule, last: list[Occurrence]) -> ScheduleRow:
    try:
        zone = recurrence.zone(schedule.time_zone)
        again = recurrence_of(schedule)
    except Invalid as invalid:
        return ScheduleRow(schedule, ZoneInfo("UTC"), translate_sentence(invalid.message), [], last)
    times = [schedule.next_at, *recurrence.next_times(again, schedule.next_at, NEXT - 1)] if schedule.next_at else []
    return ScheduleRow(schedule, zone, schedule_humanize.recurrence_words(again, zone), times, last)


def in_words(schedule: Schedule) -> str:
    """When it runs, as a text; or what is wrong, if this machine cannot compute it."""
    try:
        return schedule_humanize.recurrence_words(recurrence_of(schedule), recurrence.zone(schedule.time_zone))
    except Invalid as invalid:
        return translate_sentence(invalid.message)


def _last(schedule_ids: list[UUID]) -> dict[UUID, list[Occurrence]]:
    place = Window(RowNumber(), partition_by="schedule", order_by=F("due_at").desc())
    found = Occurrence.objects.filter(schedule__in=schedule_ids).annotate(place=place).filter(place__lte=LAST)
    last: dict[UUID, list[Occurrence]] = {}
    for occurrence in found.select_related("run", "set_run").order_by("due_at"):
        last.setdefault(occurrence.schedule_id, []).append(occurrence)
    return last


def schedules_of(user: User) -> QuerySet[Schedule]:
    """The user's own schedules, newest first."""
    return Schedule.objects.filter(owner=user).select_related("session", "case_set").order_by("-created_at", "-id")


def schedules_after(found: QuerySet[Schedule], last: Schedule) -> QuerySet[Schedule]:
    """Those of `schedules_of` that come after one."""
    earlier = Q(created_at__lt=last.created_at) | Q(created_at=last.created_at, pk__lt=last.pk)
    return found.filter(earlier)


def took_ms(occurrence: Occurrence) -> int | None:
    """How long its run took, in milliseconds, once it has ended."""
    run, set_run = occurrence.run, occurrence.set_run
    if set_run is not None and set_run.ended_at is not None:
        return round((set_run.ended_at - set_run.created_at).total_seconds() * 1000)
    if run is None or run.started_at is None or run.ended_at is None:
        return None
    return round((run.ended_at - run.started_at).total_seconds() * 1000)


def schedule_rules(schedule: Schedule) -> list[str]:
    """The rules for missed times, overlapping times and failures, as texts."""
    missed = {
        MissedPolicy.ONCE: _("Times missed while no server ran are made up for once."),
        MissedPolicy.SKIP: _("Times missed while no server ran are skipped."),
    }
    overlap = {
        OverlapPolicy.QUEUE: _("While the last run is in progress, the next one waits."),
        OverlapPolicy.SKIP: _("While the last run is in progress, the next one is skipped."),
    }
    number = schedule.pause_after
    after = (
        ngettext("It pauses after %(n)d failure.", "It pauses after %(n)d failures in a row.", number) % {"n": number}
        if number
        else _("It never pauses by itself.")
    )
    return [missed[MissedPolicy(schedule.missed)], overlap[OverlapPolicy(schedule.overlap)], after]


def pause_reason(schedule: Schedule) -> str:
    """Why it is paused, as a text; empty if it is not."""
    if schedule.enabled:
        return ""
    match schedule.paused_because:
        case PauseReason.DONE:
            return _("Done; nothing is due any more.")
        case PauseReason.FAILURES:
            n = schedule.failures
            return ngettext("Paused after %(n)d failure.", "Paused after %(n)d failures in a row.", n) % {"n": n}
        case PauseReason.REFUSED:
            # Stored in English: a sentence without values is its own key for the translation.
            return _("Paused: %(why)s") % {"why": _(schedule.paused_words) if schedule.paused_words else ""}
        case PauseReason.OPERATOR:
            return _("Paused by an operator.")
        case PauseReason.HANDED_OVER:
            return _("Paused, because its session has another owner now.")
    return _("Paused.")


def outcome_word(occurrence: Occurrence) -> str:
    """The outcome of a due time, as a word."""
    match occurrence.outcome:
        case Outcome.WAITING:
            return _("Waiting for the last one")
        case Outcome.STARTED:
            return (
                humanize.status("running", begun=False)
                if occurrence.run is None
                else humanize.status(occurrence.run.status)
            )
        case Outcome.MISSED:
            if occurrence.times > 1:
                is_more = occurrence.times >= recurrence.COUNTED
                counted = f"{recurrence.COUNTED}+" if is_more else str(occurrence.times)
                return ngettext("Missed, %(n)s time", "Missed, %(n)s times", occurrence.times) % {"n": counted}
            return _("Missed")
        case Outcome.SKIPPED:
            return _("Skipped: %(why)s") % {"why": _why_skipped(occurrence.reason)}
    return humanize.status(occurrence.outcome)


def _why_skipped(reason: str) -> str:
    match reason:
        case "overlap":
            return _("the last one was still running")
        case "queue_full":
            return _("too many were waiting")
        case "paused":
            return _("the schedule was paused")
        case "not_found":
            return _("its session was gone")
    return _("it could not be asked")


def outcome_kind(occurrence: Occurrence) -> str:
    """The kind of mark for an outcome: ``ok``, ``bad``, ``skip``, ``now``."""
    if occurrence.outcome in FAILED:
        return "bad"
    if occurrence.outcome in (Outcome.SKIPPED, Outcome.MISSED, Outcome.CANCELLED):
        return "skip"
    return "now" if occurrence.outcome in (Outcome.STARTED, Outcome.WAITING) else "ok"
