"""The data of frames: a type for each ``data``, and for parts that several of them share."""

from typing import Literal, NotRequired

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from agents.json_types import JsonObject
from agents.steps import BudgetUse, ContextUse, FileData, NumberedType
from chat.protocol.constants import End, ErrorCode
from chat.protocol.notes import NotesData

LevelName = Literal["info", "warning", "error"]
RoleName = Literal["owner", "driver", "watcher", "staff"]
#: The outcome of a due time of a schedule: the end of its run, or why there was none.
Ended = Literal[End, "skipped", "missed"]
#: A waiting run is not executed by any process: it continues when people have decided.
LiveStatus = Literal["running", "cancelling", "waiting"]
DeltaType = Literal[NumberedType, "response"]


class CostData(TypedDict):
    """What tokens cost."""

    amount: float
    currency: str
    """Three letters, such as ``USD``."""


class Usage(TypedDict):
    """Tokens of a run, or of one of its model calls."""

    input_tokens: int
    output_tokens: int
    estimated: bool
    """Whether they are estimated, because the model's server did not report them."""
    cached_tokens: NotRequired[int]
    """Input tokens from the server's cache; missing if it does not report them."""
    reasoning_tokens: NotRequired[int]
    """Output tokens of thoughts; missing if the server does not report them."""
    cost: NotRequired[CostData]
    """Missing if it is not known."""


class LiveRun(TypedDict):
    """The running or waiting root run."""

    id: str
    status: LiveStatus
    started_at: float | None


class Parent(TypedDict):
    """The run and the call that have started a run within it."""

    run_id: str
    tool_call_id: str
    depth: int
    """1 for a run within a root."""


class ChildRun(TypedDict):
    """A run within the running one."""

    id: str
    status: LiveStatus
    started_at: float | None
    parent: Parent


class QueuedRun(TypedDict):
    """A queued message."""

    run_id: str
    client_message_id: str
    user: str | None
    message: str


class PendingWord(TypedDict):
    """A steering word for the running run, which its model has not read yet."""

    client_message_id: str
    user: str | None
    message: str


class Person(TypedDict):
    """Somebody who has the session open."""

    user: str
    role: RoleName
    sockets: int


class BranchData(TypedDict):
    """A session's place in its family: sessions that were copied from each other, as far as its reader may see them."""

    family: str
    """The same for all of the family."""
    of: str | None
    """The session that this one was copied from; null if there is none, or none that the reader may see."""
    after_seq: int | None
    """The last copied event; null for the session that the family begins with."""
    number: int
    """Its place among the sessions that continue differently after the same event, with the original as the first; 1 for the session that
    the family begins with."""
    count: int
    """How many those are; for the session that the family begins with, the size of the family."""


class SessionData(TypedDict):
    """The first data that a client gets, and again after `resume`; the replay follows."""

    session_id: str
    title: str
    agent: str
    last_seq: int
    """The number of the newest stored event."""
    role: RoleName
    window: int
    """How many stored frames may be left unacknowledged."""
    run: LiveRun | None
    queue: list[QueuedRun]
    children: list[ChildRun]
    """Unfinished runs within the running one."""
    steering: list[PendingWord]
    """Steering words that the running run's next model call will read, oldest first."""
    notes: NotesData
    context: NotRequired[ContextUse]
    """As of its last model call."""
    budget: NotRequired[BudgetUse]
    """The tightest budget of its next run."""
    branch: NotRequired[BranchData]
    """Missing if the reader may see neither a copy of the session nor its original."""
    reset: NotRequired[Literal[True]]
    """The client has another log: it has to drop all of it, and gets the whole log."""


class AcceptedData(TypedDict):
    """The answer to `chat` and `continue`: the run that exists now; and to `steer`: that the word was accepted."""

    client_message_id: str
    run_id: str
    queued: int
    """Its place in the queue; 0 if it runs."""
    steer: NotRequired[Literal[True]]
    """It is a steering word for that run, to be read by its next model call."""


class DeltaData(TypedDict):
    """Text that is being written. It begins at `offset` of the step's text; an offset of 0 begins the text again."""

    step: int
    """The number of the step that will replace it; 0 for the answer of a run without reasoning."""
    type: DeltaType
    attempt: int
    """Deltas with a lower attempt than the newest known are ignored."""
    offset: int
    text: str
    tool_name: NotRequired[str]


class PongData(TypedDict):
    """The answer to `ping`."""

    last_seq: int
    """The number of the newest stored event."""
    timestamp: float


class AnnouncementData(TypedDict):
    """A message from the operators, to everyone, in place of the one before. An empty one withdraws that."""

    message: str
    level: LevelName


class NotificationData(TypedDict):
    """How a scheduled run of the reader's has ended; sent on the sockets of all their sessions."""

    id: int
    schedule_id: str
    title: str
    text: str
    texts: dict[str, str]
    """The text in each language of the pages, by its code."""
    status: Ended
    paused: bool
    """Whether the schedule was paused because of it."""
    run_id: str | None
    session_id: str | None
    duration_ms: int | None
    timestamp: float


class WaitingData(TypedDict):
    """A run has begun to wait for the reader, or for others who may decide; sent on the sockets of all their sessions."""

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
    """The id by which operators find the error in the log."""
    client_message_id: NotRequired[str]
    template: NotRequired[str]
    """The template of the message, with ``%(name)s`` for each value, by which pages translate it."""
    values: NotRequired[JsonObject]
    """The values by name: strings, numbers, or the ``template`` and ``values`` of a sentence."""


class SentAlongData(TypedDict):
    """What a client that keeps the conversation itself has sent along with a message. The texts are on the run's page."""

    messages: int
    """How many earlier messages the session does not have."""
    instructions: bool
    """Whether it has sent additional instructions for the agent."""


class ReasoningStartData(TypedDict):
    """A run begins; its other events follow without those of another root run in between."""

    agent: str
    message: str
    user: str
    """The user's name; empty if the account was deleted."""
    enable_reasoning: bool
    timestamp: float
    continues: NotRequired[str]
    """The run that this one continues."""
    files: NotRequired[list[FileData]]
    """The files of the message."""
    model: NotRequired[str]
    max_iterations: NotRequired[int]
    """How many model calls it may make, by its agent's version; missing if there is no limit."""
    sent_along: NotRequired[SentAlongData]


class ChildStartData(ReasoningStartData):
    """A run within another one begins."""

    parent: Parent


class ResponseData(TypedDict):
    """The whole answer of a run without reasoning."""

    content: str
    partial: NotRequired[Literal[True]]
    """The run ended while it was being written."""


class ReasoningCompleteData(TypedDict):
    """A run has ended: its last event, exactly one."""

    status: End
    total_iterations: int
    duration_ms: int
    usage: Usage
    code: NotRequired[ErrorCode]
    cancelled_by: NotRequired[str]
    waited_ms: NotRequired[int]
    """How long it waited for people, which `duration_ms` does not include; missing if it did not wait."""
    removed: NotRequired[Literal[True]]
    """It was removed from the queue before it began."""
