"""Runs in the admin."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.admin.utils import flatten
from django.core.paginator import Page, Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import localize
from django.utils.safestring import SafeString
from django.utils.text import smart_split, unescape_string_literal
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from agents.sentence import Sentence
from chat import access
from chat.accounts.models import User
from chat.admin.actions import ConfirmedAction, ConfirmedActionsAdmin
from chat.admin.audit import audit_rows
from chat.admin.filters import (
    AgentFilter,
    ModelFilter,
    OriginFilter,
    ReasonFilter,
    SlowFilter,
    StatusFilter,
    TroubleFilter,
    UserFilter,
)
from chat.admin.formatting import SHOWN_CHARACTERS, admin_link, two_lines, username_of, whole_text
from chat.admin.note_filters import CommentFilter, NotedRuns, VerdictFilter
from chat.admin.now import show_now
from chat.admin.run_file import send_runs, show_figures
from chat.models import LIVE, Door, ModelCall, Run, RunStatus, Session, Step
from chat.protocol import as_uuid
from chat.rendering import humanize
from chat.rendering.calls import call_line
from chat.rendering.template_row import Row
from chat.runs import commands as run_commands
from chat.runs import recovery
from chat.runs import state as run_state
from chat.runs.admission import Refused
from chat.runtime import clock
from chat.store import call_reader, run_figures, selectors, waiting_calls

#: How many steps, and how many model calls, a page of a run shows.
_RUN_STEPS, _RUN_CALLS = 200, 100


def _stop(user: User, run: Run) -> str:
    stops = async_to_sync(run_commands.cancel)(user, run.session_id, run.pk, door=Door.ADMIN)
    return gettext("is being stopped.") if stops.running else gettext("was removed from the queue.")


def _interrupt(_user: User, run: Run) -> str:
    if not async_to_sync(recovery.interrupt)(run.pk):
        raise Refused("nothing_to_cancel", Sentence("It is not running."))
    return gettext("was interrupted; it can be continued.")


def _continue(_user: User, run: Run) -> str:
    """Continue as the user who asked: it is their session and their budget."""
    if run.user is None:
        raise Refused("not_continuable", Sentence("Whoever asked for it has no account any more."))
    async_to_sync(run_commands.continue_run)(run.user, run.session_id, run.pk)
    return gettext("is continued, as a new run.")


def _has_word(word: str) -> Q:
    """The condition that a run's message, its session's title or its user's name has a word, or that the word is the id of either."""
    titled, named = Session.objects.filter(title__icontains=word), User.objects.filter(username__icontains=word)
    has = Q(message__icontains=word) | Q(session__in=titled.values("pk")) | Q(user__in=named.values("pk"))
    return has if (key := as_uuid(word)) is None else has | Q(pk=key) | Q(session=key)


