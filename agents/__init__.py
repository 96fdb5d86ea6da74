"""Tool-using agents on Qwen-Agent whose reasoning is a stream. Knows nothing of Django or sockets."""

from agents.addresses import mask_text
from agents.agent import Agent, get_agent, preload
from agents.errors import AgentError, UnknownAgent
from agents.events import Outcome, PartialStep, Step, Usage
from agents.extensions import ExtensionsRefused, load_extensions
from agents.sentence import Sentence
from agents.specs import AGENTS, DEFAULT_AGENT, AgentSpec, Limits, McpChoice, ModelSettings, Parameters, find_agent
from agents.stream import AgentRun, initial_steps
from agents.tools import (
    PAGE_READER,
    AskAgentTool,
    CancelToken,
    HostPolicy,
    Secret,
    ServerState,
    SessionPrivacy,
    Setting,
    Tool,
    Toolbox,
    ToolError,
    ToolInfo,
    list_tools,
    restart_server,
    server_states,
    server_tools,
    without_side_effects,
)

__all__ = [
    "AGENTS",
    "DEFAULT_AGENT",
    "PAGE_READER",
    "Agent",
    "AgentError",
    "AgentRun",
    "AgentSpec",
    "AskAgentTool",
    "CancelToken",
    "ExtensionsRefused",
    "HostPolicy",
    "Limits",
    "McpChoice",
    "ModelSettings",
    "Outcome",
    "Parameters",
    "PartialStep",
    "Secret",
    "Sentence",
    "ServerState",
    "SessionPrivacy",
    "Setting",
    "Step",
    "Tool",
    "ToolError",
    "ToolInfo",
    "Toolbox",
    "UnknownAgent",
    "Usage",
    "find_agent",
    "get_agent",
    "initial_steps",
    "list_tools",
    "load_extensions",
    "mask_text",
    "preload",
    "restart_server",
    "server_states",
    "server_tools",
    "without_side_effects",
]
