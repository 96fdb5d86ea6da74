"""Tools and agents of extensions: loaded at the start, used like all others, and reported in one line if they are faulty."""

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qwen_agent.llm.schema import ContentItem

import agents
from agents import CancelToken, Toolbox, ToolError
from agents.tools import build_tools
from tests.example_extension import RollDice

EXAMPLE = "tests.example_extension"


@pytest.fixture(autouse=True)
def _no_extensions() -> Iterator[None]:
    yield
    agents.load_extensions([], installed=False)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEATHER_KEY", "sesame-open")
    agents.load_extensions([EXAMPLE])


def tool(name: str) -> Any:
    return build_tools([name], Toolbox())[name]


@pytest.mark.usefixtures("example")
def test_tools_and_agents_of_an_extension_are_added_to_the_built_in_ones() -> None:
    tools = {tool.name: tool for tool in agents.list_tools()}
    assert list(tools) == ["python", "current_time", "search_history", "fetch_page", "ask_user", "roll_dice", "weather"]
    weather, dice = tools["weather"], tools["roll_dice"]
    assert (weather.origin, weather.timeout_s, weather.output_limit, weather.problem) == (EXAMPLE, 5.0, 50_000, "")
    assert [(setting.variable, setting.is_secret) for setting in weather.settings] == [
        ("WEATHER_UNITS", False),
        ("WEATHER_KEY", True),
    ]
    assert not weather.has_side_effects
    assert dice.has_side_effects
    assert dice.parameters == {
        "type": "object",
        "properties": {
            "times": {"type": "integer", "description": "How many."},
            "picture": {"type": "boolean", "description": "Whether to show them."},
        },
        "required": ["times"],
    }
    assert "weather" in agents.without_side_effects()
    assert list(agents.AGENTS) == ["researcher", "developer", "writer", "poet"]
    poet = agents.AGENTS["poet"]
    assert (poet.title, poet.description, poet.tools) == (
        "Poet",
        "Answers, and signs its texts.",
        ("current_time",),
    )


@pytest.mark.usefixtures("example")
@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("weather", {"place": "Taipei"}, "Taipei: 21 °C (asked with …)"),
        ("roll_dice", {"times": 2}, '{\n    "rolled": [\n        4,\n        4\n    ]\n}'),
        (
            "roll_dice",
            {"times": 1, "picture": True},
            '{"rolled": [4]}\n\n[image https://dice.test/4.png: it was returned, but only text can be passed on to you]',
        ),
    ],
)
def test_tools_of_both_kinds_are_called(name: str, arguments: dict[str, Any], result: str) -> None:
    assert tool(name).call(arguments, CancelToken()) == result


def test_files_that_a_tool_returns_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEATHER_KEY", "sesame-open")
    agents.load_extensions([EXAMPLE])
    items = [
        ContentItem(text="Rolled."),
        ContentItem(image="data:image/png;base64,iVBORw=="),
        ContentItem(file="a.pdf"),
    ]
    monkeypatch.setattr(RollDice, "call", lambda *_: items)
    result = tool("roll_dice").call({"times": 1}, CancelToken())
    assert [file.content for file in result.files] == [b"\x89PNG"]
    assert result.startswith("Rolled.\n\n[image: it was returned")


@pytest.mark.usefixtures("example")
def test_a_tool_says_that_it_failed() -> None:
    with pytest.raises(ToolError, match="There is no weather in Atlantis"):
        tool("weather").call({"place": "Atlantis"}, CancelToken())


def test_a_tool_without_its_secret_is_left_out_and_the_agent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEATHER_KEY", raising=False)
    agents.load_extensions([EXAMPLE])
    missing: list[str] = []
    assert list(build_tools(["weather", "roll_dice", "gone"], Toolbox(), on_missing=missing.append)) == ["roll_dice"]
    assert missing == [
        "The tool “weather” needs WEATHER_KEY, which is not set.",
        "The tool “gone” is not installed.",
    ]
    assert {tool.name: tool.problem for tool in agents.list_tools()}["weather"] == missing[0]


