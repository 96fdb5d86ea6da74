"""MCP servers' tools, with a real server in its own process."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from agents.specs import McpChoice
from agents.tools import CancelToken, Tool, Toolbox, ToolError, ToolText, build_tools, mcp, mcp_server
from tests.services import free_port

SERVER = str(Path(__file__).with_name("mcp_server.py"))


class Server:
    """The test server's configuration, and the events that it has written."""

    def __init__(self, folder: Path, name: str = "test") -> None:
        self.journal = folder / "journal"
        self.config: dict[str, Any] = {name: {"command": sys.executable, "args": [SERVER, str(self.journal)]}}

    def tools(self) -> dict[str, Tool]:
        """The tools, when a connection to every server was tried once."""
        missing: list[str] = []

        def tried() -> bool:
            missing.clear()
            self.found = build_tools([], Toolbox(mcp_servers=self.config), on_missing=missing.append)
            return not any("still being connected" in words for words in missing)

        assert eventually(tried, 40)
        self.missing = missing
        return self.found

    def notes(self) -> list[str]:
        return self.journal.read_text().splitlines() if self.journal.exists() else []

    def pid(self) -> int:
        return int([note for note in self.notes() if note.startswith("pid ")][-1].split()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    yield Server(tmp_path)
    mcp.connected_servers.close()


def call(tool: Tool, stop: CancelToken | None = None, **arguments: Any) -> str:
    return tool.call(arguments, stop or CancelToken())


def failure(tool: Tool, stop: CancelToken | None = None, **arguments: Any) -> str:
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


def has_ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_servers_tools_are_ours(server: Server) -> None:
    tools = server.tools()
    assert sorted(tools) == [
        f"test-{name}" for name in ("add", "advance", "die", "environment", "fail", "learn", "mixed", "wait")
    ]
    add = tools["test-add"]
    assert add.description == "Adds two numbers."
    assert add.parameters["properties"].keys() == {"a", "b"}
    assert add.parameters["required"] == ["a", "b"]
    assert call(add, a=17, b=2340) == "2357"


def test_built_in_tools_and_servers_stand_side_by_side(server: Server) -> None:
    server.tools()
    assert set(build_tools(["python"], Toolbox(mcp_servers=server.config))) > {"python", "test-add"}


def test_configuration_as_other_programs_files_have_it(server: Server) -> None:
    server.config = {"mcpServers": server.config}
    assert "test-add" in server.tools()


def test_the_session_stays_open_between_runs(server: Server) -> None:
    for _ in range(3):
        assert call(server.tools()["test-add"], a=1, b=1) == "2"
    assert len([note for note in server.notes() if note.startswith("pid ")]) == 1


def test_a_tool_that_fails_says_why(server: Server) -> None:
    assert failure(server.tools()["test-fail"]) == "Error executing tool fail: the disk is full"


def test_results_that_are_no_text_are_described(server: Server) -> None:
    result = call(server.tools()["test-mixed"])
    assert isinstance(result, ToolText)
    assert [(file.name, len(file.content)) for file in result.files] == [("", 73)]
    assert result == (
        "some text\n\n[image, image/png, 0.1 kB: it was returned, but only text can be passed on to you]\n\n"
        "[link: report, file:///report.txt]\n\nfile:///notes.txt:\nremember the milk"
    )


def test_the_server_does_not_get_our_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "very secret")
    server.config["test"]["env"] = {"GIVEN": "this"}
    names = call(server.tools()["test-environment"]).split()
    assert "GIVEN" in names
    assert "PATH" in names
    assert "SECRET_KEY" not in names


def test_cancel_reaches_the_server_and_the_next_call_works(server: Server) -> None:
    tools, stop, errors = server.tools(), CancelToken(), []
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
    assert eventually(lambda: has_ended(first))
    assert call(tools["test-add"], a=1, b=1) == "2"
    assert server.pid() != first


