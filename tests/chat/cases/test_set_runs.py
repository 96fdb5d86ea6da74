"""A set is run case by case: each has one result, whatever ends meanwhile, and no more cases are at work than allowed."""

from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from chat.accounts.models import User
from chat.cases import commands, judging, set_runs
from chat.cases.commands import CaseFields
from chat.catalog import agents
from chat.models import (
    AgentVersion,
    AuditEntry,
    Case,
    CaseResult,
    CaseSet,
    Door,
    File,
    Run,
    RunStatus,
    Session,
    SetRun,
)
from chat.runs import erasure
from chat.runs import queue as run_queue
from chat.runs import state as run_state
from chat.runs.admission import Refused
from chat.runs.state import End
from chat.store import search, selectors, session_lists
from tests.chat import making

pytestmark = pytest.mark.django_db
#: How the tests' product executes a run, by the first word of its message.
ENDS = {
    "fail": RunStatus.FAILED,
    "limit": RunStatus.MAX_ITERATIONS,
    "stop": RunStatus.CANCELLED,
    "die": RunStatus.INTERRUPTED,
}


@pytest.fixture
def ada() -> User:
    return making.user()


def a_set(owner: User, *cases: CaseFields) -> CaseSet:
    made = commands.make_set(owner, "Prices")
    commands.add_cases(owner, made.pk, cases)
    return made


def look() -> None:
    """What a process does periodically, once."""
    found = set_runs.find_due_moves()
    for result_id in found.waiting:
        set_runs.stop_waiting(result_id)
    for result_id in found.ended:
        ended = set_runs.ended_case(result_id)
        assert ended is not None
        judged = ended.judged_by_end()
        if judged is None:
            assert ended.run is not None
            answer, steps = judging.answer_and_steps(str(ended.run.pk), selectors.run_frames(ended.run))
            judged = judging.judge(ended.expected, ended.rule, answer, steps)
        set_runs.settle(ended, judged)
    for set_run_id in found.set_runs:
        set_runs.ask_next(set_run_id)


@transaction.atomic
def execute() -> int:
    """Execute every queued run, as its message says; returns how many there were."""
    queued = list(Run.objects.filter(status=RunStatus.QUEUED))
    for run in queued:
        found = run_queue.next_in(run.session_id)
        assert found is not None
        assert run_state.claim(found, "process-1")
        word = run.message.split()[0]
        if word == "wait":
            assert run_state.suspend(found, End(RunStatus.WAITING))
            continue
        call: dict[str, Any] = {"tool_name": "python", "tool_call_id": "c", "arguments": {"code": "1"}}
        making.append(
            found,
            making.step("tool_use", **call),
            making.step("tool_result", "42", **{k: v for k, v in call.items() if k != "arguments"}, step=2),
            making.step("final_answer", f"Echo of {run.message}", step=3),
        )
        assert run_state.finish(found.pk, found.session_id, End(ENDS.get(word, RunStatus.COMPLETED)))
    return len(queued)


def verdicts(set_run: SetRun) -> list[str]:
    return list(set_run.results.order_by("case__number").values_list("verdict", flat=True))


#: The message and the expectation of a case, and its result.
CASES: dict[str, tuple[CaseFields, str, str]] = {
    "nothing is expected": (CaseFields("hello"), "answered", ""),
    "words, in any case and spacing": (CaseFields("a  Long\tanswer", "LONG answer\necho   of"), "passed", ""),
    "words that lack": (CaseFields("hello", "hello\nworld"), "failed", "The answer lacks “world”."),
    "a rule": (CaseFields("hello", rule="steps[0]['tool'] == 'python' and 'hello' in answer"), "passed", ""),
    "a rule of what tools returned": (CaseFields("hello", rule="steps[0]['result'] == '42'"), "passed", ""),
    "a rule that says no": (CaseFields("hello", rule="len(steps) > 1"), "failed", "The rule says no."),
    "a rule that fails": (CaseFields("hello", rule="1/0"), "error", "The rule could not judge: ZeroDivisionError"),
    "words first": (CaseFields("hello", "world", rule="1/0"), "failed", "The answer lacks “world”."),
    "words and a rule": (CaseFields("hello", "hello", rule="True"), "passed", ""),
    "a run that fails": (CaseFields("fail", "fail"), "error", "Its run failed (internal)."),
    "a run at its limit": (CaseFields("limit", "limit"), "error", "limit of model calls"),
    "a run that people stop": (CaseFields("stop", "stop"), "stopped", "Its run was stopped."),
    "a run that would wait": (CaseFields("wait"), "error", "a set waits for nobody"),
    "a run that ends with its process": (CaseFields("die"), "error", "again and again"),
}


