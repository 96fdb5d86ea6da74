"""Frames for clients: what each holds, and how it becomes text.

Times are Unix seconds of the server, lengths and offsets UTF-16 code units. What a stored step holds is in `agents.steps`.
"""

from typing import Any, Literal, NotRequired, TypeAlias, cast, get_args, get_type_hints
from uuid import UUID

import orjson

# Python's own cannot be checked against data before 3.12.
from typing_extensions import TypedDict

from agents.sentence import parts_of
from agents.steps import BudgetUse, ContextUse, FileData, NumberedType, StepData
from chat.protocol.constants import End, ErrorCode
from chat.protocol.notes import ActivityFrame, CommentFrame, NotesData, VerdictFrame

LevelName = Literal["info", "warning", "error"]
RoleName = Literal["owner", "driver", "watcher", "staff"]
#: What can become of a due time of a schedule: its run's end, or what kept it from running.
Ended = Literal[End, "skipped", "missed"]
#: A run that waits has no process: it goes on when people have decided.
LiveStatus = Literal["running", "cancelling", "waiting"]
DeltaType = Literal[NumberedType, "response"]


class CostData(TypedDict):
    """What tokens cost."""

    amount: float
    currency: str
    """Three letters."""


class Usage(TypedDict):
    """Tokens of a run, or of one of its model calls."""

    input_tokens: int
    output_tokens: int
    estimated: bool
    """Whether the model's server did not tell."""
    cached_tokens: NotRequired[int]
    """Of the input, those that were in the server's cache; missing where it does not tell."""
    reasoning_tokens: NotRequired[int]
    """Of the output, those of thoughts; likewise."""
    cost: NotRequired[CostData]
    """Missing where it is not known."""


class LiveRun(TypedDict):
    """The run at work."""

    id: str
    status: LiveStatus
    started_at: float | None


class Parent(TypedDict):
    """By which call of which run a run within it was asked."""

    run_id: str
    tool_call_id: str
    depth: int
    """1: within a root."""


class ChildRun(TypedDict):
    """A run within the run at work."""

    id: str
    status: LiveStatus
    started_at: float | None
    parent: Parent


class QueuedRun(TypedDict):
    """A message that waits for the runs before it."""

    run_id: str
    client_message_id: str
    user: str | None
    message: str


class PendingWord(TypedDict):
    """A word into the run at work, which its model has not read yet."""

    client_message_id: str
    user: str | None
    message: str


class Person(TypedDict):
    """Somebody who has the session open."""

    user: str
    role: RoleName
    sockets: int


class BranchData(TypedDict):
    """Where a session stands among those that were copied from each other, as far as its reader sees them."""

    family: str
    """The same for all of them."""
    of: str | None
    """The session that this one's log begins as a copy of; null where there is none, or none that the reader sees."""
    after_seq: int | None
    """The last event of the copy; null for the session that the family begins with."""
    number: int
    """Its place among those that part at the same event, the one that they part from first; 1 for the session that the family begins
    with."""
    count: int
    """How many those are; for the session that the family begins with, how many the whole family has."""


class SessionData(TypedDict):
    """What a client is told first, and again after `resume`; the replay follows."""

    session_id: str
    title: str
    agent: str
    last_seq: int
    """The number of the newest stored event."""
    role: RoleName
    window: int
    """Stored frames that may be left unacknowledged."""
    run: LiveRun | None
    queue: list[QueuedRun]
    children: list[ChildRun]
    """Runs at work within the run at work."""
    steering: list[PendingWord]
    """Words into the run at work that its next model call is to read, oldest first."""
    notes: NotesData
    context: NotRequired[ContextUse]
    """After its last model call."""
    budget: NotRequired[BudgetUse]
    """The tightest that its next run has."""
    branch: NotRequired[BranchData]
    """Missing where nothing was copied from it, and it from nothing, that the reader sees."""
    reset: NotRequired[Literal[True]]
    """The log is not the one that the client has: forget all of it, the whole follows."""


class AcceptedData(TypedDict):
    """A run that exists now: the answer to `chat` and `continue`, and to `steer` that it is taken."""

    client_message_id: str
    run_id: str
    queued: int
    """Place in the queue; 0: it runs."""
    steer: NotRequired[Literal[True]]
    """It is a word into that run, which its next model call reads."""


class DeltaData(TypedDict):
    """A text that is being written. `text` stands at `offset` of it; 0 begins the text of this step anew."""

    step: int
    """Number of the step that will supersede it; 0: the answer of a run without reasoning."""
    type: DeltaType
    attempt: int
    """A lower one than known is ignored."""
    offset: int
    text: str
    tool_name: NotRequired[str]


class PongData(TypedDict):
    """The answer to `ping`."""

    last_seq: int
    """The number of the newest stored event."""
    timestamp: float


class AnnouncementData(TypedDict):
    """Words of the operators, to everyone."""

    message: str
    level: LevelName


class NotificationData(TypedDict):
    """How a scheduled run of the reader's has ended, on whatever session's socket."""

    id: int
    schedule_id: str
    title: str
    text: str
    texts: dict[str, str]
    """The text in each language that the pages have, by its code."""
    status: Ended
    paused: bool
    """Whether the schedule was paused because of it."""
    run_id: str | None
    session_id: str | None
    duration_ms: int | None
    timestamp: float


class WaitingData(TypedDict):
    """A run has begun to wait for the reader, or for somebody else who may decide, on whatever session's socket."""

    kind: Literal["approval", "question"]
    session_id: str
    title: str
    run_id: str
    tool_call_id: str
    tool_name: str
    deadline: float
    timestamp: float


