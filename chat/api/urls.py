"""The JSON API, under ``/api/``: what the socket does, for whom a socket cannot open, lists of sessions, and schedules.

Every error has the wire's shape, ``{"error": {"code", "message", "id"}}``.
"""

import logging
import re
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Annotated, Any
from uuid import UUID

import orjson
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.db import Error as DatabaseError
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import URLPattern, path, re_path
from django.utils.translation import gettext as _
from ninja import NinjaAPI, Schema, Status
from ninja.errors import AuthenticationError, ValidationError
from ninja.security.base import AuthBase
from pydantic import AliasChoices, BaseModel, Field, StrictBool, StrictStr

from chat import protocol
from chat.api import schedules as schedule_api
from chat.api.bodies import payload, takes, user_of
from chat.models import Door, Origin, Run, RunStatus, Session, Step
from chat.protocol import BadFrame, ClientMessageId, as_uuid, error_data, is_clean
from chat.runs import commands as run_commands
from chat.runs.commands import Refused
from chat.runtime import database
from chat.schedules.commands import BadField
from chat.security import audit
from chat.security.csrf import explain_refusal, forgery_reason
from chat.store import drafts, search, selectors

logger = logging.getLogger(__name__)

_STATUS = {
    "not_allowed": 403,
    "not_found": 404,
    "not_continuable": 409,
    "nothing_to_cancel": 409,
    "conflict": 409,
    "too_large": 413,
    "rate_limited": 429,
    "queue_full": 429,
    "storage": 503,
    "internal": 500,
}
_PAGE = 30
_MOST_EVENTS = 1_000
_KEY = re.compile(r"[!-~]{1,64}")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
#: Whom a page was made for, as it says itself: in another tab somebody else may have logged in, who is not to say what was typed here.
_MADE_FOR = "X-Page-User"


# Errors


def error(code: str, message: str, status: int | None = None) -> HttpResponse:
    """An error as the wire words it, with an identifier by which it is found in the log."""
    error_id = secrets.token_hex(4)
    status = status or _STATUS.get(code, 400)
    logger.info("Refused a request: %s %s (%d)", code, error_id, status)
    body = orjson.dumps({"error": error_data(code, message, error_id)})
    return HttpResponse(body, status=status, content_type="application/json")


def _anonymous() -> HttpResponse:
    return error("not_allowed", "Please log in.", 401)


def _invalid(_: HttpRequest, failure: ValidationError) -> HttpResponse:
    first = failure.errors[0]
    name = str(first["loc"][-1])
    return error("bad_last_seq" if name == "after" else "bad_frame", f"{name}: {first['msg']}.")


def _failed(request: HttpRequest, failure: Exception) -> HttpResponse:
    told = error("internal", "Something in this program went wrong; it has been noted.")
    logger.error("A request failed (%s)", request.path, exc_info=failure)
    return told


def _unstored(request: HttpRequest, failure: Exception) -> HttpResponse:
    logger.error("The database did not answer (%s)", request.path, exc_info=failure)
    return error("storage", "The database did not answer. Please try again; a message is not taken twice.")


# Who asks


class _Forged(Exception):
    """A write that does not prove that it comes from a page of ours; the text says why."""


class _SessionCookie(AuthBase):
    """The login of the pages; what changes something must prove that it comes from them."""

    openapi_type = "apiKey"
    openapi_in = "cookie"
    openapi_name = settings.SESSION_COOKIE_NAME

    async def __call__(self, request: HttpRequest) -> User | None:
        """Return who is logged in; None where nobody is."""
        user = await request.auser()
        if not isinstance(user, User):
            return None
        if request.method not in _SAFE_METHODS and (reason := forgery_reason(request)):
            raise _Forged(explain_refusal(request, reason))
        if request.headers.get(_MADE_FOR, str(user.pk)) != str(user.pk):
            raise _Forged(
                _(
                    "Somebody else has logged in meanwhile. What you typed is kept on this device; log in again to go on."
                )
            )
        return user


