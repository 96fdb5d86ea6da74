"""The operators' view: every session, run, step and schedule, read-only, and the few things that may be done to them.

Nothing here counts or scans the step log: lists know their length up to a limit, and what is looked for is found by the search index.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, cast
from urllib.parse import urlencode
from uuid import UUID

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.contrib.admin.utils import flatten
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import CharField, F, Max, Model, OuterRef, Q, QuerySet, Subquery
from django.forms import Textarea
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

import agents
from chat import access
from chat.models import (
    LIVE,
    MANY_SESSIONS,
    UNFINISHED,
    Act,
    Announcement,
    AuditEntry,
    Connection,
    Door,
    Occurrence,
    Origin,
    Paused,
    Process,
    Run,
    RunStatus,
    Schedule,
    Session,
    Step,
)
from chat.protocol import as_uuid
from chat.rendering import humanize
from chat.runs import commands as run_commands
from chat.runs import erasure, recovery
from chat.runs.commands import Refused
from chat.runtime import clock
from chat.schedules import commands as schedule_commands
from chat.schedules import selectors as schedule_selectors
from chat.security import audit
from chat.store import search, selectors

#: A list's length is known up to here.
_COUNTED = 10_000
#: Steps are filtered among so many of the newest.
_NEWEST_STEPS = 100_000
_FOUND_STEPS = 1_000
#: Steps on one page of a run, and characters of each.
_RUN_STEPS = 200
_SHOWN = 2_000
#: Objects that one action takes.
_MOST = 200


class _BoundedPaginator(Paginator):  # type: ignore[type-arg] # Django's classes take no parameters at run time
    """Counts a list only up to a limit, which a database does fast however long the table is."""

    @cached_property
    def count(self) -> int:
        """How many there are, or the limit."""
        return cast(QuerySet[Any], self.object_list).order_by()[:_COUNTED].count()


class _ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shown to those who have the permission to view it; never edited."""

    #: Whether its rows belong to people, so that each look at them is noted.
    is_private = True
    paginator = _BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Who was given just that: being allowed to do something to them is another permission."""
        return bool(request.user.has_perm(f"{self.opts.app_label}.view_{self.opts.model_name}"))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """A list, once it is noted that somebody looks at it, or searches."""
        if self.is_private and self.has_view_permission(request):
            if request.GET.get("q", "").strip():
                audit.note_search(_pk(request), Door.ADMIN)
            else:
                audit.note_view(_pk(request), MANY_SESSIONS, Door.ADMIN)
        return super().changelist_view(request, extra_context)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """One of them, once it is noted that somebody looks at what is another's."""
        thing = super().get_object(request, object_id, from_field)
        if self.is_private and thing is not None and self.has_view_permission(request, thing):
            _note_look(request, thing)
        return thing

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody: what may be deleted is, by an action, through the use case."""
        return False


def _pk(request: HttpRequest) -> int:
    return cast(int, request.user.pk)


def _note_look(request: HttpRequest, thing: Any) -> None:
    """Note a look at a session or at something of one that is somebody else's."""
    if (session_id := _session_of_another(request, thing)) is not None:
        audit.note_view(_pk(request), session_id, Door.ADMIN)


def _note_act(request: HttpRequest, thing: Any, act: Act) -> None:
    """Note that something is done to it, likewise, before it is."""
    if (session_id := _session_of_another(request, thing)) is not None:
        audit.note_act(_pk(request), session_id, Door.ADMIN, act)


def _session_of_another(request: HttpRequest, thing: Any) -> UUID | None:
    """The session that it is of, if it isn't one's own; a schedule has its own owner, and not always a session."""
    owned = thing if isinstance(thing, Session | Schedule) else thing.session
    session_id: UUID | None = thing.pk if isinstance(thing, Session) else thing.session_id
    return session_id or MANY_SESSIONS if owned.owner_id != _pk(request) else None


@dataclass(frozen=True, slots=True)
class _Act:
    """Something that may be done to objects: it is asked for, done one by one to those that it fits, and told."""

    label: str
    permission: str
    question: str
    do: Callable[[User, Any], str]
    fits: Callable[[Any], bool] = lambda _: True
    #: Why it does not fit the others.
    otherwise: str = ""


