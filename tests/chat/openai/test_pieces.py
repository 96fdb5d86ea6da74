"""Frames are turned into chunks and events: without a server, and each text once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from chat.openai import completions, responses
from chat.openai.completions import CompletionStream
from chat.openai.pieces import AnswerParts, PieceReader
from chat.openai.responses import Asked, Output, ResponseStream
from tests.chat.openai.frames import (
    OTHER,
    RUN,
    Frame,
    answer,
    call,
    delta,
    ended,
    failed,
    result,
    step,
    thought,
)

CALL = '→ python {"code":"6*7"}'


@dataclass(frozen=True)
class Case:
    """A run's frames, and what a client of the stream has in the end."""

    frames: Sequence[Frame]
    content: Sequence[str]
    reasoning: Sequence[str] = ()
    finish: str = "stop"
    differing_answer: bool = False


TOOL = [call(2, "a", "python", {"code": "6*7"}), result(3, "a", "python", "42")]
CASES = {
    "an answer": Case(
        [delta(1, "final_answer", 0, "It"), delta(1, "final_answer", 2, " is"), answer(1, "It is.")], ["It is."]
    ),
    "an answer that did not grow": Case([answer(1, "It is.")], ["It is."]),
    "an empty answer": Case([answer(1, "")], []),
    "a thought first": Case(
        [delta(1, "thought", 0, "Hm"), thought(1, "Hm."), delta(2, "final_answer", 0, "Yes"), answer(2, "Yes")],
        ["Yes"],
        ["Hm."],
    ),
    "two thoughts": Case([thought(1, "One."), thought(2, "Two."), answer(3, "Yes")], ["Yes"], ["One.", "Two."]),
    "tools": Case([thought(1, "Hm."), *TOOL, answer(4, "42")], ["42"], ["Hm.", CALL, "← python 42"]),
    "arguments that are no JSON": Case([call(1, "a", "python", "{"), answer(2, "no")], ["no"], ["→ python {"]),
    "a tool that fails": Case(
        [TOOL[0], result(3, "a", "python", "stopped", ok=False), answer(4, "no")],
        ["no"],
        [CALL, "← python failed: stopped"],
    ),
    "a long result": Case(
        [TOOL[0], result(3, "a", "python", "4" * 9, truncated=True), answer(4, "x")],
        ["x"],
        [CALL, f"← python {'4' * 9}…"],
    ),
    "two calls at once": Case(
        [
            call(1, "a", "x", {}),
            call(2, "b", "y", {}),
            result(3, "b", "y", "1"),
            result(4, "a", "x", "2"),
            answer(5, "3"),
        ],
        ["3"],
        ["→ x {}", "→ y {}", "← y 1", "← x 2"],
    ),
    "arguments and results that grow": Case(
        [delta(1, "tool_use", 0, '{"co'), *TOOL, delta(4, "tool_result", 0, "…"), answer(5, "42")],
        ["42"],
        [CALL, "← python 42"],
    ),
    "text that turns out to be a thought": Case(
        [delta(1, "final_answer", 0, "Let me"), thought(1, "Let me look."), *TOOL, answer(4, "42")],
        ["Let me look.", "42"],
        [CALL, "← python 42"],
        differing_answer=True,
    ),
    "text that turns into a thought while it grows": Case(
        [
            delta(1, "final_answer", 0, "So"),
            delta(1, "thought", 0, "So I think", 2),
            thought(1, "So I think."),
            answer(2, "Yes"),
        ],
        ["So", "Yes"],
        [" I think."],
        differing_answer=True,
    ),
    "a text begun anew": Case(
        [delta(1, "final_answer", 0, "Wro"), delta(1, "final_answer", 0, "Right", 2), answer(1, "Right.")],
        ["Wro", "Right."],
        differing_answer=True,
    ),
    "a text begun anew that goes on from what was told": Case(
        [delta(1, "final_answer", 0, "Ri"), delta(1, "final_answer", 0, "Right", 2), answer(1, "Right.")], ["Right."]
    ),
    "a step that is stored after the next one has begun": Case(
        [
            delta(1, "thought", 0, "Hm"),
            delta(2, "final_answer", 0, "Y"),
            thought(1, "Hm."),
            delta(2, "final_answer", 1, "es"),
            answer(2, "Yes."),
        ],
        ["Yes."],
        ["Hm."],
    ),
    "a result that is stored after the next step has begun": Case(
        [
            call(1, "a", "x", {}),
            delta(3, "thought", 0, "So"),
            result(2, "a", "x", "1"),
            thought(3, "So."),
            answer(4, "1"),
        ],
        ["1"],
        ["→ x {}", "← x 1", "So."],
    ),
    "a step that never was": Case(
        [delta(1, "thought", 0, "Hm"), call(1, "a", "x", {}), result(2, "a", "x", "1"), answer(3, "1")],
        ["1"],
        ["Hm", "→ x {}", "← x 1"],
    ),
    "a whole text again": Case(
        [delta(1, "final_answer", 0, "Yes"), delta(1, "final_answer", 0, "Yes"), answer(1, "Yes")], ["Yes"]
    ),
    "an older text late": Case(
        [delta(1, "final_answer", 0, "Yes."), delta(1, "final_answer", 0, "Ye"), answer(1, "Yes.")], ["Yes."]
    ),
    "a lower attempt late": Case(
        [delta(1, "final_answer", 0, "Yes", 2), delta(1, "final_answer", 0, "No", 1), answer(1, "Yes")], ["Yes"]
    ),
    "growth beyond what is known": Case([delta(1, "final_answer", 5, "lost"), answer(1, "It is lost")], ["It is lost"]),
    "growth in UTF-16": Case(
        [delta(1, "final_answer", 0, "🦜"), delta(1, "final_answer", 2, "!"), answer(1, "🦜!?")], ["🦜!?"]
    ),
    "white space that is not stored": Case([delta(1, "final_answer", 0, "Yes \n"), answer(1, "Yes")], ["Yes \n"]),
    "a stored text that is another one": Case(
        [delta(1, "final_answer", 0, "Yes"), answer(1, "No")], ["Yes", "No"], differing_answer=True
    ),
    "other runs": Case(
        [
            answer(1, "theirs", OTHER),
            delta(1, "final_answer", 0, "theirs", run_id=OTHER),
            ended(run_id=OTHER),
            answer(1, "ours"),
        ],
        ["ours"],
    ),
    "the limit of model calls": Case(
        [thought(1, "Hm."), *TOOL, ended("max_iterations")], [], ["Hm.", CALL, "← python 42"], "length"
    ),
    "a spent budget": Case(
        [answer(1, "So far"), failed("budget_exceeded", "Spent."), ended("failed", code="budget_exceeded")],
        ["So far"],
        finish="length",
    ),
    "steps that are none of these": Case(
        [step("iteration_start", 0), answer(1, "Yes"), step("complete", 0, total_iterations=1)][1:2], ["Yes"]
    ),
}
#: How a run ends without an answer: its last frames, and the code and text that the client gets.
FAILURES = {
    "failed": (
        [failed("model_timeout", "The model was silent."), ended("failed", code="model_timeout")],
        "model_timeout",
        "The model was silent.",
    ),
    "cancelled": ([ended("cancelled", cancelled_by="bo")], "cancelled", "The run was stopped."),
    "interrupted": ([ended("interrupted")], "interrupted", "The run was interrupted"),
}


