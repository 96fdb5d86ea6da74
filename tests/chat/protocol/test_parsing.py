"""Commands parsed from anything that a client may send; text and JSON as both databases and every browser accept them."""

import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.text import is_clean
from chat import protocol
from chat.protocol import Ack, BadFrame, Cancel, Chat, Continue, Ping, Resume, parse_command


@pytest.mark.parametrize(
    ("frame", "command"),
    [
        ({"type": "chat", "payload": {"message": "hi"}}, Chat(message="hi")),
        (
            {"type": "chat", "payload": {"message": "hi", "enable_reasoning": False, "agent_name": "writer", "new": 1}},
            Chat(message="hi", enable_reasoning=False, agent_name="writer"),
        ),
        ({"type": "cancel"}, Cancel()),
        ({"type": "cancel", "payload": {"all": True}}, Cancel(all=True)),
        ({"type": "continue", "payload": {"run_id": "x"}}, Continue(run_id="x")),
        ({"type": "resume", "payload": {"last_seq": 7, "last_id": "x"}}, Resume(last_seq=7, last_id="x")),
        ({"type": "ack", "payload": {"seq": 3}}, Ack(seq=3)),
        ({"type": "ping", "payload": {}}, Ping()),
        ({"type": "ping", "payload": None}, Ping()),
    ],
)
def test_commands(frame: Any, command: Any) -> None:
    assert parse_command(json.dumps(frame)) == command


def test_unknown_fields_of_a_command_are_ignored() -> None:
    """A megabyte of small values blocks the loop no longer than parsing their JSON takes."""
    text = '{"type":"chat","payload":{"message":"x","more":[' + "0," * 500_000 + "0]}}"

    def cpu_s(work: Callable[[str], Any]) -> float:
        began = time.thread_time()
        work(text)
        return time.thread_time() - began

    assert parse_command(text) == Chat(message="x")
    assert min(cpu_s(parse_command) for _ in range(5)) < 1.5 * min(cpu_s(protocol.load_json) for _ in range(5)) + 0.001


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "bad_json"),
        ("{", "bad_json"),
        ("[" * 100_000, "bad_json"),
        ('{"type":"chat","payload":{"message":NaN}}', "bad_json"),
        ('{"a":' + "9" * 5_000 + "}", "bad_json"),
        ("[]", "bad_frame"),
        ("null", "bad_frame"),
        ('"chat"', "bad_frame"),
        ("{}", "bad_frame"),
        ('{"type":null}', "bad_frame"),
        ('{"type":["chat"]}', "bad_frame"),
        ('{"type":"chat","payload":[]}', "bad_frame"),
        ('{"type":"chat","payload":"hi"}', "bad_frame"),
        ('{"type":"chat","payload":{}}', "bad_frame"),
        ('{"type":"chat","payload":{"message":1}}', "bad_frame"),
        ('{"type":"chat","payload":{"message":null}}', "bad_frame"),
        ('{"type":"chat","payload":{"message":"x","enable_reasoning":"yes"}}', "bad_frame"),
        ('{"type":"chat","payload":{"message":"x","enable_reasoning":1}}', "bad_frame"),
        ('{"type":"chat","payload":{"message":"x","client_message_id":""}}', "bad_frame"),
        ('{"type":"chat","payload":{"message":"x","client_message_id":"' + "y" * 65 + '"}}', "bad_frame"),
        ('{"type":"ack","payload":{"seq":-1}}', "bad_frame"),
        ('{"type":"ack","payload":{"seq":true}}', "bad_frame"),
        ('{"type":"ack","payload":{"seq":1.5}}', "bad_frame"),
        ('{"type":"ack","payload":{}}', "bad_frame"),
        ('{"type":"continue","payload":{}}', "bad_frame"),
        ('{"type":"cancel","payload":{"all":"yes"}}', "bad_frame"),
        ('{"type":"dance"}', "unknown_type"),
        ('{"type":"__proto__"}', "unknown_type"),
        (r'{"type":"\ud800"}', "unknown_type"),
        (r'{"type":"chat","payload":{"message":"a\u0000b"}}', "bad_text"),
        (r'{"type":"chat","payload":{"message":"a\ud800b"}}', "bad_text"),
        (r'{"type":"chat","payload":{"message":"a","agent_name":"\udc00"}}', "bad_text"),
    ],
)
def test_bad_frames_have_a_code_and_words(text: str, code: str) -> None:
    with pytest.raises(BadFrame) as refused:
        parse_command(text)
    assert refused.value.code == code
    assert refused.value.message.endswith(".")
    refused.value.message.encode()


def test_a_bad_chat_is_answered_under_its_own_identifier() -> None:
    with pytest.raises(BadFrame) as refused:
        parse_command('{"type":"chat","payload":{"message":7,"client_message_id":"m1"}}')
    assert refused.value.client_message_id == "m1"


def outcome(text: str) -> str:
    """What a text is parsed as: a command, or the code of its error."""
    try:
        parse_command(text)
    except BadFrame as refused:
        return refused.code
    return "command"


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda data: data.decode("latin1")))
def test_any_text_is_a_command_or_a_bad_frame(text: str) -> None:
    assert outcome(text) in {"command", *protocol.ERROR_CODES}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from([*protocol.COMMANDS, "other"]), json_values)
def test_any_payload_is_a_command_or_a_bad_frame(kind: str, payload: Any) -> None:
    assert outcome(json.dumps({"type": kind, "payload": payload})) in {"command", *protocol.ERROR_CODES}


any_text = st.text(st.characters(exclude_categories=()), max_size=60)


def strings(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


@given(
    st.dictionaries(any_text, st.recursive(any_text | st.floats() | st.integers(), st.lists, max_leaves=8), max_size=5)
)
def test_stored_json_is_valid_for_both_databases_and_browsers(data: dict[str, Any]) -> None:
    body = protocol.clean_json(data)
    body.encode()
    assert "\x00" not in body

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for text in strings(json.loads(body, parse_constant=refuse)):
        assert is_clean(text)


def test_clean_data_is_stored_as_it_is() -> None:
    data = {"text": "Zürich 天氣 🙂", "list": [1, 2.5, None, True], "nested": {"a": "\\u0000"}}
    assert json.loads(protocol.clean_json(data)) == data


def test_characters_that_cannot_be_stored_are_replaced() -> None:
    data = {"nul": "a\x00b", "lone": "a\ud800b", "pair": "🙂", "nan": math.nan, "inf": -math.inf, "big": 10**40}
    assert json.loads(protocol.clean_json(data)) == {
        "nul": "a\ufffdb",
        "lone": "a\ufffdb",
        "pair": "🙂",
        "nan": None,
        "inf": None,
        "big": 10**40,
    }


def test_nesting_without_end_is_cut() -> None:
    deep: Any = "x"
    for _ in range(5_000):
        deep = [deep]
    assert "…" in protocol.clean_json({"arguments": deep})


def test_a_stored_frame_is_the_json_a_client_gets() -> None:
    event_id, run_id = uuid4(), uuid4()
    frame = protocol.stored_frame("reasoning_step", 7, event_id, run_id, '{"type":"thought"}')
    assert json.loads(frame) == {
        "type": "reasoning_step",
        "seq": 7,
        "id": str(event_id),
        "run_id": str(run_id),
        "data": {"type": "thought"},
    }
