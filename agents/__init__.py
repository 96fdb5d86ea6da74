"""Tool-using agents on Qwen-Agent whose reasoning is a stream. Knows nothing of Django or sockets."""

from agents.addresses import mask_text
from agents.agent import Agent, get_agent, preload
from agents.errors import AgentError, UnknownAgent
from agents.events import Outcome, PartialStep, Step, Usage
from agents.sentence import Sentence
from agents.specs import AGENTS, DEFAULT_AGENT, AgentSpec, Limits, McpChoice, ModelSettings, Parameters
from agents.stream import AgentRun, initial_steps
from agents.tools import (
    PAGE_READER,
    WITHOUT_SIDE_EFFECTS,
    CancelToken,
    HostPolicy,
    ServerState,
    SessionPrivacy,
    Tool,
    Toolbox,
    ToolError,
    list_tools,
    restart_server,
    server_states,
    server_tools,
)

__all__ = [
    "AGENTS",
    "DEFAULT_AGENT",
    "PAGE_READER",
    "WITHOUT_SIDE_EFFECTS",
    "Agent",
    "AgentError",
    "AgentRun",
    "AgentSpec",
    "CancelToken",
    "HostPolicy",
    "Limits",
    "McpChoice",
    "ModelSettings",
    "Outcome",
    "Parameters",
    "PartialStep",
    "Sentence",
    "ServerState",
    "SessionPrivacy",
    "Step",
    "Tool",
    "ToolError",
    "Toolbox",
    "UnknownAgent",
    "Usage",
    "get_agent",
    "initial_steps",
    "list_tools",
    "mask_text",
    "preload",
    "restart_server",
    "server_states",
    "server_tools",
]
