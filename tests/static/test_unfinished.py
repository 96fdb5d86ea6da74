"""Markdown in progress: what is shown before it is known what the last marks mean."""

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
    # Multiplication signs
    ("2*3 = 6", "2*3 = 6"),
    ("2**10 = 1024", "2**10 = 1024"),
    ("n**k grows", "n**k grows"),
    ("a*b*c", "a*b*c"),
    ("f(x)**2 is", "f(x)**2 is"),
    ("5*(2", "5*(2"),
    ("2*3 and *it", "2*3 and *it*"),
    ("2 * 3 and *it", "2 * 3 and *it*"),
    ("**A** is 2*3 **mo", "**A** is 2*3 **mo**"),
    # Chinese, emoji, and nested marks
    ("文字**重點", "文字**重點**"),
    ("**重點：*", "**重點：***"),
    ("a **👨‍", "a **👨‍**"),
    ("***a", "***a***"),
    ("a **b** **c", "a **b** **c**"),
    ("- a\n- b `c", "- a\n- b `c`"),
    ("> a **b", "> a **b**"),
    ("| a |\n|---|\n| `x", "| a |\n|---|\n| `x`"),
    ("- [ ] **a", "- [ ] **a**"),
    ("**[a](", "**a**"),
    ("a_b_c", "a_b_c"),
    ("snake_ca", "snake_ca"),
    ("costs $5 or $", "costs $5 or "),
    ("<kbd>Ct", "<kbd>Ct"),
    ("$$a$$\n\n$$b", "$$a$$\n\n"),
    ("line\n===", "line\n==="),
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
