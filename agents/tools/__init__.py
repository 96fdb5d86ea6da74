"""The tools agents call, one module each. What a tool needs from outside is handed in with a `Toolbox`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agents.cancellation import CancelToken
from agents.tools.current_time import CurrentTimeTool
from agents.tools.egress import PAGE_READER, Egress
from agents.tools.fetch_page import FetchPageTool
from agents.tools.file_access import FoundLine, ReturnedFile, SessionFiles
from agents.tools.files import ReadFileTool, SearchFileTool
from agents.tools.policy import HostPolicy, SessionPrivacy
from agents.tools.python import PythonTool
from agents.tools.search_history import SearchHistoryTool
from agents.tools.server_state import ServerState
from agents.tools.tool import Tool, Toolbox, ToolError, ToolText

__all__ = [
    "PAGE_READER",
    "WITHOUT_SIDE_EFFECTS",
    "CancelToken",
    "Egress",
    "FoundLine",
    "HostPolicy",
    "ReturnedFile",
    "ServerState",
    "SessionFiles",
    "SessionPrivacy",
    "Tool",
    "ToolError",
    "ToolText",
    "Toolbox",
    "build",
    "connect_servers",
    "restart_server",
    "server_states",
]

_BUILT_IN: dict[str, Callable[[Toolbox, Egress], Tool]] = {
    PythonTool.name: lambda _, __: PythonTool(),
    CurrentTimeTool.name: lambda _, __: CurrentTimeTool(),
    SearchHistoryTool.name: lambda toolbox, egress: SearchHistoryTool(toolbox.search_history, egress.mark),
    FetchPageTool.name: lambda _, egress: FetchPageTool(check_host=egress.check_host),
}
#: Names of tools that change nothing outside. No tool of a server's can have one of them.
WITHOUT_SIDE_EFFECTS = frozenset(
    tool.name
    for tool in (PythonTool, CurrentTimeTool, SearchHistoryTool, FetchPageTool, ReadFileTool, SearchFileTool)
    if not tool.has_side_effects
)

#: Names that no tool of an MCP server may have, also where the agent has not the tool.
RESERVED = frozenset(_BUILT_IN) | {ReadFileTool.name, SearchFileTool.name}


def build(
    names: Sequence[str],
    toolbox: Toolbox,
    egress: Egress | None = None,
    on_missing: Callable[[str], None] = lambda _: None,
) -> dict[str, Tool]:
    """Make the named tools, and those of the toolbox, by name.

    Of MCP servers those are there that are connected now; ``on_missing`` is called with a sentence about each of the others.
    """
    egress = egress or Egress((), toolbox.privacy, toolbox.hosts)
    extra = {tool.name: tool for tool in toolbox.extra}
    unknown = [name for name in names if name not in _BUILT_IN and name not in extra]
    if unknown:
        raise ValueError(f"Unknown tool: {', '.join(unknown)}. There are: {', '.join(_BUILT_IN)}.")
    built = {name: _BUILT_IN[name](toolbox, egress) for name in names if name not in extra} | extra
    if toolbox.files is not None and toolbox.files.are_any:
        listed = toolbox.files.listed()
        built |= {kind.name: kind(toolbox.files, listed, egress.mark) for kind in (ReadFileTool, SearchFileTool)}
    if toolbox.mcp_servers:
        # Imported here because it takes over a second, which nobody without MCP servers should wait for.
        from agents.tools import mcp  # noqa: PLC0415

        found, missing = mcp.tools(toolbox.mcp_servers, RESERVED)
        # No server takes the place of a tool of ours.
        built = {**built, **{tool.name: tool for tool in found if tool.name not in built}}
        for words in missing:
            on_missing(words)
    return built


def connect_servers(configured: Mapping[str, Any]) -> None:
    """Begin to connect to MCP servers, in the background, so that runs find them connected. Imports for a second."""
    if configured:
        from agents.tools import mcp  # noqa: PLC0415 - as in `build`

        mcp.connect(configured, RESERVED)


def server_states() -> list[ServerState]:
    """How this process stands with its MCP servers; none where it has none."""
    # Perhaps it is just being imported, in another thread.
    states = getattr(sys.modules.get("agents.tools.mcp"), "states", list)
    found: list[ServerState] = states()
    return found


def restart_server(name: str) -> bool:
    """Have an MCP server connected anew; whether this process has to do with it."""
    restart = getattr(sys.modules.get("agents.tools.mcp"), "restart", lambda _: False)
    return bool(restart(name))
