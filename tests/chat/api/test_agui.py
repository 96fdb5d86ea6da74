"""AG-UI 1.0, compared with its own types and its own client, which verifies every stream."""

import asyncio
import contextlib
import json
import random
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from ag_ui.core import Event
from httpx_sse import ServerSentEvent, aconnect_sse
from pydantic import TypeAdapter

from chat.api import agui, agui_people
from chat.api.agui_events import Translator
from chat.protocol import BadFrame, Close
from tests.chat import making
from tests.event_streams import client_of
from tests.model_server import Call, ModelServer, Script
from tests.serving import Browser, Server

CLIENT = Path(__file__).parents[2] / "agui_client.mjs"
EVENTS: TypeAdapter[Any] = TypeAdapter(Event)
ASK = "Add it up [reasoning=6 every=5 call=current_time:{}]"
SLOW = "Count [tokens=400 every=25]"


def drive(**asked: Any) -> list[dict[str, Any]]:
    """What AG-UI's own client reads from runs, or from recorded streams. It logs nothing, so it knows every field."""
    node = shutil.which("node")
    assert node, "make test brings it"
    done = subprocess.run(
        [node, str(CLIENT)], input=json.dumps(asked), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    printed: list[dict[str, Any]] = json.loads(done.stdout)
    return printed


def question(message: object = ASK, *, thread: str = "", run: str = "", **more: Any) -> dict[str, Any]:
    """A request to run an agent."""
    messages = [{"id": "1", "role": "user", "content": message}]
    return {"threadId": thread or uuid4().hex, "runId": run or uuid4().hex, "messages": messages, **more}


@contextlib.asynccontextmanager
async def running(
    browser: Browser, body: dict[str, Any], *, agent: str = "researcher", last: str = ""
) -> AsyncIterator[AsyncIterator[ServerSentEvent]]:
    headers = {"X-CSRFToken": browser.cookie("csrftoken"), "Referer": f"{browser.url}/"}
    headers |= {"Last-Event-ID": last} if last else {}
    async with (
        client_of(browser) as client,
        aconnect_sse(client, "POST", f"/api/agui/{agent}/", json=body, headers=headers) as source,
    ):
        assert source.response.status_code == 200
        yield source.aiter_sse()


def checked(event: ServerSentEvent) -> dict[str, Any]:
    """The content of an event, which is validated against its type."""
    data: dict[str, Any] = json.loads(event.data)
    EVENTS.validate_python(data)
    return data


async def events_of(browser: Browser, body: dict[str, Any], *, last: str = "") -> list[tuple[str, dict[str, Any]]]:
    """A run's events until the end of the stream, each with its id. To a client, an event without id has that of the one before."""
    async with running(browser, body, last=last) as events:
        return [(event.id, checked(event)) async for event in events]


def kinds(events: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """The types of events; consecutive pieces of one text count once."""
    found = [event["type"] for _, event in events]
    return [kind for before, kind in zip(["", *found], found, strict=False) if kind != before]


async def test_a_run_is_told_as_its_own_client_has_it(product: Server, bo: Browser, model: ModelServer) -> None:
    _, made = await bo.call("POST", "tokens/", {"name": "a client", "scope": "ask"})
    model.enqueue(
        Script(reasoning="Who knows?", content="Let me ask.", calls=[Call("ask_writer", {"message": "work"})]),
        Script(reasoning="Hm.", calls=[Call("current_time", {})]),
        Script("It is late."),
        Script("The writer **says** so: 天氣 🌧.", every_s=0.02),
        Script("Again."),
    )
    runs: list[dict[str, Any]] = [
        {"runId": "one", "message": "ask somebody", "tools": [{"name": "x", "description": "y", "parameters": {}}]},
        {"runId": "two", "message": "and again"},
    ]
    headers = {"Authorization": f"Bearer {made['token']}"}
    asked = {"url": f"{product.url}/api/agui/researcher/", "headers": headers, "threadId": "our talk", "runs": runs}
    first, second = await asyncio.to_thread(lambda: drive(**asked))
    assert (first["error"], second["error"]) == (None, None)
    found = [event["type"] for event in first["events"]]
    assert found[:2] == ["RUN_STARTED", "CUSTOM"]
    assert first["events"][1]["value"] == ["tools"]
    assert found[-1] == "RUN_FINISHED"
    assert first["events"][-1]["outcome"] == {"type": "success"}
    assert {"STEP_STARTED", "REASONING_START", "TOOL_CALL_RESULT", "SUBAGENT_STARTED", "SUBAGENT_FINISHED"} <= set(
        found
    )
    assert first["events"][-1]["usage"][0]["inputTokens"] > 0
    messages = second["messages"]
    texts = [message["content"] for message in messages if message["role"] == "assistant" and message.get("content")]
    assert texts[-2:] == ["The writer **says** so: 天氣 🌧.", "Again."]
    calls = [call["function"]["name"] for message in messages for call in message.get("toolCalls", [])]
    assert calls == ["ask_writer", "current_time"]
    # Both runs are in one session, which the page shows too.
    _, listed = await bo.call("GET", "sessions/?q=somebody")
    assert len(listed["items"]) == 1
    _, read = await bo.call("GET", f"sessions/{listed['items'][0]['id']}/events/?limit=1000")
    assert [e["data"]["message"] for e in read["events"] if e["type"] == "reasoning_start"] == [
        "ask somebody",
        "and again",
    ]


async def test_the_same_run_again_is_the_same_events_and_asks_nobody(bo: Browser, model: ModelServer) -> None:
    body = question("Say [reasoning=20 tokens=40 every=25 call=current_time:{}]")
    live = await events_of(bo, body)
    asked = len(model.requests)
    again = await events_of(bo, body)
    assert len(model.requests) == asked
    # A text may begin before the previous one is stored, and arrives in pieces.
    brackets = [sorted(kind for kind in kinds(events) if not kind.endswith("CONTENT")) for events in (live, again)]
    assert brackets[0] == brackets[1]
    assert [event["type"] for _, event in again].count("TEXT_MESSAGE_CONTENT") == 1
    assert [event["type"] for _, event in live].count("TEXT_MESSAGE_CONTENT") > 1
    # After each of them the rest follows, exactly.
    for n, (place, _) in enumerate(again):
        assert await events_of(bo, body, last=place) == again[n + 1 :]


async def test_a_live_run_whose_client_is_cut_off_after_each_event_is_whole(bo: Browser) -> None:
    body = question("Say [reasoning=20 tokens=40 every=10 call=current_time:{}]")
    kept: list[str] = []
    last, ends = "", False
    while not ends:
        coming: list[str] = []
        async with running(bo, body, last=last) as events:
            async for event in events:
                coming.append(f"data: {event.data}\n\n")
                if event.id not in ("", last):
                    last, ends = event.id, checked(event)["type"] == "RUN_FINISHED"
                    break
        kept += coming
    whole = [f"data: {json.dumps(event)}\n\n" for _, event in await events_of(bo, body)]
    pieced, read = await asyncio.to_thread(lambda: drive(recorded=["".join(kept), "".join(whole)]))
    assert (pieced["error"], read["error"]) == (None, None)
    assert pieced["messages"] == read["messages"]


#: How a run ends, and the event with which AG-UI ends it.
ENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "Say [tokens=5]": ("RUN_FINISHED", {"outcome": {"type": "success"}}),
    "Break [tokens=20 after=5 fault=error_event]": ("RUN_ERROR", {"code": "model_error"}),
    "Refuse [status=401]": ("RUN_ERROR", {"code": "model_auth"}),
    "Stop [tokens=400 every=25]": ("RUN_FINISHED", {"outcome": {"type": "cancelled"}}),
}


@pytest.mark.parametrize("message", ENDS)
async def test_how_a_run_ends(bo: Browser, message: str) -> None:
    kind, fields = ENDS[message]
    session_id = await bo.new_session()
    body = question(message, thread=session_id)
    received, is_stopped = [], False
    async with running(bo, body) as events:
        async for event in events:
            received.append(checked(event))
            if message.startswith("Stop") and not is_stopped and received[-1]["type"] == "TEXT_MESSAGE_CONTENT":
                is_stopped = True
                _, read = await bo.call("GET", f"sessions/{session_id}/events/?limit=1")
                await bo.call("POST", f"runs/{read['run']['id']}/cancel/", {})
    assert received[-1]["type"] == kind
    assert fields.items() <= received[-1].items()
    verified = await asyncio.to_thread(
        lambda: drive(recorded=["".join(f"data: {json.dumps(e)}\n\n" for e in received)])
    )
    assert verified[0]["error"] is None
    assert len(verified[0]["events"]) == len(received)


def test_the_verification_of_the_agui_client_is_on() -> None:
    """The tests above rely on it."""
    started = {"type": "RUN_STARTED", "threadId": "t", "runId": "r"}
    orphan = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "1", "delta": "x"}
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in (started, orphan))
    assert "No active text message found" in drive(recorded=[body])[0]["error"]


