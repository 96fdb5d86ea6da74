"""Messages to a run whose process dies: each is in the log or in the queue, and never in both, whatever was committed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError

from agents import ModelSettings
from chat.models import Run, SteeringWord, Step, WordState
from chat.runs import commands, recovery, steering
from chat.runs import registry as run_registry
from chat.runtime import database
from chat.store import selectors
from chat.store import steering as words
from tests.faults import invariants
from tests.faults.conftest import OpenWorld
from tests.faults.here import Here, here
from tests.faults.world import World
from tests.model_server import ModelServer, Script
from tests.serving import Browser, Socket

__all__ = ["here"]

pytestmark = pytest.mark.asyncio

STORY = Script("Once upon a time there was a king. " * 30, every_s=0.02)


@pytest.fixture
def model_side(transactional_db: None, settings: Any) -> Iterator[ModelServer]:
    with ModelServer() as server:
        settings.AGENT_MODEL = ModelSettings(server.url, "stub", timeout_s=20.0)
        yield server


def places(here: Here) -> list[str]:
    """Where the messages are: those in the log, then those that became runs after the first message."""
    steps = Step.objects.filter(session=here.session, type="steer").order_by("pk")
    read = [str(selectors.step_data(step)["content"]) for step in steps]
    runs = Run.objects.filter(session=here.session).order_by("number")
    return [*read, *list(runs.values_list("message", flat=True))[1:]]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("when", ["before it is read", "as it is read", "when it was read"])
async def test_a_process_that_dies_loses_no_steering_message(
    here: Here, model_side: ModelServer, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    model_side.enqueue(STORY, STORY, Script("Yes."))
    accepted = await commands.ask(here.user, here.session.pk, message="Tell me.", agent_name="writer")
    await model_side.until(lambda: len(model_side.requests) == 1)
    reading = asyncio.Event()
    loop, original = asyncio.get_running_loop(), words.read_by

    def failing(*args: Any) -> list[SteeringWord]:
        loop.call_soon_threadsafe(reading.set)
        original(*args)
        raise DatabaseError("The connection was lost.")

    if when == "as it is read":
        monkeypatch.setattr(words, "read_by", failing)
    await steering.steer(here.user, here.session.pk, message="Be brief.", interrupt=when != "before it is read")
    if when == "as it is read":
        await reading.wait()
    elif when == "when it was read":
        await model_side.until(lambda: len(model_side.requests) == 2)
    assert await recovery.interrupt(accepted.run_id)
    run_registry.stop_local_run(accepted.run_id, "Gone.")
    monkeypatch.undo()
    assert await database.read(places, here) == ["Be brief."], "a word was lost, or told twice"
    assert await here.all_ended()
    assert await database.read(places, here) == ["Be brief."], "a word was lost, or told twice"


# Two processes on PostgreSQL: a message sent to one is read by the run of the other

LONG = "Count [tokens=3000 every=20]"


@contextlib.asynccontextmanager
async def at_work(world: World) -> AsyncIterator[tuple[str, str, Socket, Socket]]:
    """A session whose run the first process executes: its id, the run's, and a socket at each process."""
    async with world.browser(process=0) as here, world.browser(process=1) as there:
        session_id = await here.new_session()
        async with here.socket(session_id) as own, there.socket(session_id) as other:
            await own.until_type("session")
            await other.until_type("session")
            await own.send("chat", message=LONG)
            run_id = (await own.until_type("accepted"))["data"]["run_id"]
            await world.model.until(lambda: bool(world.model.requests))
            await other.until_type("reasoning_start")
            yield session_id, run_id, own, other


def pending(frame: dict[str, Any]) -> list[str] | None:
    """The messages that are not yet read, from a frame; None if the frame does not list them."""
    return [word["message"] for word in frame["data"]] if frame["type"] == "steering" else None


