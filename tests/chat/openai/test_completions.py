"""Chat completions: requested by the unmodified Python client, and shown as sessions."""

import asyncio
import base64
import json
from typing import Any

import aiohttp
import pytest
from openai import APIError, APIStatusError, AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.chat.openai.conftest import Door
from tests.model_server import Call, ModelServer, Script
from tests.serving import Browser, Server

MODEL = "researcher"
SUM = 'What is 6 times 7? [reasoning=4 call=python:{"code":"6*7"}]'
IDEAS = "".join(f"idea{i:<3} " for i in range(4)).strip()


def asking(*words: str) -> list[ChatCompletionMessageParam]:
    """A conversation in which the user speaks first, and last."""
    return [{"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(words)]  # type: ignore[misc]


async def ask(client: AsyncOpenAI, *words: str, **more: Any) -> tuple[str, str]:
    """Send it; returns the answer, and its session."""
    raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=asking(*words), **more)
    return raw.parse().choices[0].message.content or "", raw.headers["X-Session-Id"]


async def events_of(browser: Browser, session_id: str) -> list[dict[str, Any]]:
    status, answer = await browser.call("GET", f"sessions/{session_id}/events/")
    assert status == 200, answer
    return list(answer["events"])


async def test_the_agents_are_the_models(door: Door) -> None:
    models = {model.id: model async for model in door.client.models.list()}
    assert {"researcher", "developer", "writer"} <= models.keys()
    assert models[MODEL].created > 1_700_000_000
    assert (await door.client.models.retrieve("writer")).owned_by == "thinkaloud"
    with pytest.raises(APIStatusError) as unknown:
        await door.client.models.retrieve("nobody")
    assert (unknown.value.status_code, unknown.value.code) == (404, "model_not_found")


async def test_an_answer_with_its_thoughts_and_tools(door: Door) -> None:
    raw = await door.client.chat.completions.with_raw_response.create(model=MODEL, messages=asking(SUM))
    completion = raw.parse()
    (choice,) = completion.choices
    assert choice.finish_reason == "stop"
    assert choice.message.content == "The tools said: 42"
    assert choice.message.tool_calls is None
    reasoning = choice.message.model_dump()["reasoning_content"].split("\n\n")
    assert reasoning == [IDEAS, '→ python {"code":"6*7"}', "← python 42", IDEAS]
    assert completion.usage is not None
    assert completion.usage.total_tokens > 0
    events = await events_of(door.browser, raw.headers["X-Session-Id"])
    assert events[0]["data"]["message"] == SUM
    assert completion.id == f"chatcmpl-{events[0]['run_id']}"


async def test_a_stream_tells_the_same(door: Door) -> None:
    stream = await door.client.chat.completions.create(
        model=MODEL, messages=asking(SUM), stream=True, stream_options={"include_usage": True}
    )
    content, reasoning, finishes, usage = "", "", [], None
    async for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            content += choice.delta.content or ""
            reasoning += choice.delta.model_dump().get("reasoning_content") or ""
            finishes += [choice.finish_reason] * bool(choice.finish_reason)
    assert content == "The tools said: 42"
    assert reasoning.split("\n\n") == [IDEAS, '→ python {"code":"6*7"}', "← python 42", IDEAS]
    assert finishes == ["stop"]
    assert usage is not None
    assert usage.prompt_tokens > 0


async def test_tokens_come_as_they_are_written_and_can_be_stopped_from_the_page(door: Door) -> None:
    raw = await door.client.chat.completions.with_raw_response.create(
        model=MODEL, messages=asking("Go on [tokens=5000 every=20]"), stream=True
    )
    stream = raw.parse()
    seen = ""
    async with door.browser.socket(raw.headers["X-Session-Id"]) as page:
        with pytest.raises(APIError) as stopped:  # noqa: PT012 - it ends while it is read
            async for chunk in stream:
                seen += chunk.choices[0].delta.content or ""
                if "word3" in seen:
                    await page.send("cancel")
        assert stopped.value.code == "cancelled"
        end = await page.until_type("reasoning_complete")
    assert end["data"]["cancelled_by"] == "bo"
    assert "word400" not in seen


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_is_gone_on_with(door: Door, model: ModelServer, stream: bool) -> None:
    async def go_on(*words: str) -> tuple[str, str]:
        if not stream:
            return await ask(door.client, *words)
        raw = await door.client.chat.completions.with_raw_response.create(
            model=MODEL, messages=asking(*words), stream=True
        )
        return "".join([c.choices[0].delta.content or "" async for c in raw.parse()]), raw.headers["X-Session-Id"]

    model.enqueue(Script("One."), Script("Two."), Script("Three."), Script("Else."))
    first = f"One? {stream}"
    one, session = await go_on(first)
    parts: Any = [{"type": "text", "text": "One.\n"}]
    two, same = await go_on(first, parts, "Two?")
    assert (one, two, same) == ("One.", "Two.", session)
    # What the model is sent is the session's own history: nothing twice.
    assert [m["content"] for m in model.requests[-1].body["messages"][1:]] == [first, "One.", "Two?"]
    three, same = await go_on(first, "One.", "Two?", "Two.", "Three?")
    assert (three, same) == ("Three.", session)
    # From an earlier point it is another conversation: a new session, and the earlier messages are sent to the model too.
    _, other = await go_on(first, "One.", "Else?")
    assert other != session
    assert [m["content"] for m in model.requests[-1].body["messages"][1:]] == [first, "One.", "Else?"]
    (started, *_) = await events_of(door.browser, other)
    assert started["data"]["sent_along"] == {"messages": 2, "instructions": False}


async def test_a_page_that_goes_on_meanwhile_makes_it_another_conversation(door: Door, model: ModelServer) -> None:
    model.enqueue(Script("Ja."), Script("Page."), Script("Neu."))
    _, session = await ask(door.client, "Meanwhile?")
    async with door.browser.socket(session) as page:
        await page.send("chat", message="From the page")
        await page.until_type("reasoning_complete")
        await page.until_type("reasoning_complete")
    _, other = await ask(door.client, "Meanwhile?", "Ja.", "And?")
    assert other != session


async def test_text_before_tools_is_known_again_as_it_was_told(door: Door, model: ModelServer) -> None:
    model.enqueue(
        Script("Let me look.", calls=[Call("python", {"code": "1"})], every_s=0.05), Script("It is 1."), Script("Yes.")
    )
    raw = await door.client.chat.completions.with_raw_response.create(
        model=MODEL, messages=asking("Look?"), stream=True
    )
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in raw.parse()])
    assert text == "Let me look.\n\nIt is 1."
    _, same = await ask(door.client, "Look?", text, "Sure?")
    assert same == raw.headers["X-Session-Id"]


