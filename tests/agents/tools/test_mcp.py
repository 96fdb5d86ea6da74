"""MCP servers' tools, against a real server in its own process."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from agents.tools import Stop, Tool, Toolbox, ToolError, build, mcp

SERVER = str(Path(__file__).with_name("mcp_server.py"))


class Server:
    """The test server as configured, and what it has noted."""

    def __init__(self, folder: Path, name: str = "test") -> None:
        self.journal = folder / "journal"
        self.config: dict[str, Any] = {name: {"command": sys.executable, "args": [SERVER, str(self.journal)]}}

    def tools(self) -> dict[str, Tool]:
        return build([], Toolbox(mcp_servers=self.config))

    def notes(self) -> list[str]:
        return self.journal.read_text().splitlines() if self.journal.exists() else []

    def pid(self) -> int:
        return int([note for note in self.notes() if note.startswith("pid ")][-1].split()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    yield Server(tmp_path)
    mcp._servers.close()


def call(tool: Tool, stop: Stop | None = None, **arguments: Any) -> str:
    return tool.call(arguments, stop or Stop())


def failure(tool: Tool, stop: Stop | None = None, **arguments: Any) -> str:
    with pytest.raises(ToolError) as caught:
        call(tool, stop, **arguments)
    return str(caught.value)


def eventually(condition: Callable[[], bool], within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_servers_tools_are_ours(server: Server) -> None:
    tools = server.tools()
    assert sorted(tools) == ["test-add", "test-die", "test-environment", "test-fail", "test-mixed", "test-wait"]
    add = tools["test-add"]
    assert add.description == "Adds two numbers."
    assert add.parameters["properties"].keys() == {"a", "b"}
    assert add.parameters["required"] == ["a", "b"]
    assert call(add, a=17, b=2340) == "2357"


def test_built_in_tools_and_servers_stand_side_by_side(server: Server) -> None:
    assert set(build(["python"], Toolbox(mcp_servers=server.config))) > {"python", "test-add"}


def test_configuration_as_other_programs_files_have_it(server: Server) -> None:
    server.config = {"mcpServers": server.config}
    assert "test-add" in server.tools()


def test_the_session_stays_open_between_runs(server: Server) -> None:
    for _ in range(3):
        assert call(server.tools()["test-add"], a=1, b=1) == "2"
    assert len([note for note in server.notes() if note.startswith("pid ")]) == 1


def test_a_tool_that_fails_says_why(server: Server) -> None:
    assert failure(server.tools()["test-fail"]) == "Error executing tool fail: the disk is full"


def test_what_is_not_text_is_described(server: Server) -> None:
    assert call(server.tools()["test-mixed"]) == (
        "some text\n\n[image, image/png, 1.2 kB: not shown]\n\n[link: report, file:///report.txt]\n\nfile:///notes.txt:\nremember the milk"
    )


def test_the_server_does_not_get_our_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "very secret")
    server.config["test"]["env"] = {"GIVEN": "this"}
    names = call(server.tools()["test-environment"]).split()
    assert "GIVEN" in names
    assert "PATH" in names
    assert "SECRET_KEY" not in names


def test_cancel_reaches_the_server_and_the_next_call_works(server: Server) -> None:
    tools, stop, errors = server.tools(), Stop(), []
    calling = threading.Thread(target=lambda: errors.append(failure(tools["test-wait"], stop, seconds=60)))
    calling.start()
    assert eventually(lambda: "wait begins" in server.notes())
    began = time.monotonic()
    stop.set("Stopped by Mei.")
    calling.join(2)
    assert errors == ["Stopped by Mei."]
    assert time.monotonic() - began < 1
    assert eventually(lambda: "wait cancelled" in server.notes())
    assert call(tools["test-add"], a=1, b=1) == "2"


def test_a_call_that_takes_too_long_ends_and_the_server_is_told(server: Server) -> None:
    server.config["test"]["timeout"] = 0.5
    assert (
        failure(server.tools()["test-wait"], seconds=60) == "The MCP server “test” did not answer within 0.5 seconds."
    )
    assert eventually(lambda: "wait cancelled" in server.notes())


def test_several_calls_at_once(server: Server) -> None:
    tools, done = server.tools(), []
    waiting = [threading.Thread(target=lambda: done.append(call(tools["test-wait"], seconds=0.3))) for _ in range(5)]
    began = time.monotonic()
    for each in waiting:
        each.start()
    for each in waiting:
        each.join(5)
    assert done == ["waited"] * 5
    assert time.monotonic() - began < 1.4


def test_a_server_that_ends_during_a_call(server: Server) -> None:
    tools = server.tools()
    assert failure(tools["test-die"]) == "The MCP server “test” ended during the call."
    assert call(tools["test-add"], a=1, b=1) == "2"


def test_a_server_that_died_is_started_again(server: Server) -> None:
    tools = server.tools()
    first = server.pid()
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: gone(first))
    assert call(tools["test-add"], a=1, b=1) == "2"
    assert server.pid() != first


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"command": "/no/such/program"}, "there is no program “/no/such/program”"),
        ({"command": sys.executable, "args": ["-c", "import sys; sys.exit('secret words')"]}, "it ended at once"),
        ({}, "its configuration names neither a command nor a url"),
        ("nonsense", "its configuration can't be used"),
        ({"command": sys.executable, "env": {"KEY": ["secret words"]}}, "its configuration can't be used (env.KEY)"),
        ({"command": sys.executable, "timeout": "soon"}, "its configuration can't be used (timeout)"),
    ],
)
def test_a_server_that_does_not_start_is_a_clear_sentence(server: Server, config: Any, why: str) -> None:
    server.config["broken"] = config
    tools = server.tools()
    assert call(tools["test-add"], a=1, b=1) == "2", "the others work"
    words = f"The MCP server “broken” could not be started: {why}."
    assert failure(tools["broken"]) == words
    assert words in tools["broken"].description
    assert "secret words" not in tools["broken"].description


@pytest.mark.parametrize("kind", ["sse", "streamable-http"])
def test_a_server_at_an_address_where_nobody_is(server: Server, kind: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        server.config = {"far": {"url": f"http://127.0.0.1:{unused.getsockname()[1]}/mcp", "type": kind}}
        assert (
            failure(server.tools()["far"])
            == "The MCP server “far” could not be started: nothing answers at its address."
        )


def test_a_server_that_says_nothing_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp, "_START_S", 0.5)
    server.config = {"mute": {"command": sys.executable, "args": ["-c", "import sys; sys.stdin.read()"]}}
    assert (
        failure(server.tools()["mute"])
        == "The MCP server “mute” could not be started: it did not answer within 0.5 seconds."
    )


def test_a_server_that_failed_is_left_alone_for_a_while(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "attempts"
    server.config = {"broken": {"command": sys.executable, "args": ["-c", f"open({str(journal)!r}, 'a').write('x')"]}}
    server.tools()
    server.tools()
    assert journal.read_text() == "x"
    monkeypatch.setattr(mcp, "_RETRY_S", 0)
    server.tools()
    assert journal.read_text() == "xx"


@pytest.mark.parametrize("kind", ["sse", "streamable-http"])
def test_servers_over_http(server: Server, kind: str) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, SERVER, str(server.journal), kind, str(port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("running on" in line for line in process.stderr)
        path = "sse" if kind == "sse" else "mcp"
        server.config = {"far": {"url": f"http://127.0.0.1:{port}/{path}", "type": kind}}
        try:
            assert call(server.tools()["far-add"], a=17, b=2340) == "2357"
            mcp._servers.close()
        finally:
            process.kill()


def test_names_are_made_fit_for_models(server: Server) -> None:
    server.config = {"my server/天": server.config["test"]}
    assert "my_server__-add" in server.tools()


@pytest.mark.parametrize("end", ["sys.exit()", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_servers_end_with_our_process(server: Server, end: str) -> None:
    script = (
        "import os, signal, sys\nfrom agents.tools import Toolbox, build\n"
        f"tools = build([], Toolbox(mcp_servers={server.config!r}))\nassert 'test-add' in tools\n{end}"
    )
    subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert eventually(lambda: gone(server.pid()))
