"""A database that is unavailable for a moment, at any point of a run: each read and write is repeated, and the run completes."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import InterfaceError, InternalError, OperationalError

from chat.models import Run
from chat.runs import commands as run_commands
from chat.runs import dispatch, queue_watch, recorder
from chat.runs.commands import Accepted
from chat.runtime import database
from chat.serving import supervisor
from chat.store import history
from tests.chat import making
from tests.faults.here import Here, here  # noqa: F401 - a fixture

#: The errors of databases that are unavailable or read-only.
ERRORS = {
    "hung up": OperationalError("server closed the connection unexpectedly"),
    "closed": InterfaceError("the connection is closed"),
    "read only": InternalError("cannot execute UPDATE in a read-only transaction"),
}


#: How many database calls a run makes, and a few of the periodic tasks after it.
_MOST = 25


class _Away:
    """A wrapper of the database threads that makes some calls fail, from the nth on."""

    def __init__(self, first: int, times: int, error: Exception, *, done: bool) -> None:
        self._calls = itertools.count(1)
        self._away = range(first, first + times)
        self._error = error
        #: Whether the call takes effect all the same, and only its answer is lost.
        self._done = done
        self._usual = database.with_usable_connection
        self.was_away = False

    def __call__(self, call: Callable[[], Any]) -> Any:
        if next(self._calls) not in self._away:
            return self._usual(call)
        self.was_away = True
        if self._done:
            self._usual(call)
        raise type(self._error)(*self._error.args)


async def _asked(here: Here) -> Accepted:  # noqa: F811
    """Send a message as a client does: again with the same identifier, until it is answered."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await run_commands.ask(
                    here.user, here.session.pk, message="What is 2 + 2?", client_message_id="mine"
                )
            except (OperationalError, InterfaceError, InternalError):
                await asyncio.sleep(0.01)


async def _by_the_clock() -> None:
    """What a process does every second, but at once."""
    while True:
        for chore in (supervisor.compare_runs, queue_watch.start_waiting):
            try:
                await chore()
            except (OperationalError, InterfaceError, InternalError):
                await asyncio.sleep(0)
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("reads_along", "done"),
    [
        pytest.param(False, False, id="a long log, undone"),
        pytest.param(True, True, id="a short log, done and not told"),
        pytest.param(True, False, id="a short log, undone", marks=pytest.mark.long),
        pytest.param(False, True, id="a long log, done and not told", marks=pytest.mark.long),
    ],
)
async def test_the_database_is_away_at_each_point_of_a_run(
    here: Here,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    reads_along: bool,
    done: bool,
) -> None:
    """From each call of the database on, one or three fail, with or without having taken effect: the run completes, its log is right."""
    monkeypatch.setattr(recorder, "RETRY_AFTER_S", (0.01,) * 7)
    monkeypatch.setattr(dispatch, "SHORT_LOG", 300 if reads_along else 0)
    usual = None
    for first, error in zip(itertools.count(1), itertools.cycle(ERRORS.values()), strict=False):
        here.session = await sync_to_async(making.session)(here.user)
        await here.earlier_run(events=3)
        away = _Away(first, 1 + 2 * (first % 2), error, done=done)
        with monkeypatch.context() as broken:
            broken.setattr(database, "with_usable_connection", away)
            accepted = await _asked(here)
            clock = asyncio.create_task(_by_the_clock())
            try:
                assert await here.all_ended(), "a run was begun and never ended"
            finally:
                clock.cancel()
                await asyncio.gather(clock, return_exceptions=True)
        run = await sync_to_async(Run.objects.get)(pk=accepted.run_id)
        assert run.status == "completed", "a run failed because the database was away for a moment"
        events = await here.events(run)
        usual = usual or events
        assert events == usual, "a run's events are not what they are where nothing fails"
        if not away.was_away or first == _MOST:
            break
    assert first > 3


@pytest.mark.parametrize("error", ERRORS)
async def test_a_history_that_cannot_be_read_for_long_fails_the_run(
    here: Here,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    error: str,
) -> None:
    """The database cannot be read until the run gives up: the error says that reading failed, and not writing."""
    monkeypatch.setattr(recorder, "RETRY_AFTER_S", (0.01,) * 7)
    monkeypatch.setattr(dispatch, "SHORT_LOG", 0)
    await here.earlier_run()
    asked = []

    def away(*_: Any, **__: Any) -> None:
        asked.append(1)
        raise ERRORS[error]

    monkeypatch.setattr(history, "conversation_history", away)
    accepted = await run_commands.ask(here.user, here.session.pk, message="What is 2 + 2?")
    assert await here.all_ended()
    run = await sync_to_async(Run.objects.get)(pk=accepted.run_id)
    assert (run.status, run.code, len(asked)) == ("failed", "storage", 8)
    text = await sync_to_async(lambda: run.steps.get(event="error").body)()
    assert "was to be read" in text