@pytest.mark.parametrize("ways", [("steer", "unsteer"), ("unsteer", "steer")], ids=["said there", "said here"])
@pytest.mark.xdist_group("pair")
@pytest.mark.long
async def test_a_steering_message_reaches_the_process_that_executes_the_run(two: World, ways: tuple[str, str]) -> None:
    """Sent at either process, visible at the other and withdrawn there; one that interrupts is read at once, wherever it is sent."""
    async with at_work(two) as (session_id, run_id, own, other):
        author, looking = (other, own) if ways[0] == "steer" else (own, other)
        await author.send("steer", message="Never mind.", client_message_id="back")
        answer = (await author.until_type("accepted"))["data"]
        assert answer == {"client_message_id": "back", "run_id": run_id, "queued": 0, "steer": True}
        await looking.until(lambda frame: pending(frame) == ["Never mind."], 5)
        await looking.send("unsteer", client_message_id="back")
        await author.until(lambda frame: pending(frame) == [], 5)
        await author.send("steer", message="Be brief. [tokens=2]", client_message_id="now", interrupt=True)
        places = [await socket.until_step("steer", 5) for socket in (author, looking)]
        assert places[0] == places[1], "the same event at both"
        assert (places[0]["data"]["content"], places[0]["data"]["client_message_id"]) == ("Be brief. [tokens=2]", "now")
        ends = [(await socket.until_type("reasoning_complete"))["data"]["status"] for socket in (author, looking)]
        assert ends == ["completed", "completed"]
        last = two.model.requests[1].body["messages"][-1]
        assert last == {"role": "user", "content": "Be brief. [tokens=2]"}
        await looking.send("unsteer", client_message_id="now")
        assert (await looking.until_type("error"))["data"]["code"] == "nothing_to_cancel"
    await invariants.check(two, session_id, [])


@pytest.mark.xdist_group("pair")
@pytest.mark.long
async def test_steering_messages_through_two_processes_are_in_one_place_each(two: World) -> None:
    """Each message is where its answers said, and in one place only: read, in the queue, or withdrawn."""
    numbers = range(30)

    async def steer(browser: Browser, session_id: str, number: int) -> tuple[int, Any]:
        body = {
            "message": f"Word {number} [tokens=2]",
            "client_message_id": f"w{number}",
            "interrupt": number % 10 == 9,
        }
        return await browser.call("POST", f"sessions/{session_id}/steer/", body)

    async def take_back(browser: Browser, session_id: str, number: int) -> int:
        return (await browser.call("POST", f"sessions/{session_id}/unsteer/", {"client_message_id": f"w{number}"}))[0]

    async with at_work(two) as (session_id, run_id, *_), two.browser(process=0) as a, two.browser(process=1) as b:
        answers = await asyncio.gather(*(steer((a, b)[number % 2], session_id, number) for number in numbers))
        backs = await asyncio.gather(*(take_back((b, a)[number % 2], session_id, number) for number in numbers))
        assert {status for status, _ in answers} == {202}
        await a.call("POST", f"runs/{run_id}/cancel/", {})
        await two.quiet(session_id)
    states = dict(
        two.database.rows(
            "SELECT client_message_id, state FROM chat_steeringword WHERE session_id = ?", UUID(session_id)
        )
    )
    taken_back = {f"w{number}" for number, status in zip(numbers, backs, strict=True) if status == 202}
    read = [e.data["client_message_id"] for e in two.database.events(session_id) if e.data.get("type") == "steer"]
    queued = [run.client_message_id for run in two.database.runs(session_id)[1:]]
    assert {own_id for own_id, state in states.items() if state == WordState.TAKEN_BACK} == taken_back
    assert sorted([*taken_back, *read, *queued]) == sorted(f"w{n}" for n in numbers), "a word was lost, or told twice"
    await invariants.check(two, session_id, [])


@pytest.mark.long
async def test_a_steering_message_of_a_killed_process_is_queued_once(open_world: OpenWorld, model: ModelServer) -> None:
    """The other process finds that the lease has expired, ends the run, and makes one run of the message that it had not read."""
    world = open_world("postgres")
    async with at_work(world) as (session_id, run_id, _, other):
        await other.send("steer", message="Be brief. [tokens=2]", client_message_id="word")
        await other.until_type("accepted")
        await world.kill(world.servers[0])
        end = await other.until_type("reasoning_complete", 30)
        assert (end["run_id"], end["data"]["status"]) == (run_id, "interrupted")
        end = await other.until_type("reasoning_complete", 30)
        assert end["data"]["status"] == "completed"
        await world.start(world.servers[0])
    first, second = world.database.runs(session_id)
    assert (first.id, second.client_message_id, end["run_id"]) == (run_id, "word", second.id)
    assert not [e for e in world.database.events(session_id) if e.data.get("type") == "steer"]
    await invariants.check(world, session_id, [])
