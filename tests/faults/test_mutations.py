"""Each guard of the product is switched off, and the test of that guard must fail for exactly that reason: so no test always passes."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.faults.mutations import MUTATIONS
from tests.serving import ROOT

LOG = (
    "test_model_of_the_log.py::test_any_order_of_events_keeps_the_log_the_runs_and_the_clients_sound[{}-300]",
    "a step was stored by who had lost the run",
)
JOINING = (
    "test_layer_contract.py::test_an_event_stored_while_a_client_joins_is_not_missed[{}]",
    "what was stored while it joined is missing",
)
ASKING = (
    "test_asking.py::test_messages_of_many_clients_at_once_become_one_run_each[{}]",
    "a message became several runs",
)
OPEN = "a turn without an answer was left open"
LACKING = "a client lacks something"
STORING = ("test_storing.py::test_every_shown_event_is_stored_already[{}]", "shown before it was stored")
#: Each mutation, the tests that must fail because of it, and words of the failed assertion. A guard that is the same on every topology has
#: one test. On SQLite numbers need no counter row, because only one transaction can write at a time.
NOTICED = [
    (
        "without_the_counter_row",
        "test_writers.py::test_eight_processes_append_at_the_same_time[postgres-1]",
        "who read by a cursor has missed something",
    ),
    *(("reading_before_joining", JOINING[0].format(layer), JOINING[1]) for layer in ("in memory", "Redis, published")),
    *(("without_the_fence", LOG[0].format(database), LOG[1]) for database in ("sqlite", "postgres")),
    *(("without_unique_message_ids", ASKING[0].format(on), ASKING[1]) for on in ("sqlite", "postgres")),
    (
        "without_the_credit_window",
        "test_layer_contract.py::test_a_client_that_acknowledges_nothing_is_sent_one_window[in memory]",
        "more was sent than one window",
    ),
    (
        "without_the_credit_window",
        "test_slow_clients.py::test_a_client_that_acknowledges_nothing_is_sent_one_window",
        "more was sent than one window",
    ),
    (
        "without_the_finish_reason",
        "test_model.py::test_a_failure_of_the_model_server[an end without a finish reason]",
        "what broke off counts as whole",
    ),
    (
        "starting_parted_from_accepting",
        "test_starting.py::test_a_cancelled_request_leaves_no_stuck_run[a message over HTTP-while it waits]",
        "a run was accepted and never started",
    ),
    (
        "reading_once",
        "test_waiting_out.py::test_the_database_is_away_at_each_point_of_a_run[a long log, undone]",
        "a run failed because the database was away for a moment",
    ),
    (
        "a_bad_row_ends_the_look",
        "test_bad_rows.py::test_a_queued_run_that_cannot_be_read_is_set_to_failed[a time that is none, sqlite-who serves]",
        "a bad row stood in others' way",
    ),
    (
        "counting_every_end_as_whole",
        "test_model.py::test_a_failure_of_the_model_server[an end that nobody knows]",
        "what broke off counts as whole",
    ),
    (
        "taking_every_tag_for_a_thought",
        "test_model.py::test_unusual_answers_are_read_as_they_are_meant[prose that speaks of tags]",
        "it was read as something else",
    ),
    (
        "distinguishing_calls_by_index_alone",
        "test_model.py::test_unusual_answers_are_read_as_they_are_meant[pieces of a call under other indexes]",
        "it was read as something else",
    ),
    (
        "giving_up_tools_at_a_word",
        "test_requests.py::test_an_error_that_mentions_tools_is_that_error_alone[error parsing tool call: raw='{']",
        "one error has switched the tools off for everybody",
    ),
    *(
        ("leaving_turns_open", f"test_requests.py::test_a_turn_without_an_answer_does_not_spoil_the_next[{left}]", OPEN)
        for left in ("stopped before the first word", "failed at once")
    ),
    (
        "sending_names_as_they_came",
        "test_requests.py::test_a_name_that_no_server_takes_does_not_kill_the_session",
        "a name was sent back as it came",
    ),
    (
        "without_the_private_mark",
        "test_private_words.py::test_private_words_stay_in_the_session_that_read_them",
        "a later run carried private words out",
    ),
    (
        "with_names_that_collide",
        "test_tools.py::test_tools_whose_names_become_one_are_told_apart",
        "another tool was called than was meant",
    ),
    (
        "without_the_guard_before_a_proxy",
        "test_tools.py::test_a_proxy_is_not_asked_for_what_is_inside",
        "a proxy was asked for an address inside",
    ),
    *(("publishing_before_saving", STORING[0].format(on), STORING[1]) for on in ("sqlite", "postgres")),
    *(
        (
            "without_limits_of_logins",
            f"test_logins.py::test_guesses_are_limited[{common}]",
            "guessing goes on and on",
        )
        for common in ("by address", "by name")
    ),
    *(
        (
            "staff_without_permission",
            f"test_audit.py::test_staff_see_only_what_they_were_permitted_to[{door}]",
            "staff see what nobody permitted",
        )
        for door in ("page", "api", "socket")
    ),
    *(
        (
            "noting_after_answering",
            f"test_audit.py::test_a_view_by_staff_is_in_the_audit_before_it_is_answered[{door}]",
            "shown before it was noted",
        )
        for door in ("page", "api", "socket")
    ),
    (
        "rendering_in_the_serving_process",
        "test_untrusted_text.py::test_ten_people_open_the_worst_texts",
        "something was not answered",
    ),
    (
        "decoding_with_any_codec",
        "test_untrusted_text.py::test_a_page_in_an_encoding_that_the_web_has_not",
        "decoding went on and on",
    ),
    *(
        (mutation, f"test_interleavings.py::test_one_fault_at_any_point_costs_nobody_an_event[{scenario}]", LACKING)
        for mutation, scenario in (("jumping_over_a_hole", "alone"), ("without_a_second_try", "when all is written"))
    ),
    *(
        (
            "saving_drafts_after_the_end",
            f"../chat/store/test_drafts.py::test_a_save_while_the_run_is_ending_leaves_nothing[{on}-ends-False]",
            "a draft of a run that has ended was kept",
        )
        for on in ("sqlite", "postgres")
    ),
    (
        "forgetting_what_an_attempt_has_read",
        "../chat/runs/test_steering.py::test_a_commit_that_nobody_heard_of_is_not_made_twice",
        "the model was not told what the log says that it has read",
    ),
    (
        "leaving_words_with_their_run",
        "test_steering.py::test_a_process_that_dies_loses_no_steering_message[before it is read]",
        "a word was lost, or told twice",
    ),
    (
        "without_a_look_for_words_after_waiting",
        "../chat/runs/test_steering.py::test_a_message_to_a_run_that_waits_stays_pending[denied-next]",
        "what was said while it waited was not read",
    ),
    (
        "copying_with_the_right_of_before",
        "../chat/runs/test_branching.py::test_a_copy_of_a_share_withdrawn_meanwhile_is_not_shown",
        "what was withdrawn meanwhile was copied",
    ),
    (
        "leasing_by_ones_own_clock",
        "../chat/runtime/test_clock.py::test_a_process_whose_clock_is_wrong_sweeps_nobody_who_lives_and_everybody_who_is_silent[120.0]",
        "a live run was ended by who takes it for a silent one",
    ),
    (
        "counting_decided_calls_as_not_begun",
        "../chat/runs/test_waiting.py::test_a_call_that_may_have_run_is_closed_as_that_and_asked_for_again[False]",
        "a call that may have run counts as not begun",
    ),
    (
        "beginning_calls_before_they_are_stored",
        "test_effects.py::test_a_call_with_side_effects_begins_when_it_is_stored_and_others_at_once[True]",
        "a call began before it was in the log",
    ),
    (
        "asking_again_what_was_answered_within",
        "test_children.py::test_a_run_interrupted_at_any_event_leaves_nothing_open_and_continues[19]",
        "what had been answered is asked again",
    ),
    (
        "growing_what_is_stored",
        "../chat/live/test_feed.py::test_growth_that_comes_after_its_step_is_stored_is_not_shown",
        "what is stored is shown growing",
    ),
    (
        "keeping_pages_for_whoever_comes",
        "../chat/web/test_conversation.py::test_viewers_are_not_shown_the_actions_of_the_owner[chromium]",
        "a page is another reader's",
    ),
    (
        "making_the_same_copy_again",
        "../chat/runs/test_branching.py::test_the_same_key_gets_the_same_session_and_run",
        "the same was made twice",
    ),
    (
        "asking_sets_side_by_side",
        "../chat/cases/test_set_races.py::test_a_set_is_asked_by_one_at_a_time",
        "two processes ask a set at the same time",
    ),
    (
        "settling_whatever_has_become_of_it",
        "../chat/cases/test_set_races.py::test_a_verdict_that_comes_too_late_changes_nothing",
        "what was stopped has been judged",
    ),
    (
        "spending_without_an_end",
        "../chat/runs/test_metering.py::test_a_run_is_warned_then_has_one_last_call_and_then_none[one last call]",
        "a run may do something else than its budgets let it",
    ),
    (
        "pricing_by_the_hour_of_reckoning",
        "../chat/catalog/test_prices.py::test_a_price_that_changes_with_the_hour_is_that_of_the_question[asked_at0-0.07]",
        "it has the price of another hour",
    ),
    (
        "reading_documents_in_the_serving_process",
        "../chat/exports/test_import.py::test_reading_has_an_end_and_the_next_document_is_read",
        "reading went on and on",
    ),
    *(
        (
            "keeping_thoughts_from_their_server",
            f"../agents/models/test_adapting.py::test_the_thought_of_a_turn_with_calls_goes_back_in_its_field[{field}]",
            "the thought did not go back",
        )
        for field in ("reasoning_content", "reasoning")
    ),
    (
        "dropping_fields_of_calls",
        "../agents/models/test_adapting.py::test_fields_of_a_call_are_sent_back_unchanged_to_its_server_alone",
        "a field of a call did not go back",
    ),
    *(
        (
            "insisting_on_refused_parts",
            f"../agents/models/test_adapting.py::test_a_part_that_is_refused_is_left_out_from_then_on[stream_options-{row}]",
            "a part that nobody needs has ended the run",
        )
        for row in (0, 1)
    ),
    *(
        (
            "keeping_an_end_whatever_follows",
            f"../agents/models/test_transcripts.py::test_a_body_becomes_the_same_steps_wherever_it_is_cut[endings: {end}]",
            "it was read as something else",
        )
        for end in ("an end, then more, then nothing", "a bad end that isn't one")
    ),
    (
        "hashing_any_number_at_once",
        "../config/test_login_gate.py::test_few_passwords_are_hashed_at_once",
        "too many are hashed at once",
    ),
    (
        "letting_every_login_in",
        "../config/test_login_gate.py::test_only_requests_that_hash_a_password_wait[POST-/accounts/login/-True]",
        "too many are let in at once",
    ),
    (
        "with_a_rule_that_reads_on",
        "../agents/untrusted/test_linear.py::test_the_server_takes_time_in_proportion[[]",
        "it takes more time than in proportion",
    ),
    (
        "colouring_without_an_end",
        "../e2e/test_safety.py::test_code_that_takes_long_to_colour_stays_plain_and_the_page_goes_on[chromium]",
        "code was coloured that takes too long",
    ),
    *(
        (
            "saving_drafts_once",
            f"../chat/store/test_drafts.py::test_a_save_that_failed_is_tried_again_though_nothing_more_grows[{failure}]",
            "a save was not tried again",
        )
        for failure in ("the table is away", "every row is refused")
    ),
]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a test: the message of its failure, empty if it passed; and whether the test itself failed, and not its set-up."""

    words: str
    is_own: bool