class ErrorData(TypedDict):
    """What went wrong: with a command, or, in a stored event, with a run."""

    message: str
    """For people."""
    code: ErrorCode
    id: str
    """By which operators find it in the log."""
    client_message_id: NotRequired[str]
    template: NotRequired[str]
    """What the message was made of, by which pages translate it: the sentence with ``%(name)s`` where a value stands."""
    values: NotRequired[dict[str, Any]]
    """The values by name: strings, numbers, or a sentence's own ``template`` and ``values``."""


class SentAlongData(TypedDict):
    """What a client that keeps the conversation itself has sent along with a message. Its words are on the run's page."""

    messages: int
    """How many earlier messages the session does not have."""
    instructions: bool
    """Whether there is something behind the agent's instructions."""


class ReasoningStartData(TypedDict):
    """A run begins; its other events follow in one piece."""

    agent: str
    message: str
    user: str
    """Empty where the account is gone."""
    enable_reasoning: bool
    timestamp: float
    continues: NotRequired[str]
    """The run that this one goes on from."""
    files: NotRequired[list[FileData]]
    """The files of the message."""
    model: NotRequired[str]
    max_iterations: NotRequired[int]
    """Model calls that it may make, by the version of its agent that it takes; absent where there is no limit."""
    sent_along: NotRequired[SentAlongData]


class ChildStartData(ReasoningStartData):
    """A run within another one begins."""

    parent: Parent


class ResponseData(TypedDict):
    """The whole answer of a run without reasoning."""

    content: str
    partial: NotRequired[Literal[True]]
    """The run ended while it was written."""


class ReasoningCompleteData(TypedDict):
    """A run has ended: its last event, exactly one."""

    status: End
    total_iterations: int
    duration_ms: int
    usage: Usage
    code: NotRequired[ErrorCode]
    cancelled_by: NotRequired[str]
    waited_ms: NotRequired[int]
    """How long it waited for people, which `duration_ms` leaves out; missing where it did not."""
    removed: NotRequired[Literal[True]]
    """It was taken out of the queue before it began."""


class SessionFrame(TypedDict):
    """The session as a client finds it; comes before all else."""

    type: Literal["session"]
    data: SessionData


class AcceptedFrame(TypedDict):
    """The answer to `chat`, `continue` and `steer`, before any frame of the run."""

    type: Literal["accepted"]
    data: AcceptedData


class QueueFrame(TypedDict):
    """The messages that wait, at each change."""

    type: Literal["queue"]
    data: list[QueuedRun]


class SteeringFrame(TypedDict):
    """The words into the run at work that its model has not read yet, at each change."""

    type: Literal["steering"]
    data: list[PendingWord]


class ReasoningDeltaFrame(TypedDict):
    """What a run writes now."""

    type: Literal["reasoning_delta"]
    run_id: str
    data: DeltaData


class ChildDeltaFrame(TypedDict):
    """What a run within another one writes now."""

    type: Literal["child_delta"]
    run_id: str
    data: DeltaData


class PongFrame(TypedDict):
    """The answer to `ping`."""

    type: Literal["pong"]
    data: PongData


class PresenceFrame(TypedDict):
    """Who has the session open, at each change."""

    type: Literal["presence"]
    data: list[Person]


class AnnouncementFrame(TypedDict):
    """Words of the operators."""

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
    """What every event of the log has."""

    seq: int
    """Its number in the session: from 1 on, none left out."""
    id: str
    run_id: str
    copied_from: NotRequired[str]
    """In a copy: the `id` that the event has there where it was copied."""


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
    """A run within another one begins; its other events stand between those of the run that asked it."""

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
    """A run within another one has ended; its usage holds that of the runs within it."""

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
    """What is kept with a run without reasoning and never sent has."""

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


#: An event as the log has it, sent or not.
KeptFrame: TypeAlias = StoredFrame | _KeptStep | _KeptStart | _KeptError | _KeptEnd
#: What the log holds of it.
EventData: TypeAlias = ReasoningStartData | StepData | ResponseData | ErrorData | ReasoningCompleteData

ChildType = Literal["child_start", "child_step", "child_error", "child_complete"]
StoredType = Literal["reasoning_start", "reasoning_step", "response", "reasoning_complete", "error", ChildType]
#: How a run within another one tells what a root tells.
CHILD_TYPES: dict[StoredType, ChildType] = {
    "reasoning_start": "child_start",
    "reasoning_step": "child_step",
    "error": "child_error",
    "reasoning_complete": "child_complete",
}


def type_of(frame: type) -> str:
    """The word in a frame's, a step's or a group message's ``type``."""
    return str(get_args(get_type_hints(frame)["type"])[0])


STORED = tuple(map(type_of, get_args(StoredFrame)))
#: But for ``error``, which is both.
UNSTORED = tuple(word for word in map(type_of, get_args(UnstoredFrame)) if word not in STORED)
STEP_TYPES = tuple(map(type_of, get_args(StepData)))


def encode(frame: UnstoredFrame) -> str:
    """The text of a frame that is not stored."""
    return orjson.dumps(frame).decode()


def stored_frame(event: str, seq: int, event_id: UUID, run_id: UUID, body: str, copied_from: UUID | None = None) -> str:
    """A stored event's frame, around the JSON text of its data as it lies in the log."""
    copied = "" if copied_from is None else f',"copied_from":"{copied_from}"'
    return f'{{"type":"{event}","seq":{seq},"id":"{event_id}","run_id":"{run_id}"{copied},"data":{body}}}'


def error_data(code: ErrorCode, message: str, error_id: str, client_message_id: str | None = None) -> ErrorData:
    """What an ``error`` frame and an HTTP error carry."""
    data: ErrorData = {"message": message, "code": code, "id": error_id}
    if client_message_id is not None:
        data["client_message_id"] = client_message_id
    data.update(cast(ErrorData, parts_of(message)))
    return data
