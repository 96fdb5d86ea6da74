"""Steps in the admin."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from chat.admin.actions import ReadOnlyAdmin
from chat.admin.filters import StepTypeFilter
from chat.admin.formatting import admin_link, shortened_text, whole_text
from chat.models import Step
from chat.rendering import humanize
from chat.store import search, selectors

_FOUND_STEPS = 1_000


@admin.register(Step)
class StepAdmin(ReadOnlyAdmin):
    """Steps, found by their text or through their run."""

    list_display = ("id", "of_run", "seq", "kind", "tool_name", "ok", "took", "beginning", "created_at")
    list_filter = (StepTypeFilter,)
    list_select_related = ("run",)
    search_fields = ("body",)
    search_help_text = _("Words of messages, thoughts, tool arguments, results and answers. All of them must occur.")
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
        """All steps; the whole text of a long result only on its own page."""
        return super().get_queryset(request).filter(session__deleted_at=None).select_related("run", "session")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search the search index instead of the table."""
        if not search_term.strip():
            return queryset, False
        return queryset.filter(pk__in=search.steps_of_all(search_term, _FOUND_STEPS)), False

    @admin.display(description=_("session"))
    def of_session(self, step: Step) -> SafeString:
        """The session that it belongs to."""
        return admin_link(step.session)

    @admin.display(description=_("run"))
    def of_run(self, step: Step) -> SafeString:
        """The run that it belongs to."""
        return admin_link(step.run, humanize.first_line(step.run.message)[:40])

    @admin.display(description=_("type"))
    def kind(self, step: Step) -> str:
        """The type, in words."""
        return step.type or step.event

    @admin.display(description=_("took"))
    def took(self, step: Step) -> str:
        """How long it took."""
        return humanize.duration(step.duration_ms)

    @admin.display(description=_("text"))
    def beginning(self, step: Step) -> str:
        """The beginning of its text."""
        shorten = humanize.markdown_gist if (step.type or step.event) in search.MARKDOWN else humanize.first_line
        return shorten(shortened_text(step, selectors.step_data(step)))[:80]

    @admin.display(description=_("text"))
    def text(self, step: Step) -> SafeString:
        """Its whole text."""
        return format_html('<pre class="step-text">{}</pre>', whole_text(step, selectors.step_data(step)))

    @admin.display(description=_("data"))
    def data(self, step: Step) -> SafeString:
        """The event as clients receive it."""
        return format_html('<pre class="step-text">{}</pre>', humanize.as_json(selectors.step_data(step)))
