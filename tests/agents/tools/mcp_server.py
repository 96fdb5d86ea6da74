"""A real MCP server for the tests of `agents.tools.mcp`: on stdio, or on HTTP with a transport and a port as arguments.

Its events are written to the file named by the first argument.
"""

import base64
import os
import sys
from pathlib import Path
from typing import Literal

import anyio
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import EmbeddedResource, ResourceLink, TextResourceContents

#: Red, three pixels wide.
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAIAAAASFvFNAAAAEElEQVR4nGP4z8AAQQxwFgBB0gX7h/C5SAAAAABJRU5ErkJggg=="

journal = Path(sys.argv[1])
server = MCPServer("test")


def note(line: str) -> None:
    with journal.open("a") as file:
        file.write(line + "\n")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
async def wait(seconds: float) -> str:
    """Waits."""
    note("wait begins")
    try:
        await anyio.sleep(seconds)
    except BaseException:
        note("wait cancelled")
        raise
    return "waited"


@server.tool()
async def advance(steps: int, every_s: float, context: Context) -> str:  # type: ignore[type-arg]
    """Reports progress step by step, and logs the end."""
    for number in range(1, steps + 1):
        await anyio.sleep(every_s)
        await context.report_progress(number, steps, f"step {number}")
    await context.info(f"arrived after {steps}")
    return "arrived"


@server.tool()
async def learn(context: Context) -> str:  # type: ignore[type-arg]
    """Has one more tool from now on, and notifies the client."""
    server.add_tool(lambda: "known", "learnt", description="Knows.")
    await context.session.send_tool_list_changed()
    return "learnt"


@server.tool()
def fail() -> str:
    """Fails."""
    raise ToolError("the disk is full")


@server.tool()
def die() -> str:
    """Ends the server."""
    os._exit(3)


@server.tool()
def environment() -> list[str]:
    """The names of the server's environment variables."""
    return sorted(os.environ)


@server.tool(structured_output=False)
def mixed() -> list[object]:
    """Text, a picture, a link and a file."""
    return [
        "some text",
        Image(data=base64.b64decode(PICTURE), format="png"),
        ResourceLink(type="resource_link", name="report", uri="file:///report.txt"),
        EmbeddedResource(
            type="resource", resource=TextResourceContents(uri="file:///notes.txt", text="remember the milk")
        ),
    ]


def choose(choice: Literal[tuple(f"choice number {number}" for number in range(2_000))]) -> str:  # type: ignore[valid-type]
    """Chooses."""
    return str(choice)


if os.environ.get("BABBLES"):
    server.add_tool(lambda: "said", "wordy", description="word " * 10_000)
    server.add_tool(choose, "choosy", description="Chooses.")
    for number in range(300):
        server.add_tool(lambda: "said", f"tool {number}", description="One of many.")

note(f"pid {os.getpid()}")
sys.stderr.write("ready to serve\n")
if len(sys.argv) > 2:
    server.run("sse" if sys.argv[2] == "sse" else "streamable-http", port=int(sys.argv[3]))
else:
    server.run()
note("ended")
