"""Agents written for Qwen-Agent by the tests, and runs of them."""

import textwrap
import threading
from typing import Any

import agents
from agents import ModelSettings, SessionPrivacy, Toolbox
from agents.extensions.qwen_agents import register_class
from tests.model_server import ModelServer


def start(
    server: ModelServer,
    source: str,
    *,
    privacy: SessionPrivacy | None = None,
    released: threading.Event | None = None,
    **settings: Any,
) -> agents.AgentRun:
    """A run of the agent of the class ``A`` in a module with this source. What it waits for is ``released``."""
    names: dict[str, Any] = {"__name__": "written_here", "released": released}
    exec(PREFIX + textwrap.dedent(source), names)
    register_class(names["A"], "written_here")
    model = ModelSettings(server=server.url, model="scripted")
    return agents.get_agent("a", model=model, toolbox=Toolbox(privacy=privacy)).start("Go.", **settings)


PREFIX = """
from qwen_agent.agent import Agent
from qwen_agent.agents import Assistant, FnCallAgent
from qwen_agent.llm.schema import Message, FunctionCall, ContentItem
from tests.example_extension.roll_dice import RollDice
def say(text, **more): return Message("assistant", text, **more)
def call(name, arguments="{}"): return Message("assistant", "", function_call=FunctionCall(name, arguments))
def result(name, text): return Message("function", text, name=name)
"""
