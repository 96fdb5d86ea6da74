"""The browser's Markdown renderer and the server's give the same result: for a table of cases, and for mixtures of their pieces."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts import bootstrap
from tests.markdown_cases import CASES
from agents.untrusted import markdown

HERE = Path(__file__).resolve().parent
Ask = Callable[[str, Any], Any]


def asking() -> Iterator[Ask]:
    """Call the scripts, in a Node that stays open for further calls."""
    node = bootstrap.find_node(Path(sys.executable))
    with subprocess.Popen(
        [node, str(HERE / "mirror.js")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as scripts:
        questions, answers = scripts.stdin, scripts.stdout
        assert questions is not None
        assert answers is not None

        def ask(question: str, given: Any) -> Any:
            questions.write(json.dumps({"question": question, "given": given}) + "\n")
            questions.flush()
            return json.loads(answers.readline())

        yield ask
        questions.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Callable[[str], str]]:
    """The HTML of the browser's renderer for a text, through the same allowlist."""
    with contextlib.contextmanager(asking)() as ask:
        yield lambda text: markdown.sanitize_html(ask("markdown", [text])[0])


@pytest.mark.parametrize(("text", "html"), CASES)
def test_the_browser_renders_what_models_write(browser: Callable[[str], str], text: str, html: str) -> None:
    assert browser(text).replace(' dir="auto"', "").strip() == html


PIECES = (
    [text for text, _ in CASES] + list("*_`$[]()<>|#\n\n ->\\!~：。字a1") + ["**", "$$", "\n\n", "  ", "\n> ", "\n- "]
)


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_both_renderers_render_any_mixture_alike(browser: Callable[[str], str], text: str) -> None:
    assert browser(text) == markdown.render_markdown(text)
