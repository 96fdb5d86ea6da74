"""The pages of schedules: the list, the form, and the buttons. They work without scripts."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from asgiref.sync import async_to_sync
from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_safe

from chat.accounts.models import User
from chat.cases import selectors as case_selectors
from chat.catalog import agents as catalog
from chat.models import Door, MissedPolicy, OverlapPolicy, Schedule
from chat.rendering.rows import agent_title
from chat.rendering.sentences import translate_sentence
from chat.runs import commands as run_commands
from chat.runs.admission import Refused
from chat.runtime import clock
from chat.schedules import commands as schedule_commands
from chat.schedules import occurrences
from chat.schedules import selectors as schedule_selectors
from chat.schedules.recurrence import LONGEST_CRON, MOST_MINUTES
from chat.store import session_lists
from chat.web.acts import form_action
from chat.web.page import reader_zone, render_page

#: How many schedules are on one page; and how many of the latest sessions can be chosen.
PAGE_SCHEDULES = 40
_SESSIONS = 100

#: The field that a refusal is about, if it does not name one.
_FIELD_OF_CODE = {"empty_message": "message", "too_large": "message", "unknown_agent": "agent_name"}
_AT = "%Y-%m-%dT%H:%M"


class WhenForm(forms.Form):
    """A form for when a schedule is due."""

    when = forms.ChoiceField(
        label=gettext_lazy("When"),
        choices=(
            ("cron", gettext_lazy("By the clock")),
            ("every_minutes", gettext_lazy("Repeatedly")),
            ("at", gettext_lazy("Once")),
        ),
        widget=forms.RadioSelect,
    )
    at = forms.DateTimeField(
        label=gettext_lazy("Date and time"),
        required=False,
        input_formats=[_AT, "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"],
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format=_AT),
    )
    every_minutes = forms.IntegerField(
        label=gettext_lazy("Minutes between"),
        required=False,
        widget=forms.NumberInput(attrs={"min": 1, "max": MOST_MINUTES, "inputmode": "numeric"}),
    )
    cron = forms.CharField(
        label=gettext_lazy("Cron expression"),
        required=False,
        widget=forms.TextInput(
            attrs={"class": "mono", "autocapitalize": "none", "spellcheck": "false", "placeholder": "0 9 * * 1-5"}
        ),
        help_text=gettext_lazy(
            "Minute, hour, day of the month, month, day of the week. <code>0 9 * * 1-5</code> is every weekday at 09:00, "
            "<code>30 18 * * *</code> every day at 18:30, <code>0 7 1 * *</code> the first of each month at 07:00."
        ),
    )
    time_zone = forms.CharField(
        label=gettext_lazy("Time zone"), required=False, widget=forms.TextInput(attrs={"list": "zones"})
    )

    def clean_at(self) -> datetime | None:
        """The time as it was typed: it is in the schedule's time zone."""
        at: datetime | None = self.cleaned_data["at"]
        return at.replace(tzinfo=None) if at is not None else None

    def submitted_when(self) -> dict[str, Any]:
        """The use case's arguments for the chosen one of the three ways."""
        data = self.cleaned_data
        when = data["when"]
        value = data.get(when)
        zone = data["time_zone"].strip() or "UTC"
        return {"time_zone": zone, when: "" if value is None and when == "cron" else value}


