"""The wire's words: commands parsed from clients, frames built for them. Mirrored by ``static/chat/protocol.js``."""

import json
import math
import unicodedata
from typing import Annotated, Any, TypeVar
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from agents.sentence import Sentence, parts_of

#: Stored frames a client may leave unacknowledged, and how many bytes of them.
WINDOW = 200
WINDOW_BYTES = 1024 * 1024
#: Largest frame from a client, in bytes.
FRAME_LIMIT = 1024 * 1024
#: Longest ``content`` of a tool result inside its step, in UTF-16 code units.
CONTENT_LIMIT = 2_000

COMMANDS = ("chat", "cancel", "continue", "resume", "ack", "ping")
STORED = ("reasoning_start", "reasoning_step", "response", "reasoning_complete", "error")
UNSTORED = ("session", "accepted", "queue", "reasoning_delta", "pong", "presence", "announcement", "notification")
STEP_TYPES = (
    "start",
    "iteration_start",
    "iteration_end",
    "thought",
    "tool_use",
    "tool_result",
    "final_answer",
    "max_iterations_reached",
    "complete",
    "error",
)
ENDS = ("completed", "cancelled", "failed", "max_iterations", "interrupted")
ERROR_CODES = (
    "bad_json",
    "bad_frame",
    "unknown_type",
    "too_large",
    "empty_message",
    "bad_text",
    "unknown_agent",
    "bad_last_seq",
    "not_found",
    "not_allowed",
    "not_continuable",
    "nothing_to_cancel",
    "conflict",
    "rate_limited",
    "queue_full",
    "model_unreachable",
    "model_auth",
    "model_rate_limited",
    "model_timeout",
    "model_cut_off",
    "model_error",
    "tool_failed",
    "storage",
    "internal",
)


class Close:
    """Close codes, sent after accepting so that browsers see them."""

    NOT_LOGGED_IN = 4401
    WITHDRAWN = 4403
    NO_SUCH_SESSION = 4404
    TOO_SLOW = 4408
    SILENT = 4410
    TOO_LARGE = 4413
    TOO_MANY = 4429
    INTERNAL = 4500
    RESTARTING = 4012


CLOSE_CODES = tuple(sorted(code for name, code in vars(Close).items() if name.isupper()))


