"""The events of a running agent: partial steps, finished steps, and model calls.

The content of finished steps is described in `agents.steps`. Lengths are counted in UTF-16 code units, as by JavaScript's ``length``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

from agents.steps import NumberedType, StepData, StepType

if TYPE_CHECKING:
    from agents.holding import HeldCall

#: ``waiting``: the run waits for people, and is continued by another `Agent.start`.
Status = Literal["completed", "cancelled", "failed", "max_iterations", "waiting"]


@dataclass(frozen=True, slots=True)
class PartialStep:
    """The latest state of a step that is still being written.

    ``text`` is the whole text of the step so far, so a reader who missed some of these
    needs only the last one. A higher ``attempt`` means that the step's text has begun again.
    """

    step: int
    type: NumberedType
    text: str
    attempt: int = 1
    tool_name: str = ""


class ThoughtsField(TypedDict, total=False):
    """The field of a turn that its thoughts came in, and the numbers of their steps. Empty if the server does not want them back."""

    field: str
    steps: list[int]


class OriginData(TypedDict, total=False):
    """What later requests send back to the model's server about a step. No other server gets it."""

    server: str
    """The only server that gets it, as returned by `agents.models.openai_compatible.server_id`."""
    fields: Mapping[str, Any]
    """For a tool call: the fields that its server sent besides the known ones."""
    thoughts: ThoughtsField
    turn: Mapping[str, Any]
    """For a tool call: further fields of its turn, unchanged."""
    is_cut: bool
    """For an answer: whether it was cut by the model's length limit."""


@dataclass(frozen=True, slots=True)
class Step:
    """One finished entry of the reasoning log.

    ``data`` is the step as it is sent to clients: ``type``, ``content``, ``iteration``,
    ``timestamp`` (Unix seconds) and the fields of its type. ``full_content`` is the whole text of a tool result
    whose ``data["content"]`` had to be cut to `agents.steps.CONTENT_LIMIT`, else ``None``. ``origin``: what the model's server gets back
    with later requests.
    """

    data: StepData
    full_content: str | None = None
    origin: OriginData | None = None

    @property
    def type(self) -> StepType:
        """The step's type."""
        return self.data["type"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a run, or one of its model calls, used; ``estimated`` if a model server reported none.

    Of the input tokens, ``cached_tokens`` were in the server's cache; of the output tokens, ``reasoning_tokens`` were thoughts. ``None``:
    not reported by the server.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None

    def plus(self, more: "Usage") -> "Usage":
        """The sum of both."""
        return Usage(
            self.input_tokens + more.input_tokens,
            self.output_tokens + more.output_tokens,
            self.estimated or more.estimated,
            _sum(self.cached_tokens, more.cached_tokens),
            _sum(self.reasoning_tokens, more.reasoning_tokens),
        )


def _sum(one: int | None, other: int | None) -> int | None:
    return (one or 0) + (other or 0) if one is not None or other is not None else None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many messages, and how many estimated tokens, were left out of the conversation because the model's context is too small."""

    messages: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A request to a model, exactly as it is sent, but without address and key.

    ``parameters`` is the rest of the request's body. ``tools`` are those declared in the request; ``tool_names`` are all that are offered,
    also those that are declared in the prompt. ``limit``: the model's context in tokens, as far as it is known.
    """

    model: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()
    tool_names: Sequence[str] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    left_out: LeftOut = LeftOut()
    limit: int = 0


@dataclass(frozen=True, slots=True)
class CallBegun:
    """A model call begins. ``attempt`` numbers the requests of one call: a server may refuse the first, and get an adapted one."""

    iteration: int
    attempt: int
    started_at: float
    """Unix seconds."""
    request: ModelRequest


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A request to the model was answered, refused or given up; ``error`` says why, for people."""

    iteration: int
    attempt: int
    duration_ms: int
    first_token_ms: int | None = None
    """Milliseconds from sending it to the first token; ``None`` if none came."""
    finish_reason: str = ""
    """As reported by the server."""
    usage: Usage = field(default_factory=Usage)
    error: str = ""


ModelCallEvent: TypeAlias = CallBegun | CallEnded


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run of an agent ended. ``code`` and ``error`` (for people) are set if it failed."""

    status: Status
    iterations: int
    usage: Usage = field(default_factory=Usage)
    code: str = ""
    error: str = ""
    held: "Sequence[HeldCall]" = ()
    """The calls that wait for people, if its status is ``waiting``."""


@dataclass(frozen=True, slots=True)
class Word:
    """A steering word: a message that a user sends to a running run. ``number`` rises from word to word."""

    number: int
    content: str


@dataclass(frozen=True, slots=True)
class WordsWanted:
    """A model call begins, and reads the pending steering words: the receiver of this event passes them to ``hand_over``.

    The run waits until it does. Call ``hand_over`` on the event loop; each word may be passed only once.
    """

    iteration: int
    hand_over: Callable[[Sequence[Word]], None]


RunEvent: TypeAlias = Step | PartialStep | ModelCallEvent | WordsWanted


def number_of(event: RunEvent) -> Any:
    """The number of the step that an event is about; None if there is none."""
    if isinstance(event, Step):
        return event.data.get("step")
    return event.step if isinstance(event, PartialStep) else None
