"""What a reader keeps of the events of an answer never changes what it reads from the next."""

import json
import re
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.models.text_chunks import TextReader

#: Values as they stand where a text is expected; the last ones make something else of the event.
VALUES = (
    b'" word"',
    b'"\\"}}]}\\n\\ndata: "',
    b'"\\u4f60"',
    b'"\xe4\xbd\xa0"',
    b'"{\\"content\\":\\"x\\"}"',
    b'""',
    b"null",
    b"7",
    b'["a"]',
    b"",
    b'"a","b"',
    b'"a"},"finish_reason":"stop","more":{"of":"it"',
    b'"a","role":"user"',
    b'"a","reasoning_content":"b"',
    b'"a"}}]}\n\ndata: {"choices":[{"index":0,"delta":{"content":"b"',
)
ENVELOPES = (
    b'data: {"id":"1","choices":[{"index":0,"delta":{"content":%b}}]}\n\n',
    b'data: {"id":"1","choices":[{"index":0,"delta":{"content": %b},"finish_reason":null}],"usage":null}\n\n',
    b'data:{"id":"1","choices":[{"index":0,"delta":{"reasoning_content":%b}}]}\n\n',
    b'data: {"id":"1","choices":[{"index":1,"delta":{"content":%b}}]}\n\n',
    b'data: {"id":"1","choices":[{"index":0,"delta":{"content":%b},"finish_reason":"stop"}]}\n\n',
    b'data: {"id":"1","choices":[{"index":0,"delta":{"content":%b}}],"usage":{"total_tokens":3}}\n\n',
    b'data: {"content":"x","choices":[{"index":0,"delta":{"cont\\u0065nt":%b}}]}\n\n',
    b'data: {"content":"x","choices":[{"index":0,"delta":{"content":%b}}]}\n\n',
    b'data: {"error":"x","choices":[{"index":0,"delta":{"content":%b}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":%b}}]}\n',
)
EVENTS = st.builds(lambda envelope, value: envelope % value, st.sampled_from(ENVELOPES), st.sampled_from(VALUES))


def chunk(text: str, **more: Any) -> bytes:
    event = {"id": "1", **more, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


@given(st.lists(st.lists(EVENTS, min_size=1, max_size=4).map(b"".join), max_size=8), st.sampled_from((0, 1)))
def test_the_same_is_read_as_by_a_reader_that_has_kept_nothing(pieces: list[bytes], choice: int) -> None:
    reader = TextReader()
    assert [reader.read(piece, choice) for piece in pieces] == [TextReader().read(piece, choice) for piece in pieces]


@given(st.lists(st.text(min_size=1), min_size=1, max_size=6))
def test_any_text_is_read_whole(texts: list[str]) -> None:
    reader = TextReader()
    events = b"".join(map(chunk, texts))
    assert [reader.read(events, 0) for _ in range(2)] == [("content", "".join(texts))] * 2


@pytest.mark.parametrize("changed", [True, False], ids=["another_time_each_time", "one_time"])
def test_only_the_text_is_parsed_where_nothing_else_differs(monkeypatch: pytest.MonkeyPatch, *, changed: bool) -> None:
    reader, created = TextReader(), count()
    reader.read(chunk("a", created=0), 0)
    parsed = []
    loads = json.loads
    monkeypatch.setattr("agents.models.text_chunks.orjson.loads", lambda data: parsed.append(data) or loads(data))
    for _ in range(20):
        assert reader.read(chunk("word", created=next(created) if changed else 0), 0) == ("content", "word")
    kept = [data for data in parsed if data == b'["word"]']
    assert len(kept) == (1 if changed else 20), "a time of 0 was kept"
    # What differs each time is soon no longer looked for.
    assert sum(bool(re.fullmatch(rb'"\w+"', data)) for data in parsed) == (8 if changed else 0)
