"""The task of a run: what an agent is to do."""

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
    """What an agent is to do: which agent, with which model and tools, on which conversation."""

    spec: AgentSpec
    model: ModelSettings
    toolbox: Toolbox
    conversation: Sequence[Mapping[str, Any]]
    message: str
    max_iterations: int
    label: str
    skip_initial_steps: bool = False
    """Whether the reader already has the steps of `initial_steps`."""
    meter: Meter | None = None
    """Counts the run's budget, if it has one."""
    calls: tuple[tuple[str, str], ...] = ()
    """Tool calls (name, arguments) to make before the model is asked."""
    gate: Gate = field(default_factory=Gate)
    resumed: Resumed | None = None
    """The state of a run that has waited for people; the conversation then contains what it has done so far."""
    newest_word: int = 0
    wait_stored: WaitStored = begin_at_once
    """Waits until a call that may change something outside is stored."""


def initial_steps(message: str) -> list[Step]:
    """The steps that every run begins with; they depend only on its message. See `Agent.start`."""
    return StepSplitter().open(message)