api = NinjaAPI(
    title="Thinkaloud",
    version="1",
    description=(
        "Log in at `/accounts/login/`; the session cookie is the key. A request that changes something carries the value of "
        "the cookie `csrftoken` in the header `X-CSRFToken`. A page may name in `X-Page-User` the number of the account that it was "
        "made for; where another is logged in by then, it is refused with 403. Times are Unix seconds."
    ),
    urls_namespace="api",
    docs_url=None,
    openapi_url=None,
    auth=_SessionCookie(),
)
_handlers: dict[type[Exception], Callable[[HttpRequest, Any], HttpResponse]] = {
    Exception: _failed,
    DatabaseError: _unstored,
    ValidationError: _invalid,
    AuthenticationError: lambda *_: _anonymous(),
    _Forged: lambda _, failure: error("not_allowed", str(failure)),
    # A body that Django cannot take apart, which it does to look for a token.
    **dict.fromkeys(
        (MultiPartParserError, BadRequest, SuspiciousOperation, UnreadablePostError),
        lambda *_: error("bad_json", "The body must be JSON, with Content-Type: application/json."),
    ),
    RequestDataTooBig: lambda *_: error("too_large", "The request is too large."),
    BadFrame: lambda _, failure: error(failure.code, failure.message),
    Refused: lambda _, failure: error(failure.code, failure.message),
    BadField: lambda _, failure: error(failure.code, f"{failure.field}: {failure.message}"),
}
for kind, handler in _handlers.items():
    api.add_exception_handler(kind, handler)
api.add_router("", schedule_api.router)


# What goes in and out


class NewSession(BaseModel):
    """A session to open."""

    agent_name: StrictStr | None = None
    title: Annotated[StrictStr, Field(max_length=200)] = ""
    enable_reasoning: StrictBool = True


class SessionChanges(BaseModel):
    """What is to be different of a session; what is left out stays."""

    title: Annotated[StrictStr, Field(max_length=200)] = ""
    agent_name: Annotated[StrictStr, Field(validation_alias=AliasChoices("agent_name", "agent"))] = ""
    enable_reasoning: StrictBool = True
    archived: StrictBool = False


class Stop(BaseModel):
    """Stop one run, or with ``all`` the session's line too."""

    all: StrictBool = False


class Onward(BaseModel):
    """Go on from a run."""

    client_message_id: ClientMessageId | None = None


class SessionOut(Schema):
    """A session."""

    id: UUID
    title: str
    agent_name: str
    enable_reasoning: bool = Field(description="Whether its page asks for the steps, too.")
    status: str = Field(description="Of the run at work, else of the newest; empty before the first.")
    archived: bool
    created_at: float
    active_at: float
    last_seq: int
    websocket_path: str


class SessionPage(Schema):
    """Sessions, latest activity first, and the cursor of the next page."""

    items: list[SessionOut]
    next: str | None


class UsageOut(Schema):
    """Tokens of a run."""

    input_tokens: int
    output_tokens: int
    estimated: bool


class RunOut(Schema):
    """A run."""

    id: UUID
    session_id: UUID
    status: str
    queued: int = Field(description="Place in line; 0 once it runs.")
    agent_name: str
    enable_reasoning: bool
    message: str
    client_message_id: str
    origin: str
    continues: UUID | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    duration_ms: int | None
    iterations: int
    usage: UsageOut
    code: str | None
    cancelled_by: str | None


class AcceptedOut(Schema):
    """A run that exists now."""

    run_id: UUID
    queued: int = Field(description="Place in line; 0 = it runs.")
    client_message_id: str


class StoppedOut(Schema):
    """A run that is being stopped."""

    run_id: UUID


class HitOut(Schema):
    """A step that was found. ``excerpt`` is text in pieces, each with whether it is one of the words looked for."""

    session_id: UUID
    session_title: str
    run_id: UUID
    seq: int | None = Field(description="Empty for steps of a run without reasoning, which are never sent.")
    step: int | None
    type: str
    tool_name: str
    timestamp: float
    excerpt: list[tuple[str, bool]]


class Hits(Schema):
    """Steps that were found, newest first."""

    items: list[HitOut]


def _session_out(session: Session) -> dict[str, Any]:
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
        "websocket_path": f"{settings.PUBLIC_URL.path}/ws/chat/{session.pk}/",
    }


def _run_out(run: Run) -> dict[str, Any]:
    lasted = run.ended_at - run.started_at if run.ended_at and run.started_at else None
    return {
        "id": run.pk,
        "session_id": run.session_id,
        "status": run.status,
        "queued": selectors.place_in_line(run),
        "agent_name": run.agent_name,
        "enable_reasoning": run.enable_reasoning,
        "message": run.message,
        "client_message_id": run.client_message_id,
        "origin": run.origin,
        "continues": run.continues_id,
        "created_at": run.created_at.timestamp(),
        "started_at": run.started_at and run.started_at.timestamp(),
        "ended_at": run.ended_at and run.ended_at.timestamp(),
        "duration_ms": None if lasted is None else round(lasted.total_seconds() * 1000),
        "iterations": run.iterations,
        "usage": {
            "input_tokens": run.input_tokens,
            "output_tokens": run.output_tokens,
            "estimated": run.usage_estimated,
        },
        "code": run.code or None,
        "cancelled_by": run.cancelled_by.get_username() if run.cancelled_by else None,
    }