#: What is refused before a run starts: changes of the body, the status, the code.
BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "no thread": ({"threadId": None}, 400, "bad_frame"),
    "an empty thread": ({"threadId": ""}, 400, "bad_frame"),
    "a thread of any length": ({"threadId": "x" * 257}, 400, "bad_frame"),
    "a thread that cannot be stored": ({"threadId": "a\0"}, 400, "bad_text"),
    "a run of any length": ({"runId": "x" * 65}, 400, "bad_frame"),
    "a run that cannot be stored": ({"runId": "\ud800"}, 400, "bad_text"),
    "no messages": ({"messages": []}, 400, "empty_message"),
    "messages that are none": ({"messages": "hello"}, 400, "bad_frame"),
    "messages of nobody": ({"messages": [{"content": "hello"}]}, 400, "bad_frame"),
    "nothing of the user's": ({"messages": [{"role": "assistant", "content": "hello"}]}, 400, "empty_message"),
    "nothing said": ({"messages": [{"role": "user", "content": "  "}]}, 400, "empty_message"),
    "nothing at all": ({"messages": [{"role": "user"}]}, 400, "empty_message"),
    "half a character": ({"messages": [{"role": "user", "content": "\udc00"}]}, 400, "bad_text"),
    "too much": ({"messages": [{"role": "user", "content": "x" * 40_000}]}, 413, "too_large"),
    "a part that is none": ({"messages": [{"role": "user", "content": [1]}]}, 400, "bad_frame"),
    "a picture": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "image", "source": {"type": "url", "value": "http://x"}}]}
            ]
        },
        415,
        "unsupported_media",
    ),
    "an answer": ({"resume": [{"interruptId": "1", "status": "resolved"}]}, 404, "not_found"),
    "an answer to a run that there is not": (
        {"resume": [{"interruptId": "00000000-0000-4000-8000-000000000000:call_1", "status": "resolved"}]},
        404,
        "not_found",
    ),
}