class BadFrame(Exception):
    """A frame that is no command; ``code`` is the wire's, ``message`` is for people."""

    def __init__(self, code: str, message: str, client_message_id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.client_message_id = client_message_id


ClientMessageId = Annotated[StrictStr, Field(min_length=1, max_length=64)]


class _Payload(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Chat(_Payload):
    """Ask: starts a run, or queues it."""

    message: StrictStr
    agent_name: StrictStr | None = None
    enable_reasoning: StrictBool = True
    client_message_id: ClientMessageId | None = None


class Cancel(_Payload):
    """Stop a run; by default the one that is running."""

    run_id: StrictStr | None = None
    all: StrictBool = False


class Continue(_Payload):
    """Go on from an ended run's last stored step, as a new run."""

    run_id: StrictStr
    client_message_id: ClientMessageId | None = None


class Resume(_Payload):
    """Replay after ``last_seq``, then live."""

    last_seq: Any = 0
    last_id: Any = None


class Ack(_Payload):
    """Everything up to ``seq`` is in the client's state."""

    seq: Annotated[StrictInt, Field(ge=0)]


class Ping(_Payload):
    """A sign of life."""


C = TypeVar("C", bound=BaseModel)

Command = Chat | Cancel | Continue | Resume | Ack | Ping
_PAYLOADS: dict[str, type[Command]] = {
    "chat": Chat,
    "cancel": Cancel,
    "continue": Continue,
    "resume": Resume,
    "ack": Ack,
    "ping": Ping,
}


def parse(text: str | None) -> Command:
    """Turn a client's text frame into a command, or raise `BadFrame`; None stands for a binary frame."""
    if text is None:
        raise BadFrame("bad_frame", Sentence("Frames must be text, not binary."))
    frame = load(text)
    if not isinstance(frame, dict):
        raise BadFrame("bad_frame", Sentence("A frame must be a JSON object with a type."))
    kind = frame.get("type")
    if not isinstance(kind, str):
        raise BadFrame("bad_frame", Sentence("A frame needs a type, as a string."))
    payload_type = _PAYLOADS.get(kind)
    if payload_type is None:
        raise BadFrame(
            "unknown_type",
            Sentence(
                "There is no command “%(name)s”. Known: %(known)s.", name=clean(kind[:40]), known=", ".join(COMMANDS)
            ),
        )
    payload = frame.get("payload", {})
    if payload is None:
        payload = {}
    if not isinstance(payload, dict):
        raise BadFrame("bad_frame", Sentence("The payload must be a JSON object."))
    return validated(payload_type, payload)


def validated(kind: type[C], payload: dict[str, Any]) -> C:
    """Check a command's payload, from a frame or an HTTP body; raises `BadFrame`."""
    own_id = payload.get("client_message_id")
    client_message_id = own_id if isinstance(own_id, str) and len(own_id) <= 64 and is_clean(own_id) else None
    # Only what a command has is looked at: a client may write half a million other values into a frame.
    texts = [value for name in kind.model_fields if isinstance(value := payload.get(name), str)]
    if not all(map(is_clean, texts)):
        raise BadFrame(
            "bad_text",
            Sentence("The text holds a character that cannot be stored (NUL or half of a pair)."),
            client_message_id,
        )
    try:
        return kind.model_validate(payload)
    except ValidationError as failure:
        first = failure.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "payload"
        raise BadFrame("bad_frame", f"{where}: {first['msg']}.", client_message_id) from None


def is_clean(text: str) -> bool:
    """Whether both databases can store the text: no NUL, no lone surrogate."""
    if "\x00" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


#: Spaces, controls, what only formats or joins, and marks that need something to stand on.
_UNSEEN = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Mn", "Me"})
#: Letters and symbols that are drawn as nothing: fillers of Hangul, the empty Braille cell.
_EMPTY = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen."""
    return all(unicodedata.category(letter) in _UNSEEN or letter in _EMPTY for letter in text)


def utf16_length(text: str) -> int:
    """Length in UTF-16 code units, as JavaScript counts."""
    if text.isascii():
        return len(text)
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def from_utf16(text: str, offset: int) -> str:
    """The text from an offset in UTF-16 code units on."""
    if offset == 0 or text.isascii():
        return text[offset:]
    return text.encode("utf-16-le", "surrogatepass")[2 * offset :].decode("utf-16-le", "surrogatepass")


def as_uuid(value: str | None) -> UUID | None:
    """The identifier a client names, or None where it cannot be one."""
    try:
        return UUID(value) if value else None
    except ValueError:
        return None


def encode(type_: str, data: Any, **beside: Any) -> str:
    """A frame that is not stored."""
    return orjson.dumps({"type": type_, **beside, "data": data}).decode()


def stored_frame(event: str, seq: int, event_id: UUID, run_id: UUID, body: str) -> str:
    """A stored event's frame, around the JSON text of its data as it lies in the log."""
    return f'{{"type":"{event}","seq":{seq},"id":"{event_id}","run_id":"{run_id}","data":{body}}}'


def error_data(code: str, message: str, error_id: str, client_message_id: str | None = None) -> dict[str, Any]:
    """What an ``error`` frame and an HTTP error carry; ``template`` and ``values`` are what a page translates the message by."""
    data = {"message": message, "code": code, "id": error_id, **parts_of(message)}
    if client_message_id is not None:
        data["client_message_id"] = client_message_id
    return data


def body(data: dict[str, Any]) -> str:
    """JSON text of an event's data, clean enough for every database and every browser.

    The one sanitiser for what models and tools wrote: NUL and lone surrogates become U+FFFD, NaN and infinities null.
    """
    try:
        encoded = orjson.dumps(data)
    except (TypeError, ValueError):
        return json.dumps(_cleaned(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    if b"\\u0000" in encoded:
        return orjson.dumps(_cleaned(data)).decode()
    return encoded.decode()


def clean(text: str) -> str:
    """The text with NUL and lone surrogates replaced by U+FFFD."""
    if is_clean(text):
        return text
    text = text.replace("\x00", "\ufffd")
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


#: Deeper than this, what a model wrote as arguments is kept as text.
_DEEPEST = 100


def _cleaned(value: Any, depth: int = 0) -> Any:
    match value:
        case str():
            return clean(value)
        case dict() if depth < _DEEPEST:
            return {clean(str(key)): _cleaned(item, depth + 1) for key, item in value.items()}
        case list() | tuple() if depth < _DEEPEST:
            return [_cleaned(item, depth + 1) for item in value]
        case float() if not math.isfinite(value):
            return None
        case None | bool() | int() | float():
            return value
        case dict() | list() | tuple():
            return "\u2026"
    return clean(str(value))


def load(text: str) -> Any:
    """Read JSON from a frame or an HTTP body, lone surrogates too, so that they are told from broken JSON; or raise `BadFrame`."""
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        pass
    # orjson refuses lone surrogates; the slower parser tells them from broken JSON, so that people get the right words.
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise BadFrame("bad_json", Sentence("This is not valid JSON.")) from None


def _refuse(constant: str) -> None:
    raise ValueError(constant)