# Where a path leads


async def _session(request: HttpRequest, session_id: str) -> Session:
    """The session of a path, where the user may see it. Whether more is allowed, `runs` says."""
    key = as_uuid(session_id)
    found = await audit.open_session_async(user_of(request), key, Door.API) if key else None
    if found is None:
        raise Refused("not_found", "There is no such session.")
    return found[0]


async def _run(request: HttpRequest, run_id: str) -> Run:
    """The run of a path, likewise."""
    key = as_uuid(run_id)
    runs_of_all = Run.objects.select_related("session", "cancelled_by")
    run = await database.read(runs_of_all.filter(pk=key).first) if key else None
    if run is None or await audit.open_session_async(user_of(request), run.session_id, Door.API) is None:
        raise Refused("not_found", "There is no such run.")
    return run


def _accepted(accepted: run_commands.Accepted) -> Status[dict[str, Any]]:
    return Status(
        202,
        {
            "run_id": accepted.run_id,
            "queued": accepted.queued,
            "client_message_id": accepted.client_message_id,
        },
    )


# Sessions


@api.post("sessions/", response={201: SessionOut}, openapi_extra=takes(NewSession))
async def create_session(request: HttpRequest) -> Status[dict[str, Any]]:
    """Open a session.

    With the header `Idempotency-Key`, 1 to 64 visible ASCII characters, it can be asked for again: for 24 hours the same key gets the
    same session.
    """
    new = payload(request, NewSession)
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise BadFrame("bad_frame", "Idempotency-Key: 1 to 64 visible ASCII characters.")
    session = await run_commands.create_session(
        user_of(request), agent_name=new.agent_name, title=new.title, enable_reasoning=new.enable_reasoning, key=key
    )
    return Status(201, _session_out(session))


@api.get("sessions/", response=SessionPage)
async def list_sessions(
    request: HttpRequest,
    q: str = "",
    status: str = "",
    agent: str = "",
    archived: bool = False,
    cursor: str = "",
) -> dict[str, Any]:
    """List one's own sessions, latest activity first.

    The words of `q` must all occur in the title or in one step. `status` is a run's; `running` means all that is not finished.
    `cursor` is `next` of the page before.
    """
    if status and status not in RunStatus.values:
        raise BadFrame("bad_frame", f"status: one of {', '.join(RunStatus.values)}.")
    if not is_clean(agent):
        raise BadFrame("bad_text", "agent: there is a character in it that no name has.")

    def page() -> list[Session]:
        sessions = selectors.past_sessions(user_of(request), text=q, status=status, agent=agent, archived=archived)
        return list(sessions.filter(_after(cursor))[: _PAGE + 1])

    found = await database.read(page)
    return {
        "items": [_session_out(session) for session in found[:_PAGE]],
        "next": _cursor(found[_PAGE - 1]) if len(found) > _PAGE else None,
    }


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"(\d{1,17})-([0-9a-f]{32})")


def _cursor(last: Session) -> str:
    """A page's end: the last session's place in the order, to the microsecond that the database keeps."""
    return f"{(last.active_at - _EPOCH) // timedelta(microseconds=1)}-{last.pk.hex}"


def _after(cursor: str) -> Q:
    if not cursor:
        return Q()
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise BadFrame("bad_frame", "cursor: not one that this server gave out.")
    active_at = _EPOCH + timedelta(microseconds=int(match[1]))
    return Q(active_at__lt=active_at) | Q(active_at=active_at, pk__lt=UUID(match[2]))


@api.get("sessions/{session_id}/", response=SessionOut)
async def get_session(request: HttpRequest, session_id: str) -> dict[str, Any]:
    """Show a session."""
    return _session_out(await _session(request, session_id))


@api.patch("sessions/{session_id}/", response=SessionOut, openapi_extra=takes(SessionChanges))
async def change_session(request: HttpRequest, session_id: str) -> dict[str, Any]:
    """Rename it, archive it, or change the agent and the reasoning that its page asks with."""
    session = await _session(request, session_id)
    changes = payload(request, SessionChanges).model_dump(exclude_unset=True)
    return _session_out(await run_commands.change_session(user_of(request), session, **changes) if changes else session)


