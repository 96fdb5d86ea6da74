"""The text in progress: a save that fails is repeated, and nothing is kept of a run that has ended."""

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.utils import timezone

from chat import models
from chat.models import Run, RunStatus
from chat.runs import events as run_events
from chat.runs import recorder, recovery
from chat.runs.state import End
from chat.runtime import database
from chat.serving import supervisor
from chat.store import drafts, step_log
from chat.store.drafts import Draft
from tests.chat import making
from tests.chat.databases import postgresql

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["sqlite", "postgres"])
def on_each_database(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[str]:
    """The same on both databases; its name."""
    if request.param == "sqlite":
        yield request.param
        return
    with postgresql(request.getfixturevalue("tables"), has_tables=True):
        yield request.param
        database.close()


@pytest.fixture(autouse=True)
def afterwards() -> Iterator[None]:
    yield
    for cells in (drafts.cells, drafts.unsaved, drafts.watchers):
        cells.clear()
    database.close()


def draft(run: Run, text: str = "half a thou", step: int = 1) -> models.Draft:
    return models.Draft(run_id=run.pk, number=step, type="thought", attempt=1, text=text, updated_at=timezone.now())


# Saves that fail


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


#: What prevents saving, and what ends that; the table is renamed, the connection is read-only, a row is refused.
FAILURES: dict[str, tuple[str, str]] = {
    "the table is away": ("ALTER TABLE chat_draft RENAME TO gone", "ALTER TABLE gone RENAME TO chat_draft"),
    "nothing can be written": ("PRAGMA query_only = ON", "PRAGMA query_only = OFF"),
    "every row is refused": (
        "CREATE TRIGGER refused BEFORE INSERT ON chat_draft BEGIN SELECT RAISE(ABORT, 'no'); END",
        "DROP TRIGGER refused",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_save_that_failed_is_tried_again_though_nothing_more_grows(
    failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = await sync_to_async(lambda: making.run(making.session(making.user())))()
    breaks, mends = FAILURES[failure]
    await database.write(execute, breaks)
    drafts.put(run.session_id, Draft(run.pk, 1, "thought", 1, "half a thou"))
    for _ in range(3):
        await drafts.save()
    assert len([record for record in caplog.records if "could not be saved" in record.getMessage()]) == 1
    await database.write(execute, mends)
    await drafts.save()
    saved = await database.read(lambda: models.Draft.objects.values_list("text", flat=True).first())
    assert saved == "half a thou", "a save was not tried again"
    assert not drafts.unsaved


async def test_a_text_that_cannot_be_saved_keeps_no_other_from_it() -> None:
    runs = await sync_to_async(
        lambda: [making.run(making.session(making.user(name))) for name in ("ada", "bo", "cy")]
    )()
    await database.write(
        execute,
        "CREATE TRIGGER refused BEFORE INSERT ON chat_draft WHEN NEW.text = 'bad' BEGIN SELECT RAISE(ABORT, 'no'); END",
    )
    for run, text in zip(runs, ("good", "bad", "good too"), strict=True):
        drafts.put(run.session_id, Draft(run.pk, 1, "thought", 1, text))
    await drafts.save()
    await database.write(execute, "DROP TRIGGER refused")
    assert await database.read(lambda: set(models.Draft.objects.values_list("text", flat=True))) == {"good", "good too"}
    assert drafts.unsaved == {runs[1].pk}


async def test_saving_goes_on_after_a_mistake_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    run = await sync_to_async(lambda: making.run(making.session(making.user())))()
    saving = step_log.save_drafts
    mistakes = [ValueError("a mistake of ours")]

    def mistaken_once(rows: Any) -> Any:
        if mistakes:
            raise mistakes.pop()
        return saving(rows)

    monkeypatch.setattr(step_log, "save_drafts", mistaken_once)
    drafts.put(run.session_id, Draft(run.pk, 1, "thought", 1, "half"))
    with pytest.raises(ValueError, match="ours"):
        await drafts.save()
    await drafts.save()
    assert await database.read(lambda: models.Draft.objects.get().text) == "half"


# Saves that race with the end


def end(run: Run) -> None:
    recorder.end_run(run, [making.thought("whole", 1)], End(RunStatus.COMPLETED))


def fail(run: Run) -> None:
    recorder.end_run(run, [], End(RunStatus.FAILED))


def interrupt(run: Run) -> None:
    recovery.interrupt_atomically(run.pk)


ENDS = {"ends": end, "fails": fail, "is interrupted": interrupt}


def elsewhere(threads: ThreadPoolExecutor, work: Callable[[], Any]) -> Future[Any]:
    """Do something on a connection of its own."""

    def do() -> Any:
        try:
            return work()
        finally:
            connection.close()

    return threads.submit(do)


@pytest.mark.parametrize("was_saved", [False, True])
@pytest.mark.parametrize("way", ENDS)
def test_a_save_on_its_way_when_the_run_ends_leaves_nothing(on_each_database: str, way: str, was_saved: bool) -> None:
    """The save has been executed and is not committed; then the run ends."""
    run = making.run(making.session(making.user(uuid.uuid4().hex)))
    if was_saved:
        step_log.save_drafts([draft(run, "ha")])
    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            step_log.save_drafts([draft(run)])
            ending = elsewhere(threads, lambda: ENDS[way](run))
            if on_each_database == "postgres":
                _wait_for_a_lock(ending)
        ending.result()
    _nothing_is_left(run)


@pytest.mark.parametrize("was_saved", [False, True])
@pytest.mark.parametrize("way", ENDS)
def test_a_save_while_the_run_is_ending_leaves_nothing(on_each_database: str, way: str, was_saved: bool) -> None:
    """The run's end is not committed; then the text is saved."""
    run = making.run(making.session(making.user(uuid.uuid4().hex)))
    if was_saved:
        step_log.save_drafts([draft(run, "ha")])
    is_saving = threading.Event()

    def save() -> None:
        is_saving.set()
        step_log.save_drafts([draft(run)])

    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            ENDS[way](run)
            saving = elsewhere(threads, save)
            is_saving.wait()
            if on_each_database == "postgres":
                saving.result()  # it does not wait for the lock
        saving.result()
    _nothing_is_left(run)


def test_a_save_waits_for_nobody_and_comes_again(on_each_database: str) -> None:
    if on_each_database == "sqlite":
        return  # on SQLite only one transaction writes at a time
    busy, free = (making.run(making.session(making.user(uuid.uuid4().hex))) for _ in range(2))
    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            making.append(busy, making.thought("a", 1))
            assert elsewhere(threads, lambda: step_log.save_drafts([draft(busy, step=2), draft(free)])).result() == {
                free.pk
            }
        assert elsewhere(threads, lambda: step_log.save_drafts([draft(busy, step=2)])).result() == {busy.pk}


def _wait_for_a_lock(waiting: Future[Any]) -> None:
    """Wait until the other transaction waits for this one, or has ended."""
    with connection.cursor() as cursor:
        while not waiting.done():
            cursor.execute("SELECT COUNT(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return


def _nothing_is_left(run: Run) -> None:
    assert Run.objects.get(pk=run.pk).is_finished
    assert not models.Draft.objects.filter(run=run).exists(), "a draft of a run that has ended was kept"


# Drafts that are left all the same


@pytest.mark.parametrize("sweeps", ["at the start", "by the clock"])
async def test_drafts_of_ended_runs_are_swept(sweeps: str) -> None:
    """An earlier version, or a restored backup, may have left some."""

    def leave() -> Run:
        ended, live = (making.run(making.session(making.user(name))) for name in ("ada", "bo"))
        making.end(ended)
        draft(ended).save(force_insert=True)
        draft(live).save(force_insert=True)
        return live

    live = await sync_to_async(leave)()
    if sweeps == "at the start":
        await sync_to_async(supervisor.recover_runs)()
        assert not await sync_to_async(models.Draft.objects.exists)()
    else:
        await supervisor.sweep()
        assert await sync_to_async(lambda: models.Draft.objects.get().run_id)() == live.pk


def test_a_text_saved_after_its_step_was_stored_is_not_stored_again() -> None:
    run = making.run(making.session(making.user()))
    making.append(run, making.thought("a whole thought", 1))
    step_log.save_drafts([draft(run, "a whole", step=1)])
    steps = list(run.steps.order_by("position"))
    assert run_events.left_open(Run.objects.select_related("draft").get(pk=run.pk), steps) == []
