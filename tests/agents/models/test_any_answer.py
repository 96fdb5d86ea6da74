"""Whatever bytes a model server sends: steps, or one clear error of the model; never an internal error, nor a part taken for the whole."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from agents.arguments import describe_fault, repair_arguments
from agents.text import json_object
from tests.agents.models.test_transcripts import TRANSCRIPTS
from tests.agents.models.wire.transcript import body, result_of

_BODIES = st.sampled_from([data for data, _ in TRANSCRIPTS.values()])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "choices",
                        "delta",
                        "message",
                        "content",
                        "reasoning_content",
                        "reasoning_details",
                        "refusal",
                        "usage",
                    ),
                    *(
                        "tool_calls",
                        "function",
                        "function_call",
                        "name",
                        "arguments",
                        "id",
                        "index",
                        "finish_reason",
                        "error",
                    ),
                    *(
                        "type",
                        "text",
                        "thinking",
                        "code",
                        "object",
                        "detail",
                        "x_groq",
                        "prompt_tokens",
                        "base_resp",
                        "status",
                    ),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
_CHUNKS = st.builds(lambda delta, reason: {"choices": [{"delta": delta, "finish_reason": reason}]}, _JSON, _JSON)


def check(pieces: list[bytes]) -> list[str]:
    """Read them, and check the result."""
    lines = result_of(pieces)
    failures = [line for line in lines if line.startswith("fails: ")]
    assert len(failures) == (lines[-1:] == failures[-1:] != [])
    if failures:
        assert failures[0][7].isupper()
        assert len(failures[0]) < 500
    else:
        assert lines[-1].startswith(("answer: ", "call: ", "thought: "))
    return lines


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes(pieces: list[bytes]) -> None:
    check(pieces)


@given(
    _BODIES,
    st.lists(
        st.tuples(
            st.integers(0, 600),
            st.integers(0, 30),
            st.binary(max_size=6) | st.sampled_from([b"\r", b"\n\n", b"data:", b"<think>"]),
        )
    ),
    st.integers(0, 600),
)
def test_any_bytes_within_what_servers_send(data: bytes, changes: list[tuple[int, int, bytes]], cut: int) -> None:
    for at, length, put in changes:
        data = data[:at] + put + data[at + length :]
    assert check([data[:cut], data[cut:]]) == check([data])


@given(st.lists(_JSON | _CHUNKS, max_size=5), st.booleans())
@example([{"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "python"}}, {"id": "a"}]}}]}], True)
def test_any_json(chunks: list[object], done: bool) -> None:
    events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    check([body(*events, done=done)])
    check([json.dumps(chunks).encode()])


@given(_BODIES, st.integers(0, 2_000))
def test_a_stream_that_is_cut_is_never_whole(data: bytes, cut: int) -> None:
    """Unless it has already sent a finish reason, or the end of the stream."""
    part = data[:cut]
    lines = check([part])
    if (
        b"finish_reason" not in part
        and b"DONE" not in part.upper()
        and part.lstrip(b"\xef\xbb\xbf\n ")[:1] not in (b"{", b"[")
    ):
        assert lines[-1].startswith("fails: ")


@given(st.text(st.sampled_from('{}[]":,\\ 1aNn`') | st.characters(), max_size=40) | st.builds(json.dumps, _JSON))
def test_any_arguments_are_repaired_once_and_told_of(raw: str) -> None:
    once = repair_arguments(raw)
    assert repair_arguments(once) == once
    if json_object(raw, None) is not None and raw.strip():
        assert once == raw
    words = describe_fault(raw)
    assert words.endswith("Nothing was run.")
    assert len(words) < 300