@pytest.mark.parametrize("kind", CASES)
def test_the_result_of_a_case(ada: User, kind: str) -> None:
    fields, verdict, why = CASES[kind]
    set_run = set_runs.begin(ada, a_set(ada, fields).pk)
    for _ in range(10):
        look()
        execute()
    result = set_run.results.get()
    assert result.verdict == verdict
    assert why in result.why.get("message", "")
    assert bool(result.why) == bool(why)
    set_run.refresh_from_db()
    assert (set_run.state, result.attempts) == ("done", 3 if kind.endswith("its process") else 1)
    assert not Run.objects.filter(ended_at=None).exists()


def test_cases_are_asked_once_and_a_limited_number_at_a_time(ada: User) -> None:
    sets = [a_set(ada, *(CaseFields(f"question {n}") for n in range(5))) for _ in range(2)]
    begun = [set_runs.begin(ada, each.pk) for each in sets]
    executed = 0
    with override_settings(MAX_CASES_AT_ONCE=2):
        for _ in range(20):
            look()
            look()
            assert Run.objects.filter(ended_at=None).count() <= 2
            executed += execute()
    assert executed == Run.objects.count() == 10
    assert [verdicts(each) for each in begun] == [["answered"] * 5] * 2


def test_a_case_is_asked_apart_from_people_s_sessions(ada: User) -> None:
    making.session(ada, title="Mine")
    case_set = a_set(ada, CaseFields("What does the okapi eat?"))
    set_runs.begin(ada, case_set.pk)
    look()
    execute()
    asked = Session.objects.get(for_set=case_set.pk)
    assert asked.title == "What does the okapi eat?"
    assert [each.title for each in session_lists.listed_sessions(ada, 10)] == ["Mine"]
    assert search.find(ada, "okapi") == [], "nor do agents remember it"
    assert Run.objects.get().origin == "set"


def test_an_older_version_is_asked_by_those_alone_who_change_agents(ada: User) -> None:
    first = AgentVersion.objects.get(agent__name="researcher")
    newer = AgentVersion.objects.create(agent=first.agent, number=2, title="Newer", state="published")
    first.agent.current = newer
    first.agent.save()
    case_set = a_set(ada, CaseFields("hello"))
    with pytest.raises(Refused, match="Only those who change agents"):
        set_runs.begin(ada, case_set.pk, version=1)
    staff = making.staff("chat.change_agent")
    of_staff = a_set(staff, CaseFields("hello"))
    set_runs.begin(ada, case_set.pk)
    set_runs.begin(staff, of_staff.pk, version=1)
    look()
    execute()
    asked = {run.user: run.agent_version_id for run in Run.objects.all()}
    assert asked == {ada: newer.pk, staff: first.pk}


