"""The benchmark's own calculations, on which every figure depends."""

import argparse
import asyncio
import json
import math
import time
from typing import Any

import pytest

from tests.benchmarks import texts
from tests.benchmarks.__main__ import ATTEMPTS, _measured, _size
from tests.benchmarks.figure import Measured, lost, median_of
from tests.benchmarks.figures import FIGURES
from tests.benchmarks.measuring import (
    LATE_S,
    TICK_S,
    Lateness,
    Row,
    Text,
    Ticker,
    Turn,
    Window,
    growth_ratio,
    middle,
    percentile,
    read_turn,
    verdict,
)
from tests.benchmarks.shares import counted
from tests.benchmarks.stage import Outcome
from tests.benchmarks.stub import Note, _plainly

PROMPT, LATE = Lateness(0.001, 0.004), Lateness(0.001, LATE_S * 1.01)


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, 1), (0.01, 1), (0.5, 50), (0.501, 51), (0.95, 95), (0.99, 99), (0.991, 100), (1.0, 100)],
)
def test_percentile_is_the_nearest_rank(share: float, expected: int) -> None:
    assert percentile(reversed(range(1, 101)), share) == expected


def test_percentile_of_nothing_keeps_no_bound() -> None:
    assert math.isnan(percentile([], 0.5))
    assert Row("", "ms", percentile([], 0.5), bound=10.0).is_missed


@pytest.mark.parametrize(("value", "missed"), [(9.9, False), (10.0, False), (10.1, True), (math.inf, True)])
def test_a_bound_is_the_most_that_is_allowed(value: float, missed: bool) -> None:
    assert Row("", "ms", value, bound=10.0).is_missed is missed


@pytest.mark.parametrize(
    ("client", "stub", "void"),
    [(PROMPT, PROMPT, False), (LATE, PROMPT, True), (PROMPT, LATE, True), (LATE, LATE, True)],
)
def test_a_late_client_or_stub_makes_a_figure_void(client: Lateness, stub: Lateness, void: bool) -> None:
    window = Window(client, stub)
    assert window.is_void is void
    kept, missed, unbound = Row("", "ms", 1.0, bound=2.0), Row("", "ms", 3.0, bound=2.0), Row("", "ms", 3.0)
    expected = ["void"] * 3 if void else ["ok", "missed", ""]
    assert [verdict(row, window) for row in (kept, missed, unbound)] == expected


def test_lateness_of_a_process_that_never_ticked_is_void() -> None:
    assert Lateness.of([]).is_late


def test_the_threshold_itself_is_not_late() -> None:
    assert not Lateness.of([LATE_S] * 100).is_late
    assert not Lateness.of([0.0] * 99 + [1.0]).is_late
    assert Lateness.of([0.0] * 98 + [1.0] * 2).is_late


async def test_a_standstill_counts_as_often_as_it_kept_a_tick_waiting() -> None:
    ticker = Ticker()
    ticker.drain()
    until = time.monotonic() + 20 * TICK_S
    while time.monotonic() < until:  # simulates a loop that is busy with something else
        pass
    await asyncio.sleep(0)
    lateness = ticker.drain()
    assert lateness.p50 >= 8 * TICK_S
    assert lateness.is_late


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([(1, 0, "ab"), (1, 2, "cd")], "abcd"),
        ([(1, 0, "ab"), (1, 3, "d")], "ab"),  # waits for the missing piece
        ([(1, 0, "ab"), (1, 3, "d"), (1, 0, "abcd")], "abcd"),
        ([(1, 0, "ab"), (2, 0, "x")], "x"),
        ([(2, 0, "x"), (1, 0, "ab")], "x"),
        ([(1, 0, "ab"), (2, 2, "cd")], "ab"),  # a piece of a text whose beginning is missing
        ([(1, 0, "abcd"), (1, 2, "cd")], "abcd"),
    ],
)
def test_text_is_put_together_as_the_wire_says(pieces: list[tuple[int, int, str]], text: str) -> None:
    reduced = Text()
    for piece in pieces:
        reduced.apply(*piece)
    assert reduced.text == text


def frame(at: float, kind: str, seq: int | None = None, **data: Any) -> tuple[float, str]:
    return at, json.dumps({"type": kind, "data": data} | ({} if seq is None else {"seq": seq}))


def delta(at: float, text: str, offset: int = 0, kind: str = "final_answer", step: int = 1) -> tuple[float, str]:
    return frame(at, "reasoning_delta", step=step, type=kind, attempt=1, offset=offset, text=text)


def stamps(*times: float) -> str:
    return "".join(f"{1_700_000_000 + at:.6f} " for at in times)