#: Configurations that cannot be started, and the reason.
BROKEN: list[tuple[Any, str]] = [
    ({"command": "/no/such/program"}, "there is no program “/no/such/program”"),
    ({"command": sys.executable, "args": ["-c", "import sys; sys.exit('secret words')"]}, "it ended at once"),
    ({}, "its configuration names neither a command nor a url"),
    ("nonsense", "its configuration can't be used"),
    ({"command": sys.executable, "env": {"KEY": ["secret words"]}}, "its configuration can't be used (env.KEY)"),
    ({"command": sys.executable, "timeout": "soon"}, "its configuration can't be used (timeout)"),
    (
        {"url": "ftp://h.test/secret-words"},
        "its configuration names a url that starts with neither http:// nor https://",
    ),
    (
        {"url": "https://h.test/", "type": "pigeon"},
        "its configuration names a type of transport that isn't known; there are stdio, streamable-http and sse",
    ),
    (
        {"command": "x", "env": {"KEY": "${NOT_SET_ANYWHERE}"}},
        "its configuration needs the environment variable NOT_SET_ANYWHERE, which is not set",
    ),
    (
        {"command": "x", "env": {"KEY": "${input:key}"}},
        "its configuration has an ${input:…}, which a server cannot ask anybody for; write ${env:NAME} instead",
    ),
]


def test_a_server_that_does_not_start_is_a_clear_sentence(server: Server) -> None:
    server.config |= {f"broken {number}": config for number, (config, _) in enumerate(BROKEN)}
    tools = server.tools()
    assert call(tools["test-add"], a=1, b=1) == "2", "the others work"
    assert server.missing == [
        f"The MCP server “broken {number}” could not be started: {why}." for number, (_, why) in enumerate(BROKEN)
    ]
    assert all(name.startswith("test-") for name in tools)


def nobody_there() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.mark.parametrize("kind", ["sse", "streamable-http", ""])
def test_a_server_at_an_address_where_nobody_is(server: Server, kind: str) -> None:
    server.config = {"far": {"url": f"{nobody_there()}/mcp?token=SECRET", "type": kind}}
    assert server.tools() == {}
    assert server.missing == ["The MCP server “far” could not be started: nothing answers at its address."]


def test_a_server_that_says_nothing_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_server, "START_S", 0.5)
    server.config = {"mute": {"command": sys.executable, "args": ["-c", "import sys; sys.stdin.read()"]}}
    server.tools()
    assert server.missing == ["The MCP server “mute” could not be started: it did not answer within 0.5 seconds."]


MUTE = {"command": sys.executable, "args": ["-c", "import sys; sys.stdin.read()"]}


def test_no_run_waits_for_a_server(server: Server) -> None:
    """One that never answers, one that is not there yet: tools of the others are available at once, and these are reported as missing."""
    server.config["mute"] = MUTE
    began = time.monotonic()
    missing: list[str] = []
    build_tools([], Toolbox(mcp_servers=server.config), on_missing=missing.append)
    assert time.monotonic() - began < 0.5
    assert missing == [f"The MCP server “{name}” is still being connected." for name in ("test", "mute")]
    assert eventually(lambda: "test-add" in build_tools([], Toolbox(mcp_servers=server.config)))
    began = time.monotonic()
    assert call(build_tools([], Toolbox(mcp_servers=server.config))["test-add"], a=1, b=1) == "2"
    assert time.monotonic() - began < 1


def test_a_server_that_failed_is_tried_again_by_itself(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_server, "FIRST_PAUSE_S", 0.05)
    ready = tmp_path / "ready"
    command = [sys.executable, SERVER, str(server.journal)]
    program = f"import os, sys; os.path.exists({str(ready)!r}) and os.execv(sys.executable, {command!r})"
    server.config = {"late": {"command": sys.executable, "args": ["-c", program]}}
    assert server.tools() == {}
    assert eventually(lambda: mcp.server_states()[0].attempts >= 3)
    ready.touch()
    assert eventually(lambda: "late-add" in build_tools([], Toolbox(mcp_servers=server.config)))
    (state,) = mcp.server_states()
    assert (state.name, state.state, state.tools, state.attempts, state.last_error) == ("late", "connected", 8, 0, "")


