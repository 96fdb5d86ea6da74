"""Frames for clients: the data of each, and encoding them.

Times are Unix seconds of the server; lengths and offsets are UTF-16 code units. Stored steps are described in `agents.steps`.
"""

from typing import Literal, NotRequired, TypeAlias, cast, get_args, get_type_hints
from uuid import UUID

import orjson

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from agents.sentence import parts_of
from agents.steps import StepData
from chat.protocol.constants import ErrorCode
from chat.protocol.frame_data import (
    AcceptedData,
    AnnouncementData,
    ChildStartData,
    DeltaData,
    ErrorData,
    NotificationData,
    PendingWord,
    Person,
    PongData,
    QueuedRun,
    ReasoningCompleteData,
    ReasoningStartData,
    ResponseData,
    SessionData,
    WaitingData,
)
from chat.protocol.notes import ActivityFrame, CommentFrame, VerdictFrame


class SessionFrame(TypedDict):
    """The session as a client finds it; the first frame."""

    type: Literal["session"]
    data: SessionData


class AcceptedFrame(TypedDict):
    """The answer to `chat`, `continue` and `steer`, before any frame of the run."""

    type: Literal["accepted"]
    data: AcceptedData


class QueueFrame(TypedDict):
    """The queued messages, at each change."""

    type: Literal["queue"]
    data: list[QueuedRun]


class SteeringFrame(TypedDict):
    """The steering words that the running run's model has not read yet, at each change."""

    type: Literal["steering"]
    data: list[PendingWord]


class ReasoningDeltaFrame(TypedDict):
    """The step that a run is writing now."""

    type: Literal["reasoning_delta"]
    run_id: str
    data: DeltaData


class ChildDeltaFrame(TypedDict):
    """The step that a run within another one is writing now."""

    type: Literal["child_delta"]
    run_id: str
    data: DeltaData


class PongFrame(TypedDict):
    """The answer to `ping`."""

    type: Literal["pong"]
    data: PongData


class PresenceFrame(TypedDict):
    """The people who have the session open, at each change."""

    type: Literal["presence"]
    data: list[Person]


class AnnouncementFrame(TypedDict):
    """A message from the operators."""

    type: Literal["announcement"]
    data: AnnouncementData


class NotificationFrame(TypedDict):
    """How a scheduled run has ended, or that a run waits for the reader."""

    type: Literal["notification"]
    data: NotificationData | WaitingData


class ErrorFrame(TypedDict):
    """A command was refused. Nothing is stored."""

    type: Literal["error"]
    data: ErrorData


class _Stored(TypedDict):
    """The fields of every stored event."""

    seq: int
    """Its number in the session, from 1 on, without gaps."""
    id: str
    run_id: str
    copied_from: NotRequired[str]
    """In a copy: the `id` of the event that it was copied from."""


class ReasoningStartFrame(_Stored):
    """A run begins."""

    type: Literal["reasoning_start"]
    data: ReasoningStartData


class ReasoningStepFrame(_Stored):
    """A step of a run."""

    type: Literal["reasoning_step"]
    data: StepData


class ResponseFrame(_Stored):
    """The answer of a run without reasoning."""

    type: Literal["response"]
    data: ResponseData


class RunErrorFrame(_Stored):
    """Why a run has failed."""

    type: Literal["error"]
    data: ErrorData


class ReasoningCompleteFrame(_Stored):
    """A run has ended."""

    type: Literal["reasoning_complete"]
    data: ReasoningCompleteData


class ChildStartFrame(_Stored):
    """A run within another one begins; its other events come between those of the run that started it."""

    type: Literal["child_start"]
    data: ChildStartData


class ChildStepFrame(_Stored):
    """A step of a run within another one."""

    type: Literal["child_step"]
    data: StepData


class ChildErrorFrame(_Stored):
    """Why a run within another one has failed."""

    type: Literal["child_error"]
    data: ErrorData


class ChildCompleteFrame(_Stored):
    """A run within another one has ended; its usage includes that of the runs within it."""

    type: Literal["child_complete"]
    data: ReasoningCompleteData


UnstoredFrame: TypeAlias = (
    SessionFrame
    | AcceptedFrame
    | QueueFrame
    | SteeringFrame
    | ReasoningDeltaFrame
    | ChildDeltaFrame
    | PongFrame
    | PresenceFrame
    | AnnouncementFrame
    | NotificationFrame
    | ErrorFrame
    # Verdicts, comments, activity
    | VerdictFrame
    | CommentFrame
    | ActivityFrame
)
StoredFrame: TypeAlias = (
    ReasoningStartFrame
    | ReasoningStepFrame
    | ResponseFrame
    | ReasoningCompleteFrame
    | RunErrorFrame
    | ChildStartFrame
    | ChildStepFrame
    | ChildErrorFrame
    | ChildCompleteFrame
)


class _Kept(TypedDict):
    """The fields of an event of a run without reasoning, which is stored but never sent."""

    seq: None
    id: str
    run_id: str
    copied_from: NotRequired[str]


class _KeptStep(_Kept):
    type: Literal["reasoning_step", "child_step"]
    data: StepData


class _KeptStart(_Kept):
    type: Literal["child_start"]
    data: ChildStartData


class _KeptError(_Kept):
    type: Literal["child_error"]
    data: ErrorData


class _KeptEnd(_Kept):
    type: Literal["child_complete"]
    data: ReasoningCompleteData


#: A stored event, sent or not.
KeptFrame: TypeAlias = StoredFrame | _KeptStep | _KeptStart | _KeptError | _KeptEnd
#: Its data.
EventData: TypeAlias = ReasoningStartData | StepData | ResponseData | ErrorData | ReasoningCompleteData

ChildType = Literal["child_start", "child_step", "child_error", "child_complete"]
StoredType = Literal["reasoning_start", "reasoning_step", "response", "reasoning_complete", "error", ChildType]
#: The types of the events of a run within another one, by the types of a root's events.
CHILD_TYPES: dict[StoredType, ChildType] = {
    "reasoning_start": "child_start",
    "reasoning_step": "child_step",
    "error": "child_error",
    "reasoning_complete": "child_complete",
}


def type_of(frame: type) -> str:
    """The literal in the ``type`` field of a frame, a step or a group message."""
    return str(get_args(get_type_hints(frame)["type"])[0])


STORED = tuple(map(type_of, get_args(StoredFrame)))
#: Without ``error``, which can be both.
UNSTORED = tuple(word for word in map(type_of, get_args(UnstoredFrame)) if word not in STORED)
STEP_TYPES = tuple(map(type_of, get_args(StepData)))


def encode_frame(frame: UnstoredFrame) -> str:
    """The text of a frame that is not stored."""
    return orjson.dumps(frame).decode()


def stored_frame(event: str, seq: int, event_id: UUID, run_id: UUID, body: str, copied_from: UUID | None = None) -> str:
    """A stored event's frame, around the JSON text of its data from the log."""
    copied = "" if copied_from is None else f',"copied_from":"{copied_from}"'
    return f'{{"type":"{event}","seq":{seq},"id":"{event_id}","run_id":"{run_id}"{copied},"data":{body}}}'


def error_data(code: ErrorCode, message: str, error_id: str, client_message_id: str | None = None) -> ErrorData:
    """The data of an ``error`` frame and of an HTTP error."""
    data: ErrorData = {"message": message, "code": code, "id": error_id}
    if client_message_id is not None:
        data["client_message_id"] = client_message_id
    data.update(cast(ErrorData, parts_of(message)))
    return data
