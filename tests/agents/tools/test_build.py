"""`build`, with names of tools and a toolbox."""

from typing import Any

import pytest

from agents.tools import CancelToken, Tool, Toolbox, build_tools

BUILT_IN = ["python", "current_time", "search_history", "fetch_page", "ask_user"]


class Mine:
    name = "python"
    description = "Mine."
    timeout_s = 1.0
    output_limit = 10

    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {"type": "object", "properties": {}}

    def call(self, arguments: dict[str, Any], stop: CancelToken) -> str:
        return "mine"


def test_the_named_tools_are_made_in_their_order() -> None:
    tools = build_tools(BUILT_IN, Toolbox())
    assert list(tools) == BUILT_IN
    assert list(build_tools(["fetch_page"], Toolbox())) == ["fetch_page"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_each_says_what_a_model_has_to_know(name: str) -> None:
    tool: Tool = build_tools([name], Toolbox())[name]
    assert tool.name == name
    assert len(tool.description) > 50
    assert tool.parameters["type"] == "object"
    assert all(each["description"] for each in tool.parameters["properties"].values())
    assert set(tool.parameters["required"]) <= tool.parameters["properties"].keys()
    assert tool.timeout_s > 0
    assert tool.output_limit > 0


def test_an_unknown_tool_is_left_out_and_told() -> None:
    missing: list[str] = []
    assert list(build_tools(["python", "pyhton"], Toolbox(), on_missing=missing.append)) == ["python"]
    assert missing == ["The tool “pyhton” is not installed."]


def test_a_tool_of_the_callers_own_takes_a_built_in_ones_place() -> None:
    mine = Mine()
    assert build_tools(["python", "current_time"], Toolbox(extra=[mine]))["python"] is mine
    assert list(build_tools([], Toolbox(extra=[mine]))) == ["python"]


def test_history_comes_from_whoever_starts_the_agent() -> None:
    toolbox = Toolbox(search_history=lambda query, limit: [{"session_title": query, "excerpt": str(limit)}])
    assert "“x”" in build_tools(["search_history"], toolbox)["search_history"].call({"query": "x"}, CancelToken())
