"""Responses, by the unmodified Python client: whole, streamed, continued, retrieved."""

import pytest
from openai import APIError, APIStatusError

from tests.chat.openai.conftest import Door
from tests.model_server import ModelServer, Script

MODEL = "researcher"
SUM = 'What is 6 times 7? [reasoning=4 call=python:{"code":"6*7"}]'
TYPES = ["reasoning", "thinkaloud:tool_call", "reasoning", "message"]


async def test_a_response_and_its_items(door: Door) -> None:
    raw = await door.client.responses.with_raw_response.create(model=MODEL, input=SUM, metadata={"mine": "1"})
    response = raw.parse()
    assert response.output_text == "The tools said: 42"
    assert [item.type for item in response.output] == TYPES
    assert {item.status for item in response.output} == {"completed"}  # type: ignore[union-attr]
    call = response.output[1].model_dump()
    assert (call["name"], call["arguments"], call["output"]) == ("python", '{"code":"6*7"}', "42")
    assert response.metadata == {"mine": "1", "session_id": raw.headers["X-Session-Id"]}
    assert response.usage is not None
    assert response.usage.total_tokens > 0
    again = await door.client.responses.retrieve(response.id)
    assert again.output == response.output
    assert again.status == "completed"


#: The client has no type for the items of our tools, and warns where it copies them.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
async def test_a_stream_builds_the_same(door: Door) -> None:
    async with door.client.responses.stream(model=MODEL, input=SUM) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert {"response.reasoning_text.delta", "response.output_text.delta"} <= set(kinds)
    assert [item.type for item in final.output] == TYPES
    again = await door.client.responses.retrieve(final.id)
    assert again.output_text == final.output_text == "The tools said: 42"


async def test_a_response_is_gone_on_from(door: Door, model: ModelServer) -> None:
    model.enqueue(Script("One."), Script("Two."), Script("Else."))
    one = await door.client.responses.create(model=MODEL, input="One?", instructions="Be brief.")
    two = await door.client.responses.create(model=MODEL, input="Two?", previous_response_id=one.id)
    assert two.metadata == one.metadata
    assert [m["content"] for m in model.requests[-1].body["messages"][1:]] == ["One?", "One.", "Two?"]
    # Continued from one that was continued already: a new session with the history up to it.
    other = await door.client.responses.create(model=MODEL, input="Else?", previous_response_id=one.id)
    assert other.metadata != one.metadata
    assert [m["content"] for m in model.requests[-1].body["messages"][1:]] == ["One?", "One.", "Else?"]


async def test_items_sent_back_are_the_conversation(door: Door, model: ModelServer) -> None:
    one = await door.client.responses.create(model=MODEL, input=SUM)
    model.enqueue(Script("Sure."))
    back = [item.model_dump() for item in one.output]
    history = [{"role": "user", "content": SUM}, *back, {"role": "user", "content": "Sure?"}]
    two = await door.client.responses.create(model=MODEL, input=history)  # type: ignore[arg-type] # items as a program has them
    assert two.output_text == "Sure."
    assert two.metadata == one.metadata


async def test_a_failed_run_is_an_error(door: Door) -> None:
    with pytest.raises(APIStatusError) as failed:
        await door.client.responses.create(model=MODEL, input="[status=401]")
    assert (failed.value.status_code, failed.value.code) == (502, "model_auth")
    stream = await door.client.responses.create(model=MODEL, input="[status=401]", stream=True)
    with pytest.raises(APIError) as raised:
        async for _ in stream:
            pass
    assert raised.value.code == "model_auth"


@pytest.mark.parametrize("missing", ["resp_x", "resp_00000000-0000-0000-0000-000000000000", "x" * 300])
async def test_a_response_that_is_not_there(door: Door, missing: str) -> None:
    with pytest.raises(APIStatusError) as read:
        await door.client.responses.retrieve(missing)
    assert (read.value.status_code, read.value.code) == (404, "not_found")
    with pytest.raises(APIStatusError) as asked:
        await door.client.responses.create(model=MODEL, input="x", previous_response_id=missing)
    assert (asked.value.status_code, asked.value.code) == (404, "not_found")
