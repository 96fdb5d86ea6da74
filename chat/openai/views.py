"""The views of this API. They take tokens alone; errors have the shape that its clients read."""

import asyncio
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol

import orjson
from django.conf import settings
from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.response import HttpResponseBase
from django.urls import reverse

from chat.api.askers import token_of
from chat.api.errors import RETRY_AFTER_S, status_of
from chat.api.event_stream import EventStreamResponse, EventWriter
from chat.live.handshake import Login
from chat.models import Door, Scope
from chat.openai import catalog, completions, requests, responses
from chat.openai.asking import start_run
from chat.openai.completions import CompletionStream
from chat.openai.failures import Failure, bad_request, refused_command, run_failure, run_waits
from chat.openai.following import check_connections, follow_run
from chat.openai.pieces import AnswerParts, Ended, Frame, Piece, PieceReader, is_request
from chat.openai.requests import AnswerRequest, Body
from chat.openai.responses import Output, ResponseStream
from chat.protocol import as_uuid
from chat.runs import commands as run_commands
from chat.runs.admission import Refused
from chat.runs.client_turns import Asked
from chat.runs.request_keys import HEADER, read_key
from chat.runtime import background, database
from chat.security.tokens import BadToken, TooManyAttempts
from chat.store import sent_along, waiting_calls

logger = logging.getLogger(__name__)

View = Callable[..., Any]
_ANSWERED_AS = "X-Session-Id"


class _Stream(Protocol):
    """A run's answer as a stream writes it."""

    is_over: bool

    @property
    def differing_answer(self) -> str: ...

    def begin(self) -> bytes: ...

    def render(self, frame: Frame) -> bytes: ...


# Around every call


def openai_view(needed: Scope, *methods: str) -> Callable[[View], View]:
    """A call that a token of the ``needed`` scope may make; all errors are answered in this API's shape."""

    def decorate(view: View) -> View:
        @wraps(view)
        async def wrapped(request: HttpRequest, **values: str) -> Any:
            try:
                login = _login(request, needed)
                # HEAD as GET: what serves the request sends nothing but the head.
                if ("GET" if request.method == "HEAD" else request.method) not in methods:
                    raise Failure(405, f"This address takes {', '.join(methods)}.", "bad_frame")
                return await view(request, login, **values)
            except Exception as failure:  # noqa: BLE001 - answered, and logged where it is an internal error
                return _error_answer(request, failure)

        wrapped.csrf_exempt = True  # type: ignore[attr-defined] # no cookie counts here
        return wrapped

    return decorate


def _login(request: HttpRequest, needed: Scope) -> Login:
    token = token_of(request)
    if token is None:
        raise Failure(401, "Send a token, made under Account: “Authorization: Bearer tk_…”.", "invalid_api_key")
    if not token.scope.holds(needed):
        raise Failure(403, f"This needs a token with the scope “{needed.value}”.", "not_allowed")
    return Login(token.user, "", token)


def _error_answer(request: HttpRequest, failure: Exception) -> HttpResponse:
    match failure:
        case Failure():
            return _failed(failure)
        case TooManyAttempts(wait_s=wait_s):
            response = _failed(
                Failure(429, "Too many tokens that are none came from there.", "rate_limited", is_final=False)
            )
            response["Retry-After"] = str(int(wait_s) + 1)
            return response
        case BadToken():
            return _failed(Failure(401, "This token is unknown, has expired or was revoked.", "invalid_api_key"))
        case Refused():
            response = _failed(refused_command(failure.code, str(failure.message), status_of(failure.code)))
            if failure.wait_s is not None:
                response["Retry-After"] = str(failure.wait_s)
            return response
        case UnreadablePostError():
            return _failed(bad_request("The body could not be read.", code="bad_json"))
        case DatabaseError():
            logger.error("The database did not answer (%s)", request.path, exc_info=failure)
            return _failed(Failure(503, "The database did not answer. Please try again.", "storage", is_final=False))
    ours = Failure(500, "Something in this program went wrong; it has been noted.", "internal")
    logger.error("A request failed (%s): %s", request.path, ours.id, exc_info=failure)
    return _failed(ours)


