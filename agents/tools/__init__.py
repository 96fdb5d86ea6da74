"""The tools agents call, one module each. What a tool needs from outside is handed in with a `Toolbox`."""

from collections.abc import Callable, Sequence

from agents.tools.current_time import CurrentTimeTool
from agents.tools.egress import PAGE_READER, Egress
from agents.tools.fetch_page import FetchPageTool
from agents.tools.policy import HostPolicy, SessionPrivacy
from agents.tools.python import PythonTool
from agents.tools.search_history import SearchHistoryTool
from agents.tools.stop import Stop
from agents.tools.tool import Tool, Toolbox, ToolError

__all__ = ["PAGE_READER", "Egress", "HostPolicy", "SessionPrivacy", "Stop", "Tool", "ToolError", "Toolbox", "build"]

_BUILT_IN: dict[str, Callable[[Toolbox, Egress], Tool]] = {
    PythonTool.name: lambda _, __: PythonTool(),
    CurrentTimeTool.name: lambda _, __: CurrentTimeTool(),
    SearchHistoryTool.name: lambda toolbox, egress: SearchHistoryTool(toolbox.search_history, egress.mark),
    FetchPageTool.name: lambda _, egress: FetchPageTool(check_host=egress.check_host),
}


def build(names: Sequence[str], toolbox: Toolbox, egress: Egress | None = None) -> dict[str, Tool]:
    """Make the named tools, and those of the toolbox, by name.

    Blocks while MCP servers start, so with ``mcp_servers`` call it in a thread.
    """
    egress = egress or Egress((), toolbox.privacy, toolbox.hosts)
    extra = {tool.name: tool for tool in toolbox.extra}
    unknown = [name for name in names if name not in _BUILT_IN and name not in extra]
    if unknown:
        raise ValueError(f"Unknown tool: {', '.join(unknown)}. There are: {', '.join(_BUILT_IN)}.")
    built = {name: _BUILT_IN[name](toolbox, egress) for name in names if name not in extra} | extra
    if toolbox.mcp_servers:
        # Imported here because it takes over a second, which nobody without MCP servers should wait for.
        from agents.tools import mcp  # noqa: PLC0415

        built |= {tool.name: tool for tool in mcp.tools(toolbox.mcp_servers)}
    return built
