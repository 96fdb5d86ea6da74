"""What is sent to a model server after an error: the request is valid, and no capability is given up because of that error."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.faults import world
from tests.faults.oracle import Oracle
from tests.faults.world import World
from tests.model_server import Call, ModelServer, Script

pytestmark = pytest.mark.xdist_group("model")


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    """The model's side, shared by the tests of this module."""
    with ModelServer() as server:
        yield server


@pytest.fixture(scope="module")
def shared(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One process on SQLite."""
    with world.alone(tmp_path_factory.mktemp("data"), model) as opened:
        yield opened


@pytest.fixture
async def client(shared: World, model: ModelServer) -> AsyncIterator[Oracle]:
    """A client on a session whose model server refuses what strict servers refuse."""
    model.reset()
    model.refuses_like = "vLLM"
    async with shared.client(await shared.new_session()) as client:
        await client.until(lambda: client.is_connected)
        yield client
    model.refuses_like = ""


@pytest.mark.parametrize(
    "words", ["error parsing tool call: raw='{'", "Failed to parse tool call arguments as JSON: parse error"]
)
async def test_an_error_that_mentions_tools_is_that_error_alone(
    shared: World, model: ModelServer, client: Oracle, words: str
) -> None:
    """One malformed tool call of the model fails its own run, and no other run."""
    model.enqueue(Script(status=500, body=words))
    await client.ended(await client.ask("What time is it?"))
    async with shared.client(await shared.new_session()) as other:
        assert await other.ended(await other.ask("What time is it?")) == "completed"
    assert "tools" in model.requests[-1].body, "one error has switched the tools off for everybody"


@pytest.mark.parametrize("left", ["stopped before the first word", "failed at once"])
async def test_a_turn_without_an_answer_does_not_spoil_the_next(model: ModelServer, client: Oracle, left: str) -> None:
    """A run is stopped before its first word, or its model server fails: a server that wants alternating turns accepts the next one."""
    if left == "failed at once":
        model.enqueue(Script(status=503))
        assert await client.ended(await client.ask("What time is it?")) == "failed"
    else:
        model.enqueue(Script(fault="hang"))
        run_id = await client.ask("What time is it?")
        await model.until(lambda: len(model.requests) == 1)
        await client.send("cancel", run_id=run_id)
        assert await client.ended(run_id) == "cancelled"
    assert await client.ended(await client.ask("And now?")) == "completed", "a turn without an answer was left open"
    assert [message["role"] for message in model.requests[-1].body["messages"]] == [
        "system",
        "user",
        "assistant",
        "user",
    ]


async def test_a_name_that_no_server_takes_does_not_kill_the_session(model: ModelServer, client: Oracle) -> None:
    """The model calls a tool that does not exist, by a name that no server accepts in a history."""
    model.enqueue(Script(calls=[Call("browser.open", {"url": "x"})]))
    assert await client.ended(await client.ask("Open it.")) == "completed", "a name was sent back as it came"
    assert await client.ended(await client.ask("And now?")) == "completed"
