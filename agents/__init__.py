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
from agents.metering import Allowance, Meter
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
    "Allowance",
    "CallBegun",
    "CallEnded",
    "CancelToken",
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
    "mask_text",
    "preload",
    "restart_server",
    "server_states",
]