@api.delete("sessions/{session_id}/", response={204: None})
async def delete_session(request: HttpRequest, session_id: str) -> Status[None]:
    """Stop it and remove everything of it."""
    await run_commands.delete_session(user_of(request), await _session(request, session_id))
    return Status(204, None)


# Events


@api.get(
    "sessions/{session_id}/events/",
    openapi_extra={"responses": {200: {"description": "{events: [frames as sent], last_seq, run, queue, growth}"}}},
)
async def list_events(
    request: HttpRequest,
    session_id: str,
    after: Annotated[int, Field(ge=0, lt=2**63)] = 0,
    limit: Annotated[int, Field(ge=1, le=_MOST_EVENTS)] = 200,
) -> HttpResponse:
    """Read a session's events with numbers above `after`, as they were sent.

    `last_seq` is the head, `run` the run at work and `queue` the line behind it. `growth` is the frame of the step being
    written now, from its beginning, or null.
    """
    session = await _session(request, session_id)

    def look() -> tuple[selectors.SessionView | None, drafts.Draft | None, list[str]]:
        # The draft before the log: a step that is stored in between supersedes it, and is there.
        draft = drafts.of(session.pk) or selectors.head_and_draft(session.pk)[1]
        view = selectors.session_view(session.pk)
        head = view.last_seq if view else 0
        return view, draft, [stored.frame for stored in selectors.stored_after(session.pk, after, limit, head)]

    view, draft, frames = await database.read(look)
    if view is None:
        raise Refused("not_found", "There is no such session.")
    growth = protocol.encode("reasoning_delta", draft.data(0), run_id=str(draft.run_id)) if draft else "null"
    run, queue = orjson.dumps(view.run).decode(), orjson.dumps(view.queue).decode()
    return HttpResponse(
        f'{{"events":[{",".join(frames)}],"last_seq":{view.last_seq},"run":{run},"queue":{queue},"growth":{growth}}}',
        content_type="application/json",
    )


