"""How tool calls are executed, and every way in which they end."""

import threading
import time
from typing import Any, ClassVar

import pytest

from agents.cancellation import CancelToken
from agents.tools import ToolError, runner
from agents.tools.runner import Job, ToolOutcome, run_tool, run_tools
from tests.agents.conftest import Echo, Failing, Waiting


def run(tool: Any, arguments: str, stop: CancelToken | None = None) -> ToolOutcome:
    return run_tool(tool, arguments, stop or CancelToken())


def test_a_tool_gets_its_arguments_and_its_result_is_returned() -> None:
    outcome = run(Echo(), '{"text": "hi", "times": 2}')
    assert (outcome.ok, outcome.content) == (True, "hihi")
    assert 0 <= outcome.duration_ms < 1_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("{nonsense", "one JSON object"),
        ('["text"]', "one JSON object"),
        ("", "lacks the argument “text”"),
        ('{"text": 1}', "“text” has to be of type string"),
        ('{"text": "a", "times": true}', "“times” has to be of type integer"),
        ('{"text": "a", "tone": "shrill"}', "“tone” has to be one of soft, loud"),
    ],
)
def test_arguments_that_do_not_fit_are_explained_and_nothing_is_run(arguments: str, words: str) -> None:
    outcome = run(Echo(), arguments)
    assert not outcome.ok
    assert words in outcome.content


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert run(Echo(), '{"text": "a", "times": 2.0}').content == "aa"


def test_a_failure_is_a_sentence_without_a_traceback() -> None:
    assert run(Failing(), '{"text": "politely"}').content == "The library is closed."
    rude = run(Failing(), '{"text": "rudely"}')
    assert not rude.ok
    assert rude.content == "The tool failed unexpectedly (RuntimeError)."


def test_an_unknown_tool_is_a_failed_call() -> None:
    outcomes: list[ToolOutcome] = []
    run_tools([Job("1", "nope", "{}", None)], CancelToken(), lambda _id, outcome: outcomes.append(outcome))
    assert outcomes == [
        ToolOutcome(ok=False, content="There is no tool named “nope”.", duration_ms=outcomes[0].duration_ms)
    ]


def test_output_is_cut_at_the_tools_limit_and_made_storable() -> None:
    class Short(Echo):
        output_limit = 4

    assert run(Short(), '{"text": "ab"}').content == "abab\n[… 2 more characters were left out]"
    assert run(Echo(), '{"text": "\\u0000"}').content == "\ufffd" * 3


def test_a_tool_that_takes_too_long_is_stopped() -> None:
    class Impatient(Waiting):
        timeout_s = 0.05

    tool = Impatient()
    outcome = run(tool, '{"text": "a"}')
    assert outcome.content == "The tool took longer than 0.05 seconds, so it was stopped."
    assert 40 <= outcome.duration_ms < 2_000


def test_calls_of_one_turn_run_at_the_same_time_and_are_told_as_they_end() -> None:
    meeting = threading.Barrier(3, timeout=10)
    first_ended = threading.Event()

    class Meeting(Echo):
        def call(self, arguments: dict[str, Any], stop: CancelToken) -> str:
            meeting.wait()  # only passed when all three are running
            if arguments["text"] != "last":
                first_ended.wait(10)
            return str(arguments["text"])

    ended: list[str] = []

    def done(call_id: str, outcome: ToolOutcome) -> None:
        ended.append(outcome.content)
        first_ended.set()

    tool = Meeting()
    jobs = [Job(str(i), "echo", f'{{"text": "{text}"}}', tool) for i, text in enumerate(["a", "b", "last"])]
    run_tools(jobs, CancelToken(), done)
    assert ended[0] == "last"
    assert sorted(ended) == ["a", "b", "last"]


def test_more_calls_than_places_all_get_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "AT_ONCE", 2)
    ended: list[str] = []
    jobs = [Job(str(i), "echo", '{"text": "a"}', Echo()) for i in range(7)]
    run_tools(jobs, CancelToken(), lambda call_id, _: ended.append(call_id))
    assert sorted(ended) == [str(i) for i in range(7)]


