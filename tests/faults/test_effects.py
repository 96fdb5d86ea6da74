"""A tool call with side effects is in the log before it begins: after a crash it is known that it may have been made."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from agents import CancelToken
from chat.models import Run, Step
from chat.runs import commands, toolbox
from chat.runs import registry as run_registry
from chat.runtime import database
from chat.store import step_log
from tests.faults.here import Here, here

__all__ = ["here"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]

#: For how long a slow disk is simulated, during which the tool must not begin.
SLOW_S = 0.3


class Bell:
    """A tool that replaces one which the demo model calls; it records whether its call was stored when it began."""

    name = "python"
    description = "Rings."
    timeout_s = 20.0
    output_limit = 1_000
    reaches_outside = False

    def __init__(self, *, has_side_effects: bool) -> None:
        self.has_side_effects = has_side_effects
        self.parameters: dict[str, Any] = {"type": "object", "properties": {"code": {"type": "string"}}}
        self.began = threading.Event()
        self.was_stored: list[bool] = []
        self._loop = asyncio.get_running_loop()

    def call(self, arguments: dict[str, Any], stop: CancelToken) -> str:
        self.began.set()
        reading = database.read(Step.objects.filter(type="tool_use").exists)
        self.was_stored.append(asyncio.run_coroutine_threadsafe(reading, self._loop).result(10))
        return "42"


def give(bell: Bell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every run use it."""
    usual = toolbox.toolbox_for
    monkeypatch.setattr(toolbox, "toolbox_for", lambda *args, **options: replace(usual(*args, **options), extra=[bell]))


def slow_down(wait: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the database wait before it stores a tool call."""
    usual = step_log.append

    def append(run: Run, entries: Sequence[step_log.Entry]) -> list[step_log.Stored]:
        if any(entry.data.get("type") == "tool_use" for entry in entries):
            wait()
        return usual(run, entries)

    monkeypatch.setattr(step_log, "append", append)


@pytest.mark.parametrize("has_side_effects", [True, False])
async def test_a_call_with_side_effects_begins_when_it_is_stored_and_others_at_once(
    here: Here, monkeypatch: pytest.MonkeyPatch, has_side_effects: bool
) -> None:
    bell, begun_unstored = Bell(has_side_effects=has_side_effects), []
    give(bell, monkeypatch)
    slow_down(lambda: begun_unstored.append(bell.began.wait(SLOW_S if has_side_effects else 20)), monkeypatch)
    await commands.ask(here.user, here.session.pk, message="What is 6 × 7?", agent_name="researcher")
    assert await here.all_ended()
    assert await here.statuses() == ["completed"]
    assert begun_unstored == [not has_side_effects], "a call began before it was in the log"
    assert len(bell.was_stored) == 1
    assert bell.was_stored == [True] or not has_side_effects


async def test_a_call_that_is_stopped_before_it_is_stored_never_begins(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    bell, storing, stopped = Bell(has_side_effects=True), threading.Event(), threading.Event()
    give(bell, monkeypatch)

    def wait() -> None:
        storing.set()
        stopped.wait(20)

    slow_down(wait, monkeypatch)
    accepted = await commands.ask(here.user, here.session.pk, message="What is 6 × 7?", agent_name="researcher")
    assert await asyncio.to_thread(storing.wait, 20)
    run_registry.running[accepted.run_id].stop("Enough.")
    stopped.set()
    assert await here.all_ended()
    assert await here.statuses() == ["cancelled"]
    assert not bell.began.is_set()
