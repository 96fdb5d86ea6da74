"""Tool-using agents on Qwen-Agent whose reasoning is a stream. Knows nothing of Django or sockets."""

from agents.addresses import mask_text
from agents.agent import Agent, get_agent, preload
from agents.errors import AgentError, UnknownAgent
from agents.events import Outcome, PartialStep, Step, Usage
from agents.sentence import Sentence
from agents.specs import AGENTS, DEFAULT_AGENT, AgentSpec, Limits, McpChoice, ModelSettings, Parameters, find_agent
from agents.stream import AgentRun, initial_steps
from agents.tools import (
    PAGE_READER,
    WITHOUT_SIDE_EFFECTS,
    AskAgentTool,
    CancelToken,
    HostPolicy,
    ServerState,
    SessionPrivacy,
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
    "WITHOUT_SIDE_EFFECTS",
    "Agent",
    "AgentError",
    "AgentRun",
    "AgentSpec",
    "AskAgentTool",
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
    "find_agent",
    "get_agent",
    "initial_steps",
    "mask_text",
    "preload",
    "restart_server",
    "server_states",
]
