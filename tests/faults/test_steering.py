"""Words into runs whose process dies: each is in the log or in the queue, and never in both, whatever was committed of its reading."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError

from agents import ModelSettings
from chat.models import Run, SteeringWord, Step
from chat.runs import commands, recovery, steering
from chat.runs import registry as run_registry
from chat.runtime import database
from chat.store import selectors
from chat.store import steering as words
from tests.faults.here import Here, here
from tests.model_server import ModelServer, Script

__all__ = ["here"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]

STORY = Script("Once upon a time there was a king. " * 30, every_s=0.02)


@pytest.fixture
def model_side(transactional_db: None, settings: Any) -> Iterator[ModelServer]:
    with ModelServer() as server:
        settings.AGENT_MODEL = ModelSettings(server.url, "stub", timeout_s=20.0)
        yield server


def told(here: Here) -> list[str]:
    """What became of the words: those in the log, then those that were asked after the first message."""
    steps = Step.objects.filter(session=here.session, type="steer").order_by("pk")
    read = [str(selectors.step_data(step)["content"]) for step in steps]
    runs = Run.objects.filter(session=here.session).order_by("number")
    return [*read, *list(runs.values_list("message", flat=True))[1:]]


@pytest.mark.parametrize("when", ["before it is read", "as it is read", "when it was read"])
async def test_a_process_dies_around_a_word(
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
    assert await database.read(told, here) == ["Be brief."], "a word was lost, or told twice"
    assert await here.all_ended()
    assert await database.read(told, here) == ["Be brief."], "a word was lost, or told twice"
