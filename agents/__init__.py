"""Tool-using agents on Qwen-Agent whose reasoning is a stream. Knows nothing of Django or sockets."""

from agents.addresses import mask_text
from agents.agent import Agent, get_agent, preload
from agents.documents import PICTURES, DocumentText, Unreadable, Unsupported, has_text, read_text, tell_type
from agents.errors import AgentError, UnknownAgent
from agents.events import Outcome, PartialStep, Step, Usage
from agents.sentence import Sentence
from agents.specs import AGENTS, DEFAULT_AGENT, AgentSpec, Limits, McpChoice, ModelSettings, Parameters
from agents.steps import FileData
from agents.stream import AgentRun, initial_steps
from agents.tools import (
    PAGE_READER,
    WITHOUT_SIDE_EFFECTS,
    CancelToken,
    FoundLine,
    HostPolicy,
    ReturnedFile,
    ServerState,
    SessionFiles,
    SessionPrivacy,
    Tool,
    Toolbox,
    ToolError,
    ToolText,
    restart_server,
    server_states,
)

__all__ = [
    "AGENTS",
    "DEFAULT_AGENT",
    "PAGE_READER",
    "PICTURES",
    "WITHOUT_SIDE_EFFECTS",
    "Agent",
    "AgentError",
    "AgentRun",
    "AgentSpec",
    "CancelToken",
    "DocumentText",
    "FileData",
    "FoundLine",
    "HostPolicy",
    "Limits",
    "McpChoice",
    "ModelSettings",
    "Outcome",
    "Parameters",
    "PartialStep",
    "ReturnedFile",
    "Sentence",
    "ServerState",
    "SessionFiles",
    "SessionPrivacy",
    "Step",
    "Tool",
    "ToolError",
    "ToolText",
    "Toolbox",
    "UnknownAgent",
    "Unreadable",
    "Unsupported",
    "Usage",
    "get_agent",
    "has_text",
    "initial_steps",
    "mask_text",
    "preload",
    "read_text",
    "restart_server",
    "server_states",
    "tell_type",
]
