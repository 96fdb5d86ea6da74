"""The guarantees of the log: numbers without gaps in the order of commits, one owner, nothing stored in part."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from chat.models import Draft, Run, RunStatus, Session, Step, StepContent
from chat.runs import state as run_state
from chat.store import selectors, step_log
from chat.store.step_log import Entry, Fenced
from tests.chat import making

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("on_each_database")]


def test_events_are_numbered_from_one_without_holes() -> None:
    session = making.session(making.user())
    run = making.run(session)
    first = making.append(run, making.thought("a"))
    more = making.append(run, making.thought("b", 2), making.thought("c", 3))
    assert [stored.seq for stored in [*first, *more]] == [1, 2, 3]
    session.refresh_from_db()
    assert session.last_seq == 3


def test_returned_events_are_as_stored() -> None:
    session = making.session(making.user())
    run = making.run(session)
    stored = making.append(run, making.thought("天氣 🙂"))
    assert selectors.stored_after(session.pk, 0, 10) == stored
    assert json.loads(stored[0].frame)["data"]["content"] == "天氣 🙂"


def test_a_failure_in_the_middle_stores_nothing_and_uses_no_number() -> None:
    session = making.session(making.user())
    run = making.run(session)
    broken = Entry(
        "reasoning_step", {"type": "thought", "step": 2, "content": "x", "iteration": -1, "duration_ms": "?"}
    )
    with pytest.raises(DatabaseError):
        making.append(run, making.thought("a"), broken)
    assert not Step.objects.exists()
    assert making.append(run, making.thought("b"))[0].seq == 1


def test_steps_without_number_are_kept_in_their_place() -> None:
    session = making.session(making.user())
    run = making.run(session, enable_reasoning=False)
    silent = Entry("reasoning_step", making.thought("quiet").data, numbered=False)
    appended = making.append(run, silent, Entry("response", {"content": "42"}))
    assert [(stored.event, stored.seq) for stored in appended] == [("response", 1)]
    assert list(run.steps.order_by("position").values_list("event", "seq", "position")) == [
        ("reasoning_step", None, 1),
        ("response", 1, 2),
    ]


def test_long_results_keep_their_whole_text() -> None:
    run = making.run(making.session(making.user()))
    making.append(run, making.step("tool_result", "ab", full="ab\x00c"))
    assert StepContent.objects.get().content == "ab\ufffdc"


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.CANCELLED, RunStatus.INTERRUPTED])
def test_nothing_is_stored_after_the_end(status: RunStatus) -> None:
    run = making.run(making.session(making.user()))
    making.end(run, status)
    with pytest.raises(Fenced):
        making.append(run, making.thought("late"))
    assert not Step.objects.exists()
    run.session.refresh_from_db()
    assert run.session.last_seq == 0


def test_an_owner_whose_run_was_taken_stores_nothing() -> None:
    run = making.run(making.session(making.user()))
    assert making.append(run, making.thought("mine"))
    owned = Run.objects.get(pk=run.pk)
    assert run_state.take_over(owned, "process-2")
    with pytest.raises(Fenced):
        making.append(run, making.thought("zombie", 2))
    assert making.append(owned, making.thought("new owner", 2))[0].seq == 2


def test_a_session_that_is_gone_is_told_apart() -> None:
    run = making.run(making.session(making.user()))
    run.session.delete()
    with pytest.raises(Fenced):
        making.append(run, making.thought("late"))


def test_a_stored_step_ends_its_draft_and_no_later_one() -> None:
    run = making.run(making.session(making.user()))
    step_log.save_drafts([Draft(run=run, number=2, type="thought", text="hal", updated_at=timezone.now())])
    making.append(run, making.thought("a", 1))
    assert Draft.objects.get().text == "hal"
    step_log.save_drafts([Draft(run=run, number=2, type="thought", text="half", updated_at=timezone.now())])
    assert Draft.objects.get().text == "half"
    making.append(run, making.thought("half a thought", 2))
    assert not Draft.objects.exists()


def test_events_of_an_unacknowledged_commit_are_not_stored_again() -> None:
    run = making.run(making.session(making.user()))
    entries = [
        making.thought("a"),
        making.step("start", numbered=False),
        making.thought("b", 2),
    ]
    stored = step_log.append(run, entries)
    assert step_log.append_again(run, entries) == stored
    assert Step.objects.count() == 3
    new = [making.thought("c", 3)]
    assert [one.seq for one in step_log.append_again(run, new)] == [3]
    run.session.refresh_from_db()
    assert run.session.last_seq == 3


def test_no_draft_is_kept_of_an_ended_run() -> None:
    run = making.run(making.session(making.user()))
    making.end(run)
    step_log.save_drafts(
        [Draft(run=run, number=1, type="thought", text="by a process that was frozen", updated_at=timezone.now())]
    )
    assert not Draft.objects.exists()


def test_the_draft_of_a_run_that_is_gone_keeps_no_other_from_being_saved() -> None:
    gone, here = (making.run(making.session(making.user(name))) for name in ("ada", "bo"))
    drafts = [Draft(run=run, number=1, type="thought", text="hal", updated_at=timezone.now()) for run in (gone, here)]
    Session.objects.filter(pk=gone.session_id).delete()
    step_log.save_drafts(drafts)
    assert [draft.run_id for draft in Draft.objects.all()] == [here.pk]


def test_writers_that_race_leave_no_hole_and_a_reader_in_between_misses_nothing() -> None:
    session = making.session(making.user())
    run = making.run(session)
    writers, each = 6, 25
    done = threading.Event()
    seen: list[int] = []

    def write(writer: int) -> None:
        for turn in range(each):
            making.append(run, making.thought(f"{writer}.{turn}"))
        connection.close()

    def follow() -> None:
        while True:
            finished = done.is_set()
            batch = selectors.stored_after(session.pk, seen[-1] if seen else 0, 1_000)
            seen.extend(stored.seq for stored in batch)
            if finished and not batch:
                break
        connection.close()

    with ThreadPoolExecutor(writers + 1) as threads:
        reader = threads.submit(follow)
        for writer in [threads.submit(write, number) for number in range(writers)]:
            writer.result()
        done.set()
        reader.result()
    assert seen == list(range(1, writers * each + 1))


def test_an_uncommitted_event_is_not_seen() -> None:
    session = making.session(making.user())
    run = making.run(session)
    with ThreadPoolExecutor(1) as other, transaction.atomic():
        making.append(run, making.thought("a"))

        def look() -> int:
            found = len(selectors.stored_after(session.pk, 0, 10))
            connection.close()
            return found

        assert other.submit(look).result() == 0
    assert len(selectors.stored_after(session.pk, 0, 10)) == 1
