"""Texts for pages are made of any input, in time proportional to its length."""

import json
from collections.abc import Callable

import pytest

from chat import protocol
from chat.rendering import humanize, rows
from config.visible_text import make_visible
from tests.agents.untrusted.linear import assert_linear

#: Functions that are given untrusted texts; a further one is one line.
FUNCTIONS: dict[str, Callable[[str], object]] = {
    "gist": humanize.first_line,
    "markdown_gist": humanize.markdown_gist,
    "is_long": humanize.is_long,
    "is_blank": protocol.is_blank,
    "returned": humanize.summarize_result,
    "initials": humanize.initials,
    "code": lambda text: humanize.summarize_arguments({"code": text}),
    "query": lambda text: humanize.summarize_arguments({"query": text}),
    "address": lambda text: humanize.summarize_arguments({"url": text}),
    "unreadable arguments": humanize.summarize_arguments,
    "pairs": lambda text: rows.arguments_row({"a": text}),
    "JSON": lambda text: rows.arguments_row({"a": [text]}),
    "visible text": lambda text: make_visible(text.encode()),
}
#: What is repeated; a further one is one line.
REPEATED = [
    " ",
    "\n",
    "a",
    "a\n",
    "import (\n",
    "import a\n",
    "#",
    "# \n",
    "[",
    '{"a":',
    '["',
    "[1,",
    "<",
    "<input ",
    "<textarea ",
    "\u202e",
    "_-",
]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("unit", REPEATED)
def test_texts_for_pages_take_linear_time(name: str, unit: str) -> None:
    assert_linear(FUNCTIONS[name], unit * (400_000 // len(unit)))


@pytest.mark.parametrize("unit", REPEATED)
@pytest.mark.parametrize("length", [1, 100, 1_000, 2_000])
def test_any_input_has_a_text_for_pages(unit: str, length: int) -> None:
    text = (unit * length)[:length]
    for function in FUNCTIONS.values():
        function(text)
    assert json.dumps(humanize.summarize_result(text))


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("No words came.", "Report 7f3a.", "No words came. Report 7f3a."),
        ("沒有回應。", "報告 7f3a。", "沒有回應。報告 7f3a。"),
        # A server's own error text is not translated.
        ("伺服器回報：The server had an error.", "報告 7f3a。", "伺服器回報：The server had an error. 報告 7f3a。"),
        ("", "Report 7f3a.", "Report 7f3a."),
        ("No words came.", "", "No words came."),
    ],
)
def test_sentences_stand_one_after_the_other_as_their_languages_write(one: str, other: str, both: str) -> None:
    assert humanize.sentences(one, other) == both
