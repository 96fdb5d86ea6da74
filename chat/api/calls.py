"""Model calls of a run: what each was sent, used and cost."""

from typing import Annotated

from django.http import HttpRequest
from ninja import Router
from pydantic import Field

from agents.history import ChatMessage
from agents.sentence import Sentence
from chat.access import VIEW_SESSIONS, Role, has_right
from chat.api.auth import READ
from chat.api.bodies import user_of
from chat.api.paths import visible_run
from chat.models import Run
from chat.protocol import BadFrame
from chat.protocol.model_calls import CallsData, MessagesData
from chat.rendering.calls import without_instructions
from chat.runs.admission import Refused
from chat.runtime import database
from chat.security import audit
from chat.store import branches, call_reader

router = Router()
#: Calls of a page: the default, and the most.
_PAGE, _MOST = 200, 1_000


async def _inspected_run(request: HttpRequest, run_id: str) -> Run:
    """The run of a path, for users who may see what its models were sent: the session's drivers, and staff."""
    run = await visible_run(request, run_id)
    found = await database.read(audit.find_session, user_of(request), run.session_id)
    if found is None or found[1] is Role.WATCHER:
        raise Refused("not_allowed", Sentence("You may watch this session, but not see what its models were sent."))
    return await database.read(branches.executed_run, user_of(request), run)


@router.get("runs/{run_id}/calls/", auth=READ, response=CallsData)
async def list_calls(
    request: HttpRequest,
    run_id: str,
    limit: Annotated[int | None, Field(ge=1, le=_MOST)] = None,
    cursor: str = "",
) -> CallsData:
    """List a run's model calls, with what each was sent, used and cost, and how long it took.

    `left_out` is how much of the conversation was left out because it was longer than the model's context. `cost` is missing if it is
    not known; `duration_ms` is null until the call has ended.

    Returns all calls, which may be many; with `limit`, a page of so many and `next`, the next page's `cursor`.
    """
    run = await _inspected_run(request, run_id)
    if limit is None and not cursor:
        return {"calls": await database.read(call_reader.calls_of, run)}
    if cursor and not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 10):
        raise BadFrame("bad_frame", Sentence("cursor: not one that this server gave out."))
    after, most = int(cursor or 0), limit or _PAGE
    found = await database.read(call_reader.calls_of, run, after, most + 1)
    return {"calls": found[:most], "next": str(after + most) if len(found) > most else None}


@router.get("runs/{run_id}/calls/{number}/messages/", auth=READ, response=MessagesData)
async def list_messages(request: HttpRequest, run_id: str, number: str) -> MessagesData:
    """Read the messages of a run's call, numbered from 1 on, exactly as they were sent.

    If only staff may see the agent's instructions, other users get a note in their place.
    """
    run = await _inspected_run(request, run_id)
    place = int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0
    sees_all = await database.read(has_right, user_of(request), VIEW_SESSIONS)

    def look() -> list[ChatMessage] | None:
        call = call_reader.full_call(run, place)
        if call is None:
            return None
        hides = call_reader.hides_instructions(run) and not sees_all
        return without_instructions(call.messages) if hides else call.messages

    messages = await database.read(look)
    if messages is None:
        raise Refused("not_found", Sentence("There is no such model call in this run."))
    return {"messages": messages}
