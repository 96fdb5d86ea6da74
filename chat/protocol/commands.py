"""Commands of clients: parsed from their frames, and from the bodies of API calls."""

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from agents.json_types import JsonObject
from agents.sentence import Sentence
from agents.text import clean_text, is_clean
from chat.protocol.constants import ErrorCode


class BadFrame(Exception):
    """An invalid command; ``code`` is the protocol's, ``message`` is for people."""

    def __init__(self, code: ErrorCode, message: str, client_message_id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.client_message_id = client_message_id


ClientMessageId = Annotated[StrictStr, Field(min_length=1, max_length=64)]


class _Payload(BaseModel):
    # Without `use_attribute_docstrings`: reading them from the source at each start would take longer than everything else here.
    model_config = ConfigDict(extra="ignore", frozen=True)


class Chat(_Payload):
    """Ask: starts a run, or queues it."""

    message: StrictStr
    agent_name: StrictStr | None = None
    enable_reasoning: StrictBool = Field(True, description="False: only the answer is numbered and sent.")
    client_message_id: ClientMessageId | None = Field(
        None,
        description="If the same user sends it again, it is the same message: it gets the same answer and starts nothing.",
    )
    files: list[StrictStr] = Field([], description="Ids of the message's files: the user's own, or the session's.")


class Cancel(_Payload):
    """Stop a run; by default the one that is running."""

    run_id: StrictStr | None = None
    all: StrictBool = Field(False, description="Whether to stop the queued runs, too.")


class Continue(_Payload):
    """Continue from an ended run's last stored step, as a new run."""

    run_id: StrictStr
    client_message_id: ClientMessageId | None = None


class Steer(_Payload):
    """Send a steering word to the running run, which its next model call reads. If none is running, it works like `chat`."""

    message: StrictStr
    client_message_id: ClientMessageId | None = Field(
        None, description="If the same user sends it again, it is the same message: it gets the same answer."
    )
    interrupt: StrictBool = Field(
        False, description="Interrupt the current model call or tool, so that the message is read immediately."
    )


class Unsteer(_Payload):
    """Withdraw a steering word that no model call has read."""

    client_message_id: ClientMessageId


class Decide(_Payload):
    """Allow or deny a call that waits."""

    tool_call_id: StrictStr
    decision: Literal["allow", "deny"]
    arguments: JsonObject | None = Field(
        None, description="Arguments to use instead; they are checked like the model's."
    )
    scope: Literal["once", "session"] = Field(
        "once",
        description="`session`: also decides later calls of this tool under the same rule, in runs of the user who asked.",
    )
    reason: Annotated[StrictStr, Field(max_length=2000)] | None = None


class Approve(Decide):
    """Allow or deny a call of a run that waits."""

    run_id: StrictStr


class Reply(_Payload):
    """Answer what an agent asks."""

    tool_call_id: StrictStr
    answers: JsonObject = Field(description="The answer's values, by the names of the fields.")


class Answer(Reply):
    """Answer what the agent of a run asks."""

    run_id: StrictStr


class Resume(_Payload):
    """Replay after ``last_seq``, then live."""

    last_seq: Any = Field(0, description="The number of the newest event that the client has.")
    last_id: Any = Field(None, description="That event's id, which shows whether the log is still the same.")


class Ack(_Payload):
    """Everything up to ``seq`` is part of the client's state."""

    seq: Annotated[StrictInt, Field(ge=0)]


class Ping(_Payload):
    """A sign that the client is alive."""


class Activity(_Payload):
    """What the reader is doing now. It is sent to others at most once a second, and never stored."""

    seq: Annotated[StrictInt, Field(ge=0)] | None = Field(
        None, description="The number of the step that the user is reading."
    )
    typing: StrictBool | None = None


C = TypeVar("C", bound=BaseModel)

Command = Chat | Cancel | Continue | Steer | Unsteer | Approve | Answer | Resume | Ack | Ping | Activity
PAYLOADS: dict[str, type[Command]] = {
    "chat": Chat,
    "cancel": Cancel,
    "continue": Continue,
    "steer": Steer,
    "unsteer": Unsteer,
    "approve": Approve,
    "answer": Answer,
    "resume": Resume,
    "ack": Ack,
    "ping": Ping,
    "activity": Activity,
}
COMMANDS = tuple(PAYLOADS)


def parse_command(text: str | None) -> Command:
    """Parse a client's text frame; None stands for a binary frame. Raises `BadFrame`."""
    if text is None:
        raise BadFrame("bad_frame", Sentence("Frames must be text, not binary."))
    frame = load_json(text)
    if not isinstance(frame, dict):
        raise BadFrame("bad_frame", Sentence("A frame must be a JSON object with a type."))
    kind = frame.get("type")
    if not isinstance(kind, str):
        raise BadFrame("bad_frame", Sentence("A frame needs a type, as a string."))
    payload_type = PAYLOADS.get(kind)
    if payload_type is None:
        raise BadFrame(
            "unknown_type",
            Sentence(
                "There is no command “%(name)s”. Known: %(known)s.",
                name=clean_text(kind[:40]),
                known=", ".join(COMMANDS),
            ),
        )
    payload = frame.get("payload", {})
    if payload is None:
        payload = {}
    if not isinstance(payload, dict):
        raise BadFrame("bad_frame", Sentence("The payload must be a JSON object."))
    return validate_payload(payload_type, payload)


def validate_payload(kind: type[C], payload: JsonObject) -> C:
    """Validate a command's payload, from a frame or an HTTP body. Raises `BadFrame`."""
    own_id = payload.get("client_message_id")
    client_message_id = own_id if isinstance(own_id, str) and len(own_id) <= 64 and is_clean(own_id) else None
    # Only the command's own fields are read: a client may put half a million other values into a frame. Lists are of
    # identifiers, and an invalid identifier is one that is not found.
    given = [payload[name] for name in kind.model_fields if name in payload]
    texts = _texts([value for value in given if not isinstance(value, list)])
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
        where = ".".join(_place(first["loc"], payload)) or "payload"
        raise BadFrame("bad_frame", f"{where}: {first['msg']}.", client_message_id) from None


def _place(loc: Sequence[str | int], payload: Any) -> Iterator[str]:
    """Where in a payload the error is, without the types of a union."""
    for part in loc:
        if not isinstance(payload, dict | list):
            return
        yield str(part)
        payload = payload.get(part) if isinstance(payload, dict) else payload[part] if isinstance(part, int) else None


def _texts(values: list[Any]) -> Iterator[str]:
    """The strings within values, at any depth."""
    while values:
        value = values.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            values += [*value, *value.values()]
        elif isinstance(value, list):
            values += value


def as_uuid(value: str | None) -> UUID | None:
    """The identifier that a client names; None if it is no UUID."""
    try:
        return UUID(value) if value else None
    except ValueError:
        return None


def load_json(text: str) -> Any:
    """Parse JSON from a frame or an HTTP body. Raises `BadFrame`, with a message of its own for lone surrogates."""
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        pass
    # orjson refuses lone surrogates; the slower parser tells them from broken JSON, for the right message.
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise BadFrame("bad_json", Sentence("This is not valid JSON.")) from None


def _refuse(constant: str) -> None:
    raise ValueError(constant)