@admin.register(Run)
class RunAdmin(NotedRuns, ConfirmedActionsAdmin):
    """Runs, and a page of each run with its steps."""

    change_list_template = "admin/chat/run_list.html"
    list_display = ("name", "state", "took_and_spoke", "used", "answered_by", "notes_summary", "asked")
    list_filter = (
        StatusFilter,
        TroubleFilter,
        VerdictFilter,
        CommentFilter,
        SlowFilter,
        AgentFilter,
        ModelFilter,
        ReasonFilter,
        OriginFilter,
        UserFilter,
        ("created_at", admin.DateFieldListFilter),
    )
    list_select_related = ("session", "user")
    #: The columns that `get_search_results` searches.
    search_fields = ("message", "session__title", "user__username", "=id", "=session__id")
    search_help_text = _("Message, session, user name or identifier. What was said is searched among the steps.")
    ordering = ("-created_at",)
    change_form_template = "admin/chat/run.html"
    fields = (
        ("of_session", "number", "id"),
        "message",
        ("asked_by", "agent_name", "origin", "enable_reasoning", "continues", "parent"),
        ("by_version", "model", "provider"),
        ("status", "code", "stopped_by", "owned_by", "last_sign_of_life"),
        ("created_at", "started_at", "ended_at", "took", "first_token"),
        ("iterations", "tokens"),
    )
    readonly_fields = tuple(flatten(fields))
    acts: ClassVar[Mapping[str, ConfirmedAction]] = {
        "stop": ConfirmedAction(
            _("Stop"),
            access.STOP_RUNS,
            _("These runs are stopped, as their users could."),
            _stop,
            lambda run: not run.is_finished,
            _("had ended already"),
            is_noted=True,
        ),
        "interrupt": ConfirmedAction(
            _("Interrupt"),
            "chat.change_run",
            _(
                "These runs are taken from their process and end as interrupted. That is for a process that hangs; "
                "one that answers stops them by itself."
            ),
            _interrupt,
            lambda run: run.status in LIVE,
            _("had ended already, or not begun"),
        ),
        "continue": ConfirmedAction(
            _("Continue"),
            "chat.change_run",
            _("New runs go on from these, for the people who had asked."),
            _continue,
            lambda run: run.parent_id is None and run.status in run_state.CONTINUABLE,
            _("cannot be continued"),
        ),
    }
    backs: ClassVar[Mapping[str, str]] = {"now": "chat_run_now"}

    def get_urls(self) -> list[URLPattern]:
        """Add the page of running runs, the file and the figures."""
        page = self.admin_site.admin_view(partial(show_now, self))
        file = self.admin_site.admin_view(partial(send_runs, self))
        figures = self.admin_site.admin_view(partial(show_figures, self))
        own = [
            path("now/", page, name="chat_run_now"),
            path("csv/", file, name="chat_run_csv"),
            path("figures/", figures, name="chat_run_figures"),
        ]
        return [*own, *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        """All runs, with what the rows of the list show."""
        # Few sessions are being deleted. If the list joined the sessions to leave these out, SQLite would read all sessions first.
        deleted = Session.everything.filter(deleted_at__isnull=False)
        every = super().get_queryset(request).exclude(session__in=deleted.values("pk"))
        return run_figures.with_figures(every).select_related("session", "user", "cancelled_by", "agent_version")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Run], search_term: str
    ) -> tuple[QuerySet[Run], bool]:
        """The runs that contain all words. Titles and names are searched once, instead of once for each run."""
        for word in smart_split(search_term):
            is_quoted = word[0] in "\"'" and word[0] == word[-1] and len(word) > 1
            queryset = queryset.filter(_has_word(unescape_string_literal(word) if is_quoted else word))
        return queryset, False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list. Its page requests the figures afterwards."""
        return super().changelist_view(request, {**(extra_context or {}), "most_rows": f"{run_figures.MOST_ROWS:,}"})

    @admin.display(description=_("run"), ordering="created_at")
    def name(self, run: Run) -> str:
        """The beginning of the message."""
        return run.beginning or str(run)

    @admin.display(description=_("session"))
    def of_session(self, run: Run) -> SafeString:
        """The session that it belongs to."""
        return admin_link(run.session, humanize.first_line(str(run.session))[:40])

    @admin.display(description=_("status"), ordering="status")
    def state(self, run: Run) -> SafeString:
        """The status, with why it failed, or which process executes it and how old its last heartbeat is."""
        if run.status in LIVE:
            return two_lines(run.get_status_display(), f"{run.owner} · {self.last_sign_of_life(run)}")
        if run.status == RunStatus.WAITING:
            return two_lines(humanize.waiting(waiting_calls.kinds_open([run.session_id]).get(run.session_id, "")), "")
        return two_lines(run.get_status_display(), run.code)

    @admin.display(description=_("took, first token after"))
    def took_and_spoke(self, run: Run) -> SafeString:
        """How long it took, and the time to its first token."""
        return two_lines(self.took(run), self.first_token(run))

    @admin.display(description=_("tokens, cost"))
    def used(self, run: Run) -> SafeString:
        """Tokens in and out, and their cost."""
        if not run.is_finished:
            return two_lines("—", "")
        used = humanize.usage(run.input_tokens, run.output_tokens, estimated=run.usage_estimated)
        return two_lines(used, humanize.run_cost(run))

    @admin.display(description=_("agent, model"))
    def answered_by(self, run: Run) -> SafeString:
        """The agent and the model."""
        return two_lines(run.agent_name, run.model)

    @admin.display(description=_("user, asked at"), ordering="created_at")
    def asked(self, run: Run) -> SafeString:
        """Which user asked, and when."""
        return two_lines(username_of(run.user), localize(timezone.localtime(run.created_at)))

    @admin.display(description=_("user"), ordering="user__username")
    def asked_by(self, run: Run) -> str:
        """Which user asked."""
        return username_of(run.user)

    @admin.display(description=_("agent version"))
    def by_version(self, run: Run) -> str:
        """The version of the agent."""
        return "—" if run.agent_version is None else f"{run.agent_name} {run.agent_version.number}"

    @admin.display(description=_("took"))
    def took(self, run: Run) -> str:
        """How long it took, or has been running."""
        if run.started_at is None:
            return "—"
        lasted = (run.ended_at or clock.now()) - run.started_at
        return humanize.duration(round(lasted.total_seconds() * 1000))

    @admin.display(description=_("first token after"))
    def first_token(self, run: Run) -> str:
        """The time from its start to the first token of a model."""
        first_ms: float | None = getattr(run, "first_ms", None)
        return "" if first_ms is None else humanize.duration(max(0, round(first_ms)))

    @admin.display(description=_("tokens"))
    def tokens(self, run: Run) -> str:
        """Tokens in and out, and their cost."""
        used = humanize.usage(run.input_tokens, run.output_tokens, estimated=run.usage_estimated)
        return " · ".join(part for part in (used, humanize.run_cost(run)) if part)

    @admin.display(description=_("stopped by"))
    def stopped_by(self, run: Run) -> str:
        """Which user stopped it."""
        return username_of(run.cancelled_by)

    @admin.display(description=_("process"))
    def owned_by(self, run: Run) -> str:
        """The process that executes it, while it is running."""
        return run.owner if run.status in LIVE else "—"

    @admin.display(description=_("last sign of life"))
    def last_sign_of_life(self, run: Run) -> str:
        """How old the last heartbeat of its process is, by the database's clock."""
        if run.status not in LIVE or run.heartbeat_at is None:
            return "—"
        return gettext("%(n)d s ago") % {"n": max(0, round((clock.now() - run.heartbeat_at).total_seconds()))}

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the run's steps, in order, below its fields."""
        after = request.GET.get("after", "")
        begin = int(after) if after.isascii() and after.isdigit() and len(after) < 10 else 0
        found = Step.objects.filter(run__pk=as_uuid(object_id) or UUID(int=0), position__gt=begin).order_by("position")
        steps = list(found.select_related("full_content")[: _RUN_STEPS + 1])
        shown = steps[:_RUN_STEPS]
        more: Row = {
            "steps": [_row(step, str(step.seq or "·")) for step in shown],
            "began_at": begin,
            "next": shown[-1].position if len(steps) > _RUN_STEPS else None,
            "calls": _calls(as_uuid(object_id), request.GET.get("calls")),
            "may_look": _may_look(request, as_uuid(object_id)),
        }
        if request.user.has_perm("chat.view_auditentry"):
            more["audit"] = audit_rows(as_uuid(object_id))
        _nest(more["steps"], as_uuid(object_id) or UUID(int=0))
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **more})