class ScheduleForm(WhenForm):
    """The form of a schedule. The use case validates it."""

    name = forms.CharField(
        label=gettext_lazy("Name"),
        required=False,
        help_text=gettext_lazy("Empty: the beginning of the message."),
    )
    message = forms.CharField(
        label=gettext_lazy("Message"), required=False, strip=False, widget=forms.Textarea(attrs={"rows": 4})
    )
    set_id = forms.ChoiceField(label=gettext_lazy("Or a set of cases"), required=False)
    agent_name = forms.ChoiceField(label=gettext_lazy("Agent"))
    session_id = forms.ChoiceField(label=gettext_lazy("Where"), required=False)
    missed = forms.ChoiceField(
        label=gettext_lazy("Times missed while no server ran"),
        choices=((MissedPolicy.ONCE, gettext_lazy("Make up for once")), (MissedPolicy.SKIP, gettext_lazy("Skip"))),
    )
    overlap = forms.ChoiceField(
        label=gettext_lazy("While the last run is in progress"),
        choices=(
            (OverlapPolicy.QUEUE, gettext_lazy("The next one waits")),
            (OverlapPolicy.SKIP, gettext_lazy("The next one is skipped")),
        ),
    )
    pause_after = forms.IntegerField(
        label=gettext_lazy("Pause after failures in a row"),
        widget=forms.NumberInput(attrs={"min": 0, "max": schedule_commands.MOST_FAILURES, "inputmode": "numeric"}),
        help_text=gettext_lazy("0 is never."),
    )

    def __init__(self, user: User, *args: Any, current: Schedule | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        # Without scripts, a browser would require the fields of all three ways.
        self.use_required_attribute = False
        cast(forms.ChoiceField, self.fields["agent_name"]).choices = [
            (name, agent_title(name)) for name in _offered(user, current)
        ]
        cast(forms.ChoiceField, self.fields["set_id"]).choices = [
            ("", _("No set: the message")),
            *((str(each.pk), each.name) for each in case_selectors.driven_sets(user)),
        ]
        recent = list(session_lists.past_sessions(user)[:_SESSIONS])
        if current is not None and current.session is not None and current.session not in recent:
            recent.insert(0, current.session)
        cast(forms.ChoiceField, self.fields["session_id"]).choices = [
            ("", _("A new session each time")),
            *((str(session.pk), session.title or _("New session")) for session in recent),
        ]

    def command_fields(self) -> dict[str, Any]:
        """The fields for the use case."""
        data = self.cleaned_data
        values = {name: data[name] for name in ("name", "message", "agent_name", "missed", "overlap", "pause_after")}
        where = {"session_id": data["session_id"] or None, "set_id": data["set_id"] or None}
        return {**values, **where, **self.submitted_when()}

    def refuse(self, refused: Refused) -> None:
        """Show why the use case has refused the form, at the field that it is about."""
        field = getattr(refused, "field", None) or _FIELD_OF_CODE.get(refused.code)
        self.add_error(field if field in self.fields else None, translate_sentence(refused.message))


def _offered(user: User, current: Schedule | None) -> list[str]:
    """The agents to choose from: those that the user may use, and the schedule's own."""
    names = [version.spec.name for version in catalog.usable_by(user.pk)]
    return names if current is None or current.agent_name in names else [*names, current.agent_name]


def _user(request: HttpRequest) -> User:
    return cast(User, request.user)


def _own(request: HttpRequest, schedule_id: UUID) -> Schedule:
    schedule = schedule_selectors.schedules_of(_user(request)).filter(pk=schedule_id).first()
    if schedule is None:
        raise Http404
    return schedule


@require_safe
@login_required
def index(request: HttpRequest) -> HttpResponse:
    """The user's schedules: their next times, their last runs, and their rules."""
    page = Paginator(schedule_selectors.schedules_of(_user(request)), PAGE_SCHEDULES).get_page(request.GET.get("page"))
    part = request.GET.get("part") == "list"
    return render_page(
        request,
        "chat/_schedules.html" if part else "chat/schedules.html",
        page="schedules",
        rows=schedule_selectors.schedule_rows(page),
        pages=page,
        agents={version.spec.name: agent_title(version.spec.name) for version in catalog.usable_by(_user(request).pk)},
        now=clock.now(),
    )


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def new(request: HttpRequest) -> HttpResponse:
    """Create a schedule."""
    initial = {
        "when": "cron",
        "agent_name": catalog.default_for(catalog.usable_by(_user(request).pk)),
        "time_zone": reader_zone(request) or "UTC",
        "missed": MissedPolicy.ONCE,
        "overlap": OverlapPolicy.QUEUE,
        "pause_after": 5,
        "session_id": request.GET.get("session", ""),
        "set_id": request.GET.get("set", ""),
    }
    form = ScheduleForm(_user(request), request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            schedule = schedule_commands.make(_user(request), form.command_fields(), clock.now())
        except Refused as refused:
            form.refuse(refused)
        else:
            messages.success(request, _("“%(name)s” is scheduled.") % {"name": schedule.name})
            return redirect("schedules")
    return _form_page(request, form, None)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def edit(request: HttpRequest, schedule_id: UUID) -> HttpResponse:
    """Change a schedule."""
    schedule = _own(request, schedule_id)
    form = ScheduleForm(_user(request), request.POST or None, initial=_form_values(schedule), current=schedule)
    if request.method == "POST" and form.is_valid():
        values = form.command_fields()
        unchanged = {name for name, value in _form_values(schedule).items() if form.cleaned_data.get(name) == value}
        if {"when", form.cleaned_data["when"], "time_zone"} <= unchanged:
            # An unchanged time is not sent to the use case: no due time moves, and a single one in the past stays.
            values = {
                name: value for name, value in values.items() if name not in (*schedule_commands.WHEN, "time_zone")
            }
        try:
            schedule_commands.change(_user(request), schedule_id, values, clock.now())
        except Refused as refused:
            form.refuse(refused)
        else:
            messages.success(request, _("Saved."))
            return redirect("schedules")
    return _form_page(request, form, schedule)


def _form_values(schedule: Schedule) -> dict[str, Any]:
    when = "at" if schedule.at else "every_minutes" if schedule.every_minutes else "cron"
    zone = ZoneInfo(schedule.time_zone) if schedule.time_zone in available_timezones() else None
    at = schedule.at.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0) if schedule.at else None
    return {
        "name": schedule.name,
        "message": schedule.message,
        "agent_name": schedule.agent_name,
        "session_id": str(schedule.session_id or ""),
        "set_id": str(schedule.case_set_id or ""),
        "when": when,
        "at": at,
        "every_minutes": schedule.every_minutes,
        "cron": schedule.cron,
        "time_zone": schedule.time_zone,
        "missed": schedule.missed,
        "overlap": schedule.overlap,
        "pause_after": schedule.pause_after,
    }


def _form_page(request: HttpRequest, form: ScheduleForm, schedule: Schedule | None) -> HttpResponse:
    answer = render_page(
        request,
        "chat/schedule_form.html",
        page="schedules",
        form=form,
        schedule=schedule,
        zones=sorted(available_timezones()),
        longest_cron=LONGEST_CRON,
    )
    answer.status_code = 400 if form.errors else 200
    return answer


@require_safe
@login_required
def preview(request: HttpRequest) -> HttpResponse:
    """When the form's schedule would be due, as a text and with its next times; or what is wrong with it."""
    form, row, problem = WhenForm(request.GET), None, ""
    if form.is_valid():
        try:
            row = schedule_selectors.schedule_row(
                schedule_commands.preview(_user(request), form.submitted_when(), clock.now())
            )
        except Refused as refused:
            problem = translate_sentence(refused.message)
    else:
        problem = next(str(error) for errors in form.errors.values() for error in errors)
    return render(request, "chat/_preview.html", {"row": row, "problem": problem})


@form_action
def run(request: HttpRequest, schedule_id: UUID) -> HttpResponse:
    """Run a schedule now, and go to the page that shows it."""
    schedule = _own(request, schedule_id)
    try:
        accepted = occurrences.run_now(schedule.pk, clock.now(), _user(request))
    except Refused as refused:
        messages.error(request, _about(schedule, translate_sentence(refused.message)))
        return redirect("schedules")
    async_to_sync(run_commands.dispatch_accepted)(accepted)
    return redirect("session", accepted.session_id)


@form_action
def switch(request: HttpRequest, schedule_id: UUID) -> HttpResponse:
    """Pause or resume a schedule."""
    enabled = request.POST.get("enabled") == "true"
    return _changed(request, schedule_id, {"enabled": enabled}, _("Resumed.") if enabled else _("Paused."))


def _about(schedule: Schedule, text: str) -> str:
    return _("%(name)s: %(text)s") % {"name": schedule.name, "text": text}


def _changed(request: HttpRequest, schedule_id: UUID, fields: Mapping[str, Any], message: str) -> HttpResponse:
    schedule = _own(request, schedule_id)
    try:
        schedule_commands.change(_user(request), schedule.pk, fields, clock.now())
    except Refused as refused:
        messages.error(request, _about(schedule, translate_sentence(refused.message)))
    else:
        messages.success(request, _about(schedule, message))
    return redirect("schedules")


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def delete(request: HttpRequest, schedule_id: UUID) -> HttpResponse:
    """Ask for confirmation, then delete a schedule."""
    schedule = _own(request, schedule_id)
    if request.method == "POST":
        schedule_commands.remove(_user(request), schedule.pk, Door.PAGE)
        messages.success(request, _("“%(name)s” was deleted.") % {"name": schedule.name})
        return redirect("schedules")
    return render_page(
        request, "chat/schedule_delete.html", page="schedules", row=schedule_selectors.schedule_row(schedule)
    )


urlpatterns = [
    path("", index, name="schedules"),
    path("new/", new, name="schedule-new"),
    path("preview/", preview, name="schedule-preview"),
    path("<uuid:schedule_id>/", edit, name="schedule"),
    path("<uuid:schedule_id>/run/", run, name="schedule-run"),
    path("<uuid:schedule_id>/switch/", switch, name="schedule-switch"),
    path("<uuid:schedule_id>/delete/", delete, name="schedule-delete"),
]