BEGAN = 1_700_000_000.0


def test_a_turn_knows_when_its_first_text_came_and_how_late_each_token_was() -> None:
    frames = [
        frame(BEGAN, "accepted"),
        frame(BEGAN, "reasoning_start", 8),
        delta(BEGAN + 2, stamps(1)[:9]),  # half a token
        delta(BEGAN + 3, stamps(1, 2)[9:], 9),
        delta(BEGAN + 4, stamps(1, 2)),  # the whole text once more
        frame(BEGAN + 9, "reasoning_step", 9, type="final_answer", step=1, content=stamps(1, 2, 5)),
        frame(BEGAN + 9, "reasoning_complete", 10, status="completed"),
    ]
    turn = read_turn("a", BEGAN, frames, seq=7)
    assert turn.problems == []
    assert turn.first == BEGAN + 2
    assert turn.delays == pytest.approx([2, 1, 4])
    assert turn.answer == stamps(1, 2, 5)


def test_arguments_of_a_tool_and_empty_growth_are_no_first_text() -> None:
    result = {"type": "tool_result", "step": 2}
    frames = [
        delta(BEGAN + 1, "", kind="thought"),
        delta(BEGAN + 2, '{"code": 1', kind="tool_use"),
        delta(BEGAN + 3, "Hm", kind="thought"),
        frame(BEGAN + 4, "reasoning_step", 1, **result),
        delta(BEGAN + 5, "So", step=3),
        frame(BEGAN + 6, "reasoning_step", 2, type="final_answer", step=3, content="So it is."),
    ]
    turn = read_turn("a", BEGAN, frames)
    assert (turn.first, turn.after_tool) == (BEGAN + 3, BEGAN + 5)
    assert turn.delays == []


@pytest.mark.parametrize(
    "frames",
    [
        [frame(BEGAN, "reasoning_start", 2)],
        [frame(BEGAN, "reasoning_start", 1), frame(BEGAN, "reasoning_step", 1, type="start")],
        [frame(BEGAN, "error", message="The model was silent.", code="model_timeout")],
        [frame(BEGAN, "reasoning_complete", 1, status="failed")],
        [delta(BEGAN, "It was"), frame(BEGAN, "reasoning_step", 1, type="final_answer", step=1, content="It is.")],
    ],
    ids=["hole", "twice", "error", "failed", "other text than had grown"],
)
def test_errors_of_a_turn_are_problems(frames: list[tuple[float, str]]) -> None:
    assert len(read_turn("a", BEGAN, frames).problems) == 1


@pytest.mark.parametrize(
    ("answer", "delays", "missing"),
    [(stamps(1, 2, 3), 3, 0), (stamps(1, 3), 2, 1), (stamps(1, 2, 9), 3, 1), ("", 0, 3), (stamps(1, 2, 3), 2, 1)],
    ids=["all there", "one left out", "one that was never sent", "nothing", "one that never came"],
)
def test_tokens_are_lost_that_were_sent_and_are_not_there(answer: str, delays: int, missing: int) -> None:
    turn = Turn("a", BEGAN, answer=answer, delays=[0.0] * delays)
    side = Outcome(Window(PROMPT, PROMPT), {"a": [Note("a", BEGAN, text=stamps(1, 2, 3))]}, [turn])
    assert lost(side, 3) == missing
    assert bool(turn.problems) is (answer != stamps(1, 2, 3))


@pytest.mark.parametrize(
    ("unit", "values", "expected"),
    [("ms", [3, 1, 2], 2), ("ms", [5, 5, math.inf], 5), ("", [0, 0, 1], 1), ("×", [1.0], 1.0)],
    ids=["median", "one that never came", "no error is outvoted", "measured once"],
)
def test_a_row_measured_several_times_is_its_median_and_a_count_its_worst(
    unit: str, values: list[float], expected: float
) -> None:
    row = middle([Row("", unit, value, 10 * value, bound=7.0) for value in values])
    assert row == Row("", unit, expected, 10 * expected, bound=7.0)


def test_a_row_that_is_missing_once_is_missing() -> None:
    assert middle([Row("", "ms", value, bound=7.0) for value in (1.0, math.nan, 2.0)]).is_missed


