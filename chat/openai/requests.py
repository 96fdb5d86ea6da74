"""Parses request bodies, leniently if that does no harm; else refuses them, naming the wrong field. Pure."""

from dataclasses import dataclass, field, replace
from typing import Any

from agents.json_types import JsonObject
from agents.text import is_clean
from chat.openai.conversations import Conversation, conversation_of, read_items, read_messages
from chat.openai.failures import bad_request, unsupported_parameter
from chat.protocol import BadFrame, load_json

Body = JsonObject
#: Fields that would change the answer and are not supported; they are accepted with a value that changes nothing.
_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "n": (1,),
    "stop": ([], ""),
    "response_format": ({"type": "text"},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "audio": (),
    "modalities": (["text"],),
    "web_search_options": (),
    # Only for responses.
    "background": (False,),
    "conversation": (),
    "prompt": (),
}
_METADATA_MOST = 16


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """A parsed request for an answer."""

    model: str
    conversation: Conversation
    stream: bool = False
    with_usage: bool = False
    session_id: str | None = None
    previous: str | None = None
    """The response after which this one continues."""
    metadata: dict[str, str] = field(default_factory=dict)

    def in_session(self, session_id: str) -> "AnswerRequest":
        """A copy for a session that the client names."""
        return replace(self, session_id=session_id)


def read_body(raw: bytes) -> Body:
    """A request's JSON object. Raises `Failure`."""
    try:
        body = load_json(raw.decode())
    except UnicodeDecodeError:
        raise bad_request("The body is not UTF-8.", code="bad_json") from None
    except BadFrame as failure:
        raise bad_request(str(failure.message), code=failure.code) from None
    if not isinstance(body, dict):
        raise bad_request("The body must be a JSON object.")
    return body


def parse_completion(body: Body) -> AnswerRequest:
    """Parse the body of a chat completion. Raises `Failure`."""
    raw = body.get("messages")
    if not isinstance(raw, list):
        raise bad_request("“messages” is missing, or no list.", "messages")
    _refuse_unsupported(body)
    messages, instructions = read_messages(raw, "messages")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise bad_request("“stream_options” must be an object.", "stream_options")
    metadata = _metadata(body)
    return AnswerRequest(
        _model(body),
        conversation_of(messages, instructions, "messages"),
        _flag(body, "stream"),
        _flag(options or {}, "include_usage"),
        metadata.get("session_id"),
        metadata=metadata,
    )


def parse_response(body: Body) -> AnswerRequest:
    """Parse the body of a response. Raises `Failure`."""
    if "input" not in body:
        raise bad_request("“input” is missing.", "input")
    _refuse_unsupported(body)
    if not _flag(body, "store", default=True):
        raise unsupported_parameter(
            "store", "“store”: false is not supported: what is asked here is always kept, as a session."
        )
    text = body.get("text")
    if isinstance(text, dict) and text.get("format") not in (None, {"type": "text"}):
        raise unsupported_parameter("text.format")
    own = _optional_text(body, "instructions")
    messages, instructions = read_items(body["input"], "input")
    metadata = _metadata(body)
    return AnswerRequest(
        _model(body),
        conversation_of(messages, [own or "", *instructions], "input"),
        _flag(body, "stream"),
        session_id=metadata.get("session_id"),
        previous=_optional_text(body, "previous_response_id"),
        metadata=metadata,
    )


def _refuse_unsupported(body: Body) -> None:
    for name, harmless in _UNSUPPORTED.items():
        value = body.get(name)
        # The types are compared as well: `True` equals 1, the only supported number of choices.
        if value is not None and not any(type(value) is type(each) and value == each for each in harmless):
            raise unsupported_parameter(name)


def _model(body: Body) -> str:
    model = _optional_text(body, "model")
    if not model:
        raise bad_request("“model” is missing: the name of an agent, as /v1/models lists them.", "model")
    return model


def _optional_text(body: Body, name: str) -> str | None:
    value = body.get(name)
    if value is None or (isinstance(value, str) and is_clean(value)):
        return value
    raise bad_request(f"“{name}” must be a text.", name)


def _flag(body: Body, name: str, *, default: bool = False) -> bool:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise bad_request(f"“{name}” must be true or false.", name)
    return value


def _metadata(body: Body) -> dict[str, str]:
    given = body.get("metadata")
    if given is None:
        return {}
    if not isinstance(given, dict) or len(given) > _METADATA_MOST:
        raise bad_request(f"“metadata” must be an object of up to {_METADATA_MOST} texts.", "metadata")
    for name, value in given.items():
        if (
            not isinstance(value, str)
            or not is_clean(value)
            or not is_clean(name)
            or len(name) > 64
            or len(value) > 512
        ):
            raise bad_request(f"“metadata.{name[:64]}” must be a text of up to 512 characters.", "metadata")
    return given
