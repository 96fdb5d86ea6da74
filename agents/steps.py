"""The finished steps of a run's log, one type for each kind: an agent yields them, the log stores them, clients receive them.

``step`` numbers a run's thoughts, tool calls, results and answers, from 1 on. Times are Unix seconds, lengths UTF-16 code units.
"""

from typing import Literal, NotRequired, TypeAlias

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from agents.json_types import JsonObject

#: The longest ``content`` of a tool result within its step, in UTF-16 code units.
CONTENT_LIMIT = 2_000


class FileData(TypedDict):
    """A file, added to a message or returned by a tool."""

    id: str
    name: str
    media_type: str
    """The type found in its content, whatever its name says."""
    size: int
    """In bytes."""


class StepBase(TypedDict):
    """The fields that every step has."""

    content: str
    """Its text; empty if its type has none."""
    iteration: int
    """The number of the model call that it belongs to, from 1 on; 0 before the first."""
    timestamp: float
    """When it was finished."""


class StartStep(StepBase):
    """The run begins."""

    type: Literal["start"]
    message: str


class IterationStartStep(StepBase):
    """A model call begins."""

    type: Literal["iteration_start"]


class ContextUse(TypedDict):
    """How much of the model's context the conversation takes, in tokens."""

    used: int
    limit: int
    """0 if it is not known."""


class BudgetUse(TypedDict):
    """How much is used of the run's tightest budget."""

    used: float
    limit: float
    unit: str
    """``tokens``, or a currency."""


class IterationEndStep(StepBase):
    """A model call and its tools have ended."""

    type: Literal["iteration_end"]
    context: NotRequired[ContextUse]
    """As of the end of that call; ``budget`` too, if the run has one."""
    budget: NotRequired[BudgetUse]


class ThoughtStep(StepBase):
    """What the model thought, or wrote before it called tools; or a note for readers, which no model wrote."""

    type: Literal["thought"]
    step: int
    duration_ms: int
    template: NotRequired[str]
    """For a note: the template of ``content``, by which pages translate it, with ``%(name)s`` for each value."""
    values: NotRequired[JsonObject]
    """The values by name: strings, numbers, or the ``template`` and ``values`` of a sentence."""
    partial: NotRequired[Literal[True]]
    """The run ended while it was being written."""


class ToolUseStep(StepBase):
    """The model calls a tool."""

    type: Literal["tool_use"]
    step: int
    tool_name: str
    tool_call_id: str
    """Unique in the run."""
    arguments: JsonObject | str
    """An object; or the text that the model wrote, if that is no object."""


class ToolResultStep(StepBase):
    """The result of a call. ``content`` is the result, or its beginning."""

    type: Literal["tool_result"]
    step: int
    tool_name: str
    tool_call_id: str
    ok: bool
    duration_ms: int
    truncated: bool
    """Whether ``content`` is only the beginning."""
    content_length: int
    """The length of the whole result."""
    files: NotRequired[list[FileData]]
    """The files that the tool returned with its text."""


class FinalAnswerStep(StepBase):
    """The answer."""

    type: Literal["final_answer"]
    step: int
    duration_ms: int
    partial: NotRequired[Literal[True]]
    """The run ended while it was being written."""


class MaxIterationsStep(StepBase):
    """The last allowed model call still asked for tools."""

    type: Literal["max_iterations_reached"]
    max_iterations: int


class CompleteStep(StepBase):
    """The agent has ended."""

    type: Literal["complete"]
    total_iterations: int


class ErrorStep(StepBase):
    """The agent has failed."""

    type: Literal["error"]
    error: str
    """What went wrong, for people."""
    code: str


class SteerStep(StepBase):
    """A user's steering word; the model call of its iteration is the first that reads it."""

    type: Literal["steer"]
    user: str
    """The user's name; empty if the account was deleted."""
    client_message_id: str


# People in a run: requests to them, and their decisions. None of these steps has a number.


class ApprovalRequestStep(StepBase):
    """A call waits until a person allows or denies it."""

    type: Literal["approval_request"]
    tool_call_id: str
    tool_name: str
    arguments: JsonObject
    deadline: float
    unanswered: Literal["deny", "stop"]
    """What happens if nobody decides before the deadline: the call is denied, or the run ends."""


class ApprovalStep(StepBase):
    """A call was allowed or denied."""

    type: Literal["approval"]
    tool_call_id: str
    decision: Literal["allow", "deny"]
    user: str | None
    """Who decided. Null: nobody did before the deadline."""
    arguments: NotRequired[JsonObject]
    """The arguments that the call is made with instead of the model's."""
    scope: Literal["once", "session"]
    """``session``: later calls of this tool under this rule are also allowed, in runs of the same user."""
    reason: str


FieldKind = Literal["text", "choice", "choices", "number", "yes_no"]


class QuestionField(TypedDict):
    """A field of a question to a person."""

    name: str
    label: str
    kind: FieldKind
    options: NotRequired[list[str]]
    """For ``choice`` (select one) and ``choices`` (select any number)."""
    required: bool


class QuestionStep(StepBase):
    """The agent asks a person a question, and waits for the answer."""

    type: Literal["question"]
    tool_call_id: str
    fields: list[QuestionField]
    deadline: float


class AnswerStep(StepBase):
    """A question was answered."""

    type: Literal["answer"]
    tool_call_id: str
    user: str | None
    """Who answered. Null: nobody did before the deadline."""
    answers: JsonObject
    """By the fields' names: a text, a list of texts, a number, or a boolean."""


PeopleStep: TypeAlias = ApprovalRequestStep | ApprovalStep | QuestionStep | AnswerStep
#: Steps that are sent also to clients that get no reasoning.
PEOPLE_TYPES = ("approval_request", "approval", "question", "answer")

StepData: TypeAlias = (
    StartStep
    | IterationStartStep
    | IterationEndStep
    | ThoughtStep
    | ToolUseStep
    | ToolResultStep
    | FinalAnswerStep
    | MaxIterationsStep
    | CompleteStep
    | ErrorStep
    | SteerStep
    | PeopleStep
)
NumberedType = Literal["thought", "tool_use", "tool_result", "final_answer"]
StepType = Literal[
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
    "steer",
    "approval_request",
    "approval",
    "question",
    "answer",
]
