"""The text of a model, divided into thoughts, answer and tool calls, however it is split into pieces."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.errors import ModelError
from agents.events import Usage
from agents.models import reply as reply_module
from agents.models.reply import Reply


def reply_of(*pieces: str, **options: Any) -> Reply:
    """A reply whose content arrived in these pieces."""
    reply = Reply(**options)
    for piece in pieces:
        reply.add_content(piece)
    reply.finish("stop")
    return reply


def parts(reply: Reply) -> list[tuple[str, str]]:
    return [(part.kind, f"{part.name}{part.text}") for part in reply.parts]


def in_pieces(text: str, cuts: list[int]) -> list[str]:
    """The text, split at these places."""
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(places)]


TEXTS = {
    "plain": ("Hello.", [("content", "Hello.")]),
    "think": ("<think>\nwhy\n</think>\n\nBecause.", [("reasoning", "why\n"), ("content", "Because.")]),
    "think twice": (
        "<think>a</think>b<think>c</think>d",
        [("reasoning", "a"), ("content", "b"), ("reasoning", "c"), ("content", "d")],
    ),
    "opened by the template": ("why\n</think>\nBecause.", [("reasoning", "why\n"), ("content", "Because.")]),
    "nothing thought": ("<think>\n\n</think>\n\nHi", [("content", "Hi")]),
    "never closed": ("<think>why", [("reasoning", "why")]),
    "a call": ('<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>', [("call", 'f{"a": 1}')]),
    "a call without arguments": ('<tool_call>{"name": "f"}</tool_call>', [("call", "f{}")]),
    "arguments as text": ('<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>', [("call", 'f{"a": 1}')]),
    "a raw line break": (
        '<tool_call>{"name": "f", "arguments": {"a": "x\ny"}}</tool_call>',
        [("call", 'f{"a": "x\\ny"}')],
    ),
    "a closing tag left out": ('<tool_call>{"name": "f", "arguments": {}}', [("call", "f{}")]),
    "a closing tag cut": ('<tool_call>{"name": "f", "arguments": {}}</tool_', [("call", "f{}")]),
    "two calls": (
        'Well.\n<tool_call>{"name": "f", "arguments": {}}</tool_call>\n<tool_call>{"name": "g", "arguments": {}}</tool_call>',
        [("content", "Well.\n"), ("call", "f{}"), ("call", "g{}")],
    ),
    "a call in a thought is none": (
        "<think>a <tool_call>{}</tool_call> b</think>c",
        [("reasoning", "a <tool_call>{}</tool_call> b"), ("content", "c")],
    ),
    "no JSON": ('<tool_call>{"name": "f", "arguments": {oops}</tool_call>', [("call", "f{oops}")]),
    "a call by its name alone": ("<tool_call>hm</tool_call>", [("call", "hm{}")]),
    "no call at all": ("<tool_call>{hm}</tool_call>", [("call", "{hm}")]),
    "quoted": (
        "The tag `<think>` and\n```\n<tool_call>\n```\nare code.",
        [("content", "The tag `<think>` and\n```\n<tool_call>\n```\nare code.")],
    ),
    "quoted closing tag": ("Write `</think>` last.", [("content", "Write `</think>` last.")]),
    "less than": ("1 < 2 <t <tool <think", [("content", "1 < 2 <t <tool <think")]),
    "emoji": ("<think>🤔</think>👍🏽 天氣", [("reasoning", "🤔"), ("content", "👍🏽 天氣")]),
}


@pytest.mark.parametrize("name", TEXTS)
def test_content_is_sorted_into_thoughts_text_and_calls(name: str) -> None:
    text, expected = TEXTS[name]
    assert parts(reply_of(text)) == expected
    assert parts(reply_of(*text)) == expected


@given(st.sampled_from(sorted(TEXTS)), st.lists(st.integers(0, 130)))
def test_a_reply_is_the_same_wherever_the_stream_is_cut(name: str, cuts: list[int]) -> None:
    text, expected = TEXTS[name]
    assert parts(reply_of(*in_pieces(text, cuts))) == expected


@given(
    st.lists(
        st.sampled_from(
            ["<think>", "</think>", "<tool_call>", "</tool_call>", "`", "```", "\n", "a ", "<", '{"name": "f"}', "é🙂"]
        )
    ),
    st.lists(st.integers(0, 200)),
)
def test_any_text_is_read_the_same_however_it_is_cut(words: list[str], cuts: list[int]) -> None:
    text = "".join(words)
    assert parts(reply_of(*in_pieces(text, cuts))) == parts(reply_of(text))


@given(st.sampled_from(sorted(TEXTS)), st.integers(0, 130))
def test_no_part_of_a_tag_is_ever_in_the_answer(name: str, length: int) -> None:
    if name in {"less than", "quoted", "quoted closing tag"}:
        return
    reply = Reply()
    for character in TEXTS[name][0][:length]:
        reply.add_content(character)
        assert "<" not in reply.content


def test_without_tools_a_call_is_text() -> None:
    text = '<tool_call>{"name": "f"}</tool_call>'
    assert parts(reply_of(text, calls_in_text=False)) == [("content", text)]


def test_a_growing_call_shows_its_name_and_arguments() -> None:
    reply = Reply()
    reply.add_content('<tool_call>\n{"name": "python", "argu')
    assert parts(reply) == [("call", "python")]
    reply.add_content('ments": {"code": "1+')
    assert parts(reply) == [("call", 'python{"code": "1+')]


def test_reasoning_that_comes_in_a_field_of_its_own() -> None:
    reply = Reply()
    for piece in ("\n", "Let", " me"):
        reply.add_reasoning(piece)
    reply.add_content("\n\n")
    reply.add_content("Yes.")
    assert parts(reply) == [("reasoning", "\nLet me"), ("content", "\n\nYes.")]


def test_white_space_alone_opens_nothing() -> None:
    reply = Reply()
    reply.add_reasoning("why")
    reply.add_content("\n\n")
    reply.add_call("f", "{}")
    assert [part.kind for part in reply.parts] == ["reasoning", "call"]


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ([(0, "a", "f", ""), (0, "", "", '{"x"'), (0, "", "", ": 1}")], [("a", "f", '{"x": 1}')]),
        ([(0, "a", "f", "{}"), (1, "b", "g", "{}")], [("a", "f", "{}"), ("b", "g", "{}")]),
        (
            [(0, "a", "f", "{"), (1, "b", "g", "{"), (0, "", "", "}"), (1, "", "", "}")],
            [("a", "f", "{}"), ("b", "g", "{}")],
        ),
        # The same index for all calls, distinguished by their ids; or, without ids, because the previous one was complete.
        ([(0, "a", "f", "{}"), (0, "b", "f", "{}")], [("a", "f", "{}"), ("b", "f", "{}")]),
        ([(0, "", "f", "{}"), (0, "", "f", "{}")], [("", "f", "{}"), ("", "f", "{}")]),
        # No index at all.
        ([(None, "a", "f", "{"), (None, "", "", "}"), (None, "b", "g", "{}")], [("a", "f", "{}"), ("b", "g", "{}")]),
        # The name and id in each piece.
        ([(0, "a", "f", "{"), (0, "a", "f", "}")], [("a", "f", "{}")]),
        ([(0, "", "f", "{"), (0, "", "f", "}")], [("", "f", "{}")]),
    ],
)
def test_native_calls_as_servers_stream_them(
    deltas: list[tuple[int | None, str, str, str]], expected: list[tuple[str, str, str]]
) -> None:
    reply = Reply()
    for slot, id_, name, arguments in deltas:
        reply.add_call_delta(slot, id_, name, arguments)
    assert [(part.id, part.name, part.text) for part in reply.parts] == expected


def test_halves_of_a_surrogate_pair_are_joined_and_lone_ones_replaced() -> None:
    reply = reply_of("a\ud83d", "\ude00b\ude00", "c\x00", "d\ud83d")
    assert reply.content == "a😀b\ufffdc\ufffdd\ufffd"
    json.dumps(reply.content, ensure_ascii=False).encode()


def test_a_reply_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_module, "REPLY_LIMIT", 1_000)
    reply = Reply()
    reply.add_reasoning("x" * 600)
    with pytest.raises(ModelError, match="longer than"):
        reply.add_content("x" * 600)


def test_usage_is_as_reported_or_estimated() -> None:
    reply = reply_of("Four words or so, 天氣.")
    reply.input_estimate = 10
    assert reply.counted() == Usage(10, 7, estimated=True)
    reply.usage = Usage(3, 4)
    assert reply.counted() == Usage(3, 4)