@pytest.mark.parametrize("case", BAD)
async def test_an_invalid_run_is_refused_by_a_status(bo: Browser, case: str) -> None:
    changes, status, code = BAD[case]
    answer = await bo.call("POST", "agui/researcher/", question() | changes)
    assert (answer[0], answer[1]["error"]["code"]) == (status, code)


async def test_an_agent_that_is_not_there_is_not_found(bo: Browser) -> None:
    for agent in ("nobody", "Researcher", "%00", "🌧"):
        status, answer = await bo.call("POST", f"agui/{agent}/", question())
        assert (status, answer["error"]["code"]) == (404, "unknown_agent")


async def test_the_same_identifier_for_something_else_is_a_conflict(bo: Browser) -> None:
    body = question("Say [tokens=2]")
    await events_of(bo, body)
    for other, agent in ((question("Say [tokens=3]"), "researcher"), (body, "writer")):
        asked = other | {"threadId": body["threadId"], "runId": body["runId"]}
        status, answer = await bo.call("POST", f"agui/{agent}/", asked)
        assert (status, answer["error"]["code"]) == (409, "conflict")


async def test_a_thread_is_its_account_s_own_and_so_is_a_session(product: Server, bo: Browser) -> None:
    body = question("Say [tokens=2]", thread="shared name")
    await events_of(bo, body)
    _, mine = await bo.call("GET", "sessions/")
    async with Browser.logged_in(product.url, "cy") as another:
        # Another user's session id is a thread id like any other, also where it is the id of that session.
        for thread in ("shared name", mine["items"][0]["id"]):
            assert kinds(await events_of(another, question("Say [tokens=2]", thread=thread)))[-1] == "RUN_FINISHED"
        _, theirs = await another.call("GET", "sessions/")
        assert len(theirs["items"]) == 2
    _, again = await bo.call("GET", "sessions/")
    assert again["items"] == mine["items"]