BASE = """from agents import Tool, Setting, Secret
class T(Tool):
    name = 'mine'
    description = 'Mine.'
    parameters = {'type': 'object'}
    def call(self, arguments, stop): return 'x'
"""
QWEN = "from qwen_agent.agent import Agent\nclass MyAgent(Agent):\n    def _run(self, messages, **kwargs): yield []\n"
BAD = {
    "nothing": ("x = 1", "contains no tool and no agent"),
    "import": (
        "import no_such_thing",
        "can't be imported (ModuleNotFoundError: No module named 'no_such_thing', ext.py line 1)",
    ),
    "syntax": ("def", "can't be imported (SyntaxError: invalid syntax (ext.py, line 1))"),
    "error": ("x = 1\nraise ValueError('two\\nlines')", "can't be imported (ValueError: two lines, ext.py line 2)"),
    "exit": ("import sys\nsys.exit(3)", "can't be imported (SystemExit: 3, ext.py line 2)"),
    "name": (
        f"{BASE}    name = 'my tool'",
        "can't be used: T has the name “my tool”; names are letters, digits, _ and -, at most 64",
    ),
    "taken": (
        f"{BASE}    name = 'python'",
        "can't be used: T has the name “python”, which a built-in tool has already",
    ),
    "twice": (f"{BASE}class U(T): pass", "can't be used: U has the name “mine”, which a tool of ext has already"),
    "description": (
        f"{BASE}    description = ' '",
        "can't be used: T has no description, by which models know what it is for",
    ),
    "no object": (
        f"{BASE}    parameters = {{'type': 'string'}}",
        "can't be used: T has parameters that are no JSON schema of an object",
    ),
    "schema": (
        f"{BASE}    parameters = {{'type': 'object', 'properties': 3}}",
        "can't be used: T has parameters that are no JSON schema (3 is not of type 'object')",
    ),
    "time": (
        f"{BASE}    timeout_s = -1",
        "can't be used: T has a timeout_s of -1; it is a number above 0 and at most 3,600",
    ),
    "output": (
        f"{BASE}    output_limit = 'much'",
        "can't be used: T has a output_limit of much; it is a number above 0 and at most 10,000,000",
    ),
    "constructor": (
        f"{BASE}    def __init__(self, x): pass",
        "can't be used: T can't be made without arguments (TypeError: T.__init__() missing 1 required positional argument: 'x')",
    ),
    "setting": (
        f"{BASE}    key = Secret('WEATHER_KEY')",
        "can't be imported (ValueError: a setting is read from “env:NAME”, not from “WEATHER_KEY”, declared.py line",
    ),
    "agent's name": (
        f"{QWEN}    agent_name = 'Ünser'",
        "can't be used: MyAgent has the name “Ünser”; agents' names are small letters",
    ),
    "agent taken": (
        f"{QWEN}    agent_name = 'writer'",
        "can't be used: MyAgent has the name “writer”, which another agent has already",
    ),
    "agent's constructor": (
        f"{QWEN}    def __init__(self, key): pass",
        (
            "can't be used: MyAgent can't be made: its constructor needs arguments that agents are not given "
            "(missing a required argument: 'key')"
        ),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_any_error_in_an_extension_is_reported_in_a_line(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, words = BAD[case]
    (tmp_path / "ext.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ext", raising=False)
    importlib.invalidate_caches()
    with pytest.raises(agents.ExtensionsRefused) as refused:
        agents.load_extensions(["ext"])
    sys.modules.pop("ext", None)
    assert len(refused.value.problems) == 1
    assert refused.value.problems[0].startswith(f"EXTENSIONS: ext {words}")
    assert "\n" not in refused.value.problems[0]


def test_all_faulty_extensions_are_reported() -> None:
    with pytest.raises(agents.ExtensionsRefused) as refused:
        agents.load_extensions(["no_such_module", EXAMPLE, "tests.no_such"])
    assert refused.value.problems == [
        "EXTENSIONS: no_such_module can't be imported: there is no such module.",
        "EXTENSIONS: tests.no_such can't be imported: there is no such module.",
    ]


def test_installed_packages_announce_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "announced.py").write_text(BASE)
    folder = tmp_path / "announced-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: announced\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[thinkaloud.extensions]\nmine = announced\nbad = not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(agents.ExtensionsRefused) as refused:
        agents.load_extensions([])
    assert refused.value.problems == [
        "the installed extension “bad”: not_there can't be imported: there is no such module."
    ]
    assert tool("mine").call({}, CancelToken()) == "x"


def test_only_what_needs_qwen_agent_imports_it(tmp_path: Path) -> None:
    (tmp_path / "ext.py").write_text(BASE)
    script = "import sys, agents\nagents.load_extensions(['ext'])\nassert 'qwen_agent' not in sys.modules, 'imported'"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_readme_shows_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    section = text.split("\n## Your own tools and agents\n", 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    (tmp_path / "shown.py").write_text("\n".join(blocks))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("WEATHER_KEY", "sesame-open")
    monkeypatch.setattr("qwen_agent.tools.base.TOOL_REGISTRY", {})
    agents.load_extensions(["shown"])
    assert [tool.name for tool in agents.list_tools()][-2:] == ["weather", "roll_dice"]
    stop, progress = CancelToken(), []
    stop.on_progress = progress.append
    assert tool("weather").call({"place": "Taipei"}, stop) == "21 °C"
    assert progress == ["asking the satellite"]
    assert "4" in tool("roll_dice").call({"times": 1}, stop)
    poet = agents.AGENTS["poet"]
    assert (poet.description, poet.tools) == ("Answers in verse, or says that it can't.", ("current_time", "roll_dice"))