def whole(case: Case) -> list[Frame]:
    frames = list(case.frames)
    return (
        frames if frames[-1].get("run_id") == RUN and frames[-1]["type"] == "reasoning_complete" else [*frames, ended()]
    )


def events(body: bytes) -> list[dict[str, Any]]:
    """The events of a stream, which is checked to end correctly."""
    assert body.endswith(b"data: [DONE]\n\n")
    sent = []
    for block in body.decode().split("\n\n")[:-2]:
        name, _, data = block.rpartition("data: ")
        sent.append(json.loads(data))
        assert name in ("", f"event: {sent[-1].get('type')}\n")
    return sent


@pytest.mark.parametrize("name", CASES)
def test_completion_chunks(name: str) -> None:
    case = CASES[name]
    stream = CompletionStream(RUN, "researcher", 5, with_usage=True)
    chunks = events(stream.begin() + b"".join(map(stream.render, whole(case))))
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert "".join(delta.get("content", "") for delta in deltas) == "\n\n".join(case.content)
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "\n\n".join(case.reasoning)
    assert deltas[0]["role"] == "assistant"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [*[None] * (len(chunks) - 2), case.finish]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 14
    assert stream.is_over
    assert stream.differing_answer == ("\n\n".join(case.content) if case.differing_answer else "")


