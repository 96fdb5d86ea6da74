"""Fixtures of the agents' tests: a scripted model server, and tools with predictable results."""

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import pytest

from agents import Agent, AgentRun, CancelToken, ModelSettings, PartialStep, Step, Tool, Toolbox, ToolError, get_agent
from agents.models import server_facts
from tests.model_server import ModelServer


class Echo:
    """Repeats its argument three times."""

    name = "echo"
    description = "Says the text three times."
    parameters: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {"text": {"type": "string"}, "times": {"type": "integer"}, "tone": {"enum": ["soft", "loud"]}},
        "required": ["text"],
    }
    timeout_s = 5.0
    output_limit = 10_000

    def call(self, arguments: dict[str, Any], stop: CancelToken) -> str:
        return str(arguments["text"]) * int(arguments.get("times", 3))


class Failing(Echo):
    """Fails as its arguments say."""

    name = "failing"

    def call(self, arguments: dict[str, Any], stop: CancelToken) -> str:
        if arguments["text"] == "politely":
            raise ToolError("The library is closed.")
        raise RuntimeError("/secret/path/to/source.py")


class Waiting(Echo):
    """Waits until it is stopped, or, with ``deaf``, until the test ends it."""

    name = "waiting"

    def __init__(self) -> None:
        self.began = threading.Event()
        self.released = threading.Event()
        self.stopped_because = ""

    def call(self, arguments: dict[str, Any], stop: CancelToken) -> str:
        self.began.set()
        if arguments["text"] == "deaf":
            self.released.wait(30)
            return "late"
        stop.wait(30)
        self.stopped_because = stop.reason
        raise ToolError("I was interrupted.")


@pytest.fixture
def server() -> Iterator[ModelServer]:
    server_facts.forget_facts()  # of one that had the same port
    with ModelServer() as running:
        yield running


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    tool = Waiting()
    yield tool
    tool.released.set()


MakeAgent = Callable[..., Agent]


@pytest.fixture
def make_agent(server: ModelServer, waiting: Waiting) -> MakeAgent:
    """Makes an agent that has only these tools and calls the scripted server."""

    def make(*, tools: Sequence[Tool] | None = None, **settings: Any) -> Agent:
        extra = [Echo(), Failing(), waiting] if tools is None else tools
        model = ModelSettings(**({"server": server.url, "model": "scripted"} | settings))
        agent = get_agent("writer", model=model, toolbox=Toolbox(extra=extra))
        return dataclasses.replace(agent, spec=dataclasses.replace(agent.spec, tools=()))

    return make


async def steps_of(run: AgentRun) -> list[dict[str, Any]]:
    """The finished steps of a run, until its end."""
    return [event.data async for event in run if isinstance(event, Step)]


async def partials_of(run: AgentRun) -> list[PartialStep]:
    """The texts in progress of a run, until its end."""
    return [event async for event in run if isinstance(event, PartialStep)]


def kinds(steps: Sequence[dict[str, Any]]) -> list[str]:
    """The types of the steps that matter here."""
    return [step["type"] for step in steps if "step" in step]
