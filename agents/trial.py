"""A trial of an agent with its model: does it answer, stream, report usage and call tools, and how fast."""

import contextlib
import time
from dataclasses import dataclass, field

from agents.agent import Agent
from agents.events import Outcome, PartialStep, Step
from agents.specs import ModelSettings, find_agent
from agents.tools import Toolbox

#: A question that needs a tool, for agents that have `python`.
QUESTION = "What is 1234 * 5678? Work it out with the python tool, then answer in one sentence."
ANSWER = 1234 * 5678
MOST_CALLS = 4


@dataclass(slots=True)
class Trial:
    """What one run showed of an agent and its model. Times are seconds of a monotonic clock."""

    outcome: Outcome
    began: float
    first_at: float | None = None
    ended: float = 0.0
    pieces: int = 0
    """How many partial steps with new text came."""
    tools_s: float = 0.0
    tools: dict[str, bool] = field(default_factory=dict)
    """The tools that were called, and whether the last call of each succeeded."""
    answer: str = ""

    @property
    def first_s(self) -> float:
        """Seconds until the first text."""
        return (self.first_at or self.ended) - self.began

    @property
    def took_s(self) -> float:
        """Seconds until the end."""
        return self.ended - self.began

    @property
    def is_right(self) -> bool:
        """Whether the answer to `QUESTION` contains the right number."""
        return str(ANSWER) in "".join(char for char in self.answer if char.isdigit())


async def try_model(model: ModelSettings) -> Trial:
    """Ask the agent `researcher`, which has the python tool, `QUESTION`."""
    return await try_agent(Agent(find_agent("researcher"), model, Toolbox()), QUESTION)


async def try_agent(agent: Agent, question: str) -> Trial:
    """Run an agent once, and measure it."""
    trial = Trial(Outcome("failed", 0, error="The agent ended without a result."), time.perf_counter())
    run = agent.start(question, max_iterations=MOST_CALLS)
    async with contextlib.aclosing(run):
        async for item in run:
            if isinstance(item, Step | PartialStep):
                _note(trial, item)
    trial.ended = time.perf_counter()
    trial.outcome = run.outcome or trial.outcome
    return trial


def _note(trial: Trial, item: Step | PartialStep) -> None:
    is_partial = isinstance(item, PartialStep)
    trial.pieces += is_partial
    if trial.first_at is None and (is_partial or item.type in ("thought", "tool_use", "final_answer")):
        trial.first_at = time.perf_counter()
    if isinstance(item, PartialStep):
        return
    if item.data["type"] == "tool_result":
        trial.tools[item.data["tool_name"]] = item.data["ok"]
        trial.tools_s += item.data["duration_ms"] / 1000
    elif item.data["type"] == "final_answer":
        trial.answer = item.data["content"]