def test_usage_is_told_only_where_it_is_wanted() -> None:
    stream = CompletionStream(RUN, "researcher", 5)
    chunks = events(stream.begin() + stream.render(answer(1, "Yes")) + stream.render(ended()))
    assert [chunk.get("usage") for chunk in chunks] == [None] * 3
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


@pytest.mark.parametrize("name", CASES)
def test_response_events(name: str) -> None:
    case = CASES[name]
    stream = ResponseStream(Asked(RUN, "researcher", 5))
    sent = events(stream.begin() + b"".join(map(stream.render, whole(case))))
    assert [event["sequence_number"] for event in sent] == list(range(len(sent)))
    for event in sent:
        if "thinkaloud:" not in str(event):
            EVENT.validate_python(event)
    last = sent[-1]["response"]
    assert last["status"] == ("completed" if case.finish == "stop" else "incomplete")
    assert_built(sent, last["output"])
    texts = [item["content"][0]["text"] for item in last["output"] if item["type"] == "message"]
    assert texts == list(case.content)
    assert stream.differing_answer == ("\n\n".join(case.content) if case.differing_answer else "")


def assert_built(events: Sequence[dict[str, Any]], output: Sequence[dict[str, Any]]) -> None:
    """Check that what a client assembles from the events equals the last event."""
    built: dict[int, dict[str, Any]] = {}
    growing: dict[str, str] = {}
    for event in events:
        match event["type"]:
            case "response.output_item.added":
                assert event["output_index"] == len(built)
                built[event["output_index"]] = event["item"]
            case "response.output_text.delta" | "response.reasoning_text.delta":
                growing[event["item_id"]] = growing.get(event["item_id"], "") + event["delta"]
            case "response.output_text.done" | "response.reasoning_text.done":
                assert growing[event["item_id"]] == event["text"]
            case "response.output_item.done":
                assert event["item"]["id"] == built[event["output_index"]]["id"]
                built[event["output_index"]] = event["item"]
    assert list(built.values()) == list(output)


def test_a_tool_call_is_an_item_of_its_own() -> None:
    output = Output(RUN)
    reader = PieceReader(RUN)
    for frame in [
        *TOOL,
        result(4, "a", "python", "42"),
        call(5, "b", "fetch_page", {}),
        result(6, "b", "fetch_page", "no", ok=False),
    ]:
        for piece in reader.read_frame(frame):
            output.add(piece)
    assert [(item["name"], item["arguments"], item["status"], item["output"]) for item in output.items] == [
        ("python", '{"code":"6*7"}', "completed", "42"),
        ("fetch_page", "{}", "failed", "no"),
    ]


@pytest.mark.parametrize("end", FAILURES)
def test_a_run_without_an_answer_is_an_error(end: str) -> None:
    frames, code, words = FAILURES[end]
    chunks = CompletionStream(RUN, "researcher", 5)
    (error,) = events(b"".join(map(chunks.render, frames)))
    assert error["error"]["code"] == code
    assert error["error"]["message"].startswith(words)
    stream = ResponseStream(Asked(RUN, "researcher", 5))
    sent = events(b"".join(map(stream.render, frames)))
    assert [event["type"] for event in sent] == ["error", "response.failed"]
    assert sent[0]["error"]["code"] == sent[0]["code"] == sent[1]["response"]["error"]["code"] == code


@pytest.mark.parametrize("name", CASES)
def test_a_whole_answer_is_that_of_the_log(name: str) -> None:
    case = CASES[name]
    parts, output = AnswerParts(), Output(RUN)
    reader = PieceReader(RUN)
    for frame in whole(case):
        if frame["type"] != "reasoning_delta":
            for piece in reader.read_frame(frame):
                parts.add(piece)
                output.add(piece)
    assert parts.ended is not None
    completion = ChatCompletion.model_validate(completions.build_completion(RUN, "researcher", 5, parts))
    assert completion.choices[0].message.content == reader.answer
    response = Asked(RUN, "researcher", 5).resource(responses.status_of(parts.ended), output.items, parts.ended)
    Response.model_construct(**response)
    messages = [item["content"][0]["text"] for item in output.items if item["type"] == "message"]
    assert messages == [reader.answer] * bool(reader.answer)
