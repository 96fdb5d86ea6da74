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
    """An agent, ready to work; it holds nothing of a conversation, so one serves any number of runs."""

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
        """Start a run that answers ``prompt`` after ``history``. Call it inside a running event loop, which the run belongs to.

        Without a prompt it continues from the history, which then ends with the user's message or tool results.
        ``history`` holds messages in OpenAI's shape; ``session_id`` only labels the thread. ``skip_initial_steps`` leaves out the steps of
        `initial_steps`, for a caller that has stored them already. ``files`` belong to the prompt; earlier messages have their own
        ``files``. ``meter`` counts the run's budget. ``calls``, each a tool's name and its arguments as JSON, are made before the model is
        asked: those that the run which this one continues had begun and not ended. ``gate`` decides which calls wait for people; where one
        does, the run ends as ``waiting``, and is continued by another start, with ``resumed``, and with all that it has done in
        ``history``. ``newest_word``: steering words up to this number are there already, for its first model call. ``wait_stored`` is
        called in the run's thread before each call that may change something outside, and returns when that call is stored.
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
        """The run's finished steps as dictionaries, as they come; ``history=[…]`` goes before the prompt.

        On failure the last one is an ``error`` step, and then `AgentError` is raised. Leaving the iteration stops the run.
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
        """The same steps as a list, once the run has ended."""
        return [step async for step in self.run_with_reasoning_stream(prompt, session_id, max_iterations, **kwargs)]

    async def run_async(
        self,
        prompt: str | None,
        session_id: object = None,
        max_iterations: int = DEFAULT_MAX_ITERATIONS,
        **kwargs: Any,
    ) -> list[ChatMessage]:
        """The messages that the run added to the conversation, in OpenAI's shape; the last one is the answer."""
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
    """The agent of that name, the default one without; raises `UnknownAgent`."""
    return Agent(find_agent(name), model, toolbox)


def preload(mcp_servers: Mapping[str, Any] = {}) -> None:
    """Import Qwen-Agent and begin to connect to MCP servers, so that the first run doesn't wait. Takes seconds: call it in a thread."""
    connect_servers(mcp_servers)
    load_driver()


def _raise_failure(run: AgentRun) -> None:
    if run.outcome is not None and run.outcome.status == "failed":
        raise AgentError(run.outcome.code, run.outcome.error)