def _may_look(request: HttpRequest, run_id: UUID | None) -> bool:
    """Whether a user who may view runs here may also open the run's page in its session."""
    run = Run.objects.select_related("session").filter(pk=run_id).first() if run_id is not None else None
    return run is not None and access.role_in(request.user, run.session) is not None


def _nest(rows: Sequence[Row], run_id: UUID) -> None:
    """Insert the steps of the runs that a run's calls have started below these calls, numbered 7.1, 7.2 and so on."""
    calls = {row["data"]["tool_call_id"]: row for row in rows if row["step"].type == "tool_use"}
    for child in Run.objects.filter(parent=run_id, parent_call_id__in=calls).order_by("created_at"):
        asking = calls[child.parent_call_id]
        found = list(child.steps.select_related("full_content").order_by("position")[: _RUN_STEPS + 1])
        steps = found[:_RUN_STEPS]
        within = [_row(step, f"{asking['number']}.{place}") for place, step in enumerate(steps, 1)]
        _nest(within, child.pk)
        page = reverse("admin:chat_run_change", args=[child.pk])
        later = steps[-1].position if len(found) > _RUN_STEPS else None
        asking["children"].append({"run": child, "steps": within, "page": page, "next": later})


def _calls(run_id: UUID | None, page: str | None) -> Page[Any]:
    """A page of the run's model calls, each with a link to what the model received."""
    found = ModelCall.objects.filter(run=run_id or UUID(int=0)).defer("contents").order_by("pk")
    rows = Paginator(found, _RUN_CALLS).get_page(page)
    lines = [
        call_line(call_reader.call_data(row, []), reverse("call", args=[row.run_id, number]))
        for number, row in enumerate(rows, rows.start_index())
    ]
    return Page[Any](lines, rows.number, rows.paginator)


def _row(step: Step, number: str) -> Row:
    """A step as the run's page shows it: its text, the arguments of a call, or a result, long ones cut."""
    data = selectors.step_data(step)
    text = whole_text(step, data)
    return {
        "step": step,
        "number": number,
        "children": [],
        "data": data,
        "kind": step.type or step.event,
        "text": text[:SHOWN_CHARACTERS],
        "is_cut": len(text) > SHOWN_CHARACTERS,
        "length": humanize.size(len(text)),
        "took": humanize.duration(step.duration_ms),
        "page": reverse("admin:chat_step_change", args=[step.pk]),
    }
