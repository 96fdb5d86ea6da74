"""Figures of the runs that the admin's list shows, and the same runs as a file."""

from collections.abc import AsyncIterator
from typing import Any

from django.contrib.admin import ModelAdmin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext, ngettext

from chat.admin.actions import record_list, user_pk
from chat.models import Act, Door, Run
from chat.rendering import humanize
from chat.rendering.spreadsheets import csv_line
from chat.rendering.template_row import Row
from chat.runtime import database
from chat.security import audit
from chat.store import run_figures
from chat.store.run_figures import Figures


def figure_lines(figures: Figures) -> Row:
    """The figures in words, each with its name, and the number of runs that they are computed from."""
    costs = [humanize.cost(float(cost), name) for name, cost in sorted(figures.costs.items())]
    if figures.unpriced:
        unknown = ngettext("unknown for %(n)s run", "unknown for %(n)s runs", figures.unpriced)
        costs.append(unknown % {"n": humanize.count(figures.unpriced)})
    of = ngettext("Of this %(n)s run", "Of these %(n)s runs", figures.runs)
    lines = [
        (gettext("Duration"), _middle_and_slow(figures.duration_ms)),
        (gettext("First token after"), _middle_and_slow(figures.first_token_ms)),
        (gettext("Tokens"), humanize.usage(figures.input_tokens, figures.output_tokens)),
        (gettext("Cost"), ", ".join(costs)),
    ]
    return {"of": of % {"n": f"{figures.runs:,}"}, "lines": [(name, value or "—") for name, value in lines]}


def _middle_and_slow(found: tuple[float, float] | None) -> str:
    if found is None:
        return ""
    middle, slow = (humanize.duration(round(ms)) for ms in found)
    return gettext("half within %(middle)s, 95 %% within %(slow)s") % {"middle": middle, "slow": slow}


def show_figures(page: Any, request: HttpRequest) -> HttpResponse:
    """The figures of the runs that match the list's query. The list's page requests them after it is loaded."""
    if not page.has_view_permission(request):
        raise PermissionDenied
    try:
        runs = ModelAdmin.get_changelist_instance(page, request).queryset
    except IncorrectLookupParameters:
        return HttpResponseRedirect(f"{reverse('admin:chat_run_changelist')}?e=1")
    record_list(request)
    context = {**page.admin_site.each_context(request), "title": gettext("Figures of these runs"), "opts": page.opts}
    context |= {"figures": figure_lines(run_figures.figures_of(runs)), "query": request.GET.urlencode()}
    return TemplateResponse(request, "admin/chat/run_figures.html", context)


def send_runs(page: Any, request: HttpRequest) -> HttpResponseBase:
    """The runs that match the list's query as a file, the newest `MOST_ROWS` at most: figures and names, no contents."""
    if not page.has_view_permission(request):
        raise PermissionDenied
    try:
        runs = page.get_changelist_instance(request).queryset
    except IncorrectLookupParameters:
        return HttpResponseRedirect(f"{reverse('admin:chat_run_changelist')}?e=1")
    audit.record_action(user_pk(request), Act.EXPORT, Door.ADMIN, about="runs", narrowed_by=sorted(request.GET)[:20])
    headers = {"Content-Disposition": 'attachment; filename="runs.csv"'}
    return StreamingHttpResponse(_lines(runs), content_type="text/csv; charset=utf-8", headers=headers)


async def _lines(runs: QuerySet[Run]) -> AsyncIterator[str]:
    """The lines of the file, read in batches."""
    yield csv_line(run_figures.COLUMNS)
    last, sent = None, 0
    while sent < run_figures.MOST_ROWS:
        rows = await database.read(run_figures.rows_after, runs, last)
        if not rows:
            return
        yield "".join(map(csv_line, run_figures.file_rows(rows)))
        last, sent = (rows[-1][4], rows[-1][0]), sent + len(rows)
