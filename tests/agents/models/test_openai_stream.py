"""What can go wrong between the product and a model server, each with its code and its text."""

import asyncio
import json
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agents import PartialStep, pace
from agents.models import openai_stream
from agents.models.completion_reader import CompletionReader
from agents.models.http import Connection
from agents.models.reply import Reply
from agents.models.server_url import DASHSCOPE, completions_url
from tests.agents.conftest import MakeAgent, kinds, steps_of
from tests.agents.models.wire.transcript import body, chunk_of, ends
from tests.model_server import Call, ModelServer, Script

KEY = "sk-very-secret"

FAULTS: list[tuple[str, Script, str, str]] = [
    ("401", Script(status=401), "model_auth", "did not accept the API key (401)"),
    ("403", Script(status=403), "model_auth", "did not allow this (403): The server had an error."),
    ("429", Script(status=429), "model_rate_limited", "too many requests (429). Try again in a while."),
    ("429 and when", Script(status=429, headers={"Retry-After": "7"}), "model_rate_limited", "Try again in 7 s."),
    (
        "400",
        Script(status=400),
        "model_error",
        "what it can (400): This model's maximum context length",
    ),
    ("404", Script(status=404), "model_error", "does not know this model or address (404)"),
    ("500", Script(status=500), "model_error", "The model server failed (500): The server had an error."),
    (
        "500 with a page",
        Script(status=500, body="<html>Traceback (most recent call last)</html>"),
        "model_error",
        "failed (500).",
    ),
    (
        "500 that tells",
        Script(status=500, body=f'{{"detail": "bad key {KEY}"}}'),
        "model_error",
        "failed (500): bad key …",
    ),
    (
        "a traceback",
        Script(status=500, body='{"error": "Traceback (most recent call last): File /x"}'),
        "model_error",
        "failed (500).",
    ),
    (
        "a redirect",
        Script(status=307, headers={"Location": "http://127.0.0.1:9/"}),
        "model_error",
        "another address (307). If that is the right one, set LLM_MODEL_SERVER=http://127.0.0.1:9/",
    ),
    ("cut", Script("One two three", fault="cut"), "model_cut_off", "cut off"),
    ("reset", Script("One two three", fault="reset"), "model_cut_off", "cut off"),
    ("clean cut", Script("One two three", fault="clean_cut"), "model_cut_off", "cut off"),
    ("dropped", Script(fault="drop"), "model_cut_off", "cut off"),
    ("bad JSON", Script("One two three", fault="bad_json"), "model_error", "could not be understood"),
    ("a web page", Script(fault="bad_sse"), "model_error", "is a web page, not a model server"),
    ("JSON of another kind", Script(body='{"choices": [{"delta": 5}]}'), "model_error", "could not be understood"),
    (
        "an error event",
        Script("One two three", fault="error_event"),
        "model_error",
        "reported an error: CUDA out of memory",
    ),
    ("nothing", Script(""), "model_error", "returned an empty answer"),
    ("white space", Script(" \n"), "model_error", "returned an empty answer"),
    ("thoughts only", Script(reasoning="Hm."), "model_error", "ended after its thoughts"),
    (
        "thoughts too long",
        Script(reasoning="Hm.", finish="length"),
        "model_cut_off",
        "length limit before it gave an answer",
    ),
    ("filtered", Script(finish="content_filter"), "model_error", "withheld the answer"),
    (
        "too long",
        Script("One two three", finish="length"),
        "model_cut_off",
        "length limit, so its answer breaks off here.",
    ),
]


@pytest.mark.parametrize(("name", "script", "code", "words"), FAULTS, ids=[fault[0] for fault in FAULTS])
async def test_an_error_has_a_code_and_a_text(
    server: ModelServer,
    make_agent: MakeAgent,
    caplog: pytest.LogCaptureFixture,
    name: str,
    script: Script,
    code: str,
    words: str,
) -> None:
    server.enqueue(script)
    run = make_agent(api_key=KEY).start("?")
    steps = await steps_of(run)
    assert run.outcome is not None
    assert (run.outcome.status, run.outcome.code) == ("failed", code)
    assert words in run.outcome.error
    assert (steps[-1]["type"], steps[-1]["error"], steps[-1]["code"]) == ("error", run.outcome.error, code)
    if script.content.strip():
        assert kinds(steps) == ["final_answer"]
        assert steps[-2]["content"] in ("One two ", "One two three")
        assert steps[-2]["partial"] is True
    shown = f"{steps} {run.outcome}"
    assert KEY not in shown + caplog.text
    assert "Traceback" not in shown
    assert len(server.requests) == 1  # nothing is retried without the user's knowledge


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("http://127.0.0.1:9/v1", "model_unreachable"),
        ("http://nowhere.invalid/v1", "model_unreachable"),
        ("nonsense", "model_unreachable"),
    ],
)
async def test_a_server_that_is_not_there(make_agent: MakeAgent, address: str, code: str) -> None:
    run = make_agent(server=address, api_key=KEY).start("?")
    await steps_of(run)
    assert run.outcome is not None
    assert run.outcome.code == code
    assert run.outcome.error.startswith("No model server answers at ")


