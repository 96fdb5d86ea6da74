"""What an agent is to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.approval import Gate
from agents.events import Step
from agents.holding import Resumed
from agents.metering import Meter
from agents.snapshots import StepSplitter
from agents.specs import AgentSpec, ModelSettings
from agents.tools.runner import WaitStored, begin_at_once
from agents.tools.tool import Toolbox


@dataclass(frozen=True, slots=True)
class Task:
    """What an agent is to do: who, with which model and tools, on which conversation."""

    spec: AgentSpec
    model: ModelSettings
    toolbox: Toolbox
    conversation: Sequence[Mapping[str, Any]]
    message: str
    max_iterations: int
    label: str
    skip_initial_steps: bool = False
    """Whether the reader has the steps of `initial_steps` already."""
    meter: Meter | None = None
    """Keeps the run's budget, where it has one."""
    calls: tuple[tuple[str, str], ...] = ()
    """Tool calls, by name and arguments, to be made before the model is asked."""
    gate: Gate = field(default_factory=Gate)
    resumed: Resumed | None = None
    """Where the run stood, where it has waited: the conversation then holds what it has done so far."""
    newest_word: int = 0
    wait_stored: WaitStored = begin_at_once
    """Waits until a call that may change something outside is kept."""


def initial_steps(message: str) -> list[Step]:
    """The steps that every run begins with, known as soon as its message is: see `Agent.start`."""
    return StepSplitter().open(message)
