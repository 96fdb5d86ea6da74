"""Markdown as plain words on one line: the excerpt in a list has no marks, wherever it was cut, and takes linear time."""

import pytest

from chat.strip_markdown import strip_markdown
from tests.agents.untrusted.linear import assert_linear
from tests.agents.untrusted.test_linear import REPEATED

#: Markdown, and its words on one line; a further case is one line.
CASES = [
    ("- 17 % of 2,340 = **397.8**.\n- It is a *Saturday*.", "17 % of 2,340 = 397.8. It is a Saturday."),
    ("# Ends\n\nUse `settle()`, see [the page](https://a.example).", "Ends Use settle(), see the page."),
    ("one\ntwo  \nthree ![a wheel](https://a.example/x.png)", "one two three a wheel"),
    ("```python\nprint(2 ** 3, *a)\n```\nand $e = n$", "print(2 ** 3, *a) and $e = n$"),
    ("~~~\nopen **code**", "open **code**"),
    ("```inline``` code", "inline code"),
    ("| Run | Found |\n|:--|--:|\n| **1** | `340` |", "Run · Found 1 · 340"),
    ("a * b < c, 5 * 3 * 2", "a * b < c, 5 * 3 * 2"),
    ("2**10, a*b*c and snake_case", "2**10, a*b*c and snake_case"),
    ("**重點：**後文。**“引號”**文字", "重點：後文。“引號”文字"),
    ("**a *b* c** ***d*** __e__ _f_ ~~g~~", "a b c d e f g"),
    ("foo**bar**baz, **bold**text", "foobarbaz, boldtext"),
    ("`**kwargs` and ``a ` b``", "**kwargs and a b"),
    ("[**bold**](x) [ref][1] [![alt](a.png)](b) [1]", "bold ref alt [1]"),
    ("[wiki](https://a.example/x_(y)) <https://b.example/*>", "wiki https://b.example/*"),
    ("see x[^1]\n\n[1]: https://a.example\n[^1]: a note", "see x a note"),
    ("> [!NOTE]\n> - [x] done\n> - [ ] open", "done open"),
    ("---\n* * *\n1. first\n2) second", "1. first 2) second"),
    ("a<br>b, H<sub>2</sub>O, <kbd>Esc</kbd>, <script>", "a b, H2O, Esc, <script>"),
    ("a &amp; b &lt; c &nbsp;d \\*e\\*", "a & b < c d *e*"),
    # Excerpts from the middle.
    ("cut** and `half", "cut and half"),
    ("the rest](https://a.example/x) of **it", "the rest of it"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "words"), CASES)
def test_words_have_no_marks(text: str, words: str) -> None:
    assert " ".join(strip_markdown(text).split()) == words


@pytest.mark.parametrize(
    "unit", [*REPEATED, " ", "\t", "> ", "|", "| ", "-", "- ", "* ", "`", "[a](b(", "![", "\\", "~~~\n", "_"]
)
@pytest.mark.parametrize("end", ["", "x"])
def test_it_takes_time_in_proportion(unit: str, end: str) -> None:
    assert_linear(lambda text: strip_markdown(text + end), unit * (100_000 // len(unit)))