async def test_system_messages_come_after_the_agents_instructions(door: Door, model: ModelServer) -> None:
    model.enqueue(Script("Ay."), Script("Plain."))
    messages: Any = [{"role": "system", "content": "Speak as a pirate."}, *asking("Ahoy?")]
    raw = await door.client.chat.completions.with_raw_response.create(model=MODEL, messages=messages)
    system = model.requests[-1].body["messages"][0]
    assert system["role"] == "system"
    assert system["content"].endswith("\n\nSpeak as a pirate.")
    assert len(system["content"]) > 100
    session = raw.headers["X-Session-Id"]
    (started, *_) = await events_of(door.browser, session)
    assert started["data"]["sent_along"] == {"messages": 0, "instructions": True}
    async with door.browser.http.get(f"/runs/{started['run_id']}/") as page:
        assert "Speak as a pirate." in await page.text()
    async with door.browser.http.get(f"/sessions/{session}/") as page:
        assert f"/runs/{started['run_id']}/#along" in await page.text()
    _, same = await ask(door.client, "Ahoy?", "Ay.", "Plainly?")
    assert same == session
    assert "pirate" not in model.requests[-1].body["messages"][0]["content"]


async def test_tools_that_were_the_clients_are_history(door: Door, model: ModelServer) -> None:
    model.enqueue(Script("Cold."))
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"at": "Bergen"}'}}
    messages: Any = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "3 °C"},
        {"role": "assistant", "content": "3 °C."},
        {"role": "user", "content": "Is that cold?"},
    ]
    await door.client.chat.completions.create(model=MODEL, messages=messages)
    given = model.requests[-1].body["messages"][1:]
    assert [message["role"] for message in given] == ["user", "assistant", "tool", "assistant", "user"]
    assert given[2]["content"] == "3 °C"


