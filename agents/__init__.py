"""Tool-using agents on Qwen-Agent whose reasoning is a stream. Knows nothing of Django or sockets."""

from agents.addresses import mask_text
from agents.agent import Agent, get_agent, preload
from agents.documents import PICTURES, DocumentText, Unreadable, Unsupported, has_text, read_text, tell_type
from agents.errors import AgentError, UnknownAgent
from agents.events import Outcome, PartialStep, Step, Usage
from agents.extensions import ExtensionsRefused, load_extensions
from agents.sentence import Sentence
from agents.specs import AGENTS, DEFAULT_AGENT, AgentSpec, Limits, McpChoice, ModelSettings, Parameters
from agents.steps import FileData
from agents.stream import AgentRun, initial_steps
from agents.tools import (
    PAGE_READER,
    CancelToken,
    FoundLine,
    HostPolicy,
    ReturnedFile,
    Secret,
    ServerState,
    SessionFiles,
    SessionPrivacy,
    Setting,
    Tool,
    Toolbox,
    ToolError,
    ToolInfo,
    ToolText,
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
    "PICTURES",
    "Agent",
    "AgentError",
    "AgentRun",
    "AgentSpec",
    "CancelToken",
    "DocumentText",
    "ExtensionsRefused",
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
    "Secret",
    "Sentence",
    "ServerState",
    "SessionFiles",
    "SessionPrivacy",
    "Setting",
    "Step",
    "Tool",
    "ToolError",
    "ToolInfo",
    "ToolText",
    "Toolbox",
    "UnknownAgent",
    "Unreadable",
    "Unsupported",
    "Usage",
    "get_agent",
    "has_text",
    "initial_steps",
    "list_tools",
    "load_extensions",
    "mask_text",
    "preload",
    "read_text",
    "restart_server",
    "server_states",
    "server_tools",
    "tell_type",
    "without_side_effects",
]
