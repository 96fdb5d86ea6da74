"""How much of an MCP server's list of tools is used, with a real server."""

from agents.tools import CancelToken, Toolbox, build_tools
from tests.agents.tools.test_mcp import Server, eventually, server  # noqa: F401 - a fixture


def test_a_server_that_offers_too_much_leaves_room(server: Server) -> None:  # noqa: F811
    server.config["test"]["env"] = {"BABBLES": "1"}
    tools = server.tools()
    assert 150 < len(tools) <= 200
    assert {len(name) <= 64 for name in tools} == {True}
    assert len(tools["test-wordy"].description) == 4_000
    assert "test-choosy" not in tools
    assert server.missing == [
        "The MCP server “test” has more than 200 tools, of which the first were taken.",
        "The MCP server “test” has a tool “choosy” whose arguments take too many words to describe.",
    ]


def test_changes_are_read_however_often_they_are_told(server: Server) -> None:  # noqa: F811
    for _ in range(30):
        assert server.tools()["test-learn"].call({}, CancelToken()) == "learnt"
    assert eventually(lambda: "test-learnt" in build_tools([], Toolbox(mcp_servers=server.config)))