def verdicts(mutation: str, tests: list[str], folder: Path) -> dict[str, Verdict]:
    """Run some tests on the product with a guard switched off, or with all of them on; returns the outcome of each that ran."""
    report = folder / "report.xml"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-n", "0", "--ds=tests.faults.mutated_settings", "-m", ""),
            # The only format of the report that allows tests to record properties.
            *("-o", "junit_family=xunit1"),
            *("--hypothesis-seed=1", "-p", "no:cacheprovider", f"--junitxml={report}"),
            *(f"tests/faults/{test}" for test in tests),
        ],
        cwd=ROOT,
        env={**os.environ, "MUTATION": mutation},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert report.exists(), done.stdout[-3000:] + done.stderr[-3000:]
    found = {}
    for case in ET.parse(report).iter("testcase"):
        problems = [each for each in case if each.tag in ("failure", "error", "skipped")]
        words = "\n".join(problem.get("message", "") for problem in problems)
        name = f"{case.get('classname', '').rpartition('.')[2]}.py::{case.get('name')}"
        found[name] = Verdict(words, all(problem.tag == "failure" for problem in problems))
    return found


@pytest.fixture(scope="module")
def unmutated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """The outcomes of these tests with no guard switched off, run in the same way."""
    asked_for = (item.callspec.params.get("test") for item in request.session.items if hasattr(item, "callspec"))
    chosen = set(asked_for) & {test for _, test, _ in NOTICED}
    return verdicts("", sorted(chosen), tmp_path_factory.mktemp("unmutated"))


