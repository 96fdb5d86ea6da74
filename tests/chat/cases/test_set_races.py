"""Several processes run the same set: no case is asked by two of them, and a result that comes too late changes nothing."""

import threading
from collections.abc import Callable
from uuid import UUID

import pytest
from django.db import OperationalError, connection, transaction
from django.test import override_settings

from chat.cases import commands, set_runs
from chat.cases.commands import CaseFields
from chat.cases.judging import Judged
from chat.models import CaseVerdict, Door, Run, RunStatus, SetRun
from chat.runs import erasure
from chat.runs import queue as run_queue
from chat.runs import state as run_state
from chat.runs.state import End
from tests.chat import making
from tests.chat.databases import postgresql

CASES = [CaseFields(f"question {n}") for n in range(5)]


def begin() -> SetRun:
    ada = making.user()
    case_set = commands.make_set(ada, "Prices")
    commands.add_cases(ada, case_set.pk, CASES)
    return set_runs.begin(ada, case_set.pk)


def claimed(session_id: UUID) -> Run:
    """A session's next run, at work."""
    with transaction.atomic():
        run = run_queue.next_in(session_id)
        assert run is not None
        assert run_state.claim(run, "process-1")
    return run


def ask_beside(set_run_id: UUID) -> list[object]:
    """What a second process asks, while a first one has asked but not committed yet."""
    found: list[object] = []

    def ask() -> None:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '500ms'")
                found.extend(set_runs.ask_next(set_run_id))
        except OperationalError:
            found.append("the same ones, for which it waits")
        finally:
            connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return found


def test_a_set_is_asked_by_one_at_a_time(tables: str, transactional_db: None) -> None:
    with postgresql(tables, has_tables=True), override_settings(MAX_CASES_AT_ONCE=2):
        set_run = begin()
        with transaction.atomic():
            assert len(set_runs.ask_next(set_run.pk)) == 2
            assert ask_beside(set_run.pk) == [], "two processes ask a set at the same time"
        assert ask_beside(set_run.pk) == [], "more cases are at work than may be"
        assert Run.objects.count() == 2


@pytest.mark.django_db
def test_a_verdict_that_comes_too_late_changes_nothing() -> None:
    set_run = begin()
    [accepted, *_] = set_runs.ask_next(set_run.pk)
    making.end(claimed(accepted.session_id))
    result = set_run.results.get(run=accepted.run_id)
    ended = set_runs.ended_case(result.pk)
    assert ended is not None
    set_runs.stop(set_run.case_set.owner, set_run.case_set_id, 1, Door.API)
    assert set(set_run.results.values_list("verdict", flat=True)) == {CaseVerdict.STOPPED}
    is_kept = set_runs.settle(ended, Judged(CaseVerdict.PASSED))
    result.refresh_from_db()
    assert (is_kept, result.verdict) == (False, CaseVerdict.STOPPED), "what was stopped has been judged"


#: The possible states of a case's run that has not been judged yet.
GONE: dict[str, Callable[[Run], object]] = {
    "it has ended": lambda run: run_state.finish(run.pk, run.session_id, End(RunStatus.COMPLETED)),
    "its session is deleted": lambda run: erasure.hide_session(run.session_id),
}


@pytest.mark.django_db
@pytest.mark.parametrize("gone", GONE)
def test_a_set_is_stopped_whatever_has_become_of_its_runs(gone: str) -> None:
    set_run = begin()
    for accepted in set_runs.ask_next(set_run.pk)[:2]:
        GONE[gone](claimed(accepted.session_id))
    set_runs.stop(set_run.case_set.owner, set_run.case_set_id, 1, Door.API)
    set_run.refresh_from_db()
    assert (set_run.state, set(set_run.results.values_list("verdict", flat=True))) == ("stopped", {"stopped"})