def test_several_runs_are_void_where_one_is_and_keep_all_problems() -> None:
    runs = [
        Measured([Row("a", "ms", 1.0)], Window(PROMPT, PROMPT), Window(PROMPT, PROMPT), ["one"]),
        Measured([Row("a", "ms", 2.0)], Window(PROMPT, PROMPT), Window(PROMPT, LATE), ["two"]),
        Measured([Row("a", "ms", 4.0)], Window(PROMPT, PROMPT), Window(PROMPT, PROMPT)),
    ]
    together = median_of(runs)
    assert together.rows == [Row("a", "ms", 2.0)]
    assert together.problems == ["one", "two"]
    assert together.is_void
    assert not together.product.is_void
    assert not median_of(runs[::2]).is_void


@pytest.mark.parametrize(
    ("small", "large", "times", "expected"),
    [(2.0, 2.0, 1.0, 1.0), (2.0, 3.0, 1.0, 1.5), (2.0, 20.0, 10.0, 1.0), (2.0, 200.0, 10.0, 10.0)],
    ids=["a unit costs the same", "a unit costs more", "a whole costs as much more", "a whole costs its square"],
)
def test_growth_is_one_where_it_is_linear(small: float, large: float, times: float, expected: float) -> None:
    assert growth_ratio(small, large, times) == expected


def test_growth_from_nothing_keeps_no_bound() -> None:
    assert Row("", "×", growth_ratio(0.0, 1.0), bound=1.3).is_missed


@pytest.mark.parametrize(
    ("voids", "left", "attempts"),
    [([False], 99.0, 1), ([True, False], 99.0, 2), ([True] * 9, 99.0, ATTEMPTS), ([True] * 9, -1.0, 1)],
    ids=["good at once", "good the second time", "void to the end", "no time left"],
)
def test_a_void_figure_is_measured_again_while_there_is_time(voids: list[bool], left: float, attempts: int) -> None:
    reported: list[tuple[Measured, int]] = []
    coming = iter(voids)

    def measure() -> Measured:
        return Measured([], Window(LATE if next(coming) else PROMPT, PROMPT))

    measured, still_left = _measured(measure, lambda each, attempt, _took: reported.append((each, attempt)), left)
    assert [attempt for _, attempt in reported] == list(range(1, attempts + 1))
    assert measured is reported[-1][0]
    assert (still_left < left) is (attempts > 1)


@pytest.mark.parametrize(
    ("text", "size"), [("watchers=20", ("watchers", 20)), ("rate=12.5", ("rate", 12.5)), ("rate=3", ("rate", 3.0))]
)
def test_a_size_is_named_with_its_number(text: str, size: tuple[str, float]) -> None:
    name, number = _size(text)
    assert (name, number) == size
    assert type(number) is type(size[1])


@pytest.mark.parametrize("text", ["watchers", "watchers=", "watchers=1.5", "viewers=1"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises((ValueError, argparse.ArgumentTypeError)):
        _size(text)


def test_searched_words_occur_as_often_as_is_said() -> None:
    pieces = texts.pieces()
    assert pieces == texts.pieces()
    assert len(pieces) == texts.PIECES
    words = [piece.split() for piece in pieces]
    assert sum(texts.COMMON in each for each in words) == texts.PIECES // 4
    assert sum("harbour" in each for each in words) == texts.PIECES // 40
    assert sum(texts.CHINESE in piece for piece in pieces) == pytest.approx(texts.PIECES // 16, abs=3)
    assert not any(word in piece for word in (texts.RARE, *texts.SELDOM_TOGETHER) for piece in pieces)


def test_a_tools_result_in_the_stock_loops_template_is_a_tools_result() -> None:
    asked, result = (
        {"role": "user", "content": "Why?"},
        {"role": "user", "content": "<tool_response>\n7\n</tool_response>"},
    )
    assert _plainly([asked, result]) == [asked, {**result, "role": "tool"}]


def test_each_figure_has_its_words() -> None:
    assert all(measure.__doc__ for measure in FIGURES.values())


def test_time_is_counted_for_the_innermost_part_that_knows_of_it() -> None:
    loop = "serve.py;run (twisted/internet/asyncioreactor.py:1);_run_once (asyncio/base_events.py:1)"
    stacks = [
        f"{loop};_read (agents/models/openai_stream.py:1);_grow (chat/runs/executor.py:1);encode (chat/protocol.py:1) 3",
        f"{loop};_read (agents/models/openai_stream.py:1);sleep (asyncio/tasks.py:1) 4",
        f"{loop};_put (chat/store/drafts.py:1) 1",
        f"{loop};_tick (asyncio/events.py:1) 1",
        "_bootstrap (threading.py:1);_Pool._work (chat/runtime/database.py:1);append (chat/store/step_log.py:1) 1",
    ]
    shares = counted(stacks)
    assert sum(shares.values()) == 100
    assert [round(share) for share in shares.values()] == [40, 0, 30, 10, 10, 10]