#: What is refused before anything is asked, and the code.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no such agent": ({"agent_name": "nobody"}, "unknown_agent"),
    "no such version": ({"version": 99}, "not_found"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_run_of_a_set_begins_nothing(ada: User, case: str) -> None:
    fields, code = REFUSED[case]
    case_set = a_set(ada, CaseFields("hello"))
    with pytest.raises(Refused) as refused:
        set_runs.begin(ada, case_set.pk, **fields)
    assert refused.value.code == code
    assert not SetRun.objects.exists()


def test_no_set_is_asked_twice_at_a_time_nor_an_empty_one_nor_another_s(ada: User) -> None:
    case_set = a_set(ada, CaseFields("hello"))
    set_runs.begin(ada, case_set.pk)
    for user, set_id, code in (
        (ada, case_set.pk, "conflict"),
        (ada, commands.make_set(ada, "Empty").pk, "bad_frame"),
        (making.user("bo"), case_set.pk, "not_found"),
    ):
        with pytest.raises(Refused) as refused:
            set_runs.begin(user, set_id)
        assert refused.value.code == code


def test_stopping_ends_what_is_at_work_and_asks_no_more(ada: User) -> None:
    case_set = a_set(ada, *(CaseFields(f"question {n}") for n in range(5)))
    set_run = set_runs.begin(ada, case_set.pk)
    look()
    execute()
    look()
    at_work = list(Run.objects.filter(ended_at=None))
    claimed = run_queue.next_in(at_work[0].session_id)
    assert claimed is not None
    assert run_state.claim(claimed, "process-1")
    stopped = set_runs.stop(ada, case_set.pk, 1, Door.API)
    assert stopped.running == [at_work[0].pk]
    look()
    assert verdicts(set_run) == ["answered"] * 2 + ["stopped"] * 3
    assert {run.status for run in Run.objects.filter(pk__in=[run.pk for run in at_work])} == {"cancelling", "cancelled"}
    with pytest.raises(Refused, match="ended already"):
        set_runs.stop(ada, case_set.pk, 1, Door.API)
    acts = AuditEntry.objects.filter(about__startswith="set ").values_list("action", flat=True)
    assert sorted(acts) == ["run", "stop"]


def test_a_deleted_session_leaves_the_case_its_files_and_the_result(ada: User) -> None:
    session = making.session(ada)
    file = making.file(ada, "pears", session)
    asked = making.run(session, files=f'[{{"id": "{file.pk}", "name": "n", "media_type": "text/plain", "size": 5}}]')
    making.end(asked)
    case_set = commands.make_set(ada, "Mine")
    case = commands.add_case_of_run(ada, asked.pk, case_set.pk, CaseFields("Why?"), [file.pk], Door.PAGE)
    set_run = set_runs.begin(ada, case_set.pk)
    look()
    execute()
    look()
    for each in Session.objects.all():
        erasure.hide_session(each.pk)
    while erasure.erase_batch(erasure.Pace()) is not None:
        pass
    assert not Run.objects.exists()
    assert [used.file_id for used in case.used_files.all()] == [file.pk]
    assert verdicts(set_run) == ["answered"]
    set_runs.begin(ada, case_set.pk)
    look()
    assert Run.objects.get().files != ""
    commands.remove_set(ada, case_set.pk, Door.API)
    assert not CaseResult.objects.exists()
    assert not Session.objects.exists(), "what was opened for a set goes with it"
    while erasure.erase_batch(erasure.Pace()) is not None:
        pass
    assert not File.objects.exists()


def test_an_account_that_is_closed_meanwhile_has_results_that_say_so(ada: User) -> None:
    set_run = set_runs.begin(ada, a_set(ada, CaseFields("hello"), CaseFields("hello")).pk)
    ada.is_active = False
    ada.save()
    look()
    assert verdicts(set_run) == ["error", "error"]
    assert not Session.objects.exists()


#: Invalid cases, and the code of the error.
BAD_CASES: dict[str, tuple[Sequence[CaseFields], str]] = {
    "no question": ([CaseFields(" \n")], "empty_message"),
    "none at all": ([CaseFields(expected="so")], "empty_message"),
    "a long question": ([CaseFields("x" * 32_001)], "too_large"),
    "a long rule": ([CaseFields("x", rule="x" * 20_001)], "too_large"),
    "more than a set may have": ([CaseFields("x")] * 1_001, "too_large"),
    "one that is bad among good ones": ([CaseFields("x"), CaseFields("")], "empty_message"),
}


@pytest.mark.parametrize("kind", BAD_CASES)
def test_a_bad_case_is_refused_and_nothing_stored(ada: User, kind: str) -> None:
    fields, code = BAD_CASES[kind]
    case_set = commands.make_set(ada, "Set")
    with pytest.raises(Refused) as refused:
        commands.add_cases(ada, case_set.pk, fields)
    assert refused.value.code == code
    assert not Case.objects.exists()


def test_a_thousand_cases_are_asked_with_as_many_statements_as_ten(ada: User) -> None:
    counted = []
    for number in (10, 1_000):
        case_set = a_set(ada, *(CaseFields(f"question {n}") for n in range(number)))
        agents.forget()  # as if the second for which they are cached were over
        with CaptureQueriesContext(connection) as begun:
            set_run = set_runs.begin(ada, case_set.pk)
            set_runs.ask_next(set_run.pk)
            set_runs.find_due_moves()
        # Rows are inserted in batches of some hundred.
        counted.append(sum('INSERT INTO "chat_caseresult"' not in each["sql"] for each in begun))
        set_runs.stop(ada, case_set.pk, 1, Door.API)
    assert counted[1] <= counted[0]


def test_a_set_is_asked_to_its_end_on_each_database(on_each_database: None) -> None:
    ada = making.user()
    set_run = set_runs.begin(ada, a_set(ada, CaseFields("hello", "hello"), CaseFields("wait"), CaseFields("die")).pk)
    for _ in range(10):
        look()
        execute()
    assert verdicts(set_run) == ["passed", "error", "error"]
    set_run.refresh_from_db()
    assert set_run.state == "done"
    set_runs.begin(ada, set_run.case_set_id)
    look()
    set_runs.stop(ada, set_run.case_set_id, 2, Door.API)
    commands.remove_set(ada, set_run.case_set_id, Door.API)
    assert not CaseResult.objects.exists()
