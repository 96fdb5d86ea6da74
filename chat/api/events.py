"""The events of a session, and the full text of a shortened one."""

from typing import Annotated

import orjson
from django.http import HttpRequest, HttpResponse
from ninja import Router
from pydantic import Field
from typing_extensions import TypedDict

from agents.sentence import Sentence
from chat import protocol
from chat.api.auth import READ
from chat.api.bodies import user_of
from chat.api.paths import visible_session
from chat.models import Step
from chat.protocol.frame_data import ChildRun, LiveRun, PendingWord, QueuedRun
from chat.protocol.frames import ChildDeltaFrame, ReasoningDeltaFrame, StoredFrame
from chat.protocol.notes import NotesData
from chat.runs.admission import Refused
from chat.runtime import database
from chat.store import drafts, notes, reconcile, selectors

router = Router()

_MOST_EVENTS = 1_000


class EventsOut(TypedDict):
    """Events of a session, as they were sent, and what is at work in it."""

    events: list[StoredFrame]
    last_seq: int
    run: LiveRun | None
    queue: list[QueuedRun]
    growth: ReasoningDeltaFrame | None
    children: list[ChildRun]
    children_growth: list[ChildDeltaFrame]
    steering: list[PendingWord]
    notes: NotesData


@router.get("sessions/{session_id}/events/", auth=READ, response=EventsOut)
async def list_events(
    request: HttpRequest,
    session_id: str,
    after: Annotated[int, Field(ge=0, lt=2**63)] = 0,
    limit: Annotated[int, Field(ge=1, le=_MOST_EVENTS)] = 200,
) -> HttpResponse:
    """Read a session's events with numbers above `after`, as they were sent.

    `last_seq` is the number of the newest event, `run` the running run and `queue` the queue behind it. `growth` is the frame of the step
    that is being written now, from its beginning, or null. `children` are the running runs within it, `children_growth` what they write,
    `steering` the steering words for the running run that its model has not read yet.
    `notes` says how many verdicts and comments there are.
    """
    session = await visible_session(request, session_id)

    def look() -> tuple[selectors.SessionView | None, list[drafts.Draft], list[str], NotesData]:
        # The draft is read before the log: a step that is stored in between supersedes it, and is part of the answer.
        saved = [draft for _, draft in reconcile.saved_drafts([session.pk])]
        written = drafts.of_session(session.pk) or saved
        view = selectors.session_view(session.pk)
        head = view.last_seq if view else 0
        summary = notes.summary(session.pk, user_of(request).pk, view.notes_version if view else 0)
        return (
            view,
            written,
            [stored.frame for stored in selectors.stored_after(session.pk, after, limit, head)],
            summary,
        )

    view, written, frames, summary = await database.read(look)
    if view is None:
        raise Refused("not_found", Sentence("There is no such session."))
    growth = next((protocol.encode_frame(draft.frame(0)) for draft in written if not draft.is_child), "null")
    within = ",".join(protocol.encode_frame(draft.frame(0)) for draft in written if draft.is_child)
    current = (view.run, view.queue, view.children, view.steering)
    run, queue, children, steering = (orjson.dumps(each).decode() for each in current)
    return HttpResponse(
        f'{{"events":[{",".join(frames)}],"last_seq":{view.last_seq},"run":{run},"queue":{queue},"growth":{growth},'
        f'"children":{children},"children_growth":[{within}],"steering":{steering},"notes":{orjson.dumps(summary).decode()}}}',
        content_type="application/json",
    )


@router.get(
    "sessions/{session_id}/events/{seq}/content/",
    auth=READ,
    openapi_extra={"responses": {200: {"description": "The text", "content": {"text/plain": {}}}}},
)
async def get_content(request: HttpRequest, session_id: str, seq: str) -> HttpResponse:
    """Read the full text of a step, however long."""
    session = await visible_session(request, session_id)
    steps = Step.objects.select_related("full_content").filter(session=session, seq=int(seq) if _is_number(seq) else -1)
    step = await database.read(steps.first)
    content = None
    if step is not None:
        whole = getattr(step, "full_content", None)
        content = whole.content if whole is not None else selectors.step_data(step).get("content")
    if content is None:
        raise Refused("not_found", Sentence("There is no such step, or it has no text."))
    return HttpResponse(
        content, content_type="text/plain; charset=utf-8", headers={"X-Content-Type-Options": "nosniff"}
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18
