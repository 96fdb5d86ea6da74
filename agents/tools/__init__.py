"""The tools that agents call, one module each. What a tool needs from its caller is passed in a `Toolbox`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agents.cancellation import CancelToken
from agents.sentence import Sentence
from agents.specs import McpChoice
from agents.tools import registry
from agents.tools.ask_agent import AskAgentTool
from agents.tools.ask_user import AskUserTool
from agents.tools.current_time import CurrentTimeTool
from agents.tools.declared import Secret, Setting
from agents.tools.egress import PAGE_READER, Egress
from agents.tools.fetch_page import FetchPageTool
from agents.tools.file_access import FoundLine, ReturnedFile, SessionFiles
from agents.tools.files import ReadFileTool, SearchFileTool
from agents.tools.policy import HostPolicy, SessionPrivacy
from agents.tools.posting import Poster, refusal_of_page_address
from agents.tools.python import PythonTool
from agents.tools.registry import ToolInfo, info_of
from agents.tools.search_history import SearchHistoryTool
from agents.tools.server_state import ServerState
from agents.tools.tool import Tool, Toolbox, ToolError, ToolText, WaitsForPeople

__all__ = [
    "PAGE_READER",
    "AskAgentTool",
    "CancelToken",
    "Egress",
    "FoundLine",
    "HostPolicy",
    "Poster",
    "ReturnedFile",
    "Secret",
    "ServerState",
    "SessionFiles",
    "SessionPrivacy",
    "Setting",
    "Tool",
    "ToolError",
    "ToolInfo",
    "ToolText",
    "Toolbox",
    "WaitsForPeople",
    "build",
    "connect_servers",
    "drop_server",
    "inspect_server",
    "list_tools",
    "refusal_of_page_address",
    "renew_server",
    "reserved_names",
    "server_states",
    "server_tools",
    "without_side_effects",
]

_BUILT_IN: dict[str, Callable[[Toolbox, Egress], Tool]] = {
    PythonTool.name: lambda _, __: PythonTool(),
    CurrentTimeTool.name: lambda _, __: CurrentTimeTool(),
    SearchHistoryTool.name: lambda toolbox, egress: SearchHistoryTool(toolbox.search_history, egress.mark),
    FetchPageTool.name: lambda _, egress: FetchPageTool(check_host=egress.check_host),
    AskUserTool.name: lambda _, __: AskUserTool(),
}
#: Tools that are offered as soon as the session uses files, whatever the agent's list says.
_OF_FILES = (ReadFileTool, SearchFileTool)
#: Names that extensions' tools may not have.
RESERVED = frozenset(_BUILT_IN) | {kind.name for kind in _OF_FILES}


def list_tools() -> list[ToolInfo]:
    """The tools that an agent may be given: the built-in ones and those of extensions, but not those of MCP servers."""
    toolbox, egress = Toolbox(), Egress()
    return [*(info_of(make(toolbox, egress)) for make in _BUILT_IN.values()), *registry.extension_tools()]


def without_side_effects() -> frozenset[str]:
    """Names of the tools that change nothing outside. No tool of an MCP server can have one of these names."""
    harmless = {tool.name for tool in list_tools() if not tool.has_side_effects}
    return frozenset(harmless | {kind.name for kind in _OF_FILES})


def reserved_names() -> frozenset[str]:
    """Names that tools of MCP servers may not have, even if the agent does not have the tool."""
    return RESERVED | {tool.name for tool in registry.extension_tools()}


def build_tools(
    names: Sequence[str],
    toolbox: Toolbox,
    egress: Egress | None = None,
    on_missing: Callable[[str], None] = lambda _: None,
    choices: Sequence[McpChoice] | None = None,
) -> dict[str, Tool]:
    """Create the named tools and those of the toolbox, by name.

    Of MCP servers only those that are connected now are used. ``on_missing`` is called with a sentence about each of the others, and
    about each named tool that is not installed or lacks a setting. ``choices``: the MCP servers to use, and which of
    their tools; ``None``: all.
    """
    egress = egress or Egress((), toolbox.privacy, toolbox.hosts)
    extra = {tool.name: tool for tool in toolbox.extra}
    built: dict[str, Tool] = {}
    for name in names:
        try:
            if name not in extra:
                built[name] = _BUILT_IN[name](toolbox, egress) if name in _BUILT_IN else registry.make_tool(name)
        except LookupError:
            on_missing(Sentence("The tool “%(tool)s” is not installed.", tool=name))
        except ToolError as error:
            on_missing(str(error))
    built |= extra
    if toolbox.files is not None and toolbox.files.are_any:
        listed = toolbox.files.listed()
        built |= {kind.name: kind(toolbox.files, listed, egress.mark) for kind in _OF_FILES}
    if choices != () and (toolbox.mcp_servers or choices):
        # Imported here because it takes over a second, which processes without MCP servers should not wait for.
        from agents.tools import mcp  # noqa: PLC0415

        found, missing = mcp.connected_tools(toolbox.mcp_servers, reserved_names(), choices)
        # No MCP server's tool replaces one of ours.
        built = {**built, **{tool.name: tool for tool in found if tool.name not in built}}
        for message in missing:
            on_missing(message)
    return built


def connect_servers(configured: Mapping[str, Any]) -> None:
    """Start connecting to MCP servers, in the background, so that runs find them connected. The import takes a second."""
    if configured:
        from agents.tools import mcp  # noqa: PLC0415 - as in `build_tools`

        mcp.connect_servers(configured, reserved_names())


def server_states() -> list[ServerState]:
    """The state of this process's MCP servers; empty if it has none."""
    # Another thread may be importing it just now.
    states = getattr(sys.modules.get("agents.tools.mcp"), "server_states", list)
    found: list[ServerState] = states()
    return found


def server_tools() -> dict[str, dict[str, str]]:
    """The tools of the MCP servers that this process is connected to, as ``{server: {name: description}}``."""
    found: dict[str, dict[str, str]] = getattr(sys.modules.get("agents.tools.mcp"), "offered_tools", dict)()
    return found


def renew_server(name: str, entry: Any) -> None:
    """Connect this process to an MCP server again, with its new configuration. The import takes a second."""
    from agents.tools import mcp  # noqa: PLC0415 - as in `build_tools`

    mcp.reconnect_server(name, entry, reserved_names())


def drop_server(name: str) -> None:
    """Close this process's session with an MCP server that was removed."""
    getattr(sys.modules.get("agents.tools.mcp"), "drop_server", lambda _: None)(name)


def inspect_server(name: str, entry: Any, within_s: float) -> tuple[dict[str, str], str]:
    """Connect to an MCP server, apart from the sessions of runs, and disconnect.

    Returns its tools as ``{name: description}``, and a sentence about what went wrong, else empty.

    Blocks for up to ``within_s`` seconds; the import takes a second.
    """
    from agents.tools import mcp  # noqa: PLC0415 - as in `build_tools`

    return mcp.probe_server(name, entry, within_s)
