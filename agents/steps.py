"""The finished steps of a run's log, one type per kind: yielded by an agent, stored in the log, and sent to clients.

Numbers named ``step`` count a run's thoughts, tool calls, results and answers from 1 on. Times are Unix seconds, lengths UTF-16 code units.
"""

from typing import Literal, NotRequired, TypeAlias

# Python's own cannot be checked against data before 3.12.
from typing_extensions import TypedDict

from agents.json_types import JsonObject

#: Longest ``content`` of a tool result inside its step, in UTF-16 code units.
CONTENT_LIMIT = 2_000


class FileData(TypedDict):
    """A file, added to a message or returned by a tool."""

    id: str
    name: str
    media_type: str
    """The type of its content, whatever its name says."""
    size: int
    """Bytes."""


class StepBase(TypedDict):
    """What every step has."""

    content: str
    """Its text; empty where the kind has none."""
    iteration: int
    """The model call that it belongs to, from 1 on; 0 before the first."""
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
    """0 where it is not known."""


class BudgetUse(TypedDict):
    """How much is used of the tightest budget that a run has."""

    used: float
    limit: float
    unit: str
    """``tokens``, or a currency."""


class IterationEndStep(StepBase):
    """A model call and its tools have ended."""

    type: Literal["iteration_end"]
    context: NotRequired[ContextUse]
    """After that call; so is the budget, where there is one."""
    budget: NotRequired[BudgetUse]


class ThoughtStep(StepBase):
    """What the model thought, or wrote before it called tools; or what readers of the run should know, which no model wrote."""

    type: Literal["thought"]
    step: int
    duration_ms: int
    template: NotRequired[str]
    """Where no model said it: what ``content`` was made of, by which pages translate it, with ``%(name)s`` where a value stands."""
    values: NotRequired[JsonObject]
    """The values by name: strings, numbers, or a sentence's own ``template`` and ``values``."""
    partial: NotRequired[Literal[True]]
    """The run ended while it was written."""


class ToolUseStep(StepBase):
    """The model calls a tool."""

    type: Literal["tool_use"]
    step: int
    tool_name: str
    tool_call_id: str
    """Unique in the run."""
    arguments: JsonObject | str
    """An object; the text that the model wrote where that is none."""


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
    """Length of the whole."""
    files: NotRequired[list[FileData]]
    """What the tool returned beside its text."""


class FinalAnswerStep(StepBase):
    """The answer."""

    type: Literal["final_answer"]
    step: int
    duration_ms: int
    partial: NotRequired[Literal[True]]
    """The run ended while it was written."""


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
    """Why, for people."""
    code: str


class SteerStep(StepBase):
    """A steering word of a user: the model call of its iteration is the first that reads it."""

    type: Literal["steer"]
    user: str
    """Empty where the account is gone."""
    client_message_id: str


# People inside a run: requests to them, and their decisions. None of these has a number of its own.


class ApprovalRequestStep(StepBase):
    """A call waits until a person has allowed or denied it."""

    type: Literal["approval_request"]
    tool_call_id: str
    tool_name: str
    arguments: JsonObject
    deadline: float
    unanswered: Literal["deny", "stop"]
    """What happens to it after the deadline: it is denied, or the run ends."""


class ApprovalStep(StepBase):
    """Somebody has allowed or denied a call."""

    type: Literal["approval"]
    tool_call_id: str
    decision: Literal["allow", "deny"]
    user: str | None
    """Null: no one did until the deadline."""
    arguments: NotRequired[JsonObject]
    """The call is made with these instead of those that the model wrote."""
    scope: Literal["once", "session"]
    """``session``: later calls of this tool under this rule are allowed too, in runs of the same user."""
    reason: str


FieldKind = Literal["text", "choice", "choices", "number", "yes_no"]


class QuestionField(TypedDict):
    """A field of a question to a person."""

    name: str
    label: str
    kind: FieldKind
    options: NotRequired[list[str]]
    """Of ``choice``, of which one is selected, and ``choices``, of which any number are."""
    required: bool


class QuestionStep(StepBase):
    """The agent asks a person, and waits."""

    type: Literal["question"]
    tool_call_id: str
    fields: list[QuestionField]
    deadline: float


class AnswerStep(StepBase):
    """A person has answered."""

    type: Literal["answer"]
    tool_call_id: str
    user: str | None
    """Null: no one did until the deadline."""
    answers: JsonObject
    """By the fields' names: texts, lists of texts, numbers, yes or no."""


PeopleStep: TypeAlias = ApprovalRequestStep | ApprovalStep | QuestionStep | AnswerStep
#: Steps that are sent also where no reasoning is.
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
