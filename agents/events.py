"""The events of a running agent: drafts of a step, finished steps, and model calls.

What a finished step holds is in `agents.steps`. Lengths count UTF-16 code units, as JavaScript's ``length`` does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

from agents.steps import NumberedType, StepData, StepType

if TYPE_CHECKING:
    from agents.holding import HeldCall

#: A run that waits for people has not ended: another `Agent.start` continues it.
Status = Literal["completed", "cancelled", "failed", "max_iterations", "waiting"]


@dataclass(frozen=True, slots=True)
class PartialStep:
    """The latest state of a step that is still being written.

    ``text`` is all of the step's text so far, so that a reader who missed
    some drafts needs only the last one. A higher ``attempt`` begins the step's text again.
    """

    step: int
    type: NumberedType
    text: str
    attempt: int = 1
    tool_name: str = ""


class ThoughtsField(TypedDict, total=False):
    """In which field of a turn its thoughts came, and the numbers of the steps that they are; empty where they are not wanted back."""

    field: str
    steps: list[int]


class OriginData(TypedDict, total=False):
    """What the model's server has to be sent again of a step with each later request, and nobody else is."""

    server: str
    """The only server that is sent it, as returned by `agents.models.openai_compatible.server_id`."""
    fields: Mapping[str, Any]
    """For a tool call: fields that its server has sent beside the known ones."""
    thoughts: ThoughtsField
    turn: Mapping[str, Any]
    """For a tool call: further fields of its turn, unchanged."""
    is_cut: bool
    """For an answer: whether the model's length limit cut it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One finished entry of the reasoning log.

    ``data`` is the step dictionary of the wire: ``type``, ``content``, ``iteration``,
    ``timestamp`` (Unix seconds) and what the type adds. ``full_content`` is the whole text of a tool result
    whose ``data["content"]`` had to be cut to `agents.steps.CONTENT_LIMIT`, else ``None``. ``origin`` is what the model's server has to be
    sent of it again.
    """

    data: StepData
    full_content: str | None = None
    origin: OriginData | None = None

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
    """What was left out of the conversation because the model cannot read so much: messages, and tokens as estimated."""

    messages: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A request to a model, exactly as it is sent; without address and key.

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
    """That request was answered, refused or given up; ``error`` says why, for people."""

    iteration: int
    attempt: int
    duration_ms: int
    first_token_ms: int | None = None
    """From its sending to the first token; ``None`` where none came."""
    finish_reason: str = ""
    """The server's own word."""
    usage: Usage = field(default_factory=Usage)
    error: str = ""


ModelCallEvent: TypeAlias = CallBegun | CallEnded


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run of an agent ended. ``code`` and ``error`` (for people) are set when it failed."""

    status: Status
    iterations: int
    usage: Usage = field(default_factory=Usage)
    code: str = ""
    error: str = ""
    held: "Sequence[HeldCall]" = ()
    """The calls that wait for people, where it waits."""


@dataclass(frozen=True, slots=True)
class Word:
    """A steering word: what a user sends to a running run. ``number`` rises from word to word."""

    number: int
    content: str


@dataclass(frozen=True, slots=True)
class WordsWanted:
    """A model call begins, and reads the pending steering words: the recorder passes them to ``hand_over``.

    The run waits for that. ``hand_over`` is called on the event loop; each word is passed once.
    """

    iteration: int
    hand_over: Callable[[Sequence[Word]], None]


RunEvent: TypeAlias = Step | PartialStep | ModelCallEvent | WordsWanted


def number_of(event: RunEvent) -> Any:
    """The number of the step that an event is about, if it is about one."""
    if isinstance(event, Step):
        return event.data.get("step")
    return event.step if isinstance(event, PartialStep) else None