def test_pauses_between_tries_grow(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.config = {"broken": {"command": sys.executable, "args": ["-c", ""]}}
    pauses: list[float] = []
    pause_after = mcp_server.pause_after

    def pause_briefly(attempts: int) -> float:
        pauses.append(pause_after(attempts))
        return 0.0

    monkeypatch.setattr(mcp_server, "pause_after", pause_briefly)
    server.tools()
    assert eventually(lambda: len(pauses) >= 8, 40)
    about = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert pauses[:8] == [pytest.approx(pause, rel=0.21) for pause in about]


def test_asking_for_the_tools_of_a_server_that_failed_starts_no_try(server: Server, tmp_path: Path) -> None:
    journal = tmp_path / "attempts"
    server.config = {"broken": {"command": sys.executable, "args": ["-c", f"open({str(journal)!r}, 'a').write('x')"]}}
    server.tools()
    (state,) = mcp.server_states()
    assert (state.state, state.attempts, state.last_error) == ("waiting", 1, "it ended at once")
    server.tools()
    assert journal.read_text() == "x", "asking for its tools is no reason to try"


def test_a_server_is_connected_anew_when_an_operator_says_so(server: Server) -> None:
    server.tools()
    first = server.pid()
    assert mcp.restart_server("test")
    assert not mcp.restart_server("another")
    assert eventually(lambda: server.pid() != first and mcp.server_states()[0].state == "connected")
    assert has_ended(first)
    server.config = {"mute": MUTE}
    build_tools([], Toolbox(mcp_servers=server.config))
    assert eventually(lambda: mcp.server_states()[-1].state == "connecting")
    assert mcp.restart_server("mute"), "also one that hangs"


def test_a_server_that_is_switched_off_is_not_started(server: Server) -> None:
    server.config["off"] = {**server.config["test"], "disabled": True}
    server.config["out"] = {**server.config["test"], "enabled": False}
    assert all(name.startswith("test-") for name in server.tools())
    assert [state.name for state in mcp.server_states()] == ["test"]


def test_tools_that_the_operator_leaves_out(server: Server) -> None:
    server.config["test"]["excludeTools"] = ["die", "fail"]
    assert not {"test-die", "test-fail"} & set(server.tools())
    server.config = {"test": {**server.config["test"], "includeTools": ["add", "die"]}}
    assert set(server.tools()) == {"test-add"}


def test_tools_that_come_later_are_there_for_the_next_run(server: Server) -> None:
    assert call(server.tools()["test-learn"]) == "learnt"
    assert eventually(lambda: "test-learnt" in server.tools())


def test_progress_is_told_and_gives_a_call_more_time(server: Server) -> None:
    server.config["test"]["timeout"] = 0.6
    stop, progress = CancelToken(), []
    stop.on_progress = progress.append
    assert call(server.tools()["test-advance"], stop, steps=8, every_s=0.2) == "arrived"
    assert progress == [f"{number} of 8: step {number}" for number in range(1, 9)]
    assert failure(server.tools()["test-advance"], CancelToken(), steps=1, every_s=60).endswith("within 0.6 seconds.")


def test_what_a_server_logs_is_in_our_log(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, mcp_server.__name__)
    call(server.tools()["test-advance"], steps=1, every_s=0)
    assert eventually(lambda: "MCP server test: arrived after 1" in caplog.messages)


@contextlib.contextmanager
def serving(server: Server, kind: str, **environment: str) -> Iterator[str]:
    """The test server on HTTP; yields its address."""
    port = free_port()
    command = [sys.executable, SERVER, str(server.journal), kind, str(port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}) as process:
        assert process.stderr is not None
        assert any("running on" in line for line in process.stderr)
        try:
            yield f"http://127.0.0.1:{port}/{'sse' if kind == 'sse' else 'mcp'}"
            mcp.connected_servers.close()
        finally:
            process.kill()


@pytest.mark.parametrize("kind", ["sse", "streamable-http"])
def test_servers_over_http(server: Server, kind: str) -> None:
    """Without a configured transport, the newer one is tried first, and then the older one."""
    with serving(server, kind) as url:
        for transport in ({"type": kind}, {"transport": kind}, {}):
            server.config = {"far": {"url": url, **transport}}
            tools = server.tools()
            assert tools["far-add"].description == "Adds two numbers.", "no address"
            assert call(tools["far-add"], a=17, b=2340) == "2357", transport
            assert mcp.server_states()[0].transport.endswith(f"at {url.rpartition('/')[0]}")
            mcp.connected_servers.close()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, '{"error": "invalid_token"}', 'it answered 401 Unauthorized: {"error": "invalid_token"}'),
        (403, "key SECRET-KEY is revoked", "it answered 403 Forbidden: key … is revoked"),
        (404, "<html>nothing</html>", "it answered 404 Not Found"),
        (500, "see https://h.test/?k=SECRET", "it answered 500 Internal Server Error: see https://h.test"),
        (503, "", "it answered 503 Service Unavailable"),
    ],
)
@pytest.mark.parametrize("kind", ["sse", "streamable-http", ""])
def test_the_error_text_of_a_server_is_reported(
    server: Server, kind: str, status: int, body: str, expected: str
) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as site:
        threading.Thread(target=site.serve_forever, args=[0.05], daemon=True).start()
        url = f"http://127.0.0.1:{site.server_address[1]}/SECRET/mcp?token=SECRET-TOKEN"
        server.config = {"far": {"url": url, "type": kind, "headers": {"Authorization": "Bearer SECRET-KEY"}}}
        server.tools()
        site.shutdown()
    assert server.missing == [f"The MCP server “far” could not be started: {expected}."]
    assert "SECRET" not in repr(mcp.server_states())


