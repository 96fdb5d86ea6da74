"""Markdown in progress: what is shown before it is known what the last marks mean."""

import html
import re
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
    ("see [a page][", "see a page"),
    ("see [a page][p", "see a page"),
    ("so `[a][b]`", "so `[a][b]`"),
    ("x\n\n[p]: https://exa", "x\n\n"),
    ("a[i][j] and [1][2]", "a[i][j] and [1][2]"),
    ("x[^no", "x"),
    ("- [", ""),
    ("- [x", ""),
    ("- [ ] to do", "- [ ] to do"),
    ("so $$ \\frac{", "so "),
    ("so $$x$$ and", "so $$x$$ and"),
    ("so \\[ x", "so "),
    ("so \\(x\\) and \\(y", "so \\(x\\) and "),
    ("\\begin{align}\na &= b", ""),
    ("\\begin{align}\na\n\\end{align}\n", "\\begin{align}\na\n\\end{align}\n"),
    ("a\n\n| x | y", "a\n\n"),
    ("a\n\n| x | y |\n|--", "a\n\n"),
    ("a\n\n| x | y |\n|--|--|\n", "a\n\n| x | y |\n|--|--|\n"),
    ("a\n\nName | Age", "a\n\n"),
    ("a\n\nName | Age\n--", "a\n\n"),
    ("a\n\nName | Age\n---|---\n", "a\n\nName | Age\n---|---\n"),
    ("so a | b\nand on", "so a | b\nand on"),
    ("`a | b", "`a | b`"),
    ("a || b", "a || b"),
    ("x\n\n[^1]", "x\n\n"),
    ("x\n\n[^1]:", "x\n\n"),
    ("x\n\n[^1]: No", "x\n\n[^1]: No"),
    ("x[^1]", "x[^1]"),
    ("H<su", "H"),
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
    ("**重點：*", "**重點：**"),
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
    ("line\n===", "line\n"),
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


#: Whole texts, of which nothing may be seen on the way that is not seen in the end; a further one is one line.
GROWING = {
    "a table": "Intro.\n\n| a | b |\n|:--|--:|\n| one | **two** |\n| three | `x` |\n\nEnd.",
    "a table below a line": "Intro\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    "a table in a quotation": "> - a\n> - b **c**\n>\n> | x | y |\n> |---|---|\n> | 1 | 2 |\n",
    "a table in a list": "- item\n\n  | x | y |\n  |---|---|\n  | 1 | 2 |\n\n- next",
    "formulas": "The error is $e = mc^2$ and $\\frac{a}{b}$, so $x_1$.",
    "large formulas": "So:\n\n$$\n\\frac{a}{b}\n$$\n\nand $$x^2$$ within.",
    "formulas in brackets": "So \\(x^2\\) and \\[\\frac{a}{b}\\] are.",
    "aligned formulas": "So\n\n\\begin{align}\na &= b \\\\\nc &= d\n\\end{align}\n\nEnd",
    "formulas in a list": "- item $$x^2$$\n- next $y$ z\n\n  $$\n  z\n  $$\n",
    "prices": "It costs $5 and US$10, or $5 to $6, A$5 or R$6.",
    "a picture": 'See ![a picture](https://a.example/x.png "the title") and more!',
    "links": 'See [the page](https://a.example/x_(y)), **[another](https://b.example "T")**.',
    "links by name": 'See [the page][1], **[another][B]** and `[x][y]`.\n\nMore.\n\n[1]: https://a.example "T"\n[b]: <https://b.example>\n',
    "an address": "See <https://a.example/path> and https://b.example/x.",
    "lists in lists": "- one\n  - two **bold**\n    - three `code`\n      1. four\n- five\n\n1. a\n   - b\n2. c\n",
    "a list below a line": "Steps:\n1. **First**: do `x`\n2. **Second**: do [y](https://y.example)\n",
    "stars as points": "* one\n* two *it*\n* **three**: x\n",
    "tasks": "- [ ] to do\n- [x] done\n  - [ ] within it\n",
    "headings": "# One\n\n## Two **bold**\n\n### Three\ntext",
    "underlined headings": "Title\n=====\n\nSub\n---\n\ntext",
    "lines across": "a\n\n---\n\nb\n\n***\n\nc",
    "quotations": "> quoted **text**\n> more\n\n> [!NOTE]\n> Mind this.\n\nend",
    "blocks of code": "Code:\n\n```python\nprint(1)\n```\n\nEnd.\n\n- item\n\n  ```py\n  x = 1\n  ```\n- next\n\n~~~\nx\n~~~\n",
    "emphasis": "It is ***very*** so, **bold *it* bold** and *it **b** it*, ~~gone~~ and ~approx 5.",
    "emphasis over lines": "a **bold over\ntwo lines** b *it over\ntwo* c",
    "underscores": "It is _so_ and __very__ so, snake_case_name and _a b_.",
    "tags": "H<sub>2</sub>O, x<sup>2</sup>, <kbd>Ctrl</kbd>+C<br>next, a < b and c > d",
    "a folded part": "<details>\n<summary>More</summary>\n\nInside **it**.\n\n</details>\n\nEnd",
    "Chinese": "**重點：**後文。**“引號”**文字和`代碼`，見[頁面](https://a.example)。",
    "escapes": "A \\* star and \\_ under, 5 \\$ and \\[x\\], a &amp; b &lt; c",
}
_BLOCK = re.compile(r"<(?:h\d|hr|table|blockquote|pre|ul|ol|li|details|thead|td|th)\b")


def _seen(rendered: str) -> tuple[str, str]:
    """The words that are seen, and the blocks that they are in."""
    words = html.unescape(re.sub(r"<[^>]*>", "", rendered))
    return re.sub(r"\s", "", words), "".join(_BLOCK.findall(rendered))


@pytest.mark.parametrize("kind", GROWING)
def test_what_is_seen_on_the_way_is_seen_in_the_end(ask: Ask, kind: str) -> None:
    text = GROWING[kind]
    begun = [text[:end] for end in range(1, len(text))]
    *shown, whole = map(_seen, ask("markdown", [*(ask("complete", each) for each in begun), text]))
    wrong = [
        (each[-24:], words[-24:], blocks[-24:])
        for each, (words, blocks) in zip(begun, shown, strict=True)
        if not (whole[0].startswith(words) and whole[1].startswith(blocks))
    ]
    assert not wrong, wrong[:3]