async def test_an_address_is_shown_without_its_secrets(make_agent: MakeAgent) -> None:
    run = make_agent(server="http://mei:sesame@127.0.0.1:9/v1?token=sesame").start("?")
    await steps_of(run)
    assert run.outcome is not None
    assert run.outcome.error == "No model server answers at http://127.0.0.1:9."


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("https://api.test/v2/chat/completions?key=x", "set LLM_MODEL_SERVER=https://api.test/v2"),
        ("https://me:secret@api.test:8443/v1/chat/completions", "set LLM_MODEL_SERVER=https://api.test:8443/v1"),
        ("/v2/chat/completions", "set LLM_MODEL_SERVER={server}/v2"),
        (f"https://api.test/{KEY}", "set LLM_MODEL_SERVER=https://api.test/…"),
        ("", "does not say which."),
    ],
)
async def test_a_redirect_is_reported_and_not_followed(
    server: ModelServer, make_agent: MakeAgent, location: str, words: str
) -> None:
    server.enqueue(Script(status=308, body="", headers={"Location": location}))
    run = make_agent(api_key=KEY).start("?")
    await steps_of(run)
    assert run.outcome is not None
    assert run.outcome.error.endswith(words.format(server=server.url.removesuffix("/v1")))


@pytest.mark.parametrize("fault", ["hang", "stall"])
async def test_silence_ends_the_run(server: ModelServer, make_agent: MakeAgent, fault: Any) -> None:
    server.enqueue(Script("One two three", fault=fault))
    at = time.monotonic()
    run = make_agent(timeout_s=0.3).start("?")
    await steps_of(run)
    assert run.outcome is not None
    assert run.outcome.code == "model_timeout"
    assert run.outcome.error == "The model was silent for 0.3 s, so the run ended."
    assert 0.3 <= time.monotonic() - at < 2
    await server.until(lambda: server.requests[0].closed_at is not None)


async def test_a_slow_answer_is_no_silence(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script("x" * 12, piece=1, every_s=0.1))
    run = make_agent(timeout_s=0.4).start("?")
    await steps_of(run)
    assert run.outcome is not None
    assert run.outcome.status == "completed"


async def test_an_answer_without_end_is_stopped(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script("One two three", fault="huge"))
    run = make_agent().start("?")
    await steps_of(run)
    assert run.outcome is not None
    assert (run.outcome.code, run.outcome.error) == (
        "model_error",
        "The model's reply was longer than 2,000,000 characters, so it was stopped.",
    )
    await server.until(lambda: server.requests[0].closed_at is not None)


async def test_an_event_without_end_is_stopped(make_agent: MakeAgent) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ")
        try:
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
        except ConnectionError:
            writer.close()

    async with await asyncio.start_server(flood, "127.0.0.1", 0) as flooding:
        port = flooding.sockets[0].getsockname()[1]
        run = make_agent(server=f"http://127.0.0.1:{port}/v1").start("?")
        await steps_of(run)
    assert run.outcome is not None
    assert run.outcome.error == "The model server sent an event too large to read."


