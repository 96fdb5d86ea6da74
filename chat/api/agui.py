"""AG-UI: runs an agent by this protocol, and streams what it thinks and does."""

import re
from typing import Any, Literal
from uuid import UUID

import orjson
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Router
from pydantic import BaseModel, ConfigDict, Field, StrictStr

from agents.json_types import JsonObject
from agents.sentence import Sentence
from agents.text import is_clean
from chat.accounts.models import User
from chat.api.agui_events import NOWHERE, Identified, Translator
from chat.api.agui_people import answer_of, interrupts_of, is_about_people, root_of, waiting_run
from chat.api.auth import ASK
from chat.api.bodies import read_body, takes_body, takes_header, user_of
from chat.api.errors import error_response
from chat.api.event_stream import EventStreamResponse, EventWriter, format_event
from chat.api.following import Follower, open_session
from chat.catalog import agents as catalog
from chat.models import Door
from chat.protocol import BadFrame, ClientMessageId, Close
from chat.runs import deciding
from chat.runs.admission import Refused
from chat.runs.threads import ask_in_thread
from chat.runtime import database
from chat.store import selectors

router = Router()

_PLACE = re.compile(r"(\d{1,18})\.(\d{1,6})")
_ANSWER = {
    "description": "AG-UI's events; those that the log holds have an identifier, `<seq>.<n>`",
    "content": {"text/event-stream": {}},
}
#: Close codes that end a stream although its run has not ended. Reconnecting does not help.
_FAILURES = {
    Close.NOT_LOGGED_IN: ("not_allowed", "Your login has ended."),
    Close.WITHDRAWN: ("not_allowed", "You may not see this session any more."),
    Close.NO_SUCH_SESSION: ("not_found", "The session was deleted."),
    Close.TOO_MANY: ("rate_limited", "You have too many connections open."),
    Close.INTERNAL: ("internal", "Something in this program went wrong; it has been noted."),
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: StrictStr
    text: StrictStr = ""


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: StrictStr
    content: Any = None


class _Resume(BaseModel):
    """For a call, the payload is `{approved, arguments?, reason?, scope?}`, or `decision` instead, as in `approve`.

    For a question, the payload is the answers by field. Cancelled: denied.
    """

    model_config = ConfigDict(extra="ignore")

    interruptId: StrictStr = Field(max_length=300)  # noqa: N815 - AG-UI's names
    status: Literal["resolved", "cancelled"]
    payload: JsonObject | None = None


class RunAgentInput(BaseModel):
    """AG-UI's request to run an agent: the user's last message is asked."""

    model_config = ConfigDict(extra="ignore")

    threadId: StrictStr = Field(  # noqa: N815 - AG-UI's names
        min_length=1,
        max_length=256,
        description="A session's id, or the client's own name for one; it is created if there is none yet.",
    )
    runId: ClientMessageId = Field(  # noqa: N815
        description="Sent again, it names the same run, whose events are sent from the start."
    )
    messages: list[_Message]
    tools: Any = Field(None, description="Ignored: the agent has its own.")
    state: Any = Field(None, description="Ignored.")
    context: Any = Field(None, description="Ignored.")
    resume: list[_Resume] | None = Field(
        None,
        description="Decisions and answers for the interrupts of a waiting run. If one is refused, none is applied. No message is asked.",
    )


@router.post(
    "agui/{agent}/",
    auth=ASK,
    response={200: None},
    openapi_extra={
        **takes_body(RunAgentInput),
        **takes_header("Last-Event-ID", "The last event that the client has."),
        "responses": {200: _ANSWER},
    },
)
async def run_agent(request: HttpRequest, agent: str) -> HttpResponseBase:
    """Ask an agent, and follow what it does by AG-UI 1.0, as server-sent events.

    Closing the connection does not stop the run. The same `runId` again follows it from its start, or with `Last-Event-ID` from after
    that event; events without an identifier that came after it are sent again. Runs within the run are subagents. A custom event,
    `ignored`, names the fields that were ignored.
    """
    asked = read_body(request, RunAgentInput)
    user = user_of(request)
    if asked.resume:
        return await _go_on(request, user, asked, asked.resume)
    if not await database.read(catalog.may_use, agent, user.pk):
        return error_response("unknown_agent", Sentence("There is no such agent."), 404)
    accepted = await ask_in_thread(
        user, asked.threadId, message=_question(asked.messages), agent_name=agent, client_message_id=asked.runId
    )
    follower = await open_session(request, accepted.session_id, Door.AGUI)
    begins_after, head = await database.read(selectors.place_before, accepted.run_id)
    translator = Translator(
        asked.threadId,
        asked.runId,
        str(accepted.run_id),
        after=_place(request.headers.get("Last-Event-ID", ""), head),
        ignored=_ignored(asked),
    )
    return _stream(follower, translator, accepted.run_id, begins_after)


def _ignored(asked: RunAgentInput) -> tuple[str, ...]:
    return tuple(name for name in ("tools", "state", "context") if getattr(asked, name))


async def _go_on(request: HttpRequest, user: User, asked: RunAgentInput, resumes: list[_Resume]) -> HttpResponseBase:
    """Decide and answer what a run waits for, and follow it from there on."""
    found = [await database.read(waiting_run, each.interruptId) for each in resumes]
    runs = [run for run in found if run is not None]
    roots = [await database.read(root_of, run) for run in runs]
    # Another user's run gets the same answer as one that does not exist.
    follower = await open_session(request, found[0].session_id if found[0] else None, Door.AGUI)
    if len(runs) < len(resumes) or len(set(roots)) > 1:
        raise Refused("not_waiting", Sentence("Nothing waits for an answer here."))
    run = roots[0]
    head = await database.read(selectors.head_of, run.session_id)
    decisions = [
        await database.read(answer_of, of, each.interruptId, each.payload, is_cancelled=each.status == "cancelled")
        for each, of in zip(resumes, runs, strict=True)
    ]
    await deciding.decide(user, run.session_id, decisions, Door.AGUI)
    translator = Translator(asked.threadId, asked.runId, str(run.pk), ignored=_ignored(asked))
    return _stream(follower, translator, run.pk, head, translator.resume(run.iterations))


def _stream(
    follower: Follower, translator: Translator, run_id: UUID, after: int, first: list[Identified] | None = None
) -> HttpResponseBase:
    """A run's events after the session's event number ``after``. If the run waits for people, the stream ends with an interrupt."""

    async def produce(writer: EventWriter) -> None:
        if first:
            await writer.write(b"".join(map(_encoded, first)))

        async def send(frame: str) -> None:
            events = translator.translate(frame)
            if is_about_people(frame, run_id) and (interrupts := await database.read(interrupts_of, run_id, frame)):
                events += translator.interrupt(interrupts)
                follower.stop()
            if events:
                await writer.write(b"".join(map(_encoded, events)))
            if translator.has_ended:
                follower.stop()

        code = await follower.follow(send, after)
        if code in _FAILURES:
            await writer.write_last(_encoded(Identified(translator.failed(*_FAILURES[code]))))

    return EventStreamResponse(produce)


def _question(messages: list[_Message]) -> str:
    """The text of the user's last message."""
    text = _text_of(messages)
    if not is_clean(text):
        raise BadFrame(
            "bad_text", Sentence("The text holds a character that cannot be stored (NUL or half of a pair).")
        )
    return text


def _text_of(messages: list[_Message]) -> str:
    content = next((message.content for message in reversed(messages) if message.role == "user"), None)
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadFrame("empty_message", Sentence("The message is empty."))
    try:
        parts = [_Part.model_validate(part) for part in content]
    except ValueError:
        raise BadFrame("bad_frame", "messages: a part needs a type, and a text.") from None
    if any(part.type != "text" for part in parts):
        raise Refused("unsupported_media", Sentence("Only text is taken here; files are sent to /api/files/."))
    return "\n".join(part.text for part in parts)


def _place(header: str, head: int) -> tuple[int, int]:
    """The last event that the client has; `NOWHERE` if the log has no such number."""
    found = _PLACE.fullmatch(header) if header.isascii() else None
    place = (int(found[1]), int(found[2])) if found else NOWHERE
    return place if place[0] <= head else NOWHERE


def _encoded(each: Identified) -> bytes:
    return format_event("", orjson.dumps(each.event).decode(), f"{each.place[0]}.{each.place[1]}" if each.place else "")
