"""What a model or its server sends is parsed in linear time, because the same loop serves other clients. A further case is one line."""

import contextlib
import json
import re
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from agents.arguments import known_name, repair_arguments
from agents.errors import ModelError
from agents.models import refusing
from agents.models.completion_reader import CompletionReader
from agents.models.refusals import explain_event, explain_refusal, find_limit
from agents.models.reply import REPLY_LIMIT, Reply
from agents.models.request_parts import wants_field
from agents.models.text_calls import FORMS
from tests.agents.models.wire.transcript import Look, Python
from tests.agents.untrusted.linear import assert_linear

SIZE = 24_000
#: What is repeated after the beginning of a call.
UNITS = [
    " ",
    "\n",
    "{",
    "}",
    "[",
    '"',
    "\\",
    "a",
    ", ",
    "a=1, ",
    "```json",
    '"name":"',
    "<function=",
    "<parameter=a>",
    "</parameter>x",
    "(:1",
]
#: The beginnings of calls, after the opening mark of their format.
BEGINNINGS = ["{", "[", "python", "```json", "<function=python>", '<invoke name="python">', "python(", "[python("]


def read(text: str) -> None:
    """A reply with this text, in one piece."""
    reply = Reply()
    reply.tools = {tool.name: tool.parameters for tool in (Python, Look)}
    reply.add_content(text)
    reply.settle()


@pytest.mark.parametrize("opener", ["", *FORMS])
def test_a_call_in_the_text(opener: str) -> None:
    for start, unit in product((*FORMS[opener].starts, *BEGINNINGS) if opener else BEGINNINGS, UNITS):
        assert_linear(read, f"{opener}{start}{unit * (SIZE // len(unit))}x")


@pytest.mark.parametrize("unit", [opener + start for opener, form in FORMS.items() for start in form.starts or ("",)])
def test_openers(unit: str) -> None:
    assert_linear(read, unit * (SIZE // len(unit)))


def _lines(text: str) -> None:
    reader = CompletionReader(Reply())
    with contextlib.suppress(ValueError):
        reader.feed(f"data: {text}\n\ndata: [DONE]\n\n".encode())


def _chunks(text: str) -> None:
    """Pieces of one call, one for each line of the text."""
    reply = Reply()
    reader = CompletionReader(reply)
    with contextlib.suppress(ModelError):
        reader.feed(text.encode())
        reader.close()


def _piece(**call: Any) -> str:
    return f"data: {json.dumps({'choices': [{'delta': {'tool_calls': [{'index': 0, **call}]}}]})}\n\n"


def _detail(**detail: Any) -> str:
    return f"data: {json.dumps({'choices': [{'delta': {'reasoning_details': [{'index': 0, **detail}]}}]})}\n\n"


#: The beginning of a call or its thought, and the pieces that follow: all of them are read, and none may cost as much as the whole call.
PIECES = {
    "whole ones behind a long one": (
        _piece(id="a", function={"name": "python", "arguments": '{"code":"%s"}' % ("x" * 100_000)}),
        _piece(function={"arguments": '{"a":1}'}),
    ),
    "whole ones with a name": (
        _piece(id="a", function={"name": "python", "arguments": '{"code":"%s"}' % ("x" * 100_000)}),
        _piece(id="a", function={"name": "python", "arguments": '{"a":1}'}),
    ),
    "names": ("", _piece(id="a", function={"name": "p" * 150})),
    "enciphered details": ("", _detail(type="reasoning.encrypted", data="x" * 90)),
    "fields": ("", _piece(id="a", x={"k": "v"}, function={"name": "python", "arguments": "1"})),
}


@pytest.mark.parametrize("name", PIECES)
def test_pieces_of_a_call(name: str) -> None:
    begins, piece = PIECES[name]
    assert_linear(_chunks, begins + piece * (8 * SIZE // len(piece)))


def test_encrypted_reasoning_counts_towards_the_limit_of_a_reply() -> None:
    reply = Reply()
    detail = {"type": "reasoning.encrypted", "data": "x" * (REPLY_LIMIT // 2)}
    reply.add_detail("reasoning_details", 0, detail, "")
    with pytest.raises(ModelError, match="longer than"):
        reply.add_detail("reasoning_details", 0, detail, "")


#: Other parsers, the beginning of their input, and what is repeated.
READ: list[tuple[Callable[[str], object], str, str]] = [
    (repair_arguments, "```json", " "),
    (repair_arguments, "```", " ``` "),
    (repair_arguments, '"', "\\"),
    (repair_arguments, "", "{} "),
    (repair_arguments, "{}", "}"),
    *((repair_arguments, "{", unit) for unit in ("'a': 1, ", "'a", "{", "</s>", "\\d")),
    (lambda text: known_name(text, ["python"]), "a", "(:1"),
    (lambda text: known_name(text, ["python"]), "", "functions."),
    (lambda text: known_name(text, ["python"]), "a", ":1<|"),
    (_lines, "", '{"choices":[]}'),
    (_lines, "", '{"choices":[]} data:'),
    (_lines, '{"choices":[]}', " "),
    (_lines, "", "data:"),
    *(
        (lambda text: explain_event({"error": text}, "k"), "", unit)
        for unit in ("prompt ", "tokens (", "{", "aError: ", "Error", "try again in ", "<title", "reasoning ", "tool call id ", "tools ")
    ),
    (lambda text: explain_refusal(400, {}, text, "k"), "<", "<title "),
    (wants_field, "", "reasoning "),
    *((find_limit, "", unit) for unit in ("1", "1,", "1 ", "> 1", "length ", "maximum ", "超过")),
    *(
        (read, begins, unit)
        for begins in ("<think>a", "<think>a</think>", "")
        for unit in ("</thinking>", "\n</think>\n", "<answer>", "<|im_end|>", "`")
    ),
    (read, '<tool_call>{"name": "python"} ', "</tool_call>"),
    (read, "```json\n", "```\n"),
    *(
        (lambda text: explain_refusal(400, {}, text, "k"), "", unit)
        for unit in ("content ", "image ", "unsupported ", "7 > ", "maximum context ", "input length ", "use max", "不支持", "blocked by ")
    ),
    (lambda text: explain_refusal(429, {"retry-after": text, "date": text}, "", "k"), "Fri, 31 Dec 2027 ", "2"),
]  # fmt: skip


REFUSING = {name: pattern for name, pattern in vars(refusing).items() if isinstance(pattern, re.Pattern)}
#: The beginning of an error's text, and what is repeated.
WORDS = [
    *("tools ", "tools: ", "functions ", "unsupported parameter: ", "image ", "images ", "image_url ", "invalid ", "content ", "content."),
    *("system message ", "role: ", "tool call id ", "tools[0]", "unknown name ", "filter ", "signature ", "encrypted content "),
    *("sampling ", "stop ", "streaming ", "internal server error ", "errors", "api", "json ", "penalty "),
    *("thinking blocks ", "messages ", "reasoning_content ", "max_tokens ", "think value ", "only user, ", " "),
]  # fmt: skip


@pytest.mark.parametrize("name", REFUSING)
def test_an_error_is_searched_in_linear_time(name: str) -> None:
    for unit in WORDS:
        assert_linear(REFUSING[name].search, unit * (SIZE // len(unit)) + "x")


@pytest.mark.parametrize(("work", "begins", "unit"), READ, ids=[f"{at}: {row[2]}" for at, row in enumerate(READ)])
def test_other_parsers_take_linear_time(work: Callable[[str], object], begins: str, unit: str) -> None:
    assert_linear(work, begins + unit * (4 * SIZE // len(unit)) + "x")
