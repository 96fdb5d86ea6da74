"""Markdown that is still growing: what is shown of it before it is known what its last marks mean."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.static.test_markdown_mirror import Ask, asking

CASES = [
    ("plain words", "plain words"),
    ("a **", "a "),
    ("a **bo", "a **bo**"),
    ("a **bold** b", "a **bold** b"),
    ("a *it", "a *it*"),
    ("* item", "* item"),
    ("* item *it", "* item *it*"),
    ("2 * 3", "2 * 3"),
    ("a ~~go", "a ~~go~~"),
    ("a `co", "a `co`"),
    ("a `", "a "),
    ("see [a li", "see a li"),
    ("see [a link](https://exa", "see a link"),
    ("see [a link](https://example.com)", "see [a link](https://example.com)"),
    ("see ![a pic](https://exa", "see a pic"),
    ("x[^no", "x"),
    ("- [", "- "),
    ("- [x", "- [x"),
    ("- [ ] to do", "- [ ] to do"),
    ("so $$ \\frac{", "so "),
    ("so $$x$$ and", "so $$x$$ and"),
    ("so \\[ x", "so "),
    ("so \\(x\\) and \\(y", "so \\(x\\) and "),
    ("\\begin{align}\na &= b", ""),
    ("\\begin{align}\na\n\\end{align}\n", "\\begin{align}\na\n\\end{align}\n"),
    ("a\n\n| x | y", "a\n"),
    ("a\n\n| x | y |\n|--", "a\n"),
    ("a\n\n| x | y |\n|--|--|\n", "a\n\n| x | y |\n|--|--|\n"),
    ("H<su", "H<su"),
    ("a <su", "a "),
    ("```py\na ** b [", "```py\na ** b ["),
    ("**done**\n\nmore **bo", "**done**\n\nmore **bo**"),
]


@pytest.fixture(scope="module")
def ask() -> Any:
    yield from asking()


@pytest.mark.parametrize(("text", "shown"), CASES)
def test_no_mark_is_seen_before_its_meaning(ask: Ask, text: str, shown: str) -> None:
    assert ask("complete", text) == shown


@pytest.mark.parametrize("text", [text for text, _ in CASES if not text.startswith("```")])
def test_a_finished_paragraph_is_left_alone(ask: Callable[[str, Any], Any], text: str) -> None:
    assert ask("complete", f"{text}\n\nThe end.") == f"{text}\n\nThe end."
