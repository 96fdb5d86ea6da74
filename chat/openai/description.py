"""OpenAPI descriptions of this API's calls, for the document of the whole API."""

from agents.json_types import JsonObject
from chat.openai.failures import STATUSES

Schema = JsonObject

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_ANY: Schema = {"type": "object"}
_METADATA: Schema = {
    "type": "object",
    "maxProperties": 16,
    "additionalProperties": {"type": "string", "maxLength": 512},
    "description": "`session_id` in it is the session to go on with.",
}
_PART: Schema = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": {"enum": ["text", "input_text", "output_text", "refusal", "image_url", "input_image"]},
        "text": _TEXT,
        "image_url": {"description": "`data:image/…;base64,…`, as a text or as `{url}`."},
    },
}
_MESSAGE: Schema = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
        "content": {"anyOf": [_TEXT, {"type": "array", "items": _PART}, {"type": "null"}]},
    },
}
_COMPLETION: Schema = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": {"type": "string", "description": "The name of an agent."},
        "messages": {
            "type": "array",
            "items": _MESSAGE,
            "description": "The conversation; the user's last message is asked.",
        },
        "stream": _FLAG,
        "stream_options": {"type": "object", "properties": {"include_usage": _FLAG}},
        "metadata": _METADATA,
    },
}
_RESPONSE: Schema = {
    "type": "object",
    "required": ["model", "input"],
    "properties": {
        "model": {"type": "string", "description": "The name of an agent."},
        "input": {
            "anyOf": [_TEXT, {"type": "array", "items": _ANY}],
            "description": "What is asked, or the conversation as items.",
        },
        "instructions": {"type": "string", "description": "Goes behind the agent's own."},
        "previous_response_id": {"type": "string", "description": "The response to go on from."},
        "store": {"const": True},
        "stream": _FLAG,
        "metadata": _METADATA,
    },
}
_COUNT: Schema = {"type": "integer", "minimum": 0}


def _object(needed: dict[str, Schema], **more: Schema) -> Schema:
    """An object with these required fields, and ``more`` optional ones."""
    return {"type": "object", "required": list(needed), "properties": {**needed, **more}}


_MODEL = _object(
    {"id": _TEXT, "object": {"const": "model"}, "created": _COUNT, "owned_by": _TEXT}, name=_TEXT, description=_TEXT
)
_MODELS = _object({"object": {"const": "list"}, "data": {"type": "array", "items": _MODEL}})
_USED = _object({"prompt_tokens": _COUNT, "completion_tokens": _COUNT, "total_tokens": _COUNT})
_CHOICE = _object(
    {
        "index": {"const": 0},
        "message": _object({"role": {"const": "assistant"}, "content": _TEXT}, reasoning_content=_TEXT),
        "finish_reason": {"enum": ["stop", "length"]},
    }
)
_COMPLETED = _object(
    {
        "id": {"type": "string", "description": "`chatcmpl-` and the run's id."},
        "object": {"const": "chat.completion"},
        "created": _COUNT,
        "model": _TEXT,
        "choices": {"type": "array", "items": _CHOICE, "minItems": 1, "maxItems": 1},
        "usage": _USED,
    }
)
_ITEM = _object({"id": _TEXT, "type": {"enum": ["message", "reasoning", "thinkaloud:tool_call"]}, "status": _TEXT})
_RESPONDED = _object(
    {
        "id": {"type": "string", "description": "`resp_` and the run's id."},
        "object": {"const": "response"},
        "created_at": _COUNT,
        "status": {"enum": ["queued", "in_progress", "completed", "incomplete", "failed"]},
        "model": _TEXT,
        "output": {"type": "array", "items": _ITEM},
        "error": {"anyOf": [_object({"code": _TEXT, "message": _TEXT}), {"type": "null"}]},
        "usage": {
            "anyOf": [
                _object({"input_tokens": _COUNT, "output_tokens": _COUNT, "total_tokens": _COUNT}),
                {"type": "null"},
            ]
        },
        "metadata": _ANY,
    }
)
_ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code", "id"],
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": {"type": ["string", "null"]},
                "code": {
                    "type": "string",
                    "description": " ".join(f"`{code}`: {status}." for code, status in STATUSES.items())
                    + " Any other, with the status that it has under `/api/`.",
                },
                "id": _TEXT,
            },
        }
    },
    "x-statuses": STATUSES,
}
_ERRORS = {
    400: "Not as it has to be; `param` names the field",
    401: "No token, or none that holds",
    403: "The token's scope is too small",
    404: "No such model, session or response",
    405: "Another method is needed",
    408: "The body did not come in time",
    409: "The run was stopped, or the key was used for another request",
    413: "Too large, or too many files",
    415: "Not a picture",
    429: "A limit; `Retry-After` says when to try again",
    500: "This program failed",
    502: "The model's server failed",
    503: "The database is away, or the run was interrupted",
    504: "The model was silent for too long",
}
_OF_ALL = (401, 403, 405, 429, 500, 503)


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _call(
    description: str, needed: str, answer: Schema, *errors: int, body: Schema | None = None, path: str = ""
) -> Schema:
    """A call: what it does, the scope that a token needs for it, and its answers."""
    answers = {200: {"description": "OK", "content": _json(answer) | ({"text/event-stream": {}} if body else {})}}
    answers |= {
        status: {"description": _ERRORS[status], "content": _json(_ERROR)} for status in sorted({*_OF_ALL, *errors})
    }
    called: Schema = {
        "description": f"{description} Takes a token with `{needed}`, and no login of the pages.",
        "security": [{"TokenAuth": [needed]}],
        "responses": answers,
    }
    if path:
        called["parameters"] = [{"in": "path", "name": path, "required": True, "schema": _TEXT}]
    if body is not None:
        called["requestBody"] = {"required": True, "content": _json(body)}
        called["parameters"] = [
            {"in": "header", "name": name, "required": False, "schema": _TEXT, "description": label}
            for name, label in (
                ("X-Session-Id", "The session to go on with; it is in every answer."),
                ("Idempotency-Key", "The same again, within a day, is the same run, told from its start."),
                ("X-Stop-On-Disconnect", "`true`: a connection that is closed stops the run."),
            )
        ]
    return called


_ASKING = (400, 404, 408, 409, 413, 415, 502, 504)
PATHS: dict[str, dict[str, Schema]] = {
    "/v1/models": {"get": _call("List the agents that one may use, as OpenAI lists models.", "read", _MODELS)},
    "/v1/models/{name}": {"get": _call("Show one of them.", "read", _MODEL, 404, path="name")},
    "/v1/chat/completions": {
        "post": _call(
            "Ask, as OpenAI's chat completions have it. Thoughts and tool steps come as `reasoning_content`.",
            "ask",
            _COMPLETED,
            *_ASKING,
            body=_COMPLETION,
        )
    },
    "/v1/responses": {
        "post": _call(
            "Ask, in the shape of Open Responses. Tools that were called are items of the type `thinkaloud:tool_call`.",
            "ask",
            _RESPONDED,
            *_ASKING,
            body=_RESPONSE,
        )
    },
    "/v1/responses/{response_id}": {
        "get": _call("Show a response as it stands.", "read", _RESPONDED, 404, path="response_id"),
    },
}
