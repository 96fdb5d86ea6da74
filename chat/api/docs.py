"""The API's description, for programs and for people."""

from typing import Any, get_args

import orjson
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from chat.api.auth import TokenAuth
from chat.api.errors import refuse_strangers, status_of
from chat.api.routes import api
from chat.protocol import CLOSES, ERROR_CODES
from chat.protocol.frames import StoredFrame, UnstoredFrame, type_of
from chat.protocol.schema import frame_schemas, payload_schemas
from chat.rendering.markdown import prepare_markdown

_SOCKET = (
    "A WebSocket of JSON text frames at `/ws/chat/<session_id>/`, with the login's cookie. A client sends "
    "`{type, payload}` and is sent `{type, data}`; events of the log have `seq`, `id` and `run_id` beside them. "
    "`last_seq=41&last_id=…` in the address asks for what came after event 41; `agent_name` is who answers. Acknowledge "
    "every 100 events by `ack`: with 200 of them, or 1 MiB, unacknowledged nothing more is sent. Unknown types, fields and kinds of "
    "step are to be ignored."
)
_QUERY = {
    name: {"type": kind} for name, kind in (("last_seq", "integer"), ("last_id", "string"), ("agent_name", "string"))
}


#: Calls of other doors, by their paths; each adds its own where its addresses are.
other_paths: dict[str, dict[str, Any]] = {}


async def openapi(request: HttpRequest) -> HttpResponse:
    """The API's description for programs."""
    if stranger := await refuse_strangers(request):
        return stranger
    return HttpResponse(orjson.dumps(openapi_schema(), option=orjson.OPT_NON_STR_KEYS), content_type="application/json")


def openapi_schema() -> dict[str, Any]:
    """The description of all calls, as OpenAPI has it."""
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
                # What OpenAPI calls a role; ninja leaves it empty.
                if TokenAuth.__name__ in way:
                    way[TokenAuth.__name__] = [needed[call["operationId"]]]
    # With what the types say of their fields, which ninja leaves out.
    described["components"]["schemas"] |= frame_schemas()
    described["paths"] = {**described["paths"], **other_paths}
    return described


async def asyncapi(request: HttpRequest) -> HttpResponse:
    """The socket's description for programs."""
    if stranger := await refuse_strangers(request):
        return stranger
    return HttpResponse(orjson.dumps(socket_schema()), content_type="application/json")


def socket_schema() -> dict[str, Any]:
    """The description of the socket, as AsyncAPI has it."""
    commands = {f"{word}Command": _command_schema(word, payload) for word, payload in payload_schemas().items()}
    frames = [frame.__name__ for frame in (*get_args(UnstoredFrame), *get_args(StoredFrame))]
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Thinkaloud", "version": "1", "description": _SOCKET},
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


def _command_schema(word: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": payload["description"],
        "properties": {"type": {"const": word, "type": "string"}, "payload": payload},
        "required": ["type", "payload"] if payload.get("required") else ["type"],
    }


@login_required
def docs(request: HttpRequest) -> HttpResponse:
    """The API's description for people."""
    schema = openapi_schema()
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
    objects = {name: _object(described) for name, described in schema["components"]["schemas"].items()}
    commands = {word: _object(payload) for word, payload in payload_schemas().items()}
    socket = {
        "description": _SOCKET,
        "commands": commands,
        "frames": [(type_of(frame), frame.__name__) for frame in (*get_args(UnstoredFrame), *get_args(StoredFrame))],
        "closes": CLOSES,
        "errors": {code: status_of(code) for code in ERROR_CODES},
    }
    told = [each["told"] for each in (*objects.values(), *commands.values())]
    fields = [field["told"] for each in (*objects.values(), *commands.values()) for field in each["fields"]]
    prepare_markdown([text for text in (schema["info"]["description"], _SOCKET, *told, *fields) if text])
    return render(
        request, "api/docs.html", {"info": schema["info"], "calls": calls, "objects": objects, "socket": socket}
    )


def _json_of(content: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = content.get("content", {}).get("application/json", {}).get("schema", {})
    return described


def _object(described: dict[str, Any]) -> dict[str, Any]:
    """An object as a section shows it."""
    return {"told": described.get("description", ""), "fields": _fields(described)}


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
    if "const" in described:
        return orjson.dumps(described["const"]).decode()
    if "enum" in described:
        return " or ".join(orjson.dumps(word).decode() for word in described["enum"])
    if "anyOf" in described:
        return " or ".join(_kind(one) for one in described["anyOf"])
    if "prefixItems" in described:
        return f"[{', '.join(_kind(one) for one in described['prefixItems'])}]"
    if described.get("type") == "array":
        return f"list of {_kind(described.get('items', {}))}"
    return str(described.get("format") or described.get("type", ""))
