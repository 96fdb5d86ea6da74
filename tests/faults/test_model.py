"""Every way in which a model server can fail, in the second call of a run, after a tool: reported as that error, never as an answer."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults import invariants, world
from tests.faults.oracle import Oracle
from tests.faults.world import World
from tests.model_server import Call, ModelServer, Script

#: They share a product: in two processes of the tests it would be started twice.
pytestmark = pytest.mark.xdist_group("model")

SILENCE_S = 2.0
KEY = "sk-very-secret"
TEXT = "One two three four five six seven eight nine ten, 天氣 🙂."
LOOK = Script(reasoning="Look first. ", calls=[Call("current_time", {})])

FAILURES: dict[str, tuple[Script, str]] = {
    "400": (Script(status=400), "model_error"),
    "401": (Script(status=401), "model_auth"),
    "403": (Script(status=403), "model_auth"),
    "404": (Script(status=404), "model_error"),
    "429, and when to come back": (Script(status=429, headers={"Retry-After": "7"}), "model_rate_limited"),
    "500": (Script(status=500), "model_error"),
    "503 with a web page": (Script(status=503, body="<h1>Bad gateway</h1>"), "model_error"),
    "an error that repeats the key": (Script(status=400, body=f'{{"error": {{"message": "{KEY}?"}}}}'), "model_error"),
    "a redirect elsewhere": (Script(status=302, body="", headers={"Location": "http://127.0.0.1:1/"}), "model_error"),
    "no answer": (Script(fault="hang"), "model_timeout"),
    "the connection dropped": (Script(fault="drop"), "model_cut_off"),
    "silence in the middle": (Script(TEXT, fault="stall"), "model_timeout"),
    "silence but for comments": (Script(TEXT, fault="pings"), "model_timeout"),
    "a reset": (Script(TEXT, fault="reset"), "model_cut_off"),
    "a cut": (Script(TEXT, fault="cut"), "model_cut_off"),
    "an end without a finish reason": (Script(TEXT, fault="clean_cut"), "model_cut_off"),
    "the model's length limit": (Script(TEXT, finish="length"), "model_cut_off"),
    "an end that nobody knows": (Script(TEXT, finish="insufficient_system_resource"), "model_error"),
    "a cut inside a character": (Script(TEXT, fault="cut", fault_after=14, bytes_per_write=1), "model_cut_off"),
    "an event that is no JSON": (Script(TEXT, fault="bad_json"), "model_error"),
    "a web page instead of a stream": (Script(fault="bad_sse"), "model_error"),
    "an error within the stream": (Script(TEXT, fault="error_event"), "model_error"),
    "JSON that is no completion": (Script(body='{"choices": [7]}'), "model_error"),
    "JSON that is no object": (Script(body="[]"), "model_error"),
    "an empty answer": (Script(""), "model_error"),
    "nothing but thoughts": (Script("", reasoning="Hm. "), "model_error"),
    "an answer withheld": (Script("", finish="content_filter"), "model_error"),
    "an answer without end": (Script(TEXT, fault="huge"), "model_error"),
    "an event without end": (Script(TEXT, fault="long_event"), "model_error"),
}
#: After these the model server would send for ever: the test has to stop it.
OPEN_ENDED = ("hang", "stall", "pings", "huge", "long_event")


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    """The model's side, shared by the tests of this module."""
    with ModelServer() as server:
        yield server


