"""A row that cannot be read affects only itself: the error is logged, the run is set to failed, and the other rows are handled as usual."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.utils import timezone

from chat.models import Run, RunStatus, Schedule, Session
from chat.runs import quarantine, queue_watch
from chat.runs import queue as run_queue
from chat.runs import registry as run_registry
from chat.runtime import database as runtime_database
from chat.runtime.db_values import uuid_param
from chat.schedules import commands as schedule_commands
from chat.schedules import ticker
from chat.serving import supervisor
from chat.serving.worker import Worker
from tests.chat import databases, making
from tests.faults.here import Here, here  # noqa: F401 - a fixture


def _execute(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


@dataclass(frozen=True)
class Bad:
    """A kind of corruption: the statement that causes it, in which ``%s`` is the id of the run, its session, or the schedule."""

    statement: str
    of: str = "run"
    code: str = "internal"
    """With which the run fails."""

    def spoil(self, run: Run) -> None:
        """Execute the statement."""
        _execute(self.statement, uuid_param(run.session_id if self.of == "session" else run.pk))


#: How a run can be corrupted, in any database, or where only one of them accepts it. A further one is one line.
SPOILT: dict[str, dict[str, Bad]] = {
    "both": {
        "a step that is no JSON": Bad("UPDATE chat_step SET body = '{\"type\": ' WHERE session_id = %s", "session"),
        "a step that is JSON of another kind": Bad("UPDATE chat_step SET body = '[]' WHERE session_id = %s", "session"),
        "a step without what it is to have": Bad("UPDATE chat_step SET body = '{}' WHERE session_id = %s", "session"),
        "an agent that is not there": Bad(
            "UPDATE chat_run SET agent_name = 'nobody' WHERE id = %s", code="unknown_agent"
        ),
    },
    "sqlite": {
        "a step that is no text": Bad(
            "UPDATE chat_step SET body = CAST(x'ff00' AS TEXT) WHERE session_id = %s", "session"
        ),
        "a time that is none": Bad("UPDATE chat_run SET created_at = '2026-13-45 25:61:61' WHERE id = %s"),
        "a message that is no text": Bad("UPDATE chat_run SET message = CAST(x'ff' AS TEXT) WHERE id = %s"),
    },
    "postgresql": {
        "a time without end": Bad("UPDATE chat_run SET created_at = 'infinity' WHERE id = %s"),
        "a time before all others": Bad("UPDATE chat_run SET created_at = '-infinity' WHERE id = %s"),
        "a year of five digits": Bad("UPDATE chat_run SET created_at = '20000-01-01' WHERE id = %s"),
        "a year before our era": Bad("UPDATE chat_run SET created_at = '0044-03-15 BC' WHERE id = %s"),
    },
}
#: How a schedule can be corrupted.
BAD_SCHEDULES: dict[str, dict[str, Bad]] = {
    "both": {
        "an expression that is none": Bad("UPDATE chat_schedule SET cron = 'every now and then' WHERE id = %s"),
        "a time zone that is none": Bad("UPDATE chat_schedule SET time_zone = 'Atlantis/Sunken' WHERE id = %s"),
        "an agent that is not there": Bad("UPDATE chat_schedule SET agent_name = 'nobody' WHERE id = %s"),
    },
    "sqlite": {
        "a message that is no text": Bad("UPDATE chat_schedule SET message = CAST(x'ff' AS TEXT) WHERE id = %s"),
        "a time that is none": Bad("UPDATE chat_schedule SET created_at = '2026-13-45 25:61:61' WHERE id = %s"),
        "a number that is none": Bad("UPDATE chat_schedule SET failures = 'x' WHERE id = %s"),
    },
    "postgresql": {
        "a time without end": Bad("UPDATE chat_schedule SET created_at = 'infinity' WHERE id = %s"),
        "a time that is due for ever": Bad("UPDATE chat_schedule SET next_at = '-infinity' WHERE id = %s"),
    },
}


def _on_each(bad: dict[str, dict[str, Bad]]) -> list[Any]:
    """Each kind of corruption on each database that accepts it."""
    return [
        pytest.param((database, each), id=f"{name}, {database}")
        for database in ("sqlite", "postgresql")
        for name, each in (bad["both"] | bad[database]).items()
    ]


@pytest.fixture
async def bad(request: pytest.FixtureRequest, transactional_db: None) -> AsyncIterator[Bad]:
    """The corruption, with the database that accepts it in use; ask for this fixture before ``here``."""
    database, what = request.param
    if database == "sqlite":
        yield what
        return
    # All tests share the thread in which Django's synchronous code runs, and its connection.
    there = databases.postgresql(request.getfixturevalue("tables"), has_tables=True)
    await sync_to_async(there.__enter__)()
    try:
        assert await runtime_database.read(lambda: connection.vendor) == "postgresql"
        yield what
    finally:
        await sync_to_async(databases.empty)()
        await sync_to_async(there.__exit__)(None, None, None)


def _waiting(owner: Any, *, bad: Bad | None = None, live: bool = False) -> UUID:
    """A session with an earlier turn that used a tool, and a queued run; its id is returned."""
    session = making.session(owner)
    earlier = making.run(session)
    making.append(earlier, making.step("tool_use", arguments={"code": "2"}), making.step("tool_result", "2"))
    if live:
        Run.objects.filter(pk=earlier.pk).update(heartbeat_at=timezone.now() - timedelta(hours=1))
        run = earlier
    else:
        making.end(earlier)
        run = making.run(session, message="What is 2 + 2?", owned_by="")
    if bad is not None:
        bad.spoil(run)
    run_id: UUID = run.pk
    return run_id


def _status(run_id: UUID) -> tuple[str, str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT status, code FROM chat_run WHERE id = %s", [uuid_param(run_id)])
        status, code = cursor.fetchone()
    return status, code


async def _become(run_id: UUID, within_s: float = 20) -> tuple[str, str]:
    """Wait, with a time limit, until a run has ended; returns its status."""
    until = asyncio.get_running_loop().time() + within_s
    while True:
        found = await sync_to_async(_status)(run_id)
        has_ended = found[0] not in ("queued", "running", "cancelling") and run_id not in run_registry.running_ids()
        if has_ended or asyncio.get_running_loop().time() > until:
            return found
        await asyncio.sleep(0.01)


async def _by_worker() -> None:
    """One poll of a worker with two slots; both are free afterwards."""
    worker = Worker(2)
    try:
        await worker._poll_queue()
        async with asyncio.timeout(20):
            await worker._slots.acquire()
            await worker._slots.acquire()
    finally:
        worker._loop.close()


LOOKS: dict[str, Callable[[], Awaitable[None]]] = {"who serves": queue_watch.start_waiting, "a worker": _by_worker}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("bad", _on_each(SPOILT), indirect=True)
async def test_a_queued_run_that_cannot_be_read_is_set_to_failed(
    bad: Bad,
    here: Here,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
    look: str,
) -> None:
    """Of three queued runs the second cannot be read: one poll sets it to failed and executes the others."""
    first = await sync_to_async(_waiting)(here.user)
    spoilt = await sync_to_async(_waiting)(here.user, bad=bad)
    last = await sync_to_async(_waiting)(here.user)
    # An error ends the poll, as it does where the poll is periodic.
    with caplog.at_level(logging.WARNING), contextlib.suppress(ValueError):
        await LOOKS[look]()
    ends = [await _become(run_id) for run_id in (first, spoilt, last)]
    assert ends == [("completed", ""), ("failed", bad.code), ("completed", "")], "a bad row stood in others' way"
    # That an agent was withdrawn meanwhile is no error to be logged.
    assert caplog.records or bad.code != "internal"
    names = await sync_to_async(_names)(spoilt)
    assert (names[0], names[-2:]) == ("reasoning_start", ["error", "reasoning_complete"])


def _names(run_id: UUID) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT event FROM chat_step WHERE run_id = %s ORDER BY position", [uuid_param(run_id)])
        return [name for (name,) in cursor.fetchall()]


@pytest.mark.parametrize("sweep", ["by the clock", "at the start"])
@pytest.mark.parametrize("bad", _on_each(SPOILT), indirect=True)
async def test_an_orphaned_run_that_cannot_be_read_is_ended(bad: Bad, here: Here, sweep: str) -> None:  # noqa: F811
    """Of three runs that a dead process has left, one cannot be read: one sweep ends all of them."""
    found = [await sync_to_async(_waiting)(here.user, bad=how, live=True) for how in (None, bad, None)]
    if sweep == "by the clock":
        await supervisor.sweep()
    else:
        await sync_to_async(supervisor.recover_runs)()
    ends = [await sync_to_async(_status)(run_id) for run_id in found]
    assert [status for status, _ in ends[::2]] == ["interrupted", "interrupted"]
    assert ends[1] in [("interrupted", ""), ("failed", "internal")]


@pytest.mark.parametrize("bad", _on_each(BAD_SCHEDULES), indirect=True)
async def test_a_schedule_that_cannot_be_read_stops_no_other(bad: Bad, here: Here) -> None:  # noqa: F811
    """Of three schedules that are due, one cannot be read: one tick starts runs for the others."""
    now = timezone.now()

    def make(what: Bad | None) -> UUID:
        schedule = schedule_commands.make(here.user, {"message": "What is 2 + 2?", "cron": "* * * * *"}, now)
        if what is not None:
            _execute(what.statement, uuid_param(schedule.pk))
        return schedule.pk

    found = [await sync_to_async(make)(what) for what in (None, bad, None)]
    await ticker.Ticker(lambda: now + timedelta(minutes=1)).tick()
    assert await here.all_ended()
    having = await sync_to_async(
        lambda: set(Schedule.objects.filter(occurrences__run__status=RunStatus.COMPLETED).values_list("pk", flat=True))
    )()
    assert having == {found[0], found[2]}


async def test_a_session_that_is_no_identifier_is_left_out(here: Here, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    """A queued run whose session's id is invalid is logged, and the other queued runs are found."""
    run_id = await sync_to_async(_waiting)(here.user)

    def spoil() -> None:
        bad = making.run(making.session(here.user), owned_by="")
        _execute("PRAGMA defer_foreign_keys = ON")
        _execute("UPDATE chat_session SET id = 'x' WHERE id = %s", uuid_param(bad.session_id))
        _execute("UPDATE chat_run SET session_id = 'x' WHERE id = %s", uuid_param(bad.pk))

    def spoil_all() -> None:
        with making.step_log.transaction.atomic():
            spoil()

    await sync_to_async(spoil_all)()
    await queue_watch.start_waiting()
    assert await _become(run_id) == ("completed", "")
    # That an agent was withdrawn meanwhile is no error to be logged.
    assert caplog.records or bad.code != "internal"


def test_an_ended_run_is_not_set_to_failed(transactional_db: None) -> None:
    """Neither an ended run nor a deleted one is set to failed."""
    run = making.run(making.session(making.user()))
    making.end(run)
    assert quarantine.fail_run(run.pk) is None
    assert quarantine.fail_run(uuid4()) is None
    assert quarantine.fail_next(run.session_id) is None
    assert run_queue.next_in(run.session_id) is None
    assert Session.objects.get().status == "completed"
