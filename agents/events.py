"""The words an agent speaks while it works: growth of a step being written, finished steps, and what each model call was asked.

What a finished step holds is in `agents.steps`. Lengths count UTF-16 code units, as JavaScript's ``length`` does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from agents.steps import NumberedType, StepData, StepType

if TYPE_CHECKING:
    from agents.holding import HeldCall

#: One that waits for people has not ended: it is gone on with, by another `Agent.start`.
Status = Literal["completed", "cancelled", "failed", "max_iterations", "waiting"]


@dataclass(frozen=True, slots=True)
class PartialStep:
    """The latest state of a step that is still being written.

    ``text`` is all of the step's text so far, never a piece of it, so that a reader who missed
    some growths needs only the last one. A higher ``attempt`` starts the step's text anew.
    """

    step: int
    type: NumberedType
    text: str
    attempt: int = 1
    tool_name: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One finished entry of the reasoning log.

    ``data`` is the step dictionary of the wire: ``type``, ``content``, ``iteration``,
    ``timestamp`` (Unix seconds) and what the type adds. ``full_content`` is the whole text of a tool result
    whose ``data["content"]`` had to be cut to `agents.steps.CONTENT_LIMIT`, else ``None``. ``origin`` is what the model's server has to be
    told of it later, and nobody else. Of a tool call: ``server``, ``fields`` of the call, ``thoughts``, the ``field`` that the
    turn's thoughts came in and the ``steps`` that they are, and ``turn``, further fields of the turn as they came. Of an answer that
    the model's length limit cut: ``is_cut``.
    """

    data: StepData
    full_content: str | None = None
    origin: dict[str, Any] | None = None

    @property
    def type(self) -> StepType:
        """The step's kind."""
        return self.data["type"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a run, or one of its model calls, cost; ``estimated`` where a model server reported none.

    Of the input, ``cached_tokens`` were in the server's cache; of the output, ``reasoning_tokens`` were thoughts: ``None`` where it
    does not say.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None

    def plus(self, more: "Usage") -> "Usage":
        """Both together."""
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
    """What of the conversation a request does not hold, because the model can't read so much: messages, and tokens as estimated."""

    messages: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What a model is asked with, exactly as it is sent; neither address nor key.

    ``parameters`` is the rest of the request's body. ``tools`` are declared with it; ``tool_names`` are offered, also where the prompt
    declares them. ``limit`` is how many tokens the model reads, as far as is known.
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
    """A model call begins. ``attempt`` counts the requests that one call took: a server may refuse the first, and get a narrower one."""

    iteration: int
    attempt: int
    started_at: float
    """Unix seconds."""
    request: ModelRequest


@dataclass(frozen=True, slots=True)
class CallEnded:
    """That request was answered, refused or given up; ``error`` says why, in words for people."""

    iteration: int
    attempt: int
    duration_ms: int
    first_token_ms: int | None = None
    """From its sending to the first token; ``None`` where none came."""
    finish_reason: str = ""
    """As the server has it."""
    usage: Usage = field(default_factory=Usage)
    error: str = ""


ModelCallEvent: TypeAlias = CallBegun | CallEnded


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run of an agent ended. ``code`` and ``error`` (words for people) are set when it failed."""

    status: Status
    iterations: int
    usage: Usage = field(default_factory=Usage)
    code: str = ""
    error: str = ""
    held: "Sequence[HeldCall]" = ()
    """The calls that wait for people, where it waits."""


@dataclass(frozen=True, slots=True)
class Word:
    """What somebody says to a run that is at work. ``number`` rises from word to word."""

    number: int
    content: str


@dataclass(frozen=True, slots=True)
class WordsWanted:
    """A model call begins, and reads the words that are there by now: who stores the run's events hands them over by ``hand_over``.

    Until then nothing goes on. It is called on the event loop; what it is given is read, and never given again.
    """

    iteration: int
    hand_over: Callable[[Sequence[Word]], None]


RunEvent: TypeAlias = Step | PartialStep | ModelCallEvent | WordsWanted


def number_of(event: RunEvent) -> Any:
    """The number of the step that an event is about, if it is about one."""
    if isinstance(event, Step):
        return event.data.get("step")
    return event.step if isinstance(event, PartialStep) else None
