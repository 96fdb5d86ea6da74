"""Verdicts and comments of people on runs and steps. They are not part of the log, and no model sees them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from django.db.models import Q
from django.http import HttpRequest
from ninja import Router, Status
from pydantic import BaseModel, Field, StrictInt, StrictStr

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from agents.sentence import Sentence
from chat.api.auth import ASK, READ
from chat.api.bodies import read_body, takes_body, user_of
from chat.api.paths import visible_run, visible_session
from chat.models import Comment, Door, Verdict
from chat.protocol import BadFrame, as_uuid
from chat.protocol.notes import VerdictName
from chat.runs import notes
from chat.runs.admission import Refused
from chat.runtime import database
from chat.store import notes as stored_notes

router = Router()

_MOST = 1_000
_UUID = Field(json_schema_extra={"format": "uuid"})


class NewVerdict(BaseModel):
    """A user's verdict on a run."""

    verdict: Literal["good", "bad"] | None = Field(description="null removes it.")
    reason: StrictStr = Field("", description=f"At most {notes.MOST_UNITS:,} UTF-16 code units.")


class NewComment(BaseModel):
    """A comment on a step."""

    seq: StrictInt = Field(description="The number of the step.")
    text: StrictStr = Field(description=f"Plain text, at most {notes.MOST_UNITS:,} UTF-16 code units.")


class NewText(BaseModel):
    """A comment's new text."""

    text: StrictStr


class VerdictOut(TypedDict):
    """A user's verdict on a run, and how many there are of each."""

    run_id: Annotated[str, _UUID]
    user: str
    verdict: VerdictName | None
    reason: str
    good: int
    bad: int


class VerdictList(TypedDict):
    """The verdicts on a run, the newest first."""

    items: list[VerdictOut]
    good: int
    bad: int


class CommentOut(TypedDict):
    """A comment."""

    id: Annotated[str, _UUID]
    seq: int
    user: str
    text: str
    created_at: float
    edited_at: float | None


class CommentPage(TypedDict):
    """Comments, oldest first, and the cursor of the next page."""

    items: list[CommentOut]
    next: str | None


@router.put("runs/{run_id}/verdict/", auth=ASK, response=VerdictOut, openapi_extra=takes_body(NewVerdict))
async def give_verdict(request: HttpRequest, run_id: str) -> Any:
    """Give or take back your verdict on a run: everybody has one. All who may see the session can, except staff."""
    run = await visible_run(request, run_id)
    new = read_body(request, NewVerdict)
    given, change = await database.write(
        notes.give_verdict, user_of(request), run.session_id, run.pk, new.verdict or "", new.reason
    )
    await notes.publish(change)
    return given


@router.get("runs/{run_id}/verdict/", auth=READ, response=VerdictList)
async def list_verdicts(request: HttpRequest, run_id: str) -> VerdictList:
    """List the verdicts on a run."""
    run = await visible_run(request, run_id)

    def read() -> VerdictList:
        given = Verdict.objects.filter(run=run).exclude(word="")
        counts = stored_notes.verdict_counts(given).get(run.pk, {"good": 0, "bad": 0})
        newest = given.select_related("user").order_by("-changed_at", "-pk")[:_MOST]
        return {"items": [stored_notes.verdict_data(each, counts) for each in newest], **counts}

    return await database.read(read)


@router.get("sessions/{session_id}/comments/", auth=READ, response=CommentPage)
async def list_comments(
    request: HttpRequest,
    session_id: str,
    seq: Annotated[int | None, Field(ge=1, lt=2**63)] = None,
    limit: Annotated[int, Field(ge=1, le=_MOST)] = 200,
    cursor: str = "",
) -> CommentPage:
    """List the comments on a session's steps, or on one step, oldest first. `cursor` is `next` of the page before."""
    session = await visible_session(request, session_id)

    def read() -> CommentPage:
        found = stored_notes.shown_comments(session.pk).filter(_after(cursor)).select_related("user")
        if seq is not None:
            found = found.filter(seq=seq)
        page = list(found[: limit + 1])
        following = _cursor(page[limit - 1]) if len(page) > limit else None
        return {"items": [stored_notes.comment_data(each, 0) for each in page[:limit]], "next": following}

    return await database.read(read)


@router.post(
    "sessions/{session_id}/comments/", auth=ASK, response={201: CommentOut}, openapi_extra=takes_body(NewComment)
)
async def write_comment(request: HttpRequest, session_id: str) -> Status[Any]:
    """Comment on a step. All who may see the session can, except staff."""
    session = await visible_session(request, session_id)
    new = read_body(request, NewComment)
    written, change = await database.write(notes.write_comment, user_of(request), session.pk, new.seq, new.text)
    await notes.publish(change)
    return Status(201, written)


@router.patch("comments/{comment_id}/", auth=ASK, response=CommentOut, openapi_extra=takes_body(NewText))
async def edit_comment(request: HttpRequest, comment_id: str) -> Any:
    """Change your own comment."""
    key, new = _key(comment_id), read_body(request, NewText)
    edited, change = await database.write(notes.edit_comment, user_of(request), key, new.text)
    await notes.publish(change)
    return edited


@router.delete("comments/{comment_id}/", auth=ASK, response={204: None})
async def delete_comment(request: HttpRequest, comment_id: str) -> Status[None]:
    """Delete your own comment, or any in your own session."""
    await notes.publish(await database.write(notes.delete_comment, user_of(request), _key(comment_id), Door.API))
    return Status(204, None)


def _key(comment_id: str) -> UUID:
    key = as_uuid(comment_id)
    if key is None:
        raise Refused("not_found", Sentence("There is no such comment."))
    return key


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"(\d{1,17})-([0-9a-f]{32})")


def _cursor(last: Comment) -> str:
    """A cursor: the last comment's place in the order, to the microsecond that the database stores."""
    return f"{(last.created_at - _EPOCH) // timedelta(microseconds=1)}-{last.pk.hex}"


def _after(cursor: str) -> Q:
    if not cursor:
        return Q()
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise BadFrame("bad_frame", Sentence("cursor: not one that this server gave out."))
    created_at = _EPOCH + timedelta(microseconds=int(match[1]))
    return Q(created_at__gt=created_at) | Q(created_at=created_at, pk__gt=UUID(match[2]))
