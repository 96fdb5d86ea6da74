"""The page of one run."""

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from chat import models
from chat.models import UNFINISHED, RunStatus
from chat.rendering import inspection, markdown, rows, transcript
from chat.store import selectors
from chat.web.page import render_page, run_from_row, visible_session

#: Events of a run on one page of it.
RUN_EVENTS = 200
#: Steps of an inspected run on one page.
RUN_STEPS = 200


@require_safe
@login_required
def run(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """One run inspected: its steps over time, and its events as they were stored."""
    found = models.Run.objects.select_related("session__owner", "user").filter(pk=run_id).first()
    if found is None:
        raise Http404
    _session, role = visible_session(request, found.session_id)
    frames = selectors.run_frames(found)
    runs = {run.id: run for run in transcript.fold(frames, known={str(found.pk): run_from_row(found)})}
    folded = runs.pop(str(found.pk), None) or run_from_row(found)
    if found.status not in UNFINISHED or found.status == RunStatus.QUEUED:
        folded.status = found.status
    inspected = inspection.inspection(folded, found, list(runs.values()))
    steps = Paginator(inspected["rows"], RUN_STEPS).get_page(request.GET.get("steps"))
    markdown.prepare_markdown(
        [
            *([folded.answer.text] if folded.answer else []),
            *markdown.newest_thoughts(row["text"] for row in steps if row["kind"] == "thought"),
            *markdown.newest_thoughts(
                item.text for run in runs.values() for item in run.items if item.kind == "thought"
            ),
        ]
    )
    events = Paginator(frames, RUN_EVENTS).get_page(request.GET.get("events"))
    return render_page(
        request,
        "chat/run.html",
        page="run",
        session=found.session,
        current_id=found.session_id,
        run=found,
        number_of_runs=found.session.runs.filter(models.IS_ROOT).count(),
        role=str(role),
        agent_title=rows.asked_by(folded),
        inspected=inspected,
        steps=steps,
        head=rows.header(folded),
        events=events,
        rows=[inspection.event_row(frame) for frame in events],
    )