class _Acting(_ReadOnly):
    """Read-only but for a few acts, each of which asks first and then says what has become of each object."""

    acts: ClassVar[Mapping[str, _Act]] = {}

    def get_urls(self) -> list[URLPattern]:
        """Add the page that asks."""
        page = self.admin_site.admin_view(self.act)
        return [path("act/<str:name>/", page, name=f"chat_{self.opts.model_name}_act"), *super().get_urls()]

    def _may(self, request: HttpRequest) -> dict[str, _Act]:
        if not self.has_view_permission(request):
            return {}
        return {name: act for name, act in self.acts.items() if request.user.has_perm(act.permission)}

    def _address(self, name: str, keys: list[str]) -> str:
        page = reverse(f"admin:chat_{self.opts.model_name}_act", args=[name])
        return f"{page}?{urlencode({'id': keys}, doseq=True)}"

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """The acts that the user may, as a list's actions."""

        def leading_to(name: str) -> Callable[..., HttpResponse]:
            def ask(_: Any, __: HttpRequest, chosen: QuerySet[Any]) -> HttpResponse:
                keys = [str(key) for key in chosen.values_list("pk", flat=True)[:_MOST]]
                return HttpResponseRedirect(self._address(name, keys))

            return ask

        acts = {name: (leading_to(name), name, act.label) for name, act in self._may(request).items()}
        return {**super().get_actions(request), **acts}

    def act(self, request: HttpRequest, name: str) -> HttpResponse:
        """Ask whether it is meant; when it is, do it and say what has happened."""
        if name not in self.acts:
            raise Http404
        act = self._may(request).get(name)
        if act is None:
            raise PermissionDenied
        given = request.POST if request.method == "POST" else request.GET
        keys = [key for key in map(as_uuid, given.getlist("id")[:_MOST]) if key]
        found = list(self.get_queryset(request).filter(pk__in=keys))
        for thing in found:
            _note_look(request, thing)
        chosen = [thing for thing in found if act.fits(thing)]
        left_out = self._left_out(act, len(found) - len(chosen), len(found))
        if request.method == "POST" or not chosen:
            for thing in chosen:
                if name != Act.STOP:  # which is noted with the stop itself, whoever does it through whichever door
                    _note_act(request, thing, Act(name))
                self._do(request, act, thing)
            if left_out or not found:
                self.message_user(request, left_out or "There is nothing of that kind any more.", messages.WARNING)
            return HttpResponseRedirect(reverse(f"admin:chat_{self.opts.model_name}_changelist"))
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": act.label}
        return TemplateResponse(
            request, "admin/chat/act.html", {**context, "act": act, "chosen": chosen, "left_out": left_out}
        )

    def _left_out(self, act: _Act, number: int, of: int) -> str:
        """Say to how many the act does nothing, and why."""
        if not number:
            return ""
        these = f"This {self.opts.verbose_name}" if of == 1 else f"{number} of {of} {self.opts.verbose_name_plural}"
        return f"{these} {act.otherwise}."

    def _do(self, request: HttpRequest, act: _Act, thing: Any) -> None:
        told = str(thing)
        self.log_change(request, thing, f"{act.label}.")
        try:
            happened = act.do(cast(User, request.user), thing)
        except Refused as refused:
            self.message_user(request, f"{told}: {refused.message}", messages.ERROR)
        else:
            self.message_user(request, f"{told}: {happened}", messages.SUCCESS)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Offer the acts that fit on the object's own page too."""
        thing = self.get_object(request, object_id)
        offered = [
            (act.label, self._address(name, [object_id]))
            for name, act in self._may(request).items()
            if thing is not None and act.fits(thing)
        ]
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "acts": offered})


# Filters


class _Choice(admin.SimpleListFilter):
    """A filter whose choices are known without asking the database."""

    choices_of: tuple[tuple[str, str], ...] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> tuple[tuple[str, str], ...]:
        """The choices."""
        return self.choices_of

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those that fit the choice."""
        value = self.value()
        return queryset if value is None else self.fitting(queryset, str(value))

    def fitting(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Those that fit one of the choices."""
        return queryset.filter(**{str(self.parameter_name): value})


