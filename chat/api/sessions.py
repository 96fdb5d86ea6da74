"""Sessions: created, listed, read, changed, deleted."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, NamedTuple, NotRequired
from uuid import UUID

import orjson
from django.conf import settings
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from ninja import Router, Status
from pydantic import AliasChoices, BaseModel, Field, StrictBool, StrictStr

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from agents.sentence import Sentence
from agents.text import is_clean
from chat.accounts.models import User
from chat.api.auth import MANAGE, READ
from chat.api.bodies import TAKES_KEY, read_body, takes_body, user_of
from chat.api.paths import visible_session
from chat.models import Door, RunStatus, Session
from chat.protocol import BadFrame
from chat.protocol.frame_data import BranchData
from chat.runs import request_keys
from chat.runs import sessions as runs_sessions
from chat.runtime import database
from chat.runtime.prepared import PreparedQuery
from chat.store import branches, session_lists

router = Router()

PAGE_LENGTH = 30


class NewSession(BaseModel):
    """A new session."""

    agent_name: StrictStr | None = None
    title: Annotated[StrictStr, Field(max_length=200)] = ""
    enable_reasoning: StrictBool = True


class SessionChanges(BaseModel):
    """Changes of a session; fields that are left out stay."""

    title: Annotated[StrictStr, Field(max_length=200)] = ""
    agent_name: Annotated[StrictStr, Field(validation_alias=AliasChoices("agent_name", "agent"))] = ""
    enable_reasoning: StrictBool = True
    archived: StrictBool = False


class SessionOut(TypedDict):
    """A session."""

    id: UUID
    title: str
    agent_name: str
    enable_reasoning: Annotated[
        bool, Field(description="Whether its page asks with the steps, too, or for the answer only.")
    ]
    status: Annotated[
        str, Field(description="The agent of the current run, else of the newest; empty before the first run.")
    ]
    archived: bool
    created_at: float
    active_at: float
    last_seq: int
    imported: Annotated[
        bool, Field(description="Whether it was imported from another program's trajectory; it is read-only.")
    ]
    websocket_path: str
    owner: NotRequired[
        Annotated[str | None, Field(description="The owner's name, in lists of sessions that others share.")]
    ]
    role: NotRequired[Annotated[str | None, Field(description="driver or watcher, in the same lists.")]]
    branch: NotRequired[
        Annotated[BranchData | None, Field(description="Its place among sessions that were copied from each other.")]
    ]


class _More(TypedDict, total=False):
    """Fields that only some sessions of a list have."""

    owner: str
    role: str
    branch: BranchData


class SessionPage(TypedDict):
    """Sessions, latest activity first, and the cursor of the next page."""

    items: list[SessionOut]
    next: str | None


class _Row(NamedTuple):
    """The columns of a session that are returned."""

    pk: UUID
    title: str
    agent_name: str
    enable_reasoning: bool
    status: str
    archived: bool
    created_at: datetime
    active_at: datetime
    last_seq: int
    imported_at: datetime | None
    family: UUID | None


#: The user's own sessions with the latest activity: the most frequent request.
_NEWEST = PreparedQuery(
    lambda user_id: session_lists.past_sessions(User(pk=user_id)).values_list(*_Row._fields)[: PAGE_LENGTH + 1],
    int,
    make=_Row,
)


def session_out(session: Session, branch: BranchData | None = None) -> SessionOut:
    """A session as its own call returns it."""
    return {**_listed(session), "owner": None, "role": None, "branch": branch}


def _listed(session: Session | _Row) -> SessionOut:
    """A session as a list returns it, without fields that do not apply."""
    return {
        "id": session.pk,
        "title": session.title,
        "agent_name": session.agent_name,
        "enable_reasoning": session.enable_reasoning,
        "status": session.status,
        "archived": session.archived,
        "created_at": session.created_at.timestamp(),
        "active_at": session.active_at.timestamp(),
        "last_seq": session.last_seq,
        "imported": session.imported_at is not None,
        "websocket_path": f"{settings.PUBLIC_URL.path}/ws/chat/{session.pk}/",
    }


@router.post("sessions/", auth=MANAGE, response={201: SessionOut}, openapi_extra=takes_body(NewSession) | TAKES_KEY)
async def create_session(request: HttpRequest) -> Status[SessionOut]:
    """Create a session.

    With the header `Idempotency-Key` (1 to 64 visible ASCII characters) the call can be repeated: for 24 hours the same key returns the
    same session.
    """
    new = read_body(request, NewSession)
    key = request.headers.get(request_keys.HEADER)
    session = await runs_sessions.create_session(
        user_of(request), agent_name=new.agent_name, title=new.title, enable_reasoning=new.enable_reasoning, key=key
    )
    return Status(201, session_out(session))


@router.get("sessions/", auth=READ, response=SessionPage)
async def list_sessions(
    request: HttpRequest,
    q: str = "",
    status: str = "",
    agent: str = "",
    archived: bool = False,
    shared: bool = False,
    cursor: str = "",
) -> HttpResponse:
    """List your own sessions, or with `shared` those that others share with you, latest activity first.

    The words of `q` must all occur in the title or in one step. `status` is a run's; `running` means all that are not finished.
    `cursor` is `next` of the page before. Sessions of others are searched by their titles only.
    """
    if status and status not in RunStatus.values:
        raise BadFrame("bad_frame", f"status: one of {', '.join(RunStatus.values)}.")
    if not is_clean(agent):
        raise BadFrame("bad_text", Sentence("agent: there is a character in it that no name has."))

    def page() -> tuple[list[_Row], dict[UUID, _More]]:
        user = user_of(request)
        if shared or q or status or agent or archived or cursor:
            if shared:
                sessions = session_lists.shared_sessions(user, text=q, status=status, agent=agent)
            else:
                sessions = session_lists.past_sessions(user, text=q, status=status, agent=agent, archived=archived)
            rows = [_Row(*row) for row in sessions.filter(_after(cursor)).values_list(*_Row._fields)[: PAGE_LENGTH + 1]]
        else:
            rows = _NEWEST.rows(user.pk)
        keys = [row.pk for row in rows]
        about: dict[UUID, _More] = {key: {} for key in keys}
        for key, sharing in session_lists.sharing_of(user, keys).items() if shared else ():
            about[key] = {"owner": sharing["owner"], "role": sharing["role"]}
        for key, branch in branches.branches_of(user, [row.pk for row in rows if row.family]).items():
            about[key]["branch"] = branch
        return rows, about

    found, about = await database.read(page)
    answer: SessionPage = {
        "items": [{**_listed(session), **about[session.pk]} for session in found[:PAGE_LENGTH]],
        "next": _cursor(found[PAGE_LENGTH - 1]) if len(found) > PAGE_LENGTH else None,
    }
    # A `SessionPage`, but not validated: that takes as long as everything else together.
    return HttpResponse(orjson.dumps(answer), content_type="application/json")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"(\d{1,17})-([0-9a-f]{32})")


def _cursor(last: _Row) -> str:
    """A cursor: the last session's place in the order, to the microsecond that the database stores."""
    return f"{(last.active_at - _EPOCH) // timedelta(microseconds=1)}-{last.pk.hex}"


