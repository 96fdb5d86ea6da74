"""The words an agent speaks while it works: growth of a step being written, and finished steps.

What a finished step holds is in `agents.steps`. Lengths count UTF-16 code units, as JavaScript's ``length`` does.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from agents.steps import NumberedType, StepData, StepType

Status = Literal["completed", "cancelled", "failed", "max_iterations"]


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
    """Tokens that a run cost; ``estimated`` where a model server reported none."""

    input_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run of an agent ended. ``code`` and ``error`` (words for people) are set when it failed."""

    status: Status
    iterations: int
    usage: Usage = field(default_factory=Usage)
    code: str = ""
    error: str = ""