def _failed(failure: Failure) -> HttpResponse:
    logger.info("Refused a request: %s %s (%d)", failure.code, failure.id, failure.status)
    response = _json({"error": failure.body()}, failure.status)
    if failure.session_id:
        response[_ANSWERED_AS] = failure.session_id
    if failure.status in (429, 503):
        response["Retry-After"] = str(RETRY_AFTER_S.get(failure.code, RETRY_AFTER_S["storage"]))
    if failure.is_final:
        # These clients try again by themselves, even where it would come to the same, or do the same again.
        response["x-should-retry"] = "false"
    return response


def _json(data: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(orjson.dumps(data), status=status, content_type="application/json")


# The calls


@openai_view(Scope.READ, "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
async def unknown(request: HttpRequest, login: Login) -> HttpResponse:
    """Any other address."""
    raise Failure(404, f"There is no such address: {request.path[:200]}", "not_found")


@openai_view(Scope.READ, "GET")
async def list_models(request: HttpRequest, login: Login) -> HttpResponse:
    """The agents that one may use."""
    return _json({"object": "list", "data": await database.read(catalog.models_for, login.user)})


@openai_view(Scope.READ, "GET")
async def get_model(request: HttpRequest, login: Login, name: str) -> HttpResponse:
    """One of them."""
    for model in await database.read(catalog.models_for, login.user):
        if model["id"] == name:
            return _json(model)
    raise refused_command("unknown_agent", f"There is no model “{name[:64]}”.", 404)


@openai_view(Scope.ASK, "POST")
async def complete_chat(request: HttpRequest, login: Login) -> HttpResponseBase:
    """Ask, and answer as a chat completion."""
    raw, body = _body(request)
    wanted, asked = await _asked(request, login, raw, requests.parse_completion, body)
    run_id = str(asked.run_id)
    if wanted.stream:
        return _stream(request, login, asked, CompletionStream(run_id, wanted.model, asked.created, wanted.with_usage))
    parts = AnswerParts()
    await _wait(request, login, asked, parts.add)
    return _answer(_json(completions.build_completion(run_id, wanted.model, asked.created, parts)), asked)


@openai_view(Scope.ASK, "POST")
async def create_response(request: HttpRequest, login: Login) -> HttpResponseBase:
    """Ask, and answer as a response."""
    raw, body = _body(request)
    wanted, asked = await _asked(request, login, raw, requests.parse_response, body)
    resource = responses.Asked(
        str(asked.run_id),
        wanted.model,
        asked.created,
        wanted.conversation.instructions or None,
        wanted.previous,
        {**wanted.metadata, "session_id": str(asked.session_id)},
    )
    if wanted.stream:
        return _stream(request, login, asked, ResponseStream(resource))
    output = Output(resource.run_id)
    ended = await _wait(request, login, asked, output.add)
    return _answer(_json(resource.resource(responses.status_of(ended), output.items, ended)), asked)


@openai_view(Scope.READ, "GET")
async def get_response(request: HttpRequest, login: Login, response_id: str) -> HttpResponse:
    """The current state of a response, from the log."""
    run_id = as_uuid(response_id.removeprefix("resp_"))
    found = await database.read(catalog.stored_response, login.user, run_id) if run_id else None
    if found is None:
        raise Failure(404, "There is no such response.", "not_found", "response_id")
    asked, frames, status = found
    output, reader = Output(asked.run_id), PieceReader(asked.run_id)
    for frame in frames:
        for piece in reader.read_frame(frame):
            output.add(piece)
    ended = output.ended
    response = _json(asked.resource(responses.status_of(ended) if ended else status, output.items, ended))
    response[_ANSWERED_AS] = asked.metadata["session_id"]
    return response


def _body(request: HttpRequest) -> tuple[bytes, Body]:
    # Not `request.body`, which has one limit for all addresses: this one's is enforced before Django.
    raw = request.read()
    return raw, requests.read_body(raw)


async def _asked(
    request: HttpRequest, login: Login, raw: bytes, read: Callable[[Body], AnswerRequest], body: Body
) -> tuple[AnswerRequest, Asked]:
    wanted = read(body)
    named = request.headers.get(_ANSWERED_AS)
    if named:
        wanted = wanted.in_session(named)
    check_connections(login.user)
    try:
        key = read_key(request.headers.get(HEADER), raw)
    except Refused as refusal:
        raise bad_request(refusal.message, HEADER) from None
    return wanted, await start_run(login.user, wanted, key)


def _answer(answer: HttpResponseBase, asked: Asked) -> HttpResponseBase:
    answer[_ANSWERED_AS] = str(asked.session_id)
    return answer


async def _wait(request: HttpRequest, login: Login, asked: Asked, add: Callable[[Piece], object]) -> Ended:
    """Read a run's frames up to its end; drafts are skipped, which its steps contain. Raises `Failure` where it has no answer."""
    reader = PieceReader(str(asked.run_id))
    ends: list[Ended] = []
    waits = False

    async def on_frame(frame: Frame) -> bool:
        nonlocal waits
        if is_request(frame, reader.run_id):
            # For a run that is followed again, the request may have been decided long ago.
            waits = bool(await database.read(waiting_calls.open_within, asked.run_id))
            return waits
        if frame["type"] != "reasoning_delta":
            for piece in reader.read_frame(frame):
                add(piece)
                if isinstance(piece, Ended):
                    ends.append(piece)
        return bool(ends)

    try:
        await follow_run(login, asked, on_frame)
        if waits:
            raise run_waits(_address(request, asked))
        if ends[0].error:
            raise run_failure(ends[0])
    except Failure as failure:
        failure.session_id = str(asked.session_id)
        raise
    except asyncio.CancelledError:
        _client_gone(request, login, asked)
        raise
    return ends[0]


def _address(request: HttpRequest, asked: Asked) -> str:
    path = reverse("session", args=[asked.session_id])
    return f"{settings.PUBLIC_URL.origin}{path}" if settings.PUBLIC_URL.origin else request.build_absolute_uri(path)


def _stream(request: HttpRequest, login: Login, asked: Asked, stream: _Stream) -> HttpResponseBase:
    """The run as an event stream."""

    async def produce(writer: EventWriter) -> None:
        await writer.write(stream.begin())

        async def on_frame(frame: Frame) -> bool:
            events = stream.render(frame)
            if stream.is_over:
                if content := stream.differing_answer:
                    # The conversation is known by what its client has, before that can go on with it.
                    await database.write(sent_along.record_answer, asked.run_id, content)
                await writer.write_last(events)
            elif events:
                await writer.write(events)
            return stream.is_over

        try:
            await follow_run(login, asked, on_frame)
        except Failure as failure:
            await writer.write_last(b"data: " + orjson.dumps({"error": failure.body()}) + b"\n\n" + completions.DONE)
        except asyncio.CancelledError:
            _client_gone(request, login, asked)
            raise

    return _answer(EventStreamResponse(produce), asked)


def _client_gone(request: HttpRequest, login: Login, asked: Asked) -> None:
    """Stop the run where the client has asked for that; else it continues."""
    if request.headers.get("X-Stop-On-Disconnect", "").lower() == "true":
        background.spawn(_stop(login, asked), "stop a run whose client has gone")


async def _stop(login: Login, asked: Asked) -> None:
    try:
        await run_commands.cancel(login.user, asked.session_id, asked.run_id, door=Door.V1)
    except Refused:
        logger.info("Run %s had ended when its client went away", asked.run_id)