def test_names_are_made_fit_for_models(server: Server) -> None:
    server.config = {"my server/天": server.config["test"]}
    assert "my_server__-add" in server.tools()


@pytest.mark.parametrize("end", ["sys.exit()", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_servers_end_with_our_process(server: Server, end: str) -> None:
    script = (
        "import os, signal, sys, time\nfrom agents.tools import Toolbox, build_tools\n"
        f"while 'test-add' not in build_tools([], Toolbox(mcp_servers={server.config!r})): time.sleep(0.05)\n{end}"
    )
    subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert eventually(lambda: has_ended(server.pid()))


#: A result that is said to match a pattern, which would take longer than a lifetime to check.
BOASTING = """
import json, sys
schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
tool = {"name": "spell", "inputSchema": {"type": "object"}, "outputSchema": schema}
for line in sys.stdin:
    asked = json.loads(line)
    server = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}
    answers = {
        "initialize": server,
        "tools/list": {"tools": [tool]},
        "tools/call": {"content": [], "structuredContent": {"a": "a" * 60 + "b"}},
    }
    if "id" in asked:
        result = answers.get(asked["method"], {})
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""


def test_an_output_schema_of_a_server_is_not_checked(server: Server) -> None:
    server.config["boasting"] = {"command": sys.executable, "args": ["-c", BOASTING], "timeout": 5}
    tools = server.tools()
    assert '"aaaa' in call(tools["boasting-spell"])
    assert call(tools["test-add"], a=1, b=1) == "2"


#: What an agent has chosen of two servers, the tools that it has, and the missing ones that are reported.
CHOICES: list[tuple[tuple[McpChoice, ...] | None, set[str], list[str]]] = [
    (None, {"test-add", "test-fail", "other-add"}, []),
    ((), set(), []),
    ((McpChoice("other"),), {"other-add"}, []),
    ((McpChoice("test", ("fail",)), McpChoice("other", ())), {"test-fail"}, []),
    (
        (McpChoice("test", ("add", "gone")), McpChoice("nobody")),
        {"test-add"},
        ["The MCP server “test” has no tool “gone” any more.", "There is no MCP server “nobody” here."],
    ),
    ((McpChoice("test", ("wait",)),), set(), ["The MCP server “test” has no tool “wait” any more."]),
]


def test_an_agent_has_the_servers_and_tools_that_it_chose(server: Server) -> None:
    """Tools that the operator excludes stay excluded, whoever chooses them."""
    one = server.config["test"]
    server.config = {
        "test": {**one, "includeTools": ["add", "fail"]},
        "other": {**one, "includeTools": ["add"]},
    }
    server.tools()
    for choices, names, problems in CHOICES:
        missing: list[str] = []
        found = build_tools([], Toolbox(mcp_servers=server.config), None, missing.append, choices)
        assert (set(found), missing) == (names, problems), choices
