"""Tool-using agents on Qwen-Agent whose reasoning is a stream. Knows nothing of Django or sockets."""

from agents.addresses import mask_text
from agents.agent import Agent, get_agent, preload
from agents.errors import AgentError, UnknownAgent
from agents.events import (
    CallBegun,
    CallEnded,
    ModelCallEvent,
    ModelRequest,
    Outcome,
    PartialStep,
    RunEvent,
    Step,
    Usage,
)
from agents.extensions import ExtensionsRefused, load_extensions
from agents.metering import Allowance, Meter
from agents.sentence import Sentence
from agents.specs import AGENTS, DEFAULT_AGENT, AgentSpec, Limits, McpChoice, ModelSettings, Parameters
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
    "Allowance",
    "AskAgentTool",
    "CallBegun",
    "CallEnded",
    "CancelToken",
    "ExtensionsRefused",
    "HostPolicy",
    "Limits",
    "McpChoice",
    "Meter",
    "ModelCallEvent",
    "ModelRequest",
    "ModelSettings",
    "Outcome",
    "Parameters",
    "PartialStep",
    "RunEvent",
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