class StatusFilter(_Choice):
    """By status; all that is not finished is one choice."""

    title = "status"
    parameter_name = "status"
    choices_of = (("unfinished", "Unfinished"), *((str(status), str(status.label)) for status in RunStatus))

    def fitting(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Those of that status."""
        return queryset.filter(status__in=UNFINISHED if value == "unfinished" else [value])


class AgentFilter(_Choice):
    """By agent."""

    title = "agent"
    parameter_name = "agent_name"
    choices_of = tuple((name, spec.title) for name, spec in agents.AGENTS.items())


class OriginFilter(_Choice):
    """By the door through which a run was asked for."""

    title = "origin"
    parameter_name = "origin"
    choices_of = tuple((str(origin), str(origin.label)) for origin in Origin)


class UserFilter(admin.SimpleListFilter):
    """By user: those who were here last, and whoever is chosen. Anyone else is found by name."""

    title = "user"
    parameter_name = "of"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The latest users."""
        latest = User.objects.order_by(F("last_login").desc(nulls_last=True))[:20]
        names = {user.get_username() for user in latest} | {str(self.used_parameters.get("of") or "")}
        return [(name, name) for name in sorted(names) if name]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """What belongs to the user: a session to its owner, a run to who asked for it."""
        field = "user__username" if queryset.model is Run else "owner__username"
        return queryset if self.value() is None else queryset.filter(**{field: self.value()})


class SlowFilter(_Choice):
    """By how long a run took."""

    title = "duration"
    parameter_name = "slow"
    choices_of = (("10", "Over 10 s"), ("60", "Over 1 minute"), ("300", "Over 5 minutes"))

    def fitting(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Those that took longer, or have been at work for longer."""
        if value not in dict(self.choices_of):
            return queryset
        longest = timedelta(seconds=int(value))
        ended = queryset.filter(ended_at__gt=F("started_at") + longest)
        return ended | queryset.filter(ended_at=None, started_at__lt=clock.now() - longest)


class TroubleFilter(_Choice):
    """By what went wrong."""

    title = "trouble"
    parameter_name = "trouble"
    choices_of = (("failed", "Failed or interrupted"), ("silent", "At work, but silent"))

    def fitting(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Those in that trouble."""
        if value == "silent":
            return queryset.filter(status__in=LIVE, heartbeat_at__lt=clock.now() - timedelta(seconds=10))
        return queryset.filter(status__in=(RunStatus.FAILED, RunStatus.INTERRUPTED))


class StepTypeFilter(_Choice):
    """By type, among the newest."""

    title = f"type (newest {_NEWEST_STEPS:,})"
    parameter_name = "kind"
    choices_of = (
        *((kind, kind) for kind in ("thought", "tool_use", "tool_result", "final_answer", "error")),
        ("failed", "failed tool_result"),
    )

    def fitting(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Those of that type."""
        newest = Step.objects.aggregate(last=Max("pk"))["last"] or 0
        recent = queryset.filter(pk__gt=newest - _NEWEST_STEPS)
        return recent.filter(ok=False) if value == "failed" else recent.filter(type=value)


# Links and words


def _link(to: Model, text: object = "") -> SafeString:
    page = reverse(f"admin:chat_{to._meta.model_name}_change", args=[to.pk])
    return format_html('<a href="{}">{}</a>', page, text or str(to))


def _two_lines(first: str, second: str) -> SafeString:
    return format_html("{}<br><small>{}</small>", first, second)


def _person(user: User | None) -> str:
    return user.get_username() if user is not None else "—"


def _stop(user: User, run: Run) -> str:
    stops = async_to_sync(run_commands.cancel)(user, run.session_id, run.pk, door=Door.ADMIN)
    return "is being stopped." if stops.running else "was taken out of the line."


def _interrupt(_: User, run: Run) -> str:
    if not async_to_sync(recovery.interrupt)(run.pk):
        raise Refused("nothing_to_cancel", "It is not at work.")
    return "was interrupted; it can be continued."


def _delete(user: User, session: Session) -> str:
    async_to_sync(run_commands.delete_session)(user, session, as_operator=True)
    return "was deleted, with all its runs."


def _pause(_: User, schedule: Schedule) -> str:
    if not schedule_commands.pause(schedule.pk):
        raise Refused("nothing_to_cancel", "It is paused already.")
    return "is paused; its owner sees that an operator did it."


def _resume(_: User, schedule: Schedule) -> str:
    schedule_commands.resume(schedule.pk, clock.now())
    return "runs again."


def _run_now(_: User, schedule: Schedule) -> str:
    async_to_sync(run_commands.set_going)(schedule_commands.run_now(schedule.pk, clock.now()))
    return "is run now, besides its times."


# Pages


@admin.register(Session)
class SessionAdmin(_Acting):
    """Sessions."""

    list_display = (
        "title_or_id",
        "owned_by",
        "agent_name",
        "status",
        "last_seq",
        "archived",
        "created_at",
        "active_at",
    )
    list_filter = (StatusFilter, AgentFilter, UserFilter, "archived", ("active_at", admin.DateFieldListFilter))
    list_select_related = ("owner",)
    search_fields = ("title", "owner__username", "=id")
    search_help_text = "Title, user name or identifier. What was said is searched among the steps."
    ordering = ("-active_at",)
    fields = (
        "id",
        "title",
        "owned_by",
        "agent_name",
        "status",
        "archived",
        "last_seq",
        "created_at",
        "active_at",
        "leads_to",
    )
    readonly_fields = fields
    acts: ClassVar[Mapping[str, _Act]] = {
        "delete": _Act(
            "Delete",
            access.DELETE_SESSIONS,
            "These sessions are deleted, with all their runs and steps. A run at work is stopped.",
            _delete,
        )
    }

    @admin.display(description="session", ordering="title")
    def title_or_id(self, session: Session) -> str:
        """Its title, or what there is instead."""
        return str(session)

    @admin.display(description="owner", ordering="owner__username")
    def owned_by(self, session: Session) -> str:
        """Whose it is."""
        return _person(session.owner)

    @admin.display(description="see")
    def leads_to(self, session: Session) -> SafeString:
        """Its runs, and the conversation as people see it."""
        every_run = f"{reverse('admin:chat_run_changelist')}?session__id__exact={session.pk}"
        conversation = reverse("session", args=[session.pk])
        return format_html('<a href="{}">Runs</a> · <a href="{}">Conversation</a>', every_run, conversation)


@admin.register(Run)
class RunAdmin(_Acting):
    """Runs, and each one's steps in order."""

    list_display = (
        "name",
        "state",
        "took",
        "at_work_in",
        "asked_of",
        "created_at",
    )
    list_filter = (
        StatusFilter,
        TroubleFilter,
        SlowFilter,
        AgentFilter,
        OriginFilter,
        UserFilter,
        ("created_at", admin.DateFieldListFilter),
    )
    list_select_related = ("session", "user")
    search_fields = ("message", "session__title", "user__username", "=id", "=session__id")
    search_help_text = "Message, session, user name or identifier. What was said is searched among the steps."
    ordering = ("-created_at",)
    change_form_template = "admin/chat/run.html"
    fields = (
        ("of_session", "number", "id"),
        "message",
        ("asked_by", "agent_name", "origin", "enable_reasoning", "continues"),
        ("status", "code", "stopped_by", "carried_by", "last_sign_of_life"),
        ("created_at", "started_at", "ended_at", "took"),
        ("iterations", "tokens"),
    )
    readonly_fields = tuple(flatten(fields))
    acts: ClassVar[Mapping[str, _Act]] = {
        "stop": _Act(
            "Stop",
            access.STOP_RUNS,
            "These runs are stopped, as their users could.",
            _stop,
            lambda run: not run.is_finished,
            "had ended already",
        ),
        "interrupt": _Act(
            "Interrupt",
            "chat.change_run",
            "These runs are taken from their process and end as interrupted. That is for a process that hangs; "
            "one that answers stops them by itself.",
            _interrupt,
            lambda run: run.status in LIVE,
            "had ended already, or not begun",
        ),
    }

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        """All runs, with what every row shows."""
        return (
            super()
            .get_queryset(request)
            .filter(session__deleted_at=None)
            .select_related("session", "user", "cancelled_by")
        )

    @admin.display(description="run", ordering="created_at")
    def name(self, run: Run) -> str:
        """The beginning of its message."""
        return run.beginning or str(run)

    @admin.display(description="session")
    def of_session(self, run: Run) -> SafeString:
        """Where it belongs."""
        return _link(run.session, humanize.gist(str(run.session))[:40])

    @admin.display(description="status", ordering="status")
    def state(self, run: Run) -> SafeString:
        """Where it stands, and why it failed."""
        return _two_lines(run.get_status_display(), run.code)

    @admin.display(description="process")
    def at_work_in(self, run: Run) -> str:
        """What carries it, and how long ago that was last known to be alive."""
        if run.status not in LIVE:
            return "—"
        return _two_lines(run.owner, self.last_sign_of_life(run))

    @admin.display(description="user", ordering="user__username")
    def asked_of(self, run: Run) -> SafeString:
        """Who asked, and which agent."""
        return _two_lines(_person(run.user), run.agent_name)

    @admin.display(description="user", ordering="user__username")
    def asked_by(self, run: Run) -> str:
        """Who asked."""
        return _person(run.user)

    @admin.display(description="took")
    def took(self, run: Run) -> str:
        """How long it took, or has been at work."""
        if run.started_at is None:
            return "—"
        lasted = (run.ended_at or clock.now()) - run.started_at
        return humanize.duration(round(lasted.total_seconds() * 1000))

    @admin.display(description="tokens")
    def tokens(self, run: Run) -> str:
        """What went in and came out."""
        return humanize.usage(run.input_tokens, run.output_tokens, estimated=run.usage_estimated)

    @admin.display(description="stopped by")
    def stopped_by(self, run: Run) -> str:
        """Who stopped it."""
        return _person(run.cancelled_by)

    @admin.display(description="process")
    def carried_by(self, run: Run) -> str:
        """The process that carries it, while it is at work."""
        return run.owner if run.status in LIVE else "—"

    @admin.display(description="last sign of life")
    def last_sign_of_life(self, run: Run) -> str:
        """How long ago its process last said that it is alive, by the database's clock."""
        if run.status not in LIVE or run.heartbeat_at is None:
            return "—"
        return f"{max(0, round((clock.now() - run.heartbeat_at).total_seconds()))} s ago"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the run's steps in order below what is known of it."""
        after = request.GET.get("after", "")
        begin = int(after) if after.isascii() and after.isdigit() and len(after) < 10 else 0
        found = Step.objects.filter(run__pk=as_uuid(object_id) or UUID(int=0), position__gt=begin).order_by("position")
        steps = list(found.select_related("full_content")[: _RUN_STEPS + 1])
        shown = steps[:_RUN_STEPS]
        more = {
            "steps": [_row(step) for step in shown],
            "began_at": begin,
            "next": shown[-1].position if len(steps) > _RUN_STEPS else None,
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **more})


def _row(step: Step) -> dict[str, Any]:
    """A step as the run's page shows it: its text, a call's arguments, or a result, cut where it is long."""
    data = selectors.step_data(step)
    text = _whole_text(step, data)
    return {
        "step": step,
        "data": data,
        "kind": step.type or step.event,
        "text": text[:_SHOWN],
        "is_cut": len(text) > _SHOWN,
        "length": humanize.size(len(text)),
        "took": humanize.duration(step.duration_ms),
        "page": reverse("admin:chat_step_change", args=[step.pk]),
    }


def _whole_text(step: Step, data: Mapping[str, Any]) -> str:
    whole = getattr(step, "full_content", None)
    return str(whole.content) if whole is not None else _text(step, data)


def _text(step: Step, data: Mapping[str, Any]) -> str:
    """What a step says, as far as the step itself carries it."""
    if step.type == "tool_use":
        arguments = data.get("arguments")
        return arguments if isinstance(arguments, str) else humanize.as_json(arguments)
    if step.event == "reasoning_complete":
        return humanize.as_json(data)
    return str(data.get("content") or data.get("message") or data.get("error") or "")


@admin.register(Step)
class StepAdmin(_ReadOnly):
    """Steps: found by their words, or by way of their run."""

    list_display = ("pk", "of_run", "seq", "kind", "tool_name", "ok", "took", "beginning", "created_at")
    list_filter = (StepTypeFilter,)
    list_select_related = ("run",)
    search_fields = ("body",)
    search_help_text = "Words of messages, thoughts, tool arguments, results and answers. All of them must occur."
    ordering = ("-pk",)
    fields = (
        "of_session",
        "of_run",
        "seq",
        "position",
        "event",
        "type",
        "number",
        "iteration",
        "tool_name",
        "ok",
        "took",
        "created_at",
        "text",
        "data",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Step]:
        """All steps; a long result's whole text only on its own page."""
        return super().get_queryset(request).filter(session__deleted_at=None).select_related("run", "session")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Ask the search index, not the table."""
        if not search_term.strip():
            return queryset, False
        return queryset.filter(pk__in=search.steps_of_all(search_term, _FOUND_STEPS)), False

    @admin.display(description="session")
    def of_session(self, step: Step) -> SafeString:
        """Where it belongs."""
        return _link(step.session)

    @admin.display(description="run")
    def of_run(self, step: Step) -> SafeString:
        """Where it belongs."""
        return _link(step.run, humanize.gist(step.run.message)[:40])

    @admin.display(description="type")
    def kind(self, step: Step) -> str:
        """What it is."""
        return step.type or step.event

    @admin.display(description="took")
    def took(self, step: Step) -> str:
        """How long it took."""
        return humanize.duration(step.duration_ms)

    @admin.display(description="text")
    def beginning(self, step: Step) -> str:
        """The beginning of what it says."""
        gist = humanize.markdown_gist if (step.type or step.event) in search.MARKDOWN else humanize.gist
        return gist(_text(step, selectors.step_data(step)))[:80]

    @admin.display(description="text")
    def text(self, step: Step) -> SafeString:
        """All that it says."""
        return format_html('<pre class="step-text">{}</pre>', _whole_text(step, selectors.step_data(step)))

    @admin.display(description="data")
    def data(self, step: Step) -> SafeString:
        """The event as it was sent."""
        return format_html('<pre class="step-text">{}</pre>', humanize.as_json(selectors.step_data(step)))


class HealthFilter(_Choice):
    """By how a schedule fares."""

    title = "health"
    parameter_name = "health"
    choices_of = (
        ("failing", "Failing now"),
        ("paused", "Paused by failures, or refused"),
        ("late", "Late"),
        ("running", "Runs by its times"),
        ("off", "Paused or done"),
    )

    def fitting(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Those that fare so."""
        match value:
            case "failing":
                return queryset.filter(failures__gt=0)
            case "paused":
                return queryset.filter(paused_because__in=(Paused.FAILURES, Paused.REFUSED))
            case "late":
                return queryset.filter(enabled=True, next_at__lt=clock.now() - schedule_commands.ON_TIME)
        return queryset.filter(enabled=value == "running")


@admin.register(Schedule)
class ScheduleAdmin(_Acting):
    """Schedules: when each runs next, how it fared last, and how often it has failed in a row."""

    list_display = ("name", "owned_by", "runs_when", "health", "next_time", "last_time", "failure_streak")
    list_filter = (HealthFilter, AgentFilter, UserFilter)
    list_select_related = ("owner", "session")
    search_fields = ("name", "message", "owner__username", "=id")
    search_help_text = "Name, message, user name or identifier."
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
    acts: ClassVar[Mapping[str, _Act]] = {
        "pause": _Act(
            "Pause",
            "chat.change_schedule",
            "These schedules run no more until they are resumed. What waits is given up; a run at work goes on.",
            _pause,
            lambda schedule: schedule.enabled,
            "ran no more already",
        ),
        "resume": _Act(
            "Resume",
            "chat.change_schedule",
            "These schedules run again from now on; what was due meanwhile is not made up for.",
            _resume,
            lambda schedule: not schedule.enabled,
            "ran already",
        ),
        "run": _Act(
            "Run now",
            "chat.change_schedule",
            "These schedules are run once more, besides their times, in their owners' names.",
            _run_now,
        ),
    }

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        """All schedules, with what every row shows."""
        newest = Occurrence.objects.filter(schedule=OuterRef("pk")).order_by("-due_at")
        last = {"last_due": newest.values("due_at")[:1], "last_outcome": newest.values("outcome")[:1]}
        every: QuerySet[Schedule] = super().get_queryset(request)
        return every.select_related("owner", "session").annotate(**last)

    @admin.display(description="owner", ordering="owner__username")
    def owned_by(self, schedule: Schedule) -> str:
        """Whose it is."""
        return _person(schedule.owner)

    @admin.display(description="when")
    def runs_when(self, schedule: Schedule) -> str:
        """When it runs, in words."""
        return schedule_selectors.in_words(schedule)

    @admin.display(description="health", ordering="paused_because")
    def health(self, schedule: Schedule) -> str:
        """Whether it runs, and why it does not."""
        return schedule_selectors.paused(schedule) or "Runs"

    @admin.display(description="next", ordering="next_at")
    def next_time(self, schedule: Schedule) -> str:
        """When it is due next."""
        return _moment(schedule.next_at)

    @admin.display(description="last")
    def last_time(self, schedule: Any) -> SafeString:
        """When it was due last, and what became of that."""
        return _two_lines(_moment(schedule.last_due), schedule.last_outcome or "")

    @admin.display(description="failures in a row", ordering="failures")
    def failure_streak(self, schedule: Schedule) -> str:
        """How often it has failed in a row, and after how often it pauses."""
        if not schedule.pause_after:
            return str(schedule.failures)
        return f"{schedule.failures} of {schedule.pause_after}"

    @admin.display(description="runs in")
    def into(self, schedule: Schedule) -> SafeString | str:
        """Its session, where it has one."""
        if not schedule.keeps_session:
            return "a new session each time"
        return _link(schedule.session) if schedule.session is not None else "a session that was deleted"

    @admin.display(description="next times")
    def next_times(self, schedule: Schedule) -> SafeString | str:
        """The next five, by its own clock."""
        line = schedule_selectors.line(schedule)
        return _lines([f"{moment.astimezone(line.zone):%a %Y-%m-%d %H:%M %z}" for moment in line.next])

    @admin.display(description="rules")
    def stated_rules(self, schedule: Schedule) -> SafeString | str:
        """Its rules, as its owner reads them."""
        return _lines(schedule_selectors.rules(schedule))

    @admin.display(description="last twenty")
    def history(self, schedule: Schedule) -> SafeString | str:
        """What became of its last due times, newest first, with the runs."""
        return _lines([_told(occurrence) for occurrence in reversed(schedule_selectors.line(schedule).last)])


def _moment(moment: datetime | None) -> str:
    return "—" if moment is None else f"{timezone.localtime(moment):%Y-%m-%d %H:%M}"


def _lines(lines: list[Any]) -> SafeString | str:
    return format_html_join(SafeString("<br>"), "{}", ((line,) for line in lines)) if lines else "—"


def _told(occurrence: Occurrence) -> SafeString:
    words_of_it = schedule_selectors.outcome_word(occurrence)
    told = _link(occurrence.run, words_of_it) if occurrence.run is not None else words_of_it
    by_hand = "by hand" if occurrence.by_hand else ""
    facts = " · ".join(part for part in (humanize.duration(schedule_selectors.took_ms(occurrence)), by_hand) if part)
    return format_html("{} · {} {}", _moment(occurrence.due_at), told, facts)


@admin.register(Connection)
class ConnectionAdmin(_ReadOnly):
    """Sockets that are open now."""

    list_display = ("user", "role", "of_session", "process", "opened_at")
    list_filter = ("role",)
    list_select_related = ("user", "session")
    search_fields = ("user__username", "session__title", "process")
    ordering = ("-opened_at",)
    fields = ("id", "user", "role", "of_session", "process", "opened_at")
    readonly_fields = fields

    @admin.display(description="session")
    def of_session(self, connection: Connection) -> SafeString:
        """What it is open on."""
        return _link(connection.session)


@admin.register(Process)
class ProcessAdmin(_ReadOnly):
    """The processes, and what each has noticed that is wrong around it."""

    is_private = False
    list_display = ("name", "noticed_lines", "seen_at")
    fields = list_display
    readonly_fields = list_display

    @admin.display(description="noticed", ordering="noticed")
    def noticed_lines(self, process: Process) -> SafeString:
        """Each cause on a line of its own."""
        return format_html_join(mark_safe("<br>"), "{}", ((line,) for line in process.noticed.splitlines()))


@admin.register(AuditEntry)
class AuditEntryAdmin(_ReadOnly):
    """Who of the staff looked at what belongs to others."""

    is_private = False
    list_display = ("at", "actor", "action", "door", "of_session")
    list_filter = ("action", "door", ("at", admin.DateFieldListFilter))
    search_fields = ("session_id",)
    search_help_text = "User name, number of an account, or a session's identifier, whole."
    fields = ("at", "actor", "actor_id", "action", "door", "of_session")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditEntry]:
        """All entries, with the name of whoever is still there."""
        name = User.objects.filter(pk=OuterRef("actor_id")).values("username")[:1]
        every: QuerySet[AuditEntry] = super().get_queryset(request)
        return every.annotate(name=Subquery(name))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By whole names and identifiers, which the indexes know."""
        term = search_term.strip()
        if not term:
            return queryset, False
        session_id = as_uuid(term)
        if session_id is not None:
            return queryset.filter(session_id=session_id), False
        known = Q(actor_id__in=User.objects.filter(username=term).values("pk"))
        is_number = term.isascii() and term.isdigit() and len(term) < 18
        return queryset.filter(known | Q(actor_id=int(term)) if is_number else known), False

    @admin.display(description="who", ordering="actor_id")
    def actor(self, entry: Any) -> str:
        """The name of the account, or its number where it is gone."""
        return entry.name or f"account {entry.actor_id}, deleted"

    @admin.display(description="session", ordering="session_id")
    def of_session(self, entry: AuditEntry) -> str:
        """Which session it was, as far as it was one."""
        return "many" if entry.session_id == MANY_SESSIONS else str(entry.session_id)


@admin.register(Announcement)
class AnnouncementAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Words to everyone: one that is added reaches every open page within two seconds."""

    list_display = ("message", "level", "created_at")
    list_filter = ("level",)
    ordering = ("-created_at",)
    fields = ("message", "level")
    formfield_overrides: ClassVar = {CharField: {"widget": Textarea(attrs={"rows": 4, "cols": 80})}}

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody: what was said was said."""
        return False


admin.site.unregister(User)


@admin.register(User)
class PeopleAdmin(UserAdmin):  # type: ignore[type-arg]
    """Accounts. With one that is deleted its sessions go too, and what is at work in them stops."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """All accounts but those that are being removed."""
        every: QuerySet[User] = super().get_queryset(request)
        return every.filter(closed=None)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Say what goes, without reading every step of it."""
        users = list(objs)
        lost = [f"{user}, with {user.sessions.count():,} sessions" for user in users]
        missing = set() if self.has_delete_permission(request) else {"user"}
        return lost, {"users": len(users)}, missing, []

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        """Close an account at once; all that belongs to it is removed little by little, however much it is."""
        at_work = erasure.close_account(obj.pk)
        # Django deletes in a transaction of its own.
        transaction.on_commit(lambda: async_to_sync(run_commands.account_closed)(at_work))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Delete accounts."""
        for user in queryset:
            self.delete_model(request, user)


admin.site.site_header = "Thinkaloud"
admin.site.site_title = "Thinkaloud"
admin.site.index_title = "Administration"