async def test_a_thread_whose_session_was_deleted_begins_anew(bo: Browser) -> None:
    body = question("Say [tokens=2]", thread="forgotten")
    await events_of(bo, body)
    _, listed = await bo.call("GET", "sessions/")
    deleted = listed["items"][0]["id"]
    assert (await bo.call("DELETE", f"sessions/{deleted}/"))[0] == 204
    assert kinds(await events_of(bo, body))[-1] == "RUN_FINISHED"
    _, listed = await bo.call("GET", "sessions/")
    assert listed["items"][0]["id"] != deleted


async def test_two_at_once_make_one_session_and_one_run(bo: Browser) -> None:
    body = question("Say [tokens=20 every=5]", thread="twice")
    one, other = await asyncio.gather(events_of(bo, body), events_of(bo, body))
    settled = [[event for place, event in events if event["type"] == "RUN_FINISHED"] for events in (one, other)]
    assert settled[0] == settled[1]
    _, listed = await bo.call("GET", "sessions/?q=word19")
    runs = [item for item in listed["items"] if item["title"] == body["messages"][0]["content"]]
    assert len(runs) == 1


async def test_a_run_that_waits_in_line_is_told_of_when_it_begins(bo: Browser) -> None:
    session_id = await bo.new_session()
    first, second = (question(f"Say {n} [tokens=30 every=10]", thread=session_id) for n in (1, 2))
    async with running(bo, first) as events:
        assert checked(await anext(events))["type"] == "RUN_STARTED"
        waiting = asyncio.create_task(events_of(bo, second))
        async for _ in events:
            pass
    received = await waiting
    assert kinds(received)[0] == "RUN_STARTED"
    assert {event.get("runId", second["runId"]) for _, event in received} == {second["runId"]}


async def test_a_stream_whose_session_is_deleted_says_so(bo: Browser) -> None:
    session_id = await bo.new_session()
    async with running(bo, question(SLOW, thread=session_id)) as events:
        await anext(events)
        await bo.call("DELETE", f"sessions/{session_id}/")
        last = [checked(event) async for event in events][-1]
    assert (last["type"], last["code"]) == ("RUN_ERROR", "not_found")


# The translation by itself: for any log, of which any part was already sent live


def frames_of(random_: random.Random) -> tuple[str, list[dict[str, Any]]]:
    """A run's log, with runs within it, every kind of end, and no call left open."""
    root, seq = str(uuid4()), 0
    frames: list[dict[str, Any]] = []

    def store(run_id: str, kind: str, data: Any) -> None:
        nonlocal seq
        seq += 1
        frames.append({"type": kind, "seq": seq, "id": str(uuid4()), "run_id": run_id, "data": data})

    def step(run_id: str, prefix: str, kind: str, content: str = "", **given: Any) -> None:
        store(run_id, f"{prefix}_step", making.step(kind, content, **given).data)

    def run(run_id: str, parent: dict[str, Any] | None) -> None:
        prefix = "child" if parent else "reasoning"
        begun = {"agent": "a", "message": "m", "user": "u", "enable_reasoning": True, "timestamp": 1.5}
        store(run_id, f"{prefix}_start", begun | ({"parent": parent} if parent else {}))
        number, depth = 0, parent["depth"] if parent else 0
        for iteration in range(1, random_.randint(1, 3) + 1):
            step(run_id, prefix, "iteration_start", iteration=iteration)
            for _ in range(random_.randint(0, 3)):
                number += 1
                step(run_id, prefix, random_.choice(("thought", "final_answer")), f"text {number} 🌧 ", step=number)
            if random_.random() < 0.7:
                number += 1
                called = {"tool_name": "t", "tool_call_id": str(number), "step": number}
                step(run_id, prefix, "tool_use", arguments=random_.choice(({"a": 1}, "no JSON")), **called)
                if depth < 2 and random_.random() < 0.5:
                    run(str(uuid4()), {"run_id": run_id, "tool_call_id": str(number), "depth": depth + 1})
                number += 1
                step(run_id, prefix, "tool_result", "r", **called | {"step": number})
            if random_.random() < 0.8:
                step(run_id, prefix, "iteration_end", iteration=iteration)
        status = random_.choice(("completed", "cancelled", "failed", "max_iterations", "interrupted"))
        if status == "failed":
            error = {"message": "It failed.", "code": "model_error", "id": "1"}
            store(run_id, "child_error" if parent else "error", error)
        usage = {"input_tokens": 1, "output_tokens": 2, "estimated": False}
        store(
            run_id,
            f"{prefix}_complete",
            {"status": status, "total_iterations": 1, "duration_ms": 5, "usage": usage},
        )

    run(root, None)
    return root, frames


