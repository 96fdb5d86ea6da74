"""Configurations of other programs, as people paste them, and how each is understood."""

from typing import Any

import pytest

from agents.tools.mcp_config import BadConfig, read_config, server_entries
from agents.tools.mcp_names import LONGEST, ToolNames

STDIO = {"command": "npx", "args": ["-y", "@x/server"], "env": {"KEY": "value"}}

#: A program, its entry for a server, and our equivalent.
ENTRIES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("Claude Desktop", STDIO, {"transport": "stdio", "command": "npx", "args": ["-y", "@x/server"], "env": {"KEY": "value"}}),
    ("Claude Code", {"type": "http", "url": "https://h.test/mcp"}, {"transport": "streamable-http"}),
    ("Claude Code", {"type": "sse", "url": "https://h.test/sse", "headers": {"A": "b"}}, {"transport": "sse", "headers": {"A": "b"}}),
    ("Cursor", {"url": "https://h.test/mcp", "headers": {"A": "b"}}, {"transport": "http-or-sse", "headers": {"A": "b"}}),
    ("VS Code", {"type": "stdio", **STDIO}, {"transport": "stdio", "command": "npx"}),
    ("VS Code", {"type": "http", "url": "https://h.test/mcp"}, {"transport": "streamable-http"}),
    ("Windsurf", {"serverUrl": "https://h.test/mcp"}, {"transport": "http-or-sse", "url": "https://h.test/mcp"}),
    ("Gemini CLI", {"httpUrl": "https://h.test/mcp", "timeout": 5000}, {"transport": "streamable-http", "call_s": 5.0}),
    ("Gemini CLI", {**STDIO, "timeout": 30000, "includeTools": ["a"]}, {"call_s": 30.0, "only": ["a"]}),
    ("Gemini CLI", {**STDIO, "excludeTools": ["b"]}, {"without": ["b"]}),
    ("Gemini CLI", {"url": "https://h.test/sse", "trust": False}, {"transport": "http-or-sse"}),
    ("Cline", {**STDIO, "disabled": False, "autoApprove": ["a"], "timeout": 60}, {"transport": "stdio", "call_s": 60.0}),
    ("Cline", {"type": "streamableHttp", "url": "https://h.test/mcp"}, {"transport": "streamable-http"}),
    ("Cline", {"transportType": "sse", "url": "https://h.test/mcp"}, {"transport": "sse"}),
    ("Roo Code", {"type": "streamable-http", "url": "https://h.test/mcp"}, {"transport": "streamable-http"}),
    ("Roo Code", {**STDIO, "disabledTools": ["x"]}, {"without": ["x"]}),
    ("FastMCP", {"transport": "streamable-http", "url": "https://h.test/mcp"}, {"transport": "streamable-http"}),
    ("FastMCP", {"transport": "stdio", **STDIO}, {"transport": "stdio"}),
    ("FastMCP", {"transport": "sse", "url": "https://h.test/mcp"}, {"transport": "sse"}),
    ("Qwen-Agent", {"type": "streamable-http", "url": "https://h.test/mcp", "sse_read_timeout": 7}, {"silence_s": 7.0}),
    ("LibreChat", {"type": "streamable-http", "url": "https://h.test/mcp", "timeout": 60000}, {"call_s": 60.0}),
    ("Zed", {"source": "custom", "command": {"path": "x", "args": ["a"]}}, {"command": "x", "args": ["a"]}),
    ("opencode", {"type": "local", "command": ["bun", "x"]}, {"command": "bun", "args": ["x"]}),
    ("opencode", {"type": "local", "command": ["bun"], "environment": {"K": "v"}}, {"env": {"K": "v"}}),
    ("opencode", {"type": "remote", "url": "https://h.test/mcp", "enabled": True}, {"transport": "http-or-sse"}),
    ("numbers", {**STDIO, "args": ["-p", 80], "env": {"P": 80}}, {"args": ["-p", "80"], "env": {"P": "80"}}),
    ("Goose", {"type": "streamable_http", "uri": "https://h.test/mcp"}, {"transport": "streamable-http"}),
    ("Goose", {"type": "stdio", "cmd": "x", "envs": {"K": "v"}}, {"command": "x", "env": {"K": "v"}}),
    ("Copilot", {"type": "local", **STDIO, "tools": ["*"]}, {"transport": "stdio", "only": None}),
    ("ours", {**STDIO, "timeout": 3_600, "harmless": ["a"]}, {"call_s": 3_600.0, "harmless": ["a"]}),
    ("a url and the wrong type", {"type": "stdio", "url": "https://h.test/mcp"}, {"transport": "http-or-sse"}),
]  # fmt: skip


