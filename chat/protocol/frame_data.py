"""The data of frames: a type for each ``data``, and for parts that several of them have in common."""

from typing import Literal, NotRequired

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from agents.json_types import JsonObject
from agents.steps import BudgetUse, ContextUse, FileData, NumberedType
from chat.protocol.constants import End, ErrorCode
from chat.protocol.notes import NotesData

LevelName = Literal["info", "warning", "error"]
RoleName = Literal["owner", "driver", "watcher", "staff"]
#: The outcome of a due time of a schedule: its run's end, or what kept it from running.
Ended = Literal[End, "skipped", "missed"]
#: A run that waits has no process: it continues when people have decided.
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
    """Whether the model's server has not reported them."""
    cached_tokens: NotRequired[int]
    """Input tokens from the server's cache; missing where it does not report them."""
    reasoning_tokens: NotRequired[int]
    """Output tokens of thoughts; likewise."""
    cost: NotRequired[CostData]
    """Missing where it is not known."""


class LiveRun(TypedDict):
    """The running or waiting root run."""

    id: str
    status: LiveStatus
    started_at: float | None


class Parent(TypedDict):
    """Which call of which run has started a run within it."""

    run_id: str
    tool_call_id: str
    depth: int
    """1: within a root."""


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
    """A session's place among those that were copied from each other, as far as its reader sees them."""

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
    """How many those are; for the session that the family begins with, the number of all in the family."""


class SessionData(TypedDict):
    """The first data that a client is sent, and again after `resume`; the replay follows."""

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
    """Unfinished runs within the running one."""
    steering: list[PendingWord]
    """Steering words that the running run's next model call will read, oldest first."""
    notes: NotesData
    context: NotRequired[ContextUse]
    """After its last model call."""
    budget: NotRequired[BudgetUse]
    """The tightest budget of its next run."""
    branch: NotRequired[BranchData]
    """Missing where the reader sees no session that was copied from it, or that it was copied from."""
    reset: NotRequired[Literal[True]]
    """The client has another log: drop all of it, the whole log follows."""


class AcceptedData(TypedDict):
    """A run exists now: the answer to `chat` and `continue`; and to `steer`, that the word is accepted."""

    client_message_id: str
    run_id: str
    queued: int
    """Place in the queue; 0: it runs."""
    steer: NotRequired[Literal[True]]
    """It is a steering word for that run, which its next model call reads."""


class DeltaData(TypedDict):
    """A text that is being written. `text` begins at `offset` of it; 0 begins the text of this step again."""

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
    """A message from the operators, to everyone."""

    message: str
    level: LevelName


class NotificationData(TypedDict):
    """How a scheduled run of the reader's has ended, on the socket of any session."""

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
    """A run has begun to wait for the reader, or for somebody else who may decide, on the socket of any session."""

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
    """The sentence that the message was made from, with ``%(name)s`` for each value: pages translate it by this."""
    values: NotRequired[JsonObject]
    """The values by name: strings, numbers, or a sentence's own ``template`` and ``values``."""


class SentAlongData(TypedDict):
    """What a client that keeps the conversation itself has sent along with a message. Its texts are on the run's page."""

    messages: int
    """How many earlier messages the session does not have."""
    instructions: bool
    """Whether it has added to the agent's instructions."""


class ReasoningStartData(TypedDict):
    """A run begins; its other events follow in one piece."""

    agent: str
    message: str
    user: str
    """Empty where the account is gone."""
    enable_reasoning: bool
    timestamp: float
    continues: NotRequired[str]
    """The run that this one continues."""
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
    """It was removed from the queue before it began."""