@api.get(
    "sessions/{session_id}/events/{seq}/content/",
    openapi_extra={"responses": {200: {"description": "The text", "content": {"text/plain": {}}}}},
)
async def get_content(request: HttpRequest, session_id: str, seq: str) -> HttpResponse:
    """Read the whole text of a step, however long."""
    session = await _session(request, session_id)
    steps = Step.objects.select_related("full_content").filter(session=session, seq=int(seq) if _is_number(seq) else -1)
    step = await database.read(steps.first)
    content = None
    if step is not None:
        whole = getattr(step, "full_content", None)
        content = whole.content if whole is not None else selectors.step_data(step).get("content")
    if content is None:
        raise Refused("not_found", "There is no such step, or it has no text.")
    return HttpResponse(
        content, content_type="text/plain; charset=utf-8", headers={"X-Content-Type-Options": "nosniff"}
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


# Runs


@api.post("sessions/{session_id}/messages/", response={202: AcceptedOut}, openapi_extra=takes(protocol.Chat))
async def send_message(request: HttpRequest, session_id: str) -> Status[dict[str, Any]]:
    """Ask: start a run, or put it in line. The same `client_message_id` again gets the same answer and nothing else."""
    session = await _session(request, session_id)
    chat = payload(request, protocol.Chat)
    accepted = await run_commands.ask(
        user_of(request),
        session.pk,
        message=chat.message,
        agent_name=chat.agent_name,
        enable_reasoning=chat.enable_reasoning,
        client_message_id=chat.client_message_id,
        origin=Origin.API,
    )
    return _accepted(accepted)


@api.get("runs/{run_id}/", response=RunOut)
async def get_run(request: HttpRequest, run_id: str) -> dict[str, Any]:
    """Show a run."""
    run = await _run(request, run_id)
    return await database.read(_run_out, run)


@api.post("runs/{run_id}/cancel/", response={202: StoppedOut}, openapi_extra=takes(Stop))
async def cancel_run(request: HttpRequest, run_id: str) -> Status[dict[str, Any]]:
    """Stop a run."""
    run = await _run(request, run_id)
    stop = payload(request, Stop)
    await run_commands.cancel(user_of(request), run.session_id, run.pk, everything=stop.all, door=Door.API)
    return Status(202, {"run_id": run.pk})


@api.post("runs/{run_id}/continue/", response={202: AcceptedOut}, openapi_extra=takes(Onward))
async def continue_run(request: HttpRequest, run_id: str) -> Status[dict[str, Any]]:
    """Go on from the session's latest run, as a new run, whose identifier is in the answer."""
    run = await _run(request, run_id)
    onward = payload(request, Onward)
    accepted = await run_commands.continue_run(user_of(request), run.session_id, run.pk, onward.client_message_id)
    return _accepted(accepted)


# Search


@api.get("search/", response=Hits)
async def find_steps(
    request: HttpRequest, q: str = "", limit: Annotated[int, Field(ge=1, le=100)] = _PAGE
) -> dict[str, Any]:
    """Search messages, thoughts, tool arguments, results and answers of one's own sessions."""
    hits = await database.read(search.find, user_of(request), q, limit)
    return {
        "items": [
            {
                "session_id": hit.session_id,
                "session_title": hit.session_title,
                "run_id": hit.run_id,
                "seq": hit.seq,
                "step": hit.step,
                "type": hit.type,
                "tool_name": hit.tool_name,
                "timestamp": hit.at.timestamp(),
                "excerpt": hit.excerpt,
            }
            for hit in hits
        ]
    }


# Addresses


def _in_own_words(view: Callable[..., Any]) -> Callable[..., Any]:
    """Tell of a method that an address has not in the wire's words, and to those alone who are logged in."""

    @wraps(view)
    async def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response: HttpResponseBase = await view(request, *args, **kwargs)
        if not isinstance(response, HttpResponseNotAllowed):
            return response
        if (await request.auser()).is_anonymous:
            return _anonymous()
        allowed = response["Allow"]
        told = error("bad_frame", f"This address takes {allowed}.", 405)
        told["Allow"] = allowed
        return told

    return wrapped


async def unknown(request: HttpRequest) -> HttpResponse:
    """Any other address."""
    if (await request.auser()).is_anonymous:
        return _anonymous()
    return error("not_found", "There is no such address.")


unknown.csrf_exempt = True  # type: ignore[attr-defined] # there is nothing here to forge


async def openapi(request: HttpRequest) -> HttpResponse:
    """The API's description for programs."""
    if (await request.auser()).is_anonymous:
        return _anonymous()
    return HttpResponse(orjson.dumps(_schema(), option=orjson.OPT_NON_STR_KEYS), content_type="application/json")


def _schema() -> dict[str, Any]:
    return dict(api.get_openapi_schema(path_prefix="/api/"))


@login_required
def docs(request: HttpRequest) -> HttpResponse:
    """The API's description for people."""
    schema = _schema()
    calls = [
        {
            "method": method.upper(),
            "path": address,
            "summary": call["description"],
            "parameters": call.get("parameters", []),
            "body": _fields(_json_of(call.get("requestBody", {}))),
            "answers": [
                {"status": status, "told": answer.get("description", ""), "kind": _kind(_json_of(answer))}
                for status, answer in call["responses"].items()
            ],
        }
        for address, methods in schema["paths"].items()
        for method, call in methods.items()
    ]
    objects = {name: _fields(described) for name, described in schema["components"]["schemas"].items()}
    return render(request, "api/docs.html", {"info": schema["info"], "calls": calls, "objects": objects})


def _json_of(content: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = content.get("content", {}).get("application/json", {}).get("schema", {})
    return described


def _fields(described: dict[str, Any]) -> list[dict[str, Any]]:
    """An object's fields, as a table shows them."""
    return [
        {
            "name": name,
            "kind": _kind(field),
            "required": name in described.get("required", ()),
            "told": field.get("description", ""),
        }
        for name, field in described.get("properties", {}).items()
    ]


def _kind(described: dict[str, Any]) -> str:
    """A value's type in few words."""
    if "$ref" in described:
        return str(described["$ref"]).rpartition("/")[2]
    if "anyOf" in described:
        return " or ".join(_kind(one) for one in described["anyOf"])
    if "prefixItems" in described:
        return f"[{', '.join(_kind(one) for one in described['prefixItems'])}]"
    if described.get("type") == "array":
        return f"list of {_kind(described.get('items', {}))}"
    return str(described.get("format") or described.get("type", ""))


def _addresses() -> Iterator[URLPattern]:
    for pattern in api.urls[0]:
        # Ninja's own root, which has nothing to show, is left out.
        if isinstance(pattern, URLPattern) and pattern.name != "api-root":
            yield path(str(pattern.pattern), _in_own_words(pattern.callback), name=pattern.name)


urlpatterns = [
    re_path(r"^docs/?$", docs, name="api-docs"),
    path("openapi.json", openapi, name="api-schema"),
    *_addresses(),
    re_path(r"", unknown, name="api-unknown"),
]
