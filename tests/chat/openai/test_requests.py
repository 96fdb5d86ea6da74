"""Bodies of requests: what they ask for, errors that name their field, and which conversations are the same."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.openai.conversations import Message, conversation_of, digest_of, image_bytes
from chat.openai.failures import Failure
from chat.openai.requests import parse_completion, parse_response, read_body
from tests.agents.untrusted.linear import assert_linear

PIXEL = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()


def user(content: Any = "Hello") -> dict[str, Any]:
    return {"role": "user", "content": content}


def chat(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"model": "researcher", "messages": list(messages) or [user()], **more}


def response(given_input: Any = "Hello", **more: Any) -> dict[str, Any]:
    return {"model": "researcher", "input": given_input, **more}


def test_texts_after_one_another_are_joined_in_linear_time() -> None:
    def parse(text: str) -> None:
        answers = [Message("assistant", "a" * 2_000) for _ in text]
        parsed = conversation_of([Message("user", "q"), *answers, Message("user", "q")], (), "messages")
        assert len(parsed.earlier) == 2

    assert_linear(parse, "." * 8_000)


def test_a_whole_conversation_is_read() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, "index": 0}
    parsed = parse_completion(
        chat(
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "In rhyme."}]},
            user(
                [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}]
            ),
            {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "Hm"},
            {"role": "tool", "content": "42", "tool_call_id": "c"},
            {"role": "assistant", "content": "Seen.", "refusal": None, "audio": None},
            user("And now?"),
            stream=True,
            stream_options={"include_usage": True},
            metadata={"session_id": "s", "more": "x"},
            temperature=0.1,
            seed=7,
            max_tokens=5,
            user="u",
            tools=[],
            n=1,
            stop=None,
            response_format={"type": "text"},
            logprobs=False,
            parallel_tool_calls=True,
        )
    )
    assert parsed.conversation.instructions == "Be brief.\n\nIn rhyme."
    known = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert parsed.conversation.earlier == (
        Message("user", "Look", (PIXEL,)),
        Message("assistant", "", calls=(known,)),
        Message("tool", "42", call_id="c"),
        Message("assistant", "Seen."),
    )
    assert parsed.conversation.asked == Message("user", "And now?")
    assert (parsed.stream, parsed.with_usage, parsed.session_id) == (True, True, "s")


def test_the_items_of_a_response_are_read() -> None:
    parsed = parse_response(
        response(
            [
                {"role": "system", "content": "In rhyme."},
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "One?"}]},
                {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me look."}]},
                {"type": "thinkaloud:tool_call", "id": "t", "name": "python", "arguments": "{}", "output": "1"},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "One."}]},
                {
                    "role": "user",
                    "content": [{"type": "input_image", "image_url": PIXEL}, {"type": "input_text", "text": "Two?"}],
                },
            ],
            instructions="Be brief.",
            store=True,
            text={"format": {"type": "text"}},
        )
    )
    assert parsed.conversation.instructions == "Be brief.\n\nIn rhyme."
    assert parsed.conversation.earlier == (Message("user", "One?"), Message("assistant", "Let me look.\n\nOne."))
    assert parsed.conversation.asked == Message("user", "Two?", (PIXEL,))


ASSISTANT = {"role": "assistant", "content": "Yes"}
#: Refused bodies, and the field that the error names. A further one is one line.
REFUSED: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "no messages": ({"model": "researcher"}, "messages", "bad_frame"),
    "messages that are none": ({"model": "researcher", "messages": "hi"}, "messages", "bad_frame"),
    "an empty list": ({"model": "researcher", "messages": []}, "messages", "bad_frame"),
    "no model": ({"messages": [user()]}, "model", "bad_frame"),
    "a model that is no text": ({"messages": [user()], "model": 7}, "model", "bad_frame"),
    "a model of NUL": ({"messages": [user()], "model": "\0"}, "model", "bad_frame"),
    "a message that is none": (chat("hi"), "messages[0]", "bad_frame"),
    "a message without a role": (chat({"content": "hi"}), "messages[0].role", "bad_frame"),
    "an unknown role": (chat({"role": "king", "content": "hi"}), "messages[0].role", "bad_frame"),
    "a role that is none": (chat({"role": ["user"], "content": "hi"}), "messages[0].role", "bad_frame"),
    "only what instructs": (chat({"role": "system", "content": "hi"}), "messages", "bad_frame"),
    "the assistant last": (chat(user(), ASSISTANT), "messages", "bad_frame"),
    "a number as content": (chat(user(7)), "messages[0].content", "bad_frame"),
    "an object as content": (chat(user({"text": "hi"})), "messages[0].content", "bad_frame"),
    "a part that is none": (chat(user(["hi"])), "messages[0].content[0]", "bad_frame"),
    "a part without a text": (chat(user([{"type": "text"}])), "messages[0].content[0]", "bad_frame"),
    "a text in a text": (chat(user([{"type": "text", "text": {"text": "hi"}}])), "messages[0].content[0]", "bad_frame"),
    "NUL": (chat(user("a\0b")), "messages[0].content", "bad_text"),
    "half a pair": (chat(user("a\ud800b")), "messages[0].content", "bad_text"),
    "sound": (
        chat(user([{"type": "input_audio", "input_audio": {}}])),
        "messages[0].content[0]",
        "unsupported_parameter",
    ),
    "a file": (chat(user([{"type": "file", "file": {}}])), "messages[0].content[0]", "unsupported_parameter"),
    "an image of the network": (
        chat(user([{"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}])),
        "messages[0].content[0].image_url",
        "unsupported_parameter",
    ),
    "an image of the machine": (
        chat(user([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}])),
        "messages[0].content[0].image_url",
        "unsupported_parameter",
    ),
    "data that is no image": (
        chat(user([{"type": "image_url", "image_url": {"url": "data:text/html;base64,PGI+"}}])),
        "messages[0].content[0].image_url",
        "unsupported_parameter",
    ),
    "an image without an address": (
        chat(user([{"type": "image_url", "image_url": {}}])),
        "messages[0].content[0].image_url",
        "bad_frame",
    ),
    "calls that are none": (chat({**ASSISTANT, "tool_calls": "x"}, user()), "messages[0].tool_calls", "bad_frame"),
    "a call that is none": (chat({**ASSISTANT, "tool_calls": [{}]}, user()), "messages[0].tool_calls[0]", "bad_frame"),
    "a call without a name": (
        chat({**ASSISTANT, "tool_calls": [{"id": "c", "function": {}}]}, user()),
        "messages[0].tool_calls[0].function.name",
        "bad_frame",
    ),
    "tools": (chat(tools=[{"type": "function"}]), "tools", "unsupported_parameter"),
    "functions": (chat(functions=[{}]), "functions", "unsupported_parameter"),
    "a forced tool": (chat(tool_choice="required"), "tool_choice", "unsupported_parameter"),
    "two choices": (chat(n=2), "n", "unsupported_parameter"),
    "no choice": (chat(n=0), "n", "unsupported_parameter"),
    "a choice that is none": (chat(n=True), "n", "unsupported_parameter"),
    "stop": (chat(stop=["x"]), "stop", "unsupported_parameter"),
    "a format": (chat(response_format={"type": "json_object"}), "response_format", "unsupported_parameter"),
    "probabilities": (chat(logprobs=True), "logprobs", "unsupported_parameter"),
    "top probabilities": (chat(top_logprobs=3), "top_logprobs", "unsupported_parameter"),
    "speech": (chat(modalities=["text", "audio"]), "modalities", "unsupported_parameter"),
    "a stream that is no yes or no": (chat(stream="yes"), "stream", "bad_frame"),
    "options that are none": (chat(stream_options=[]), "stream_options", "bad_frame"),
    "metadata that is none": (chat(metadata=[]), "metadata", "bad_frame"),
    "metadata that is no text": (chat(metadata={"a": 1}), "metadata", "bad_frame"),
    "much metadata": (chat(metadata={str(n): "" for n in range(17)}), "metadata", "bad_frame"),
    "long metadata": (chat(metadata={"a": "x" * 513}), "metadata", "bad_frame"),
    "no input": ({"model": "researcher"}, "input", "bad_frame"),
    "an input that is none": (response(7), "input", "bad_frame"),
    "an empty input": (response([]), "input", "bad_frame"),
    "an item that is none": (response(["hi"]), "input[0]", "unsupported_parameter"),
    "a reference": (response([{"type": "item_reference", "id": "x"}]), "input[0]", "unsupported_parameter"),
    "not to be stored": (response(store=False), "store", "unsupported_parameter"),
    "in the background": (response(background=True), "background", "unsupported_parameter"),
    "a conversation": (response(conversation="c"), "conversation", "unsupported_parameter"),
    "a format of text": (response(text={"format": {"type": "json_schema"}}), "text.format", "unsupported_parameter"),
    "instructions that are no text": (response(instructions=["x"]), "instructions", "bad_frame"),
    "an id that is no text": (response(previous_response_id=7), "previous_response_id", "bad_frame"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_field_is_named(name: str) -> None:
    body, param, code = REFUSED[name]
    read = parse_response if "input" in body or name == "no input" else parse_completion
    with pytest.raises(Failure) as refused:
        read(body)
    assert (refused.value.status, refused.value.param, refused.value.code) == (400, param, code)
    assert refused.value.body()["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b"7", b'"x"', b"\xff\xfe", b"{" * 5_000, b'{"a":' * 5_000, b'{"a":NaN}', b"\x00"]
)
def test_a_body_that_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(Failure) as refused:
        read_body(raw)
    assert refused.value.status == 400


ONE = [Message("user", "One?"), Message("assistant", "One.")]
#: Whether a conversation is the one of `ONE`.
SAME: dict[str, tuple[list[Message], bool]] = {
    "the same": (list(ONE), True),
    "white space at the ends": ([Message("user", " One?\n"), Message("assistant", "One. ")], True),
    "another word": ([ONE[0], Message("assistant", "Two.")], False),
    "another case": ([ONE[0], Message("assistant", "one.")], False),
    "one message less": (ONE[:1], False),
    "one message more": ([*ONE, ONE[0]], False),
    "another order": (ONE[::-1], False),
    "other roles": ([Message("user", "One?"), Message("user", "One.")], False),
    "in one message": ([Message("user", "One?One.")], False),
    "a picture": ([Message("user", "One?", (PIXEL,)), ONE[1]], False),
}


@pytest.mark.parametrize("name", SAME)
def test_which_conversation_is_the_same(name: str) -> None:
    messages, is_same = SAME[name]
    assert (digest_of(messages) == digest_of(ONE)) is is_same


def test_an_image_that_is_no_base64_is_refused() -> None:
    assert image_bytes(PIXEL) == b"\x89PNG"
    with pytest.raises(Failure):
        image_bytes("data:image/png;base64,%%%")


LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.just(PIXEL)
JSON = st.recursive(
    LEAF | st.sampled_from(["user", "assistant", "tool", "text", "image_url", "message", "function_call"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "type", "text", "image_url", "url", "tool_calls", "function", "name", "output"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
FIELDS = [
    "model",
    "messages",
    "input",
    "stream",
    "stream_options",
    "metadata",
    "tools",
    "n",
    "store",
    "instructions",
    "text",
]


@settings(max_examples=300, deadline=None)
@given(body=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6))
def test_any_body_is_read_or_refused(body: dict[str, Any]) -> None:
    for read in (parse_completion, parse_response):
        try:
            read(read_body(json.dumps(body).encode()))
        except Failure as failure:
            assert failure.status == 400  # noqa: PT017 - one that is read is as well
