"""The page of one run."""

from collections.abc import Collection, Sequence
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from chat import models
from chat.access import Role, may_drive
from chat.models import UNFINISHED, RunStatus
from chat.protocol.frame_data import SentAlongData
from chat.rendering import calls as call_rows
from chat.rendering import humanize, inspection, markdown, rows, transcript
from chat.rendering.template_row import Row
from chat.store import branches, call_reader, notes, selectors, sent_along
from chat.web.page import render_page, run_from_row, user_of, visible_session

#: Events on one page of a run.
RUN_EVENTS = 100
#: Thoughts and calls on one page of an inspected run.
RUN_STEPS = 100


def _call_lines(
    run: models.Run, places: Sequence[tuple[int, int]], iterations: Collection[int]
) -> dict[int, list[Row]]:
    """A line for each model call of the run in these iterations, by iteration; ``places`` are all of its model calls."""
    wanted = {key: number for number, (key, iteration) in enumerate(places, 1) if iteration in iterations}
    lines: dict[int, list[Row]] = {}
    for key, row in sorted(call_reader.rows_at(set(wanted)).items()):
        line = call_rows.call_line(call_reader.call_data(row, []), reverse("call", args=[run.pk, wanted[key]]))
        lines.setdefault(row.iteration, []).append(line)
    return lines


def _sent_along(run: models.Run) -> Row | None:
    """What was sent along with the run's message by a client that keeps the conversation itself."""
    along = sent_along.of_run(run)
    messages = sent_along.messages_of(run)
    if along is None or not (messages or along.instructions):
        return None
    data: SentAlongData = {"messages": len(messages), "instructions": bool(along.instructions)}
    return {"words": humanize.sent_along(data), "instructions": along.instructions, "messages": messages}


@require_safe
@login_required
def run(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """The page of one run: its steps over time, and its events as they were stored."""
    found = models.Run.objects.select_related("session__owner", "user").filter(pk=run_id).first()
    if found is None:
        raise Http404
    _session, role = visible_session(request, found.session_id)
    frames = selectors.run_frames(found)
    runs = {run.id: run for run in transcript.fold(frames, known={str(found.pk): run_from_row(found)})}
    folded = runs.pop(str(found.pk), None) or run_from_row(found)
    if found.status not in UNFINISHED or found.status == RunStatus.QUEUED:
        folded.status = found.status
    within = list(runs.values())
    inspected = inspection.inspection(folded, found)
    steps = Paginator(inspection.pages_of(folded, RUN_STEPS), 1).get_page(request.GET.get("steps"))
    step_rows = inspection.step_rows(folded, steps[0], within, inspected["total_ms"], RUN_STEPS // 2)
    markdown.prepare_markdown(
        [
            *([folded.answer.text] if folded.answer else []),
            *markdown.newest_thoughts(row["text"] for row in step_rows if row["kind"] == "thought"),
            *markdown.newest_thoughts(
                item.text for run in within for item in run.items if item.kind in ("thought", "word")
            ),
        ]
    )
    events = Paginator(frames, RUN_EVENTS).get_page(request.GET.get("events"))
    # A copied run has no model calls of its own: those of the original are shown.
    places = call_reader.places_of(branches.executed_run(user_of(request), found))
    # A model call without a result has no step.
    iterations = {item.iteration for item in folded.items} | {folded.iteration if folded.answer else 0}
    alone = [] if steps.has_next() else sorted({iteration for _key, iteration in places} - iterations)[-RUN_STEPS:]
    calls = _call_lines(found, places, {*alone, folded.iteration, *(row["iteration"] for row in step_rows)})
    return render_page(
        request,
        "chat/run.html",
        page="run",
        session=found.session,
        current_id=found.session_id,
        run=found,
        number_of_runs=found.session.runs.filter(models.IS_ROOT).count(),
        role=str(role),
        may_drive=may_drive(role),
        agent_title=rows.asked_by(folded),
        inspected=inspected,
        along=_sent_along(found),
        run_notes=notes.notes_of(found.pk) if found.session.notes_version else None,
        steps=steps,
        step_rows=step_rows,
        head=rows.header(folded),
        events=events,
        rows=[inspection.event_row(frame) for frame in events],
        calls=calls,
        may_look=role is not Role.WATCHER,
        calls_alone=[(n, calls.get(n, [])) for n in alone],
    )