def stop_while_running(tool: Waiting, arguments: str) -> tuple[ToolOutcome, float]:
    stop = CancelToken()
    stopped_at = 0.0

    def stop_it() -> None:
        nonlocal stopped_at
        tool.began.wait(10)
        stopped_at = time.monotonic()
        stop.set("Stopped by Mei.")

    thread = threading.Thread(target=stop_it)
    thread.start()
    outcome = run(tool, arguments, stop)
    took = time.monotonic() - stopped_at
    thread.join()
    return outcome, took


def test_a_stop_reaches_the_tool_and_its_result_says_so(waiting: Waiting) -> None:
    outcome, took = stop_while_running(waiting, '{"text": "a"}')
    assert (outcome.ok, outcome.content) == (False, "Stopped by Mei.")
    assert waiting.stopped_because == "Stopped by Mei."
    assert took < 1


def test_a_tool_that_heeds_no_stop_is_abandoned(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "ABANDON_S", 0.1)
    outcome, _ = stop_while_running(waiting, '{"text": "deaf"}')
    assert outcome.content == "Stopped by Mei. The tool did not stop within 0.1 seconds, so it was abandoned."


def test_after_a_stop_nothing_begins() -> None:
    stop = CancelToken()
    stop.set("Stopped by Mei.")
    outcome = run(Echo(), '{"text": "a"}', stop)
    assert (outcome.ok, outcome.content) == (False, "Stopped by Mei. The tool had not begun.")


class Slow:
    """Reports progress, and takes longer than its time limit."""

    name = "slow"
    description = "Takes its time."
    parameters: ClassVar[dict[str, Any]] = {"type": "object", "properties": {}}
    timeout_s = 0.3
    output_limit = 1_000

    def __init__(self, speaks: bool) -> None:
        self.speaks = speaks

    def call(self, arguments: dict[str, Any], stop: CancelToken) -> str:
        for number in range(6):
            if self.speaks:
                stop.progress(f"{number} of 6")
            if stop.wait(0.15):
                raise ToolError("stopped")
        return "done"


@pytest.mark.parametrize("speaks", [True, False])
def test_a_tool_that_says_how_far_it_is_has_more_time(speaks: bool) -> None:
    shown: list[tuple[str, str]] = []
    outcomes: list[ToolOutcome] = []
    job = Job("1", "slow", "{}", Slow(speaks))
    run_tools([job], CancelToken(), lambda _, outcome: outcomes.append(outcome), lambda *update: shown.append(update))
    assert [outcome.ok for outcome in outcomes] == [speaks]
    assert bool(shown) is speaks
    assert all(update == ("1", words) and words.endswith("of 6") for update in shown for words in [update[1]])
    assert len(shown) <= 5, "no more often than eyes can follow"


def test_no_word_of_progress_lengthens_a_call_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LONGEST_S", 0.4)
    assert run(Slow(speaks=True), "{}").content == "The tool took longer than 0.4 seconds, so it was stopped."


class Harmless(Echo):
    """Has no side effects."""

    has_side_effects = False


@pytest.mark.parametrize(("tool", "content"), [(Echo(), "Nobody keeps it."), (Harmless(), "hihihi")])
def test_a_tool_with_side_effects_is_not_called_where_its_call_is_not_kept(tool: Echo, content: str) -> None:
    ended: dict[str, ToolOutcome] = {}

    def refuse(stop: CancelToken) -> None:
        raise ToolError("Nobody keeps it." if stop.call_id == "1" else "It is told of another call.")

    run_tools([Job("1", tool.name, '{"text": "hi"}', tool)], CancelToken(), ended.__setitem__, wait_stored=refuse)
    assert ended["1"].content == content
    assert ended["1"].ok is isinstance(tool, Harmless)
