"""What waits for people: listed, decided, answered; and calls that people have allowed in advance."""

from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from django.http import HttpRequest
from ninja import Router, Status
from pydantic import Field

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from agents.sentence import Sentence
from chat import protocol
from chat.api.auth import ASK, READ
from chat.api.bodies import read_body, takes_body, user_of
from chat.api.paths import visible_run, visible_session
from chat.api.runs import StoppedOut
from chat.models import Door, StandingApproval
from chat.protocol import BadFrame
from chat.runs import deciding
from chat.runs.admission import Refused
from chat.runtime import database
from chat.store import waiting_calls

router = Router()


class WaitingOut(TypedDict):
    """A call that waits for a decision, or a question that waits for an answer."""

    session_id: UUID
    title: Annotated[str, Field(description="The session's.")]
    run_id: UUID
    tool_call_id: str
    kind: Literal["approval", "question"]
    tool_name: str
    deadline: float


class WaitingPage(TypedDict):
    """Waiting calls and questions, by their deadline, and the cursor of the next page."""

    items: list[WaitingOut]
    next: str | None


class StandingOut(TypedDict):
    """Calls of a tool that need no further decision in a session."""

    id: int
    tool_name: str
    user: Annotated[str, Field(description="In whose runs.")]
    allowed_by: Annotated[str | None, Field(description="Null: the account is gone.")]
    created_at: float


class StandingList(TypedDict):
    """What is allowed in a session, oldest first."""

    items: list[StandingOut]


@router.get("waiting/", auth=READ, response=WaitingPage)
async def list_waiting(request: HttpRequest, cursor: str = "") -> WaitingPage:
    """List what waits for your decision or answer, in all sessions that you may drive. `cursor` is `next` of the page before."""
    page = await database.read(waiting_calls.list_open, user_of(request).pk, _place(cursor))
    items: list[WaitingOut] = [
        {
            "session_id": entry.session_id,
            "title": entry.title,
            "run_id": entry.run_id,
            "tool_call_id": entry.tool_call_id,
            "kind": entry.kind,
            "tool_name": entry.tool_name,
            "deadline": entry.deadline.timestamp(),
        }
        for entry in page.entries
    ]
    after = page.next_after
    return {"items": items, "next": f"{after[0].timestamp():.6f}-{after[1]}" if after is not None else None}


@router.post("runs/{run_id}/approve/", auth=ASK, response={202: StoppedOut}, openapi_extra=takes_body(protocol.Decide))
async def approve_call(request: HttpRequest, run_id: str) -> Status[StoppedOut]:
    """Allow or deny a call of a run that waits. Once all calls of its turn are decided, the run continues."""
    run = await visible_run(request, run_id)
    approval = deciding.approval_of(read_body(request, protocol.Decide))
    await deciding.approve(user_of(request), run.session_id, run.pk, approval, Door.API)
    return Status(202, {"run_id": run.pk})


@router.post("runs/{run_id}/answer/", auth=ASK, response={202: StoppedOut}, openapi_extra=takes_body(protocol.Reply))
async def answer_question(request: HttpRequest, run_id: str) -> Status[StoppedOut]:
    """Answer a question of a waiting run's agent."""
    run = await visible_run(request, run_id)
    reply = read_body(request, protocol.Reply)
    await deciding.answer(user_of(request), run.session_id, run.pk, reply.tool_call_id, reply.answers, Door.API)
    return Status(202, {"run_id": run.pk})


@router.get("sessions/{session_id}/approvals/", auth=READ, response=StandingList)
async def list_approvals(request: HttpRequest, session_id: str) -> StandingList:
    """List the calls that are allowed in a session in advance."""
    session = await visible_session(request, session_id)
    return {"items": await database.read(_standing, session.pk)}


@router.delete("sessions/{session_id}/approvals/{approval_id}/", auth=ASK, response={204: None})
async def revoke_approval(request: HttpRequest, session_id: str, approval_id: str) -> Status[None]:
    """Withdraw such a permission."""
    session = await visible_session(request, session_id)
    if not (approval_id.isascii() and approval_id.isdigit() and len(approval_id) < 19):
        raise Refused("not_found", Sentence("Nothing of that kind is allowed here."))
    await deciding.revoke(user_of(request), session.pk, int(approval_id), Door.API)
    return Status(204, None)


def _standing(session_id: UUID) -> list[StandingOut]:
    found = StandingApproval.objects.filter(session=session_id).select_related("user", "made_by").order_by("pk")
    return [
        {
            "id": each.pk,
            "tool_name": each.tool_name,
            "user": each.user.get_username(),
            "allowed_by": each.made_by.get_username() if each.made_by else None,
            "created_at": each.created_at.timestamp(),
        }
        for each in found
    ]


def _place(cursor: str) -> tuple[datetime, int] | None:
    if not cursor:
        return None
    stamp, _, pk = cursor.partition("-")
    try:
        if not (pk.isascii() and pk.isdigit() and len(pk) < 19):
            raise ValueError
        return datetime.fromtimestamp(float(stamp), UTC), int(pk)
    except (ValueError, OverflowError, OSError):
        raise BadFrame("bad_frame", "cursor: `next` of the page before.") from None
