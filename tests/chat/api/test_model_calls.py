"""What a run's model calls sent, over HTTP: compared with what the model server received."""

import asyncio
from pathlib import Path
from typing import Any

from tests.chat.api.test_calls import ask, ended
from tests.model_server import ModelServer, Script
from tests.serving import Browser, serving

REFUSAL = Script(status=400, body='{"error": {"message": "stream_options: Extra inputs are not permitted"}}')


async def calls_of(browser: Browser, run_id: str) -> list[dict[str, Any]]:
    status, answer = await browser.call("GET", f"runs/{run_id}/calls/")
    assert status == 200, answer
    return list(answer["calls"])


async def messages_of(browser: Browser, run_id: str, number: int) -> list[dict[str, Any]]:
    status, answer = await browser.call("GET", f"runs/{run_id}/calls/{number}/messages/")
    assert status == 200, answer
    return list(answer["messages"])


async def test_the_messages_are_exactly_those_that_were_sent(bo: Browser, model: ModelServer) -> None:
    session_id = await bo.new_session()
    await ended(bo, await ask(bo, session_id, "First [reasoning=3 call=current_time:{}]"))
    before = len(model.requests)
    model.enqueue(REFUSAL)
    run_id = await ask(bo, session_id, "And again [call=current_time:{}]")
    run = await ended(bo, run_id)
    sent = [request.body for request in model.requests[before:]]
    calls = await calls_of(bo, run_id)
    assert [(call["iteration"], call["attempt"]) for call in calls] == [(1, 1), (1, 2), (2, 1)]
    assert ["error" in call for call in calls] == [True, False, False]
    for number, (call, body) in enumerate(zip(calls, sent, strict=True), 1):
        assert await messages_of(bo, run_id, number) == body["messages"]
        assert [each["role"] for each in call["messages"]] == [each["role"] for each in body["messages"]]
        assert call["tools"] == [tool["function"]["name"] for tool in body["tools"]]
        assert call["parameters"] == {k: v for k, v in body.items() if k not in ("model", "messages", "tools")}
        assert (call["model"], call["left_out"], "cost" in call) == ("stub", None, False)
    answered = calls[1:]
    assert run["usage"]["input_tokens"] == sum(call["usage"]["input_tokens"] for call in answered)
    assert run["usage"]["output_tokens"] == sum(call["usage"]["output_tokens"] for call in answered)
    assert all(call["first_token_ms"] <= call["duration_ms"] for call in answered)
    assert model.url not in str(calls)


async def test_model_calls_are_read_by_pages(bo: Browser) -> None:
    """Only if the client asks for pages; otherwise it gets all messages, as before."""
    session_id = await bo.new_session()
    run_id = await ask(bo, session_id, "Twice [call=current_time:{} call=current_time:{}] [call=current_time:{}]")
    await ended(bo, run_id)
    status, whole = await bo.call("GET", f"runs/{run_id}/calls/")
    assert (status, set(whole)) == (200, {"calls"})
    assert len(whole["calls"]) > 1
    read: list[dict[str, Any]] = []
    query, pages = "limit=1", 0
    while query:
        status, page = await bo.call("GET", f"runs/{run_id}/calls/?{query}")
        assert (status, len(page["calls"])) == (200, 1)
        read += page["calls"]
        pages += 1
        query = f"limit=1&cursor={page['next']}" if page["next"] is not None else ""
    assert (read, pages) == (whole["calls"], len(whole["calls"]))
    assert (await bo.call("GET", f"runs/{run_id}/calls/?cursor=1"))[1] == {"calls": whole["calls"][1:], "next": None}
    assert (await bo.call("GET", f"runs/{run_id}/calls/?cursor=99"))[1] == {"calls": [], "next": None}
    for odd in ("limit=0", "limit=-1", "limit=1001", "limit=x", "cursor=-1", "cursor=x", f"cursor={'9' * 30}"):
        status, answer = await bo.call("GET", f"runs/{run_id}/calls/?{odd}")
        assert (status, answer["error"]["code"]) == (400, "bad_frame"), odd


async def test_a_call_at_work_is_told_and_the_session_says_how_full_the_context_is(bo: Browser) -> None:
    session_id = await bo.new_session()
    run_id = await ask(bo, session_id, "Count [call=current_time:{} tokens=400 every=25]")
    async with bo.socket(session_id) as socket:
        await socket.until(lambda frame: frame["data"].get("type") == "iteration_end")
        # Begun in the same commit as the step that announces it.
        calls = await calls_of(bo, run_id)
        assert [call["duration_ms"] is None for call in calls] == [False, True]
        await bo.call("POST", f"runs/{run_id}/cancel/", {})
        await ended(bo, run_id)
    stopped = (await calls_of(bo, run_id))[1]
    assert (stopped["error"], stopped["usage"]["estimated"]) == ("stopped", True)
    async with bo.socket(session_id) as socket:
        session = await socket.receive()
        used = calls[0]["usage"]["input_tokens"] + calls[0]["usage"]["output_tokens"]
        assert session["data"]["context"] == {"used": used, "limit": 58_000}


async def test_a_first_call_that_brings_nothing_is_told_all_the_same(bo: Browser, model: ModelServer) -> None:
    run_id = await ask(bo, await bo.new_session(), "Hang [fault=hang]")
    model.wait_for(lambda: bool(model.requests))
    async with asyncio.timeout(10):
        while not (calls := await calls_of(bo, run_id)):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.05)
    assert (calls[0]["duration_ms"], "error" in calls[0]) == (None, False)
    assert await messages_of(bo, run_id, 1) == model.requests[-1].body["messages"]
    await bo.call("POST", f"runs/{run_id}/cancel/", {})
    await ended(bo, run_id)
    (call,) = await calls_of(bo, run_id)
    assert call["error"] == "stopped"


async def test_bad_numbers_lead_nowhere(bo: Browser) -> None:
    session_id = await bo.new_session()
    run_id = await ask(bo, session_id, "Hello")
    await ended(bo, run_id)
    for number in ("0", "2", "-1", "x", "1" * 30, "１"):
        status, answer = await bo.call("GET", f"runs/{run_id}/calls/{number}/messages/")
        assert (status, answer["error"]["code"]) == (404, "not_found"), number


async def test_the_demo_model_has_calls_too(tmp_path: Path) -> None:
    with serving(tmp_path, "ada") as server:
        async with Browser.logged_in(server.url) as ada:
            run_id = await ask(ada, await ada.new_session(), "What is 17 % of 2,340?")
            await ended(ada, run_id)
            first, second = await calls_of(ada, run_id)
            assert (first["model"], first["provider"], first["usage"]["estimated"]) == ("demo", "demo", True)
            assert "python" in first["tools"]
            messages = await messages_of(ada, run_id, 2)
            assert [each["role"] for each in messages] == ["system", "user", "assistant", "tool"]
            assert len(second["messages"]) == 4
