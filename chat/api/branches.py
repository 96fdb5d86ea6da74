"""Sessions that begin as copies of others: of the whole log, or up to an earlier event, from which the copy continues differently."""

from typing import Annotated, Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Router, Status
from pydantic import BaseModel, Field, StrictInt, StrictStr

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from chat.api.auth import MANAGE
from chat.api.bodies import TAKES_KEY, read_body, takes_body, user_of
from chat.api.errors import ErrorResponse, error_response
from chat.api.paths import visible_session
from chat.api.sessions import SessionOut, branch_of, session_out
from chat.models import Door, Session
from chat.runs.branching import Branch, TooLong, make_branch
from chat.runs.request_keys import HEADER
from chat.runtime import database

router = Router()


class NewBranch(BaseModel):
    """Where to continue from, and how."""

    after_seq: Annotated[StrictInt, Field(ge=0, lt=2**63, description="The last event of a run, or 0.")]
    message: StrictStr | None = Field(None, description="The first message that is asked in the branch.")
    agent_name: StrictStr | None = None
    files: list[StrictStr] = Field(
        [], description="The message's files: ids of the caller's files, or of the session's."
    )


class BranchOut(SessionOut):
    """The new session."""

    run_id: Annotated[UUID | None, Field(description="The run that answers the message.")]


@router.post("sessions/{session_id}/copy/", auth=MANAGE, response={201: SessionOut}, openapi_extra=TAKES_KEY)
async def copy_session(request: HttpRequest, session_id: str) -> Any:
    """Copy a session's log, up to the end of its last run that has ended, into a session of your own.

    It has the same numbers, times and names, but identifiers of its own, with `copied_from` beside them. Logs of more than 20,000 steps
    are not copied: 400. `Idempotency-Key` works as for `POST sessions/`.
    """
    session = await visible_session(request, session_id)
    return await _made(request, Branch(session.pk, key=request.headers.get(HEADER)))


@router.post(
    "sessions/{session_id}/branch/",
    auth=MANAGE,
    response={201: BranchOut},
    openapi_extra=takes_body(NewBranch) | TAKES_KEY,
)
async def branch_session(request: HttpRequest, session_id: str) -> Any:
    """Copy a session's log up to `after_seq` into a session of your own, and continue there with a message, if one is given.

    `after_seq` must be the end of a run while no other is at work, or 0; else the error is `bad_seq`. The rest works as for `copy/`.
    """
    session = await visible_session(request, session_id)
    new = read_body(request, NewBranch)
    wanted = Branch(
        session.pk, new.after_seq, new.message, new.agent_name, tuple(new.files), request.headers.get(HEADER)
    )
    return await _made(request, wanted)


async def _made(request: HttpRequest, wanted: Branch) -> ErrorResponse | Status[BranchOut]:
    try:
        made = await make_branch(user_of(request), wanted, Door.API)
    except TooLong as refused:
        return error_response(refused.code, refused.message, 400)
    session = await database.read(Session.objects.get, pk=made.session_id)
    return Status(201, {**session_out(session, await branch_of(request, session)), "run_id": made.run_id})
