"""An agent: its spec, its model and its tools. `Agent.start` starts a run of it."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.approval import Gate
from agents.errors import AgentError
from agents.events import Step
from agents.history import ChatMessage
from agents.holding import Resumed
from agents.loading import load_driver
from agents.metering import Meter
from agents.specs import AgentSpec, ModelSettings, find_agent
from agents.steps import FileData, StepData
from agents.stream import AgentRun
from agents.task import Task
from agents.text import clean_text
from agents.tools import Toolbox, connect_servers
from agents.tools.runner import WaitStored, begin_at_once

DEFAULT_MAX_ITERATIONS = 20


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent with its model and tools. It keeps no state of a conversation, so one instance serves any number of runs."""

    spec: AgentSpec
    model: ModelSettings
    toolbox: Toolbox

    def start(
        self,
        prompt: str | None,
        *,
        history: Sequence[Mapping[str, Any]] = (),
        session_id: object = None,
        max_iterations: int = DEFAULT_MAX_ITERATIONS,
        skip_initial_steps: bool = False,
        files: Sequence[FileData] = (),
        meter: Meter | None = None,
        calls: Sequence[tuple[str, str]] = (),
        gate: Gate = Gate(),  # noqa: B008 - frozen
        resumed: Resumed | None = None,
        newest_word: int = 0,
        wait_stored: WaitStored = begin_at_once,
    ) -> AgentRun:
        """Start a run that answers ``prompt`` after ``history``. Must be called inside a running event loop, which the run then belongs to.

        ``prompt``: without one the run continues ``history``, which must end with the user's message or with tool results.
        ``history``: messages in OpenAI's format. ``session_id`` is only a label.
        ``skip_initial_steps``: leave out the steps of `initial_steps`, for a caller that has already stored them.
        ``files``: files of the prompt; earlier messages have their own ``files``.
        ``meter``: counts what the run uses of its budget.
        ``calls``: tool calls (name, arguments as JSON) to make before the model is asked: those that an interrupted run, which this one
        continues, had begun and not ended.
        ``gate``: decides which calls wait for people. If one does, the run ends as ``waiting``; it is continued by another `start` with
        ``resumed`` and with everything that it has done so far in ``history``.
        ``newest_word``: the highest number among the steering words that its first model call is to read.
        ``wait_stored``: called in the run's thread before each call that may change something outside; returns when that call is stored.
        """
        asking: ChatMessage = {"role": "user", "content": prompt, **({"files": files} if files else {})}
        conversation = [*history, asking] if prompt is not None else list(history)
        asked = [message["content"] for message in conversation if message["role"] == "user"]
        if not asked:
            raise ValueError("There is nothing to answer: neither a prompt nor a user's message in the history.")
        if max_iterations < 1:
            raise ValueError("An agent needs at least one model call.")
        message = clean_text(asked[-1]) if isinstance(asked[-1], str) else ""
        label = str(session_id or self.spec.name)
        parts = (self.spec, self.model, self.toolbox, conversation, message, max_iterations, label)
        return AgentRun(Task(*parts, skip_initial_steps, meter, tuple(calls), gate, resumed, newest_word, wait_stored))

    async def run_with_reasoning_stream(
        self,
        prompt: str | None,
        session_id: object = None,
        max_iterations: int = DEFAULT_MAX_ITERATIONS,
        **kwargs: Any,
    ) -> AsyncIterator[StepData]:
        """Yield the run's finished steps as dictionaries, as they come; ``history=[…]`` goes before the prompt.

        If the run fails, the last step is an ``error`` step, and then `AgentError` is raised. Leaving the iteration stops the run.
        """
        run = self.start(prompt, session_id=session_id, max_iterations=max_iterations, **kwargs)
        async with contextlib.aclosing(run):
            async for event in run:
                if isinstance(event, Step):
                    yield event.data
        _raise_failure(run)

    async def run_with_reasoning(
        self,
        prompt: str | None,
        session_id: object = None,
        max_iterations: int = DEFAULT_MAX_ITERATIONS,
        **kwargs: Any,
    ) -> list[StepData]:
        """Return the steps of `run_with_reasoning_stream` as a list, once the run has ended."""
        return [step async for step in self.run_with_reasoning_stream(prompt, session_id, max_iterations, **kwargs)]

    async def run_async(
        self,
        prompt: str | None,
        session_id: object = None,
        max_iterations: int = DEFAULT_MAX_ITERATIONS,
        **kwargs: Any,
    ) -> list[ChatMessage]:
        """Return the messages that the run added to the conversation, in OpenAI's format; the last one is the answer."""
        run = self.start(prompt, session_id=session_id, max_iterations=max_iterations, **kwargs)
        async with contextlib.aclosing(run):
            async for _ in run:
                pass
        _raise_failure(run)
        return run.messages


def get_agent(
    name: str | None = None,
    *,
    model: ModelSettings = ModelSettings(),  # noqa: B008 - frozen
    toolbox: Toolbox = Toolbox(),  # noqa: B008 - frozen
) -> Agent:
    """Return the agent of that name, or the default agent without a name. Raises `UnknownAgent`."""
    return Agent(find_agent(name), model, toolbox)


def preload(mcp_servers: Mapping[str, Any] = {}) -> None:
    """Import Qwen-Agent and start connecting to MCP servers, so that the first run need not wait. Takes seconds: call it in a thread."""
    connect_servers(mcp_servers)
    load_driver()


def _raise_failure(run: AgentRun) -> None:
    if run.outcome is not None and run.outcome.status == "failed":
        raise AgentError(run.outcome.code, run.outcome.error)
