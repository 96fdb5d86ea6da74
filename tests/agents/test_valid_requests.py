"""No conversation results in a request that the strictest server refuses."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.arguments import repair_arguments
from agents.history import GO_ON, LEFT_OUT, NO_ANSWER, NOTHING, make_valid
from tests.agents.asked import OWN_FIELDS, SERVER, bodies
from tests.strict_judge import find_faults

_TEXTS = st.sampled_from(["", " \n", "Why?", "天氣 🙂", "a\x00b", "<think>", "x" * 3_000]) | st.text(max_size=20)
_NAMES = st.sampled_from(
    ["echo", "browser.open", "browser_open", "browser open", "", "日本", "日光", "functions.echo:0", "x" * 70, "x" * 71]
)
_ARGUMENTS = st.sampled_from(
    [
        "{}",
        "",
        '{"a": 1}',
        '{"a": "b\nc"}',
        "[1]",
        "{",
        "null",
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": 1, "a": 2}',
        '"{}"',
        '{"a": "\\ud800"}',
        "{\ud800",
    ]
)
_IDS = st.sampled_from(["call_1", "call_2", "", "functions.echo:0", "x" * 300])
_ORIGINS = st.none() | st.sampled_from(
    [
        {"server": SERVER, "fields": {"extra_content": {"google": {"thought_signature": "abc"}}}},
        {"server": "http://elsewhere/v1 m", "fields": {"other_content": 1}},
    ]
)
_THOUGHTS = st.none() | st.sampled_from(
    [
        {"server": SERVER, "fields": {"reasoning_content": "Hm."}},
        {"server": "http://elsewhere/v1 m", "fields": {"other_reasoning": "Hm."}},
    ]
)


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


_CALLS = st.builds(
    lambda id_, name, arguments, origin: _without_none(
        {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}, "origin": origin}
    ),
    _IDS,
    _NAMES,
    _ARGUMENTS,
    _ORIGINS,
)
_MESSAGES = st.one_of(
    st.builds(lambda text: {"role": "user", "content": text}, _TEXTS),
    st.builds(lambda text: {"role": "assistant", "content": text}, _TEXTS | st.none()),
    st.builds(
        lambda text, calls, origin: _without_none(
            {"role": "assistant", "content": text, "tool_calls": calls, "origin": origin}
        ),
        _TEXTS,
        st.lists(_CALLS, min_size=1, max_size=3),
        _THOUGHTS,
    ),
    st.builds(lambda id_, text: {"role": "tool", "tool_call_id": id_, "content": text}, _IDS, _TEXTS),
    st.builds(lambda text: {"role": "system", "content": text}, _TEXTS),
)


@given(st.lists(_MESSAGES, max_size=12), st.sampled_from([0, 200, 1_200, 58_000]))
def test_the_request_after_any_conversation_is_valid(conversation: list[dict[str, Any]], budget: int) -> None:
    for body in bodies(conversation, budget):
        assert not find_faults(body, OWN_FIELDS), "a strict server refuses the request"


USER, ASSISTANT = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}


def call(name: str = "echo", id_: str = "1", **more: Any) -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": "{}"}, **more}


def asking(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": list(calls)}


def result(name: str = "echo", id_: str = "1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "name": name, "content": "r"}


VALID: list[tuple[str, list[dict[str, Any]], list[str]]] = [
    ("a whole turn", [USER, ASSISTANT, USER], ["Why?", "So.", "Why?"]),
    ("stopped before the first word", [USER, USER], ["Why?", NO_ANSWER, "Why?"]),
    ("stopped after a tool", [USER, asking(call()), result(), USER], ["Why?", "", "r", NO_ANSWER, "Why?"]),
    ("twice", [USER, USER, USER], ["Why?", NO_ANSWER, "Why?", NO_ANSWER, "Why?"]),
    ("going on after an answer", [USER, ASSISTANT], ["Why?", "So.", GO_ON]),
    ("a beginning that was cut off", [asking(call()), result(), ASSISTANT, USER], [LEFT_OUT, "", "r", "So.", "Why?"]),
    ("two answers", [USER, ASSISTANT, ASSISTANT, USER], ["Why?", "So.\n\nSo.", "Why?"]),
    ("white space", [{"role": "user", "content": " "}], [NOTHING]),
    ("an empty answer", [USER, {"role": "assistant", "content": ""}, USER], ["Why?", NO_ANSWER, "Why?"]),
]


@pytest.mark.parametrize(("what", "messages", "contents"), VALID, ids=[row[0] for row in VALID])
def test_turns_alternate_and_say_what_was_not_answered(
    what: str, messages: list[dict[str, Any]], contents: list[str]
) -> None:
    valid = make_valid(messages)
    assert [message["content"] for message in valid] == contents
    assert not find_faults({"model": "m", "messages": valid})
    assert make_valid(valid) == valid


NAMED: list[tuple[list[str], list[str]]] = [
    (["echo"], ["echo"]),
    (["browser.open"], ["browser_open"]),
    (["browser.open", "browser_open"], ["browser_open_2", "browser_open"]),
    (["browser.open", "browser open", "browser.open"], ["browser_open", "browser_open_2", "browser_open"]),
    (["fetch.page"], ["fetch_page_2"]),  # a tool that exists
    ([""], ["unnamed"]),
    (["x" * 70, "x" * 71], ["x" * 64, "x" * 56 + "_2"]),
]


@pytest.mark.parametrize(("asked_for", "sent"), NAMED)
def test_names_are_made_valid_and_stay_unlike(asked_for: list[str], sent: list[str]) -> None:
    calls = [call(name, str(number)) for number, name in enumerate(asked_for)]
    results = [result(name, str(number)) for number, name in enumerate(asked_for)]
    valid = make_valid([USER, asking(*calls), *results], {"fetch_page"})
    assert [each["function"]["name"] for each in valid[1]["tool_calls"]] == sent
    assert [message["name"] for message in valid[2:]] == sent


#: Arguments as a model wrote them, and as they are sent back.
ARGUMENTS: list[tuple[str, str]] = [
    ('{"x":  1.50}', '{"x":  1.50}'),
    ("", "{}"),
    ('{"x": "a\nb"}', '{"x": "a\\nb"}'),
    ('{"x": NaN}', '{"unreadable": "{\\"x\\": NaN}"}'),
    ('{"x": Infinity}', '{"unreadable": "{\\"x\\": Infinity}"}'),
    ('{"x": 1e999}', '{"unreadable": "{\\"x\\": 1e999}"}'),
    ('{"x": [{"y": -1E400}]}', '{"unreadable": "{\\"x\\": [{\\"y\\": -1E400}]}"}'),
    ('{"x": 18446744073709551616}', '{"unreadable": "{\\"x\\": 18446744073709551616}"}'),
    ('{"x": 1e-999}', '{"x": 1e-999}'),
    ('{"x": 1, "x": 2}', '{"x": 2}'),
    ('{"x": {"y": 1, "\\u0079": 2}}', '{"x": {"y": 2}}'),
    ('{"x": "\\ud800"}', '{"x": "\ufffd"}'),
    ('{"\\udc00": 1}', '{"\ufffd": 1}'),
    ('{"x": "\\ud83d\\ude42"}', '{"x": "\\ud83d\\ude42"}'),
    ("{\ud800", '{"unreadable": "{\ufffd"}'),
]


@pytest.mark.parametrize(("written", "sent"), ARGUMENTS)
def test_arguments_are_sent_as_json_that_every_server_reads_the_same(written: str, sent: str) -> None:
    asked = {"id": "1", "type": "function", "function": {"name": "echo", "arguments": repair_arguments(written)}}
    body = next(bodies([USER, asking(asked), result()]))
    assert not find_faults(body, OWN_FIELDS)
    (message,) = (message for message in body["messages"] if message.get("tool_calls"))
    assert message["tool_calls"][0]["function"]["arguments"] == sent


REFUSED: list[tuple[str, Mapping[str, Any]]] = [
    ("no messages", {"messages": []}),
    ("an unknown parameter", {"messages": [USER], "seed": 1}),
    ("user after user", {"messages": [USER, USER]}),
    ("user after results", {"messages": [USER, asking(call()), result(), USER]}),
    ("a system in the middle", {"messages": [USER, ASSISTANT, {"role": "system", "content": "x"}, USER]}),
    ("an assistant first", {"messages": [ASSISTANT, USER]}),
    ("an assistant last", {"messages": [USER, ASSISTANT]}),
    ("a call without result", {"messages": [USER, asking(call()), ASSISTANT, USER]}),
    ("a call without result, last", {"messages": [USER, asking(call())]}),
    ("a result without call", {"messages": [USER, result()]}),
    ("an id twice", {"messages": [USER, asking(call(), call()), result(), result()]}),
    ("a bad name", {"messages": [USER, asking(call("a.b")), result()]}),
    ("a bad name of a result", {"messages": [USER, asking(call()), result("a.b")]}),
    ("a long name", {"messages": [USER, asking(call("x" * 65)), result()]}),
    ("an unknown field", {"messages": [{**USER, "origin": 1}]}),
    ("an unknown field of a call", {"messages": [USER, asking(call(index=0)), result()]}),
    ("null", {"messages": [USER, {"role": "assistant", "content": None}, USER]}),
    ("empty", {"messages": [{"role": "user", "content": " "}]}),
    ("no calls", {"messages": [USER, asking(), USER]}),
    *(
        (
            f"arguments {text}",
            {"messages": [USER, asking({**call(), "function": {"name": "e", "arguments": text}}), result()]},
        )
        for text in (
            "",
            "{",
            "[]",
            "null",
            '{"a": NaN}',
            '{"a": 1e999}',
            '{"a": 1, "a": 2}',
            '{"a": "\\ud800"}',
            '{"a": "b\nc"}',
        )
    ),
    ("a tool of a bad name", {"messages": [USER], "tools": [{"type": "function", "function": {"name": "a b"}}]}),
    ("no tools", {"messages": [USER], "tools": []}),
    ("options of no stream", {"messages": [USER], "stream_options": {}}),
]


@pytest.mark.parametrize(("what", "body"), REFUSED, ids=[row[0] for row in REFUSED])
def test_the_judge_refuses(what: str, body: Mapping[str, Any]) -> None:
    assert find_faults({"model": "m", **body})


def test_the_judge_takes_a_whole_conversation() -> None:
    tools = [{"type": "function", "function": {"name": "echo"}}]
    messages = [
        {"role": "system", "content": "You."},
        USER,
        asking(call(), call(id_="2")),
        result(id_="2"),
        result(),
        ASSISTANT,
        USER,
    ]
    assert not find_faults({"model": "m", "messages": messages, "tools": tools, "stream": True, "stream_options": {}})
    back = [USER, {**asking(call(extra_content=1)), "reasoning_content": "Hm."}, result()]
    assert not find_faults({"model": "m", "messages": back}, {"reasoning_content", "extra_content"})
    assert json.dumps(back)
