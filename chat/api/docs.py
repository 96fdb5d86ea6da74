"""The API's description for programs, from which the page for people is made, too."""

from typing import get_args

import orjson
from django.http import HttpRequest, HttpResponse
from django.urls import resolve

from agents.json_types import JsonObject
from chat.api.auth import TokenAuth
from chat.api.errors import refuse_anonymous, status_of
from chat.api.routes import api
from chat.protocol import CLOSES, ERROR_CODES
from chat.protocol.frames import StoredFrame, UnstoredFrame
from chat.protocol.schema import frame_schemas, payload_schemas

SOCKET = (
    "A WebSocket of JSON text frames at `/ws/chat/<session_id>/`, with the login's cookie. A client sends "
    "`{type, payload}` and is sent `{type, data}`; events of the log have `seq`, `id` and `run_id` beside them. "
    "`last_seq=41&last_id=…` in the address asks for what came after event 41; `agent_name` is who answers. Acknowledge "
    "every 100 events by `ack`: with 200 of them, or 1 MiB, unacknowledged nothing more is sent. Unknown types, fields and kinds of "
    "step are to be ignored."
)
_QUERY = {
    name: {"type": kind} for name, kind in (("last_seq", "integer"), ("last_id", "string"), ("agent_name", "string"))
}


_ANY_ERROR = {
    "description": "An error, with the status that belongs to its code",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    "headers": {
        "Retry-After": {
            "description": "With 429 and 503: after how many seconds it is worth trying again.",
            "schema": {"type": "integer", "minimum": 1},
        }
    },
}

#: Calls of other APIs by their paths; each package adds its own when its addresses are loaded.
other_paths: dict[str, JsonObject] = {}


async def openapi_document(request: HttpRequest) -> HttpResponse:
    """The API's description for programs."""
    if refusal := await refuse_anonymous(request):
        return refusal
    return HttpResponse(orjson.dumps(openapi_schema(), option=orjson.OPT_NON_STR_KEYS), content_type="application/json")


def openapi_schema() -> JsonObject:
    """The description of all calls, as an OpenAPI document."""
    described = dict(api.get_openapi_schema(path_prefix="/api/"))
    needed = {
        api.get_openapi_operation_id(operation): auth.needed.value
        for bound in api._get_bound_routers()  # noqa: SLF001 - where ninja's own description finds them
        for view in bound.path_operations.values()
        for operation in view.operations
        for auth in operation.auth_callbacks
        if isinstance(auth, TokenAuth)
    }
    for methods in described["paths"].values():
        for call in methods.values():
            for way in call["security"]:
                # What OpenAPI calls scopes; ninja leaves it empty.
                if TokenAuth.__name__ in way:
                    way[TokenAuth.__name__] = [needed[call["operationId"]]]
    # With descriptions of the fields, which ninja leaves out.
    described["components"]["schemas"] |= frame_schemas()
    described["components"]["schemas"]["Error"] = _error_schema()
    for methods in described["paths"].values():
        for call in methods.values():
            call["responses"].setdefault("default", _ANY_ERROR)
    # They are added when their addresses are loaded, which may not have happened yet: this loads them.
    resolve("/v1/models")
    described["paths"] = {**described["paths"], **other_paths}
    return described


def _error_schema() -> JsonObject:
    """The error response of every call under ``/api/``."""
    codes = {code: status_of(code) for code in ERROR_CODES}
    fields = {
        "code": {"type": "string", "enum": list(codes)},
        "message": {"type": "string", "description": "For people, in English."},
        "id": {"type": "string", "description": "By which it is found in the installation's log."},
    }
    description = "An error. " + " ".join(f"`{code}`: {status}." for code, status in codes.items())
    error = {"type": "object", "properties": fields, "required": ["code", "message", "id"]}
    described = f"{description} Whoever is not logged in, and a token that holds no more, get 401 with `not_allowed`."
    return {
        "type": "object",
        "description": described,
        "properties": {"error": error},
        "required": ["error"],
        "x-statuses": codes,
    }


async def asyncapi_document(request: HttpRequest) -> HttpResponse:
    """The socket's description for programs."""
    if refusal := await refuse_anonymous(request):
        return refusal
    return HttpResponse(orjson.dumps(socket_schema()), content_type="application/json")


def socket_schema() -> JsonObject:
    """The description of the socket as an AsyncAPI document."""
    commands = {f"{word}Command": _command_schema(word, payload) for word, payload in payload_schemas().items()}
    frames = [frame.__name__ for frame in (*get_args(UnstoredFrame), *get_args(StoredFrame))]
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Thinkaloud", "version": "1", "description": SOCKET},
        "defaultContentType": "application/json",
        "channels": {
            "session": {
                "address": "/ws/chat/{session_id}/",
                "parameters": {"session_id": {"description": "The session's id."}},
                "bindings": {"ws": {"query": {"type": "object", "properties": _QUERY}}},
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in (*commands, *frames)},
            }
        },
        "operations": {
            "takeCommand": {
                "action": "receive",
                "channel": {"$ref": "#/channels/session"},
                "messages": [{"$ref": f"#/channels/session/messages/{name}"} for name in commands],
            },
            "sendFrame": {
                "action": "send",
                "channel": {"$ref": "#/channels/session"},
                "messages": [{"$ref": f"#/channels/session/messages/{name}"} for name in frames],
            },
        },
        "components": {
            "messages": {name: {"payload": {"$ref": f"#/components/schemas/{name}"}} for name in (*commands, *frames)},
            "schemas": {**frame_schemas(), **commands},
        },
        "x-close-codes": CLOSES,
    }


def _command_schema(word: str, payload: JsonObject) -> JsonObject:
    return {
        "type": "object",
        "description": payload["description"],
        "properties": {"type": {"const": word, "type": "string"}, "payload": payload},
        "required": ["type", "payload"] if payload.get("required") else ["type"],
    }