async def test_a_session_that_is_named(door: Door, model: ModelServer, product: Server) -> None:
    session = await door.browser.new_session(title="Mine")
    model.enqueue(Script("One."), Script("Two."))
    assert await ask(door.client, "One?", extra_headers={"X-Session-Id": session}) == ("One.", session)
    assert await ask(door.client, "Two?", metadata={"session_id": session}) == ("Two.", session)
    assert [m["content"] for m in model.requests[-1].body["messages"][1:]] == ["One?", "One.", "Two?"]
    async with Browser.logged_in(product.url, "cy") as cy:
        theirs = await cy.new_session()
    for named in (theirs, "nothing", "00000000-0000-0000-0000-000000000000"):
        with pytest.raises(APIStatusError) as missing:
            await ask(door.client, "One?", extra_headers={"X-Session-Id": named})
        assert (missing.value.status_code, missing.value.code) == (404, "not_found")


#: What the model does, and the status and code that the client gets for a run without an answer.
FAILING = {
    "[fault=bad_json]": (502, {"model_error", "model_cut_off"}),
    "[status=401]": (502, {"model_auth"}),
    "[fault=clean_cut tokens=20]": (502, {"model_cut_off"}),
}


@pytest.mark.parametrize("words", FAILING)
async def test_a_run_that_fails_is_an_error(door: Door, words: str) -> None:
    status, codes = FAILING[words]
    with pytest.raises(APIStatusError) as failed:
        await ask(door.client, words)
    assert failed.value.status_code == status
    assert failed.value.code in codes
    assert failed.value.response.headers["x-should-retry"] == "false"
    assert len(failed.value.response.headers["X-Session-Id"]) == 36
    stream = await door.client.chat.completions.create(model=MODEL, messages=asking(words), stream=True)
    with pytest.raises(APIError) as raised:
        async for _ in stream:
            pass
    assert raised.value.code in codes


async def test_the_limit_of_model_calls_is_a_length(door: Door) -> None:
    completion = await door.client.chat.completions.create(
        model=MODEL, messages=asking("[always call=current_time:{}]"), timeout=60
    )
    assert completion.choices[0].finish_reason == "length"


@pytest.mark.parametrize("stops", [False, True])
async def test_a_client_that_goes_away(door: Door, stops: bool) -> None:
    body = {"model": MODEL, "messages": asking("[tokens=60 every=20]"), "stream": True}
    headers = {**door.headers, "X-Stop-On-Disconnect": str(stops).lower()}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{door.url}/chat/completions", json=body, headers=headers) as answer,
    ):
        session = answer.headers["X-Session-Id"]
        async for line in answer.content:
            if b"word2" in line:
                break
    async with door.browser.socket(session) as page:
        end = await page.until_type("reasoning_complete")
    assert end["data"]["status"] == ("cancelled" if stops else "completed")


async def test_a_client_that_goes_away_before_the_whole_answer(door: Door) -> None:
    body = {"model": MODEL, "messages": asking("[tokens=5000 every=20]")}
    session = await door.browser.new_session()
    headers = {**door.headers, "X-Stop-On-Disconnect": "true", "X-Session-Id": session}
    async with door.browser.socket(session) as page, aiohttp.ClientSession() as http:
        asked = asyncio.create_task(http.post(f"{door.url}/chat/completions", json=body, headers=headers).__aenter__())
        await page.until_type("reasoning_delta")
        asked.cancel()
        end = await page.until_type("reasoning_complete")
    assert end["data"]["status"] == "cancelled"


