"""Each guard of the product is switched off, and a fault test must fail by it: none of them passes whatever happens."""

import os
import subprocess
import sys

import pytest

from tests.faults.mutations import MUTATIONS
from tests.serving import ROOT

NOTICED_BY = {
    "without_the_counter_row": "tests/faults/test_writers.py::test_eight_processes_append_at_the_same_time[postgres-1]",
    "reading_before_joining": "tests/faults/test_layer_contract.py::test_what_is_stored_while_a_client_joins_is_not_missed",
    "without_the_fence": "tests/faults/test_model_of_the_log.py::"
    "test_any_order_of_events_keeps_the_log_the_runs_and_the_clients_sound[30]",
    "without_unique_message_ids": "tests/faults/test_asking.py::test_everybody_asks_at_once[sqlite]",
    "without_the_credit_window": "tests/faults/test_layer_contract.py::test_who_acknowledges_nothing_is_sent_one_window",
    "without_the_finish_reason": "tests/faults/test_model.py::test_a_failure_of_the_model_server[an end without a finish reason]",
    "telling_before_saving": "tests/faults/test_storing.py::test_whatever_is_shown_is_stored_already",
}


def test_every_mutation_has_a_test_that_is_to_notice() -> None:
    assert NOTICED_BY.keys() == MUTATIONS.keys()


@pytest.mark.long
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_guard_that_is_switched_off_is_noticed(mutation: str) -> None:
    """The product runs without one of its guards."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--ds=tests.faults.mutated_settings", "-m", "", NOTICED_BY[mutation]],
        cwd=ROOT,
        env={**os.environ, "MUTATION": mutation},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"FAILED {NOTICED_BY[mutation]}" in done.stdout
    assert "1 failed" in done.stdout
