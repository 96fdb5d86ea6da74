"""What is due is handled once, by the rules of the schedule, and with the rights of its owner."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test import override_settings

from chat.accounts.models import User
from chat.models import Door, Occurrence, Origin, Outcome, PauseReason, Run, RunStatus, Schedule, Session
from chat.runs import auto_continue
from chat.runs import state as run_state
from chat.runs.admission import Refused
from chat.runs.state import End
from chat.schedules import commands as schedule_commands
from chat.schedules import notifications, occurrences, recurrence
from chat.schedules import selectors as schedule_selectors
from chat.schedules.commands import BadField
from tests.chat import making
from tests.chat.databases import postgresql

pytestmark = pytest.mark.django_db
NOW = datetime(2027, 1, 4, 9, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def ada() -> User:
    return making.user()


def made(owner: User, now: datetime = NOW, **fields: Any) -> Schedule:
    when = {} if {"at", "cron"} & set(fields) else {"every_minutes": 30}
    return schedule_commands.make(owner, {"name": "Prices", "message": "What does flour cost?", **when, **fields}, now)


def tick(now: datetime) -> None:
    """What a ticker does, once."""
    for due in occurrences.due_schedules(now, 1000):
        occurrences.claim(due, now)
    for ended in occurrences.ended_schedules():
        occurrences.settle(ended, now)
    for waiting in occurrences.waiting_schedules():
        occurrences.start_waiting(waiting, now)


def finish(schedule: Schedule, status: RunStatus = RunStatus.COMPLETED, now: datetime = NOW) -> None:
    """Let its run begin and end."""
    run = Run.objects.get(occurrences__schedule=schedule, ended_at=None)
    assert run_state.claim(run, "process-1")
    assert run_state.finish(run.pk, run.session_id, End(status))
    tick(now)


def outcomes(schedule: Schedule) -> list[tuple[str, str]]:
    found = Occurrence.objects.filter(schedule=schedule).order_by("due_at")
    return [(occurrence.due_at.strftime("%H:%M"), occurrence.outcome) for occurrence in found]


def reread(schedule: Schedule) -> Schedule:
    schedule.refresh_from_db()
    return schedule


# Due times


def test_a_due_time_is_a_message_of_the_owners_in_a_new_session(ada: User) -> None:
    schedule = made(ada, agent_name="writer")
    assert schedule.next_at == NOW.replace(second=0) + 30 * MINUTE
    tick(NOW + 29 * MINUTE)
    assert not Occurrence.objects.exists()
    now = NOW + 30 * MINUTE
    tick(now)
    tick(now)
    run = Run.objects.get()
    assert (run.user, run.message, run.agent_name, run.origin) == (ada, "What does flour cost?", "writer", "schedule")
    assert (run.session.owner, run.session.title, run.status) == (ada, "Prices", RunStatus.QUEUED)
    assert run.client_message_id.startswith(f"sched:{schedule.pk.hex}:")
    assert outcomes(schedule) == [("09:30", "started")]
    assert reread(schedule).next_at == NOW.replace(second=0) + 60 * MINUTE
    finish(schedule)
    assert outcomes(schedule) == [("09:30", "completed")]


def test_a_schedule_runs_in_one_session_where_that_is_set(ada: User) -> None:
    session = making.session(ada, title="Flour")
    schedule = made(ada, session_id=str(session.pk))
    for number in (1, 2):
        tick(NOW + 30 * number * MINUTE)
        finish(schedule)
    assert [run.number for run in Run.objects.filter(session=session)] == [1, 2]
    assert Session.objects.count() == 1


def test_a_single_time_is_done_after_it(ada: User) -> None:
    schedule = made(ada, at=NOW + MINUTE)
    tick(NOW + MINUTE)
    tick(NOW + 2 * MINUTE)
    assert outcomes(schedule) == [("09:01", "started")]
    assert (reread(schedule).enabled, schedule.paused_because, schedule.next_at) == (False, PauseReason.DONE, None)
    finish(schedule)
    with pytest.raises(BadField, match="past"):
        schedule_commands.change(ada, schedule.pk, {"enabled": True}, NOW + 2 * MINUTE)
    again = schedule_commands.change(ada, schedule.pk, {"at": NOW + 5 * MINUTE}, NOW + 2 * MINUTE)
    assert (again.enabled, again.next_at) == (True, NOW + 5 * MINUTE)


def test_scheduled_messages_do_not_count_as_typed_ones_nor_wait_for_them(ada: User) -> None:
    session = making.session(ada)
    making.end(making.run(session))
    with override_settings(MAX_MESSAGES_PER_MINUTE=1):
        schedule = made(ada)
        tick(NOW + 30 * MINUTE)
    assert outcomes(schedule) == [("09:30", "started")]


def test_owners_take_turns(ada: User) -> None:
    many = [made(ada) for _ in range(5)]
    bo = making.user("bo")
    his = made(bo, every_minutes=31)
    order = occurrences.due_schedules(NOW + 60 * MINUTE, 3)
    assert order[:2] == [order[0], his.pk]
    assert {order[0], order[2]} < {schedule.pk for schedule in many}


# Missed times


@pytest.mark.parametrize(
    ("rule", "found"),
    [("once", [("11:30", "missed"), ("12:00", "started")]), ("skip", [("12:00", "missed")])],
)
def test_missed_times_are_made_up_for_once_or_not_at_all(ada: User, rule: str, found: list[tuple[str, str]]) -> None:
    schedule = made(ada, missed=rule)
    tick(NOW + timedelta(hours=3, minutes=20))
    assert outcomes(schedule) == found
    missed = Occurrence.objects.get(schedule=schedule, outcome=Outcome.MISSED)
    assert missed.times == (5 if rule == "once" else 6)
    assert reread(schedule).next_at == NOW.replace(second=0) + timedelta(hours=3, minutes=30)


def test_a_tick_that_comes_a_little_late_has_missed_nothing(ada: User) -> None:
    schedule = made(ada, missed="skip")
    tick(NOW + 34 * MINUTE)
    assert outcomes(schedule) == [("09:30", "started")]


def test_a_month_of_minutes_is_no_burst(ada: User) -> None:
    schedule = made(ada, cron="* * * * *")
    tick(NOW + timedelta(days=30))
    assert Run.objects.count() == 1
    assert [outcome for _, outcome in outcomes(schedule)] == ["missed", "started"]
    missed = Occurrence.objects.get(outcome=Outcome.MISSED)
    assert missed.times == recurrence.COUNTED
    assert schedule_selectors.outcome_word(missed) == "Missed, 100+ times"


def test_a_clock_that_is_set_back_runs_nothing_twice(ada: User) -> None:
    schedule = made(ada, cron="* * * * *")
    tick(NOW + timedelta(minutes=5))
    tick(NOW)
    Schedule.objects.filter(pk=schedule.pk).update(next_at=NOW)
    tick(NOW + timedelta(minutes=5))
    assert Run.objects.count() == 1


# Overlapping runs


def test_the_next_one_waits_for_the_last(ada: User) -> None:
    schedule = made(ada, overlap="queue")
    tick(NOW + 30 * MINUTE)
    tick(NOW + 60 * MINUTE)
    assert outcomes(schedule) == [("09:30", "started"), ("10:00", "waiting")]
    assert Run.objects.count() == 1
    finish(schedule, now=NOW + 61 * MINUTE)
    assert outcomes(schedule) == [("09:30", "completed"), ("10:00", "started")]


@pytest.mark.parametrize(("overlap", "second"), [("queue", "waiting"), ("skip", "skipped")])
def test_an_occurrence_whose_run_waits_has_not_ended(ada: User, overlap: str, second: str) -> None:
    schedule = made(ada, overlap=overlap)
    tick(NOW + 30 * MINUTE)
    assert Run.objects.update(status=RunStatus.WAITING, waiting_since=NOW) == 1
    tick(NOW + 60 * MINUTE)
    assert outcomes(schedule) == [("09:30", "started"), ("10:00", second)]


def test_only_so_many_wait(ada: User) -> None:
    schedule = made(ada)
    with override_settings(MAX_QUEUED_RUNS=2):
        for number in range(1, 5):
            tick(NOW + 30 * number * MINUTE)
    assert [outcome for _, outcome in outcomes(schedule)] == ["started", "waiting", "waiting", "skipped"]
    assert Occurrence.objects.get(outcome=Outcome.SKIPPED).reason == "queue_full"


def test_the_next_one_is_skipped_while_the_last_is_at_work(ada: User) -> None:
    schedule = made(ada, overlap="skip")
    tick(NOW + 30 * MINUTE)
    tick(NOW + 60 * MINUTE)
    finish(schedule)
    tick(NOW + 90 * MINUTE)
    assert outcomes(schedule) == [("09:30", "completed"), ("10:00", "skipped"), ("10:30", "started")]


def test_a_session_whose_line_is_full_skips_and_does_not_pause(ada: User) -> None:
    session = making.session(ada)
    making.run(session)
    making.run(session, owned_by="")
    schedule = made(ada, session_id=str(session.pk))
    with override_settings(MAX_QUEUED_RUNS=1):
        tick(NOW + 30 * MINUTE)
    assert outcomes(schedule) == [("09:30", "skipped")]
    assert reread(schedule).enabled


# Failures


def test_a_schedule_pauses_after_failures_in_a_row_and_notifies(ada: User) -> None:
    schedule = made(ada, pause_after=2)
    for number, status in enumerate(
        (RunStatus.FAILED, RunStatus.COMPLETED, RunStatus.INTERRUPTED, RunStatus.FAILED), 1
    ):
        assert reread(schedule).enabled
        tick(NOW + 30 * number * MINUTE)
        finish(schedule, status, NOW + 30 * number * MINUTE)
    assert (reread(schedule).enabled, schedule.paused_because, schedule.failures) == (False, PauseReason.FAILURES, 2)
    assert schedule_selectors.pause_reason(schedule) == "Paused after 2 failures in a row."
    notification = notifications.notifications(ada, NOW)[-1]
    assert (notification["title"], notification["paused"], notification["status"]) == ("Prices", True, "failed")
    assert "Paused after 2 failures in a row." in notification["text"]
    renamed = schedule_commands.change(ada, schedule.pk, {"name": "Flour"}, NOW + timedelta(hours=5))
    assert (renamed.enabled, renamed.paused_because) == (False, PauseReason.FAILURES)
    resumed = schedule_commands.change(ada, schedule.pk, {"enabled": True}, NOW + timedelta(hours=5))
    assert (resumed.enabled, resumed.failures, resumed.paused_because) == (True, 0, "")


def test_a_stopped_run_is_no_failure_of_a_schedule(ada: User) -> None:
    schedule = made(ada, pause_after=1)
    tick(NOW + 30 * MINUTE)
    finish(schedule, RunStatus.CANCELLED)
    assert reread(schedule).enabled


def test_zero_is_never(ada: User) -> None:
    schedule = made(ada, pause_after=0)
    for number in range(1, 9):
        tick(NOW + 30 * number * MINUTE)
        finish(schedule, RunStatus.FAILED)
    assert (reread(schedule).enabled, schedule.failures) == (True, 8)


def test_an_interrupted_run_that_the_server_continues_counts_by_its_end(ada: User) -> None:
    schedule = made(ada, pause_after=1)
    tick(NOW + 30 * MINUTE)
    first = Run.objects.get()
    run_state.claim(first, "process-1")
    with override_settings(AUTO_CONTINUE=True), transaction.atomic():
        run_state.finish(first.pk, first.session_id, End(RunStatus.INTERRUPTED))
        auto_continue.enqueue_continuation(first, End(RunStatus.INTERRUPTED))
    tick(NOW + 31 * MINUTE)
    assert outcomes(schedule) == [("09:30", "started")]
    finish(schedule)
    assert outcomes(schedule) == [("09:30", "completed")]
    assert reread(schedule).enabled


@pytest.mark.parametrize("what", ["session", "agent", "owner"])
def test_a_schedule_that_cannot_ask_pauses_and_says_why(ada: User, what: str) -> None:
    session = making.session(ada)
    schedule = made(ada, session_id=str(session.pk))
    if what == "session":
        session.delete()
    elif what == "agent":
        Schedule.objects.update(agent_name="nobody")
    else:
        User.objects.update(is_active=False)
    tick(NOW + 30 * MINUTE)
    assert (reread(schedule).enabled, schedule.paused_because) == (False, PauseReason.REFUSED)
    assert schedule_selectors.pause_reason(schedule).startswith("Paused: ")
    assert outcomes(schedule) == [("09:30", "skipped")]
    assert not Run.objects.exists()
    assert notifications.notifications(ada, NOW)[0]["paused"]


def test_a_run_that_is_deleted_with_its_session_is_over(ada: User) -> None:
    schedule = made(ada)
    tick(NOW + 30 * MINUTE)
    Session.objects.all().delete()
    tick(NOW + 31 * MINUTE)
    assert outcomes(schedule) == [("09:30", "cancelled")]
    tick(NOW + 60 * MINUTE)
    assert outcomes(schedule)[-1] == ("10:00", "started")


# Run now


def test_run_now_is_besides_its_times_and_not_while_it_runs(ada: User) -> None:
    schedule = made(ada, enabled=False)
    accepted = occurrences.run_now(schedule.pk, NOW, ada)
    assert Run.objects.get().pk == accepted.run_id
    assert Run.objects.get().origin == Origin.SCHEDULE
    with pytest.raises(Refused, match="not ended yet"):
        occurrences.run_now(schedule.pk, NOW, ada)
    finish(schedule)
    occurrences.run_now(schedule.pk, NOW, ada)
    assert Occurrence.objects.filter(by_hand=True).count() == 2


def test_pausing_gives_up_what_waits_and_resuming_makes_up_for_nothing(ada: User) -> None:
    schedule = made(ada)
    tick(NOW + 30 * MINUTE)
    tick(NOW + 60 * MINUTE)
    schedule_commands.change(ada, schedule.pk, {"enabled": False}, NOW + 61 * MINUTE)
    assert outcomes(schedule) == [("09:30", "started"), ("10:00", "skipped")]
    finish(schedule)
    schedule_commands.change(ada, schedule.pk, {"enabled": True}, NOW + 300 * MINUTE)
    tick(NOW + 300 * MINUTE)
    assert len(outcomes(schedule)) == 2


def test_an_edit_that_does_not_say_when_moves_no_due_time(ada: User) -> None:
    schedule = made(ada)
    before = schedule.next_at
    changed = schedule_commands.change(ada, schedule.pk, {"name": "Flour", "overlap": "skip"}, NOW + 29 * MINUTE)
    assert (changed.next_at, changed.name, changed.overlap) == (before, "Flour", "skip")
    moved = schedule_commands.change(
        ada, schedule.pk, {"cron": "0 12 * * *", "time_zone": "Asia/Taipei"}, NOW + 29 * MINUTE
    )
    assert moved.next_at == datetime(2027, 1, 5, 4, tzinfo=UTC)
    assert (moved.every_minutes, moved.cron) == (None, "0 12 * * *")
    elsewhere = schedule_commands.change(ada, schedule.pk, {"time_zone": "Europe/Berlin"}, NOW + 29 * MINUTE)
    assert elsewhere.next_at == datetime(2027, 1, 4, 11, tzinfo=UTC)


def test_only_the_last_of_the_history_is_kept(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occurrences, "KEPT", 3)
    schedule = made(ada)
    for number in range(1, 7):
        tick(NOW + 30 * number * MINUTE)
        finish(schedule)
    assert [due for due, _ in outcomes(schedule)] == ["11:00", "11:30", "12:00"]


# Invalid input


@pytest.mark.parametrize(
    ("fields", "code", "why"),
    [
        ({"message": ""}, "empty_message", "empty"),
        ({"message": "x" * 32_001}, "too_large", "32,001"),
        ({"name": "x" * 201}, "bad_frame", "201"),
        ({"agent_name": "nobody"}, "unknown_agent", "no agent"),
        ({"session_id": str(uuid4())}, "not_found", "no such session"),
        ({"session_id": "elsewhere"}, "not_found", "no such session"),
        ({"every_minutes": 0}, "bad_frame", "from 1"),
        ({"every_minutes": 5, "cron": "* * * * *"}, "bad_frame", "one way only"),
        ({"every_minutes": None}, "bad_frame", "Say when"),
        ({"cron": "0 0 30 2 *"}, "bad_frame", "never comes"),
        ({"cron": "nonsense"}, "bad_frame", "five fields"),
        ({"at": NOW - MINUTE}, "bad_frame", "past"),
        ({"time_zone": "Mars/Olympus"}, "bad_frame", "no time zone"),
        ({"missed": "twice"}, "bad_frame", "skip, once"),
        ({"overlap": "both"}, "bad_frame", "queue, skip"),
        ({"pause_after": -1}, "bad_frame", "from 0"),
        ({"pause_after": 10**9}, "bad_frame", "from 0"),
    ],
)
def test_an_invalid_schedule_is_refused(ada: User, fields: dict[str, Any], code: str, why: str) -> None:
    with pytest.raises(Refused, match=why) as refused:
        made(ada, **fields)
    assert refused.value.code == code
    assert not Schedule.objects.exists()
    schedule = made(ada, cron="0 9 * * *")
    if fields != {"every_minutes": None}:
        with pytest.raises(Refused, match=why):
            schedule_commands.change(ada, schedule.pk, fields, NOW)


def test_a_user_has_so_many_and_others_are_not_touched_by_that(ada: User) -> None:
    bo = making.user("bo")
    with override_settings(MAX_SCHEDULES_PER_USER=3):
        for _ in range(3):
            made(ada)
        with pytest.raises(Refused, match="The limit on schedules is 3") as refused:
            made(ada)
        assert refused.value.code == "rate_limited"
        made(bo)
    with override_settings(MAX_SCHEDULES_PER_USER=0):
        made(ada)


def test_schedules_of_others_cannot_be_changed(ada: User) -> None:
    schedule = made(ada)
    eve = making.user("eve", is_staff=True)
    for act in (
        lambda: schedule_commands.change(eve, schedule.pk, {"name": "Mine"}, NOW),
        lambda: schedule_commands.remove(eve, schedule.pk, Door.API),
        lambda: occurrences.run_now(schedule.pk, NOW, eve),
        lambda: schedule_commands.change(ada, uuid4(), {"name": "Mine"}, NOW),
    ):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.code == "not_found"
    theirs = making.session(ada)
    with pytest.raises(Refused):
        made(eve, session_id=str(theirs.pk))
    schedule_commands.remove(ada, schedule.pk, Door.API)
    assert not Schedule.objects.exists()


# On PostgreSQL too


@pytest.fixture
def on_postgres(postgres_with_tables: str, transactional_db: None) -> Iterator[None]:
    with postgresql(postgres_with_tables, has_tables=True):
        yield


def test_due_times_are_handled_on_postgresql(on_postgres: None) -> None:
    assert connection.vendor == "postgresql"
    ada = making.user()
    session = making.session(ada)
    schedule = made(ada, session_id=str(session.pk))
    other = made(ada, cron="*/20 * * * *")
    for number in (1, 2, 3):
        tick(NOW + 30 * number * MINUTE)
        finish(schedule, now=NOW + 30 * number * MINUTE)
    assert [outcome for _, outcome in outcomes(schedule)] == ["completed"] * 3
    assert Occurrence.objects.filter(schedule=other).exclude(outcome=Outcome.MISSED).count() == 3
    assert len(schedule_selectors.schedule_rows(schedule_selectors.schedules_of(ada))) == 2
