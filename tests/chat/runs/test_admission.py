"""Every limit is refused with a clear error, and what is within the limits works."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.model_server import ModelServer
from tests.serving import Browser, Server, serving

SLOW = "[tokens=400 every=25]"


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory, model: ModelServer) -> Iterator[Server]:
    """The product with low limits."""
    limits = {
        "MAX_MESSAGES_PER_MINUTE": "6",
        "MAX_QUEUED_RUNS": "1",
        "MAX_SOCKETS_PER_USER": "2",
        "MAX_ACTIVE_RUNS_PER_USER": "1",
        "MAX_MESSAGE_CHARS": "60",
        "MAX_ITERATIONS": "2",
    }
    llm = {"LLM_MODEL_SERVER": model.url, "LLM_MODEL": "stub", "LLM_API_KEY": "key"}
    users = ("ada", "bo", "cy", "di", "ed")
    with serving(tmp_path_factory.mktemp("tight"), *users, **limits, **llm) as server:
        yield server


@pytest.fixture
async def someone(tight: Server, request: pytest.FixtureRequest) -> AsyncIterator[Browser]:
    """A new user for each test, so that tests do not count towards each other's limits."""
    async with Browser.logged_in(tight.url, request.param) as browser:
        yield browser


def by(name: str) -> pytest.MarkDecorator:
    """Run the test as this user."""
    return pytest.mark.parametrize("someone", [name], indirect=True)


@by("ada")
async def test_the_line_and_the_runs_at_work_are_limited(someone: Browser) -> None:
    first, second = await someone.new_session(), await someone.new_session()
    async with someone.socket(first) as one, someone.socket(second) as two:
        await one.send("chat", message=SLOW)
        assert (await one.until_type("accepted"))["data"]["queued"] == 0
        await one.send("chat", message="[tokens=1]")
        assert (await one.until_type("accepted"))["data"]["queued"] == 1
        await one.send("chat", message="[tokens=1]", client_message_id="too many")
        error = (await one.until_type("error"))["data"]
        assert (error["code"], error["client_message_id"]) == ("queue_full", "too many")
        # In the other session nothing is at work, but its user has a run at work.
        await two.send("chat", message="[tokens=2]")
        waiting = (await two.until_type("accepted"))["data"]
        assert waiting["queued"] == 1
        await one.send("cancel", all=True)
        end = await two.until_type("reasoning_complete")
        assert (end["run_id"], end["data"]["status"]) == (waiting["run_id"], "completed")


@by("bo")
async def test_messages_a_minute_are_limited_on_the_socket_and_over_the_api(someone: Browser) -> None:
    session = await someone.new_session()
    async with someone.socket(session) as socket:
        for _ in range(6):
            await socket.send("chat", message="[tokens=1]")
            await socket.until_type("reasoning_complete")
        await socket.send("chat", message="[tokens=1]")
        assert (await socket.until_type("error"))["data"]["code"] == "rate_limited"
        # Other commands do not count.
        await socket.send("ping")
        await socket.until_type("pong")
    status, answer = await someone.call("POST", f"sessions/{session}/messages/", {"message": "[tokens=1]"})
    assert (status, answer["error"]["code"]) == (429, "rate_limited")


@by("cy")
async def test_sockets_are_limited_and_a_closed_one_makes_room(someone: Browser) -> None:
    session = await someone.new_session()
    async with someone.socket(session) as first:
        async with someone.socket(session) as second:
            await second.receive()
            async with someone.socket(session) as third:
                assert await third.closed() == 4429
        await first.until(lambda f: f["type"] == "presence" and f["data"][0]["sockets"] == 1)
        async with someone.socket(session) as fourth:
            assert (await fourth.receive())["type"] == "session"


@by("di")
async def test_the_length_of_a_message_counts_as_javascript_does(someone: Browser) -> None:
    async with someone.socket(await someone.new_session()) as socket:
        await socket.send("chat", message="🙂" * 31)
        assert (await socket.until_type("error"))["data"]["code"] == "too_large"
        await socket.send("chat", message="🙂" * 30)
        assert (await socket.until_type("reasoning_complete"))["data"]["status"] == "completed"


@by("ed")
async def test_the_limit_of_model_calls_ends_the_run_and_it_can_be_continued(
    someone: Browser, model: ModelServer
) -> None:
    async with someone.socket(await someone.new_session()) as socket:
        call = "[always call=current_time:{}]"
        await socket.send("chat", message=call)
        end = await socket.until_type("reasoning_complete")
        assert (end["data"]["status"], end["data"]["total_iterations"]) == ("max_iterations", 2)
        assert socket.steps("max_iterations_reached") == [
            {**socket.steps("max_iterations_reached")[0], "max_iterations": 2}
        ]
        assert len(socket.steps("tool_use")) == len(socket.steps("tool_result")) == 2
        await socket.send("continue", run_id=end["run_id"])
        again = await socket.until(lambda f: f["type"] == "reasoning_complete" and f["run_id"] != end["run_id"])
        assert again["data"]["status"] == "max_iterations"
    roles = [m["role"] for m in model.requests[-2].body["messages"]]
    assert roles == ["system", "user", *["assistant", "tool"] * 2]
