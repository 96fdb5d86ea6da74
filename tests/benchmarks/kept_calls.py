"""The cost of storing every model call with its messages: the product compared with itself without that, in turns."""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from statistics import median

from tests.benchmarks.client import TAG
from tests.benchmarks.figure import MS, Measured, Sizes, added_after_tool, errors, problems_of, warm_up, worst
from tests.benchmarks.measuring import Row, Turn
from tests.benchmarks.observed import run_pair
from tests.benchmarks.stage import Outcome, Stage
from tests.benchmarks.stub import Note

_MOST = 1.03
_SESSIONS, _TURNS, _STREAMS, _TOKENS = 8, 10, 20, 200
_MESSAGE = f"What time is it? [tag={TAG} reasoning=5 every=2 call=current_time:{{}}]"
_LONG = f"What time is it? [tag={TAG} reasoning={_TOKENS} every=20 call=current_time:{{}}]"


def kept_calls(stage: Stage, sizes: Sizes) -> Measured:
    """Medians over this many pairs.

    In each, both stream long answers at once, then both answer short messages one after the other. All of them call a tool, so that
    there are two model calls, each of which thinks for `_TOKENS` or a few. Long answers show the cost of a token, short ones that of a
    run. Each pair has newly started processes, because one can be some hundredths slower than another for all of its life.
    """
    count = _SESSIONS + _STREAMS + 2
    streams, turns = slice(2, 2 + _STREAMS), slice(2 + _STREAMS, count)
    long, short = [], []
    for _ in range(sizes.pairs):
        with stage.product() as keeping:
            kept = stage.rows("sessions", count)
            warm_up(stage, keeping, kept[:2], _MESSAGE)
            with (
                stage.apart("unstored", DJANGO_SETTINGS_MODULE="tests.benchmarks.unstored_settings"),
                stage.product() as without,
            ):
                unkept = stage.rows("sessions", count)
                warm_up(stage, without, unkept[:2], _MESSAGE)
                sides = ((keeping, kept[streams]), (without, unkept[streams]))
                long.append(run_pair(stage, *sides, "load", message=_LONG, spread_s=1.0))
                sides = ((keeping, kept[turns]), (without, unkept[turns]))
                short.append(run_pair(stage, *sides, "turns", message=_MESSAGE, times=_TURNS))
    outcomes = [outcome for pair in (*long, *short) for outcome in pair.all_outcomes]
    problems = problems_of(*outcomes)
    name = f"calls kept, {sizes.pairs} pairs"
    # For two rounds with two calls each.
    thousands, runs = 2 * _STREAMS * 2 * _TOKENS / 1_000, 2 * _SESSIONS * _TURNS
    rows = []
    for what, unit, values, most in (
        ("server CPU per 1,000 tokens", "s", [[cpu / thousands for cpu in pair.seconds] for pair in long], _MOST),
        (
            "server CPU of a short run",
            "ms",
            [[cpu / runs * MS for cpu in pair.seconds] for pair in short],
            None,
        ),
        ("first token", "ms", [[_median(side, _added) for side in pair.outcomes] for pair in short], _MOST),
        (
            "after a tool round",
            "ms",
            [[_median(side, added_after_tool) for side in pair.outcomes] for pair in short],
            None,
        ),
    ):
        ours, theirs = (median(pair[side] for pair in values) for side in (0, 1))
        rows.append(Row(f"{name}: {what}, median", unit, ours, theirs, most and theirs * most))
    return Measured([*rows, errors(name, problems)], worst(*(outcome.window for outcome in outcomes)), None, problems)


def _added(turn: Turn, notes: Mapping[str, Sequence[Note]]) -> float:
    """Milliseconds from sending the message to the first text, minus those of the model for its first call."""
    note, _ = notes[turn.tag]
    return inf if turn.first is None else (turn.first - turn.sent - (note.first - note.at)) * MS


def _median(side: Sequence[Outcome], time: Callable[[Turn, Mapping[str, Sequence[Note]]], float]) -> float:
    return median(time(turn, one.notes) for one in side for turn in one.turns if not turn.problems)