def test_every_mutation_has_a_test_that_is_to_notice() -> None:
    assert {mutation for mutation, _, _ in NOTICED} == MUTATIONS.keys()


def test_the_tests_that_are_to_notice_are_there() -> None:
    """With a wrong name the long test below would fail, but nothing would show it earlier."""
    names = [f"tests/faults/{test}" for _, test, _ in NOTICED]
    collect = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "", "--collect-only", "-p", "no:cacheprovider"]
    found = subprocess.run([*collect, *names], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-2000:]


@pytest.mark.long
@pytest.mark.xdist_group("mutations")
@pytest.mark.parametrize(("mutation", "test", "words"), NOTICED, ids=lambda value: value if value in MUTATIONS else "")
def test_a_guard_that_is_switched_off_is_noticed(
    unmutated: dict[str, Verdict], tmp_path: Path, mutation: str, test: str, words: str
) -> None:
    """The product runs without one of its guards: the guard's test fails by its own assertion, and passes with the guard."""
    file, _, name = test.partition("::")
    assert unmutated[f"{Path(file).name}::{name}"] == Verdict("", is_own=True)
    (noticed,) = verdicts(mutation, [test], tmp_path).values()
    assert noticed.is_own, noticed
    assert re.match(rf"AssertionError: {re.escape(words)}$", noticed.words, re.MULTILINE), noticed