async def test_the_same_key_is_the_same_run(door: Door) -> None:
    key = {"Idempotency-Key": "k-1"}
    one = await door.client.chat.completions.create(model=MODEL, messages=asking("Once"), extra_headers=key)
    two = await door.client.chat.completions.create(model=MODEL, messages=asking("Once"), extra_headers=key)
    assert one.model_dump() == two.model_dump()
    with pytest.raises(APIStatusError) as other:
        await door.client.chat.completions.create(model=MODEL, messages=asking("Twice"), extra_headers=key)
    assert (other.value.status_code, other.value.code) == (409, "conflict")


async def test_a_key_attaches_to_a_run_at_work(door: Door) -> None:
    async def read() -> tuple[str, str]:
        stream = await door.client.chat.completions.create(
            model=MODEL, messages=asking("[tokens=30 every=20]"), stream=True, extra_headers={"Idempotency-Key": "k-2"}
        )
        chunks = [chunk async for chunk in stream]
        return chunks[0].id, "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    both = await asyncio.gather(read(), read(), read())
    assert set(both) == {(both[0][0], " ".join(f"word{i}" for i in range(30)))}


async def test_a_busy_session_is_waited_for_up_to_its_limit(door: Door) -> None:
    session = await door.browser.new_session()
    named = {"X-Session-Id": session}
    slow = asyncio.create_task(ask(door.client, "[tokens=40 every=25]", extra_headers=named))
    async with door.browser.socket(session) as page:
        await page.until_type("reasoning_delta")
        waiting = [asyncio.create_task(ask(door.client, f"Line {i}", extra_headers=named)) for i in range(5)]
        await page.until(lambda frame: frame["type"] == "queue" and len(frame["data"]) == 5)
        with pytest.raises(APIStatusError) as full:
            await ask(door.client, "One more", extra_headers=named)
    assert (full.value.status_code, full.value.code) == (429, "queue_full")
    assert int(full.value.response.headers["Retry-After"]) > 0
    answers = await asyncio.gather(slow, *waiting)
    assert {where for _, where in answers} == {session}


PIXEL = base64.b64encode(
    base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
).decode()


async def test_images_are_files_of_the_session(door: Door, model: ModelServer) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    seen: Any = [{"type": "text", "text": "What is this?"}, image]
    model.enqueue(Script("A dot."), Script("Still."), Script("Other."))
    answer, session = await ask(door.client, seen)
    (started, *_) = await events_of(door.browser, session)
    (file,) = started["data"]["files"]
    assert file["media_type"] == "image/png"
    assert await ask(door.client, seen, answer, "Sure?") == ("Still.", session)
    _, other = await ask(door.client, seen, "Something else.", "Sure?")
    assert other != session
    for data in ("AAAA", ""):
        broken: Any = [
            {"type": "text", "text": "x"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        ]
        with pytest.raises(APIStatusError) as refused:
            await ask(door.client, broken)
        assert (refused.value.status_code, refused.value.code) == (415, "unsupported_media")


async def test_a_long_conversation_is_taken(door: Door) -> None:
    words = [f"line {i}" for i in range(10_001)]
    answer, _ = await ask(door.client, *words)
    assert json.dumps(answer)


async def test_a_waiting_run_is_an_error_with_the_address_of_the_decision(door: Door) -> None:
    with pytest.raises(APIStatusError) as waits:
        await ask(door.client, 'Plan it [call=ask_user:{"question":"Where?"}]')
    assert waits.value.status_code == 409
    session_id = waits.value.response.headers["X-Session-Id"]
    assert f"/sessions/{session_id}/" in waits.value.message
    _, waiting = await door.browser.call("GET", "waiting/")
    [item] = [each for each in waiting["items"] if each["session_id"] == session_id]
    assert (item["kind"], item["tool_name"]) == ("question", "ask_user")
    answer = {"tool_call_id": item["tool_call_id"], "answers": {"answer": "Oslo"}}
    status, _ = await door.browser.call("POST", f"runs/{item['run_id']}/answer/", answer)
    assert status == 202
