"""A schedule that runs a set, by its own rule for overlapping runs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chat.accounts.models import User
from chat.cases import commands, set_runs
from chat.cases.commands import CaseFields
from chat.models import CaseResult, CaseSet, Door, Schedule, SetRun
from chat.runs.admission import Refused
from chat.schedules import commands as schedule_commands
from chat.schedules import notifications, occurrences
from tests.chat import making
from tests.chat.schedules.test_occurrences import outcomes, tick

pytestmark = pytest.mark.django_db
NOW = datetime(2027, 1, 4, 9, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def ada() -> User:
    return making.user()


@pytest.fixture
def case_set(ada: User) -> CaseSet:
    made = commands.make_set(ada, "Prices")
    commands.add_case(ada, made.pk, CaseFields("What does flour cost?"), Door.PAGE)
    return made


def scheduled(owner: User, case_set: CaseSet, **fields: Any) -> Schedule:
    return schedule_commands.make(owner, {"set_id": str(case_set.pk), "every_minutes": 30, **fields}, NOW)


def settle_all(set_run: SetRun) -> None:
    CaseResult.objects.filter(set_run=set_run).update(verdict="passed")
    set_runs.ask_next(set_run.pk)


def test_a_due_time_asks_the_set_and_its_end_is_told(ada: User, case_set: CaseSet) -> None:
    schedule = scheduled(ada, case_set)
    assert (schedule.name, schedule.message, schedule.agent_name) == ("Prices", "", "researcher")
    tick(NOW + 30 * MINUTE)
    set_run = SetRun.objects.get()
    assert (set_run.by_clock, set_run.state, outcomes(schedule)) == (True, "running", [("09:30", "started")])
    settle_all(set_run)
    tick(NOW + 31 * MINUTE)
    assert outcomes(schedule) == [("09:30", "completed")]
    (notification,) = notifications.notifications(ada, NOW)
    assert (notification["title"], notification["run_id"]) == ("Prices", None)


#: While the last run of the set is at work: the schedule's rule, and the outcome of the next due time, now and after that run's end.
OVERLAPS = {"skip": ("skipped", "skipped"), "queue": ("waiting", "started")}


@pytest.mark.parametrize("rule", OVERLAPS)
def test_while_the_last_is_still_going_the_rule_says_what_happens(ada: User, case_set: CaseSet, rule: str) -> None:
    schedule = scheduled(ada, case_set, overlap=rule)
    tick(NOW + 30 * MINUTE)
    tick(NOW + 60 * MINUTE)
    first = SetRun.objects.get()
    meanwhile, afterwards = OVERLAPS[rule]
    assert outcomes(schedule) == [("09:30", "started"), ("10:00", meanwhile)]
    settle_all(first)
    tick(NOW + 61 * MINUTE)
    assert outcomes(schedule) == [("09:30", "completed"), ("10:00", afterwards)]


def test_a_set_that_is_asked_by_hand_is_not_asked_twice_and_the_schedule_goes_on(ada: User, case_set: CaseSet) -> None:
    schedule = scheduled(ada, case_set)
    set_runs.begin(ada, case_set.pk)
    tick(NOW + 30 * MINUTE)
    schedule.refresh_from_db()
    assert (outcomes(schedule), schedule.enabled) == ([("09:30", "skipped")], True)


def test_a_stopped_run_of_a_set_is_cancelled_and_an_empty_set_pauses_its_schedule(ada: User, case_set: CaseSet) -> None:
    schedule = scheduled(ada, case_set)
    tick(NOW + 30 * MINUTE)
    set_runs.stop(ada, case_set.pk, 1, Door.PAGE)
    tick(NOW + 31 * MINUTE)
    assert outcomes(schedule) == [("09:30", "cancelled")]
    case_set.cases.all().delete()
    tick(NOW + 60 * MINUTE)
    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.paused_words) == (False, "The set has no cases yet.")


def test_a_schedule_goes_with_its_set(ada: User, case_set: CaseSet) -> None:
    scheduled(ada, case_set)
    commands.remove_set(ada, case_set.pk, Door.API)
    assert not Schedule.objects.exists()


#: Invalid schedules of a set.
REFUSED: dict[str, dict[str, Any]] = {
    "a message too": {"message": "hello"},
    "no set": {"set_id": "x"},
    "a set of nobody": {"set_id": "6f9619ff-8b86-4d01-b42d-00c04fc964ff"},
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_invalid_schedule_of_a_set_is_refused(ada: User, case_set: CaseSet, kind: str) -> None:
    with pytest.raises(Refused):
        scheduled(ada, case_set, **REFUSED[kind])
    assert not Schedule.objects.exists()


def test_another_s_set_is_none_and_it_is_not_run_by_hand(ada: User, case_set: CaseSet) -> None:
    with pytest.raises(Refused, match="no such set"):
        scheduled(making.user("bo"), case_set)
    with pytest.raises(Refused, match="asks a set"):
        occurrences.run_now(scheduled(ada, case_set).pk, NOW, ada)