def with_growth(random_: random.Random, frames: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The frames, with text in progress in between: also of texts that were never stored, or stored differently.

    A text may begin before the previous one is stored.
    """
    before: list[dict[str, Any]] = []
    for frame in frames:
        data = frame["data"]
        if data.get("type") in ("thought", "final_answer") and random_.random() < 0.7:
            delta = {"type": frame["type"].replace("_step", "_delta"), "run_id": frame["run_id"]}
            about = {"step": data["step"], "type": random_.choice(("thought", "final_answer"))}
            if random_.random() < 0.3:
                yield delta | {"data": about | {"attempt": 1, "offset": 0, "text": "something else"}}
            text, attempt = data["content"].rstrip(), 2
            cut = random_.randint(0, 4)
            yield delta | {"data": about | {"attempt": attempt, "offset": 0, "text": text[:cut]}}
            yield delta | {"data": about | {"attempt": attempt, "offset": cut, "text": text[cut : cut + 2]}}
            if random_.random() < 0.3:
                yield delta | {"data": about | {"attempt": attempt, "offset": 0, "text": text}}
        yield from before
        before = [frame] if data.get("type") in ("thought", "final_answer") else []
        yield from () if before else (frame,)
    yield from before


def test_any_stream_is_valid_and_resumes_exactly_from_each_event() -> None:
    streams = []
    for seed in range(150):
        random_ = random.Random(seed)
        root, frames = frames_of(random_)
        translator = Translator("t", "r", root)
        replay = [each for frame in frames for each in translator.translate(json.dumps(frame))]
        assert translator.has_ended
        places = [each.place for each in replay]
        assert None not in places
        assert places == sorted(set(places))  # type: ignore[type-var]
        live_one = Translator("t", "r", root)
        live = [each for frame in with_growth(random_, frames) for each in live_one.translate(json.dumps(frame))]
        for each in (*replay, *live):
            EVENTS.validate_python(each.event)
        # What a client has that was disconnected at some event, and then receives the rest.
        settled = [n for n, each in enumerate(live) if each.place is not None]
        at = random_.choice(settled)
        rest_of = Translator("t", "r", root, after=live[at].place or (0, 0))
        rest = [each for frame in frames for each in rest_of.translate(json.dumps(frame))]
        assert rest == [each for each in replay if each.place > live[at].place]  # type: ignore[operator]
        streams += [replay, live, [*live[: at + 1], *rest]]
    recorded = ["".join(f"data: {json.dumps(each.event)}\n\n" for each in stream) for stream in streams]
    for stream, made in zip(streams, drive(recorded=recorded), strict=True):
        assert made["error"] is None
        assert len(made["events"]) == len(stream)


def test_every_close_code_is_told_or_mended_by_coming_back() -> None:
    mended = {Close.RESTARTING, Close.TOO_SLOW, Close.SILENT, Close.TOO_LARGE}
    codes = {value for name, value in vars(Close).items() if name.isupper()}
    assert set(agui._FAILURES) == codes - mended


#: The answer to a call that waits, and the result; None: it is refused, and the call goes on waiting.
DECISIONS: dict[str, tuple[dict[str, Any], bool, str | None]] = {
    "approved": ({"approved": True}, False, "allow"),
    "not approved": ({"approved": False, "reason": "No."}, False, "deny"),
    "as a socket says it": ({"decision": "allow"}, False, "allow"),
    "denied so": ({"decision": "deny"}, False, "deny"),
    "both": ({"approved": False, "decision": "allow"}, False, "deny"),
    "cancelled": ({"approved": True}, True, "deny"),
    "nothing": ({}, False, None),
    "in a word": ({"approved": "yes"}, False, None),
    "another word": ({"decision": "maybe"}, False, None),
}


@pytest.mark.parametrize("case", DECISIONS)
def test_only_a_clear_answer_decides_a_call(case: str) -> None:
    answer, is_cancelled, decision = DECISIONS[case]
    if decision is not None:
        assert agui_people.decision_of("call_1", answer, is_cancelled=is_cancelled).decision == decision
        return
    with pytest.raises(BadFrame) as refusal:
        agui_people.decision_of("call_1", answer, is_cancelled=is_cancelled)
    assert refusal.value.code == "bad_frame"


async def test_a_run_that_waits_is_an_interrupt_and_resumed_by_its_answers(bo: Browser, model: ModelServer) -> None:
    asking = Call("ask_user", {"question": "Where to?", "fields": [{"name": "city", "kind": "text"}]})
    model.enqueue(Script(reasoning="Hm.", calls=[asking]), Script("To Oslo, then."))
    body = question("Plan it")
    before = await events_of(bo, body)
    finished = before[-1][1]
    [interrupt] = finished["outcome"]["interrupts"]
    assert (finished["type"], finished["outcome"]["type"]) == ("RUN_FINISHED", "interrupt")
    assert (interrupt["reason"], interrupt["message"]) == ("input_required", "Where to?")
    assert interrupt["toolCallId"] == next(event["toolCallId"] for _, event in before if "toolCallId" in event)

    def body_with(**entry: Any) -> dict[str, Any]:
        entry = {"interruptId": interrupt["id"], "status": "resolved", **entry}
        return question("", thread=body["threadId"]) | {"resume": [entry]}

    for wrong in ({"payload": {}}, {"payload": {"city": 5}}, {"status": "cancelled"}):
        status, answer = await bo.call("POST", "agui/researcher/", body_with(**wrong))
        assert (status, answer["error"]["code"]) == (400, "bad_arguments")
    after = await events_of(bo, body_with(payload={"city": "Oslo"}))
    assert kinds(after)[:2] == ["RUN_STARTED", "STEP_STARTED"]
    assert "TOOL_CALL_RESULT" in kinds(after)
    assert after[-1][1]["outcome"] == {"type": "success"}
    status, answer = await bo.call("POST", "agui/researcher/", body_with(payload={"city": "Oslo"}))
    assert (status, answer["error"]["code"]) == (409, "conflict")


async def test_several_answers_in_one_resume_all_count_or_none(bo: Browser, model: ModelServer) -> None:
    def asking(what: str) -> Call:
        return Call("ask_user", {"question": what, "fields": [{"name": "city", "kind": "text"}]})

    model.enqueue(Script(reasoning="Hm.", calls=[asking("From where?"), asking("Where to?")]), Script("To Oslo, then."))
    body = question("Plan it")
    before = await events_of(bo, body)
    first, second = before[-1][1]["outcome"]["interrupts"]

    def body_with(*payloads: Any) -> dict[str, Any]:
        entries = [
            {"interruptId": each["id"], "status": "resolved", "payload": payload}
            for each, payload in zip((first, second, second), payloads, strict=False)
        ]
        return question("", thread=body["threadId"]) | {"resume": entries}

    rome, oslo = {"city": "Rome"}, {"city": "Oslo"}
    refusals = {"bad_arguments": [(rome, {}), (rome, {"city": 5})], "conflict": [(rome, oslo, oslo)]}
    for code, payloads in refusals.items():
        for each in payloads:
            _status, answer = await bo.call("POST", "agui/researcher/", body_with(*each))
            assert answer["error"]["code"] == code
            _status, waiting = await bo.call("GET", "waiting/")
            open_here = [item for item in waiting["items"] if item["run_id"] == first["id"].partition(":")[0]]
            assert len(open_here) == 2, "the first of them stands"
    after = await events_of(bo, body_with(rome, oslo))
    assert [event["type"] for _, event in after].count("TOOL_CALL_RESULT") == 2
    assert after[-1][1]["outcome"] == {"type": "success"}
