"""Each rule of our Markdown, and each of the libraries' that texts can use, takes linear time, in both renderers."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents.untrusted import markdown
from scripts import bootstrap
from tests.agents.untrusted.linear import assert_linear

SERVER, BROWSER = 12_000, 100_000

#: What is repeated; a further one is one line.
REPEATED = [
    "$$a\n",
    "$$\n",
    "$$",
    "$a ",
    "$1 word ",
    "\\(",
    "\\[ ",
    "\\[a\n",
    "\\begin{align}\n",
    "> $$a\n",
    "- $$a\n",
    "http://a.",
    "http://a. ",
    "https://a.example/?b=",
    "mailto:a@",
    "a:// ",
    "http",
    "<br",
    "<sub>",
    "<details>\n",
    "<details>\n</details>\n",
    "<details><summary>a</summary>\n\n",
    "> [!note]\n\n",
    "> [!note]\n> a\n",
    "- [ ] a\n",
    "[a](b) ",
    "[a.bc](http://d.ef) ",
    "![a](b) ",
    "[",
    "[^a",
    "[^a]: b\n\n",
    "x[^a]\n\n[^a]: b\n\n",
    "**重：**",
    "*a **b ",
    "_a __b ",
    "~~a ",
    "`a ``",
    "<",
    "&amp",
    "|a|b\n",
    "- a\n  ",
    "a\n",
    "　\n",
    "　a\n\n",
]


@pytest.fixture(scope="module")
def took() -> Iterator[Callable[[str], float]]:
    """Seconds of CPU that the browser's renderer takes for a text."""
    node = bootstrap.find_node(Path(sys.executable))
    mirror = Path(__file__).resolve().parents[2] / "static" / "mirror.js"
    with subprocess.Popen([node, str(mirror)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as scripts:
        asking, answering = scripts.stdin, scripts.stdout
        assert asking is not None
        assert answering is not None

        def ask(text: str) -> float:
            asking.write(json.dumps({"question": "took", "given": text}) + "\n")
            asking.flush()
            return float(json.loads(answering.readline())) / 1000

        yield ask
        asking.close()


@pytest.mark.parametrize("unit", REPEATED)
def test_the_server_takes_time_in_proportion(unit: str) -> None:
    assert_linear(markdown.render_markdown, unit * (SERVER // len(unit)))


@pytest.mark.parametrize("unit", REPEATED)
def test_the_browser_takes_time_in_proportion(took: Callable[[str], float], unit: str) -> None:
    assert_linear(markdown.render_markdown, unit * (BROWSER // len(unit)), took)
