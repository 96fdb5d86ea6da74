"""An MCP server built with FastMCP, a package of other authors: on stdio, or on HTTP at the port that is the argument."""

import base64
import sys

import anyio
import anyio.lowlevel
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.utilities.types import Image
from pydantic import BaseModel

server: FastMCP = FastMCP("other people's")
#: Of one black pixel.
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


class Tide(BaseModel):
    """A tide."""

    metres: float
    is_high: bool


@server.tool
def add(a: int, b: int = 40) -> int:
    """Adds two numbers."""
    return a + b


@server.tool
def tide(of: Tide) -> Tide:
    """Answers with an object."""
    return Tide(metres=of.metres * 2, is_high=not of.is_high)


@server.tool
async def advance(steps: int, context: Context) -> str:
    """Reports progress, and writes to its log."""
    for number in range(1, steps + 1):
        await context.info(f"at {number}")
        await context.report_progress(number, steps, f"step {number}")
        await anyio.lowlevel.checkpoint()
    return "arrived"


@server.tool
def picture() -> Image:
    """Shows something."""
    return Image(data=PICTURE, format="png")


@server.tool
def fail() -> str:
    """Fails."""
    raise ToolError("the disk is full")


@server.tool
async def wait(seconds: float) -> str:
    """Waits."""
    await anyio.sleep(seconds)
    return "waited"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("http", host="127.0.0.1", port=int(sys.argv[1]), show_banner=False)
    else:
        server.run("stdio", show_banner=False)