@pytest.fixture(scope="module")
def shared(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One process on SQLite, with short timeouts for models."""
    settings = {"LLM_TIMEOUT_S": f"{SILENCE_S:g}", "LLM_API_KEY": KEY}
    with world.alone(tmp_path_factory.mktemp("data"), model, **settings) as opened:
        yield opened


@pytest.fixture
async def client(shared: World, model: ModelServer) -> AsyncIterator[Oracle]:
    """A client on a session of its own."""
    model.reset()
    async with shared.client(await shared.new_session()) as client:
        await client.until(lambda: client.is_connected)
        yield client


def entries(client: Oracle, run_id: str) -> list[dict[str, Any]]:
    """All events of a run that a client has."""
    return client.state.runs[run_id].entries


def steps(client: Oracle, run_id: str, kind: str) -> list[dict[str, Any]]:
    """The data of a run's steps of one type."""
    return [e["data"] for e in entries(client, run_id) if e["data"].get("type") == kind]


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failure_of_the_model_server(shared: World, model: ModelServer, client: Oracle, failure: str) -> None:
    """The model server fails in the second call of a run: the error is reported, and the run can be continued."""
    script, code = FAILURES[failure]
    # A kept connection that ends without an answer is replaced by a new one, once.
    model.enqueue(LOOK, script, *([script] if script.fault == "drop" else []))
    began = time.monotonic()
    run_id = await client.ask("What time is it?")
    assert await client.ended(run_id) == "failed", "what broke off counts as whole"
    assert time.monotonic() - began < SILENCE_S + 4
    events = entries(client, run_id)
    assert [(e["type"], e["data"].get("code")) for e in events[-3:]] == [
        ("reasoning_step", code),
        ("error", code),
        ("reasoning_complete", code),
    ]
    words = events[-2]["data"]["message"]
    assert words[0].isupper()
    assert len(words) < 400
    assert not [bad for bad in ("Traceback", KEY, "<h1>", "Error(") if bad in str(events)]
    if failure.startswith("429"):
        assert "in 7 s" in words
    # What was written so far is stored as partial; completed steps stay.
    assert [result["ok"] for result in steps(client, run_id, "tool_result")] == [True]
    answers = steps(client, run_id, "final_answer")
    assert all(answer["partial"] is True for answer in answers)
    text = answers[0]["content"] if answers else ""
    assert script.fault in ("huge", "long_event") or TEXT.startswith(text)
    if script.fault in OPEN_ENDED:
        await model.until(lambda: model.requests[1].closed_at is not None, 2)
    # The next run has the completed messages, of the partial ones only what a limit has cut, and repeats no tool call.
    again = await client.go_on(run_id)
    assert await client.ended(again) == "completed"
    roles = [message["role"] for message in model.requests[-1].body["messages"]]
    assert roles == [
        "system",
        "user",
        "assistant",
        "tool",
        *(["assistant", "user"] if script.finish == "length" else []),
    ]
    await invariants.check(shared, client.session_id, [client])


PROSE = "<think>Hm.</think>DeepSeek writes <think> before it reasons and </think> after it."
_PIECES = [
    [{"index": 0, "id": "a", "function": {"name": "python", "arguments": ""}}],
    [{"index": 1, "function": {"arguments": '{"code": '}}],
    [{"index": 2, "function": {"arguments": '"6*7"}'}}],
]
PIECES = "".join(f'data: {{"choices": [{{"delta": {{"tool_calls": {json.dumps(each)}}}}}]}}\n\n' for each in _PIECES)
DONE = 'data: {"choices": [{"finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
#: What a server sends, and the expected steps: each one's type, and its text or arguments. More of them in tests/agents/models/wire.
MEANT: dict[str, tuple[Script, list[tuple[str, Any]]]] = {
    "prose that speaks of tags": (Script(PROSE), [("thought", "Hm."), ("final_answer", PROSE[18:])]),
    "pieces of a call under other indexes": (Script(body=PIECES + DONE), [("tool_use", {"code": "6*7"})]),
}


@pytest.mark.parametrize("name", MEANT)
async def test_unusual_answers_are_read_as_they_are_meant(
    shared: World, model: ModelServer, client: Oracle, name: str
) -> None:
    """Servers write the same thing in different ways: the steps are what was meant, and the run completes."""
    script, meant = MEANT[name]
    model.enqueue(script, Script("So."))
    run_id = await client.ask("What is 6*7?")
    assert await client.ended(run_id) == "completed"
    steps = [entry["data"] for entry in entries(client, run_id) if "step" in entry["data"]][: len(meant)]
    assert [(e["type"], e.get("arguments") or e["content"]) for e in steps] == meant, "it was read as something else"
    await invariants.check(shared, client.session_id, [client])


@pytest.mark.long
async def test_a_model_server_that_goes_and_comes_back(tmp_path: Path) -> None:
    """The model server ends between two messages and is started again after the second: nothing else has to be restarted."""
    first = ModelServer().start()
    with world.alone(tmp_path, first) as opened:
        async with opened.client(await opened.new_session()) as client:
            assert await client.ended(await client.ask("Say [tokens=3]")) == "completed"
            first.stop()
            failed = await client.ask("Say [tokens=3]")
            assert await client.ended(failed) == "failed"
            assert entries(client, failed)[-1]["data"]["code"] == "model_unreachable"
            with ModelServer(port=first.port):
                assert await client.ended(await client.go_on(failed)) == "completed"
                await invariants.check(opened, client.session_id, [client])


@pytest.mark.parametrize("bytes_per_write", [1, 3])
async def test_an_answer_in_single_bytes_is_complete(
    shared: World, model: ModelServer, client: Oracle, bytes_per_write: int
) -> None:
    """Each byte comes separately, which splits characters and surrogate pairs: the answer is complete, and so was the text in progress."""
    crumbs = Script(TEXT, bytes_per_write=bytes_per_write, reasoning="想 🙂 ", escape=bytes_per_write == 3)
    model.enqueue(replace(LOOK, bytes_per_write=bytes_per_write), crumbs)
    run_id = await client.ask("What time is it?")
    assert await client.ended(run_id) == "completed"
    assert client.state.runs[run_id].answer == TEXT
    await invariants.check(shared, client.session_id, [client])


async def test_the_longest_answer_that_is_taken(shared: World, model: ModelServer, client: Oracle) -> None:
    """An answer of nearly two million characters, as fast as possible: it is complete, and no other client is delayed."""
    text = "0123456789" * 190_000
    model.enqueue(Script(text, piece=4_000))
    async with shared.client(await shared.new_session()) as other:
        run_id = await client.ask("Write a book")
        await client.until(lambda: run_id in client.state.runs and client.state.runs[run_id].partial)
        assert await other.ended(await other.ask("Say [tokens=3]")) == "completed"
        assert await client.ended(run_id) == "completed"
    assert client.state.runs[run_id].answer == text
