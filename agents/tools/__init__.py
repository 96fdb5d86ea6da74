"""The tools agents call, one module each. What a tool needs from outside is handed in with a `Toolbox`."""

from collections.abc import Callable, Sequence

from agents.tools.stop import Stop
from agents.tools.tool import Tool, Toolbox, ToolError

__all__ = ["Stop", "Tool", "ToolError", "Toolbox", "build"]

_BUILT_IN: dict[str, Callable[[Toolbox], Tool]] = {}


def build(names: Sequence[str], toolbox: Toolbox) -> dict[str, Tool]:
    """Make the named tools, and those of the toolbox, by name.

    Blocks while MCP servers start, so with ``mcp_servers`` call it in a thread.
    """
    extra = {tool.name: tool for tool in toolbox.extra}
    unknown = [name for name in names if name not in _BUILT_IN and name not in extra]
    if unknown:
        raise ValueError(f"Unknown tool: {', '.join(unknown)}. There are: {', '.join(_BUILT_IN)}.")
    return {name: _BUILT_IN[name](toolbox) for name in names if name not in extra} | extra