@pytest.mark.parametrize(("program", "entry", "ours"), ENTRIES, ids=[each[0] for each in ENTRIES])
def test_a_servers_entry_is_read_in_each_programs_form(
    program: str, entry: dict[str, Any], ours: dict[str, Any]
) -> None:
    read = read_config(entry)
    assert {name: getattr(read, name) for name in ours} == ours


@pytest.mark.parametrize(
    "file",
    [
        {"a": STDIO, "b": STDIO},
        {"mcpServers": {"a": STDIO, "b": STDIO}},
        {"theme": "dark", "mcpServers": {"a": STDIO, "b": STDIO}},
        {"servers": {"a": STDIO, "b": STDIO}, "inputs": []},
        {"mcp": {"servers": {"a": STDIO, "b": STDIO}}},
        {"mcp": {"a": STDIO, "b": STDIO}},
        {"context_servers": {"a": STDIO, "b": STDIO}},
        {"mcpServers": {"a": STDIO, "b": STDIO, "c": {**STDIO, "disabled": True}, "d": {**STDIO, "enabled": False}}},
        {"mcpServers": {"a": STDIO, "b": STDIO, "c": {**STDIO, "disabled": "true"}, "d": {**STDIO, "enabled": 0}}},
    ],
)
def test_the_servers_are_found_in_each_programs_file(file: dict[str, Any]) -> None:
    assert server_entries(file) == {"a": STDIO, "b": STDIO}


def test_a_server_may_be_called_as_what_holds_servers_elsewhere() -> None:
    assert server_entries({"servers": STDIO, "mcp": STDIO}) == {"servers": STDIO, "mcp": STDIO}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("${TOKEN}", "abc"),
        ("${env:TOKEN}", "abc"),
        ("Bearer ${TOKEN}", "Bearer abc"),
        ("${MISSING:-else}", "else"),
        ("$TOKEN", "abc"),
        ("$MISSING", "$MISSING"),
        ("5$", "5$"),
        ("${}", "${}"),
    ],
)
def test_variables_of_the_environment_are_filled_in(monkeypatch: pytest.MonkeyPatch, written: str, read: str) -> None:
    monkeypatch.setenv("TOKEN", "abc")
    monkeypatch.delenv("MISSING", raising=False)
    assert (
        read_config({"url": "https://h.test/", "headers": {"Authorization": written}}).headers["Authorization"] == read
    )
    assert read_config({"command": "x", "args": [written], "env": {"K": written}}).args == [read]


@pytest.mark.parametrize(
    "entry",
    [None, [], "x", {}, {"command": ""}, {"args": ["x"]}, {"url": "h.test"}, {"url": "file:///x"}, {"command": 7}],
)
def test_a_configuration_without_servers_is_refused_without_its_values(entry: Any) -> None:
    with pytest.raises(BadConfig):
        read_config(entry)


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tools", "names"),
    [
        ([("s", "a")], ["s-a"]),
        ([("s", "a.b"), ("s", "a_b"), ("s", "a b")], ["s-a_b", "s-a_b_2", "s-a_b_3"]),
        ([("a.b", "x"), ("a_b", "x"), ("a b", "x")], ["a_b-x", "a_b_2-x", "a_b_3-x"]),
        ([("a", "b-c"), ("a-b", "c")], ["a-b-c", "a-b-c_2"]),
        ([("天", "a"), ("地", "a")], ["_-a", "__2-a"]),
        ([("1st", "a")], ["_1st-a"]),
        ([("s", "x" * 100), ("s", "x" * 100 + "y")], ["s-" + "x" * 62, "s-" + "x" * 60 + "_2"]),
        ([("s", "a"), ("s", "A")], ["s-a", "s-A"]),
        ([("fetch", "page")], ["fetch-page_2"]),
    ],
)
def test_each_tool_has_a_name_of_its_own_that_models_accept(tools: list[tuple[str, str]], names: list[str]) -> None:
    given = ToolNames([server for server, _ in tools], {"fetch-page"})
    assert [given.name_of(*tool) for tool in tools] == names
    assert [given.name_of(*tool) for tool in tools] == names, "a name stays"
    assert all(0 < len(name) <= LONGEST for name in names)


def test_a_long_servers_name_leaves_room_for_its_tools() -> None:
    given = ToolNames(["s" * 100, "s" * 101], ())
    names = [given.name_of(server, tool) for server in ("s" * 100, "s" * 101) for tool in ("read", "write")]
    assert len(set(names)) == 4
    assert all(len(name) <= LONGEST and name.endswith(("-read", "-write")) for name in names)


def test_a_servers_names_are_the_same_whoever_else_is_there() -> None:
    alone, together = (ToolNames(["a.b", "a_b"], ()) for _ in range(2))
    together.name_of("a.b", "x")
    assert alone.name_of("a_b", "x") == together.name_of("a_b", "x") == "a_b_2-x"