def _after(cursor: str) -> Q:
    if not cursor:
        return Q()
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise BadFrame("bad_frame", Sentence("cursor: not one that this server gave out."))
    active_at = _EPOCH + timedelta(microseconds=int(match[1]))
    return Q(active_at__lt=active_at) | Q(active_at=active_at, pk__lt=UUID(match[2]))


@router.get("sessions/{session_id}/", auth=READ, response=SessionOut)
async def get_session(request: HttpRequest, session_id: str) -> SessionOut:
    """Show a session."""
    session = await visible_session(request, session_id)
    return session_out(session, await branch_of(request, session))


async def branch_of(request: HttpRequest, session: Session) -> BranchData | None:
    """The session's place in its family of copies, if it has one that the reader may see."""
    if session.family is None:
        return None
    return (await database.read(branches.branches_of, user_of(request), [session.pk])).get(session.pk)


@router.patch("sessions/{session_id}/", auth=MANAGE, response=SessionOut, openapi_extra=takes_body(SessionChanges))
async def change_session(request: HttpRequest, session_id: str) -> SessionOut:
    """Rename or archive a session, or change the agent and the reasoning that its page asks with."""
    session = await visible_session(request, session_id)
    changes = read_body(request, SessionChanges).model_dump(exclude_unset=True)
    return session_out(await runs_sessions.change_session(user_of(request), session, **changes) if changes else session)


@router.delete("sessions/{session_id}/", auth=MANAGE, response={204: None})
async def delete_session(request: HttpRequest, session_id: str) -> Status[None]:
    """Stop a session, and delete everything in it."""
    await runs_sessions.delete_session(user_of(request), await visible_session(request, session_id), Door.API)
    return Status(204, None)
