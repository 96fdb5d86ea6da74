"""Schedules in the admin."""

from collections.abc import Mapping
from typing import Any, ClassVar

from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.admin.utils import flatten
from django.db.models import F, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils.formats import date_format
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext
from django.utils.translation import gettext_lazy as _

from agents.sentence import Sentence
from chat.accounts.models import User
from chat.admin.actions import ConfirmedAction, ConfirmedActionsAdmin
from chat.admin.filters import AgentFilter, HealthFilter, UserFilter
from chat.admin.formatting import admin_link, format_moment, join_lines, occurrence_line, two_lines, username_of
from chat.models import Occurrence, Schedule
from chat.runs import commands as run_commands
from chat.runs.admission import Refused
from chat.runtime import clock
from chat.schedules import commands as schedule_commands
from chat.schedules import occurrences
from chat.schedules import selectors as schedule_selectors


def _pause(_user: User, schedule: Schedule) -> str:
    if not schedule_commands.pause(schedule.pk):
        raise Refused("nothing_to_cancel", Sentence("It is paused already."))
    return gettext("is paused; its owner sees that an operator did it.")


def _resume(_user: User, schedule: Schedule) -> str:
    schedule_commands.resume(schedule.pk, clock.now())
    return gettext("runs again.")


def _run_now(_user: User, schedule: Schedule) -> str:
    async_to_sync(run_commands.dispatch_accepted)(occurrences.run_now(schedule.pk, clock.now()))
    return gettext("is run now, besides its times.")


@admin.register(Schedule)
class ScheduleAdmin(ConfirmedActionsAdmin):
    """Schedules: when each is due next, how its last run ended, and how often it has failed in a row."""

    list_display = ("name", "owned_by", "runs_when", "health", "next_time", "last_time", "failure_streak")
    list_filter = (HealthFilter, AgentFilter, UserFilter)
    list_select_related = ("owner", "session")
    search_fields = ("name", "message", "owner__username", "=id")
    search_help_text = _("Name, message, user name or identifier.")
    ordering = (F("next_at").asc(nulls_last=True), "-created_at")
    fields = (
        ("name", "owned_by", "id"),
        "message",
        ("agent_name", "into"),
        ("runs_when", "time_zone"),
        "next_times",
        "stated_rules",
        ("health", "failure_streak"),
        "history",
        "created_at",
    )
    readonly_fields = tuple(flatten(fields))
    acts: ClassVar[Mapping[str, ConfirmedAction]] = {
        "pause": ConfirmedAction(
            _("Pause"),
            "chat.change_schedule",
            _("These schedules run no more until they are resumed. What waits is given up; a run in progress goes on."),
            _pause,
            lambda schedule: schedule.enabled,
            _("ran no more already"),
        ),
        "resume": ConfirmedAction(
            _("Resume"),
            "chat.change_schedule",
            _("These schedules run again from now on; what was due meanwhile is not made up for."),
            _resume,
            lambda schedule: not schedule.enabled,
            _("ran already"),
        ),
        "run": ConfirmedAction(
            _("Run now"),
            "chat.change_schedule",
            _("These schedules are run once more, besides their times, in their owners' names."),
            _run_now,
        ),
    }

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        """All schedules, with what the rows of the list show."""
        newest = Occurrence.objects.filter(schedule=OuterRef("pk")).order_by("-due_at")
        last = {"last_due": newest.values("due_at")[:1], "last_outcome": newest.values("outcome")[:1]}
        every: QuerySet[Schedule] = super().get_queryset(request)
        return every.select_related("owner", "session").annotate(**last)

    @admin.display(description=_("owner"), ordering="owner__username")
    def owned_by(self, schedule: Schedule) -> str:
        """The owner."""
        return username_of(schedule.owner)

    @admin.display(description=_("when"))
    def runs_when(self, schedule: Schedule) -> str:
        """When it runs, in words."""
        return schedule_selectors.in_words(schedule)

    @admin.display(description=_("health"), ordering="paused_because")
    def health(self, schedule: Schedule) -> str:
        """Whether it is active, and if not, why."""
        return schedule_selectors.pause_reason(schedule) or gettext("Runs by its times")

    @admin.display(description=_("next"), ordering="next_at")
    def next_time(self, schedule: Schedule) -> str:
        """When it is due next."""
        return format_moment(schedule.next_at)

    @admin.display(description=_("last"))
    def last_time(self, schedule: Any) -> SafeString:
        """When it was due last, and what happened then."""
        return two_lines(format_moment(schedule.last_due), schedule.last_outcome or "")

    @admin.display(description=_("failures in a row"), ordering="failures")
    def failure_streak(self, schedule: Schedule) -> str:
        """How often it has failed in a row, and after how many failures it pauses."""
        if not schedule.pause_after:
            return str(schedule.failures)
        return gettext("%(n)s of %(total)s") % {"n": schedule.failures, "total": schedule.pause_after}

    @admin.display(description=_("runs in"))
    def into(self, schedule: Schedule) -> SafeString | str:
        """The session that it asks in, if it has one."""
        if not schedule.keeps_session:
            return gettext("a new session each time")
        return admin_link(schedule.session) if schedule.session is not None else gettext("its session was deleted")

    @admin.display(description=_("next times"))
    def next_times(self, schedule: Schedule) -> SafeString | str:
        """The next five times, in its own time zone."""
        row = schedule_selectors.schedule_row(schedule)
        moments = [moment.astimezone(row.zone) for moment in row.next]
        written = pgettext("date format", "D j M Y, H:i")
        return join_lines([f"{date_format(moment, written)} {moment:%z}" for moment in moments])

    @admin.display(description=_("rules"))
    def stated_rules(self, schedule: Schedule) -> SafeString | str:
        """Its rules in words, as its owner's page has them."""
        return join_lines(schedule_selectors.schedule_rules(schedule))

    @admin.display(description=_("last twenty"))
    def history(self, schedule: Schedule) -> SafeString | str:
        """What happened at its last due times, newest first, with the runs."""
        return join_lines(
            [occurrence_line(occurrence) for occurrence in reversed(schedule_selectors.schedule_row(schedule).last)]
        )
