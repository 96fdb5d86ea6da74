"""Tools of a server built with FastMCP, over each of its transports: most of other people's servers use it."""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.tools import CancelToken, Tool, ToolText, mcp
from tests.agents.tools.fastmcp_server import PICTURE
from tests.agents.tools.test_mcp import Server, call, eventually, failure
from tests.services import free_port

PROGRAM = str(Path(__file__).with_name("fastmcp_server.py"))


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module", params=["stdio", "http"])
def tools(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Tool]]:
    there = Server(tmp_path_factory.mktemp("fastmcp"))
    if request.param == "stdio":
        there.config = {"theirs": {"command": sys.executable, "args": [PROGRAM]}}
        yield there.tools()
        mcp.connected_servers.close()
        return
    port = free_port()
    with subprocess.Popen([sys.executable, PROGRAM, str(port)], stderr=subprocess.DEVNULL) as process:
        assert eventually(lambda: _answers(port), 60)
        there.config = {"theirs": {"url": f"http://127.0.0.1:{port}/mcp"}}
        yield there.tools()
        mcp.connected_servers.close()
        process.kill()


def pictured(tools: dict[str, Tool]) -> Any:
    result = call(tools["theirs-picture"])
    assert isinstance(result, ToolText)
    return [file.content for file in result.files]


def advanced(tools: dict[str, Tool]) -> Any:
    stop, progress = CancelToken(), []
    stop.on_progress = progress.append
    return call(tools["theirs-advance"], stop, steps=3), progress


def stopped(tools: dict[str, Tool]) -> Any:
    stop = CancelToken()
    threading.Timer(0.2, stop.set, ["Stopped by Mei."]).start()
    return failure(tools["theirs-wait"], stop, seconds=60), call(tools["theirs-wait"], seconds=0)


#: The call, and the expected result.
ASKED: dict[str, tuple[Callable[[dict[str, Tool]], Any], Any]] = {
    "names": (sorted, [f"theirs-{name}" for name in ("add", "advance", "fail", "picture", "tide", "wait")]),
    "what a tool is for": (lambda tools: tools["theirs-add"].description, "Adds two numbers."),
    "what it needs": (lambda tools: tools["theirs-add"].parameters["required"], ["a"]),
    "a number": (lambda tools: call(tools["theirs-add"], a=2), "42"),
    "an object": (
        lambda tools: call(tools["theirs-tide"], of={"metres": 1.5, "is_high": True}).replace(" ", ""),
        '{"metres":3.0,"is_high":false}',
    ),
    "progress": (advanced, ("arrived", [f"{number} of 3: step {number}" for number in (1, 2, 3)])),
    "a picture": (pictured, [PICTURE]),
    "a failure": (lambda tools: failure(tools["theirs-fail"]), "the disk is full"),
    "a stop, and a call after it": (stopped, ("Stopped by Mei.", "waited")),
}


@pytest.mark.parametrize("what", ASKED)
def test_tools_of_a_fastmcp_server_work(tools: dict[str, Tool], what: str) -> None:
    ask, wanted = ASKED[what]
    assert ask(tools) == wanted
