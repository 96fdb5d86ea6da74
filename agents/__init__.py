"""Tool-using agents on Qwen-Agent whose reasoning is a stream. Knows nothing of Django or sockets."""

from agents.addresses import mask_text
from agents.agent import Agent, get_agent, warm
from agents.errors import AgentError, UnknownAgent
from agents.events import Growth, Outcome, Step, Usage
from agents.specs import AGENTS, DEFAULT_AGENT, AgentSpec, ModelSettings
from agents.stream import AgentRun, opening
from agents.tools import (
    PAGE_READER,
    HostPolicy,
    ServerState,
    SessionPrivacy,
    Stop,
    Tool,
    Toolbox,
    ToolError,
    restart_server,
    server_states,
)

__all__ = [
    "AGENTS",
    "DEFAULT_AGENT",
    "PAGE_READER",
    "Agent",
    "AgentError",
    "AgentRun",
    "AgentSpec",
    "Growth",
    "HostPolicy",
    "ModelSettings",
    "Outcome",
    "ServerState",
    "SessionPrivacy",
    "Step",
    "Stop",
    "Tool",
    "ToolError",
    "Toolbox",
    "UnknownAgent",
    "Usage",
    "get_agent",
    "mask_text",
    "opening",
    "restart_server",
    "server_states",
    "warm",
]