async def test_an_answer_without_a_finish_reason_is_one_and_noted(
    server: ModelServer, make_agent: MakeAgent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server.enqueue(Script("One two", finish=None))
    run = make_agent().start("?")
    steps = await steps_of(run)
    assert run.outcome is not None
    assert run.outcome.status == "completed"
    assert steps[-3]["content"] == "One two"
    assert "no finish reason" in caplog.text


async def test_a_failure_after_tools_keeps_what_was_done(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script(calls=[Call("echo", {"text": "a"})]), Script(status=500))
    run = make_agent().start("?")
    steps = await steps_of(run)
    assert [step["type"] for step in steps[-4:]] == ["tool_result", "iteration_end", "iteration_start", "error"]
    assert [message["role"] for message in run.messages] == ["assistant", "tool"]


async def test_a_server_that_does_not_stream_is_understood(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(
        Script(
            body='{"choices": [{"message": {"content": "All at once."}, "finish_reason": "stop"}], '
            '"usage": {"prompt_tokens": 3, "completion_tokens": 4}}'
        )
    )
    steps = await steps_of(make_agent().start("?"))
    assert steps[-3]["content"] == "All at once."


async def test_a_connection_left_open_after_the_last_word_delays_nobody(make_agent: MakeAgent) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hello\r\n\r\nevent: message\r\n"
            b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\r\n\r\ndata: [DONE]\r\n\r\n'
        )
        await reader.read()  # until the client closes
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as serving:
        port = serving.sockets[0].getsockname()[1]
        at = time.monotonic()
        run = make_agent(server=f"http://127.0.0.1:{port}/v1").start("?")
        steps = await steps_of(run)
        assert time.monotonic() - at < 1
    assert steps[-3]["content"] == "Hi"


#: How ends are written, the chunks, what is waited for behind a sure end, the server's pauses (both in seconds), and the answer.
PAUSES: list[tuple[str, list[dict[str, Any]], float, float, str]] = [
    (
        "beside each text",
        [ends("stop", "One "), ends("stop", "two "), ends("stop", "three")],
        0.05,
        0.3,
        "One two three",
    ),
    (
        "behind a text",
        [chunk_of("One "), ends(), chunk_of("two "), chunk_of("three"), ends()],
        openai_stream._USAGE_S,
        0.3,
        "One two three",
    ),
    # An end that was none makes the later ones unsure.
    (
        "behind each text",
        [chunk_of("One "), ends(), chunk_of("two "), ends(), chunk_of("three"), ends()],
        openai_stream._USAGE_S,
        0.3,
        "One two three",
    ),
    ("long before more", [chunk_of("One "), ends(), chunk_of("too late"), ends()], 0.05, 5, "One "),
]


@pytest.mark.parametrize(("name", "chunks", "usage_s", "pause_s", "text"), PAUSES, ids=[row[0] for row in PAUSES])
async def test_text_that_comes_some_time_after_an_end_belongs_to_the_answer(
    make_agent: MakeAgent,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    chunks: list[dict[str, Any]],
    usage_s: float,
    pause_s: float,
    text: str,
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        has_left = asyncio.create_task(reader.read())
        for chunk, following in pairwise([*chunks, None]):
            writer.write(body(chunk or {}, done=following is None))
            # As slow as the row says, unless nobody waits any longer.
            is_end = following is None or "finish_reason" not in (chunk or {})["choices"][0]
            await asyncio.wait([has_left], timeout=0 if is_end else pause_s)
        writer.close()

    monkeypatch.setattr(openai_stream, "_USAGE_S", usage_s)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as serving:
        port = serving.sockets[0].getsockname()[1]
        run = make_agent(server=f"http://127.0.0.1:{port}/v1", timeout_s=20).start("?")
        steps = await steps_of(run)
    assert run.outcome is not None
    assert run.outcome.status == "completed"
    assert [step["content"] for step in steps if step["type"] == "final_answer"] == [text]


async def test_a_late_loop_reads_in_larger_pieces_and_loses_nothing(server: ModelServer, make_agent: MakeAgent) -> None:
    text = "".join(f"{n:03} " for n in range(200))
    server.enqueue(Script(text, every_s=0.002))
    run = make_agent().start("?")
    answer = ""
    async for event in run:
        time.sleep(0.06)  # noqa: ASYNC251 - what makes the loop late
        data = getattr(event, "data", {})
        answer = data["content"] if data.get("type") == "final_answer" else answer
    assert answer == text


@pytest.fixture
def pausing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text is left in its socket until it can be shown, as beside many other replies."""
    monkeypatch.setattr(pace, "PACE_S", 0.05)
    monkeypatch.setattr(pace, "_PAUSE_FROM_S", 0.0)
    monkeypatch.setattr(pace, "_MAY_PAUSE_FROM_S", 0.0)


#: How an answer of three hundred tokens ends, and what is the last step.
PAUSED: list[tuple[str, Script, str]] = [
    ("as it should", Script("word " * 60, every_s=0.002), "complete"),
    ("bad JSON", Script("word " * 60, every_s=0.002, fault="bad_json", fault_after=50), "error"),
    ("cut", Script("word " * 60, every_s=0.002, fault="cut", fault_after=50), "error"),
]


@pytest.mark.usefixtures("pausing")
@pytest.mark.parametrize(("name", "script", "last"), PAUSED, ids=[row[0] for row in PAUSED])
async def test_what_comes_during_pauses_is_read_to_its_end_or_error(
    server: ModelServer, make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch, name: str, script: Script, last: str
) -> None:
    found: list[bytes] = []
    reading = Connection.read_now

    def read_now(self: Connection) -> bytes:
        found.append(reading(self))
        return found[-1]

    monkeypatch.setattr(Connection, "read_now", read_now)
    server.enqueue(script)
    run = make_agent().start("?")
    steps = await steps_of(run)
    assert steps[-1]["type"] == last
    answer = next(step for step in steps if step["type"] == "final_answer")["content"]
    assert script.content.startswith(answer)
    assert len(answer) >= 150
    assert (answer == script.content.rstrip() or answer == script.content) == (last == "complete")
    assert sum(map(bool, found)) > 1, "it was read when a pause ended"


@pytest.mark.usefixtures("pausing")
async def test_a_stop_during_a_pause_ends_at_once(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script("word " * 1000, every_s=0.002))
    run = make_agent().start("?")
    at = 0.0
    async for event in run:
        if isinstance(event, PartialStep) and len(event.text) > 100 and not at:
            at = time.monotonic()
            run.cancel("Stopped by Mei.")
    assert at
    assert time.monotonic() - at < 1
    assert run.outcome is not None
    assert run.outcome.status == "cancelled"
    await server.until(lambda: server.requests[0].closed_at is not None)


_HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": 'm \\ "q"'}
_texts = st.text(st.sampled_from('ab "\\<{}\n\x00é中😀\ud83d\ude00') | st.characters(), max_size=8)
_fields = st.sampled_from(["content", "reasoning_content", "reasoning"])


@given(
    deltas=st.lists(st.tuples(_fields, _texts), max_size=12),
    cuts=st.lists(st.integers(0, 4000), max_size=6),
    ascii_only=st.booleans(),
    separators=st.sampled_from([(",", ":"), (", ", ": ")]),
    end=st.sampled_from(["\n\n", "\r\n\r\n", "\n"]),
    nulls=st.booleans(),
    every=st.sampled_from([0, 1, 3]),
)
@example(
    [("content", text) for text in ("chatcmpl-1", "a", "b", '"}', "c\\", '"},"finish_reason":null}]}', "d")],
    [9, 600],
    True,
    (",", ":"),
    "\n\n",
    False,
    0,
)
def test_a_stream_says_the_same_however_it_is_cut(
    deltas: list[tuple[str, str]],
    cuts: list[int],
    ascii_only: bool,
    separators: tuple[str, str],
    end: str,
    nulls: bool,
    every: int,
) -> None:
    events = []
    for number, (field, text) in enumerate(deltas):
        delta = dict.fromkeys(["content", "reasoning_content"]) if nulls else {}
        choice = {"index": 0, "delta": {**delta, field: text}, "finish_reason": None}
        chunk = {**_HEAD, "created": number // every if every else 1, "choices": [choice]}
        data = json.dumps(chunk, ensure_ascii=ascii_only, separators=separators)
        events.append(f"data: {data}{end}".encode("utf-8", "surrogatepass" if ascii_only else "replace"))
    stream = b"".join(events)
    edges = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    plain, cut = Reply(), Reply()
    line_by_line, reader = CompletionReader(plain), CompletionReader(cut)
    for line in stream.split(b"\n")[:-1]:
        line_by_line.feed(line + b"\n")
    for since, until in pairwise(edges):
        reader.feed(stream[since:until])
    plain.finish("stop")
    cut.finish("stop")
    assert (cut.content, cut.reasoning) == (plain.content, plain.reasoning)


@pytest.mark.parametrize(
    ("server_", "url"),
    [
        ("http://h:1/v1", "http://h:1/v1/chat/completions"),
        ("http://h:1/v1/", "http://h:1/v1/chat/completions"),
        ("http://h:1/v1/chat/completions", "http://h:1/v1/chat/completions"),
        (" DashScope ", f"{DASHSCOPE}/chat/completions"),
    ],
)
def test_the_address_of_completions(server_: str, url: str) -> None:
    assert completions_url(server_) == url
