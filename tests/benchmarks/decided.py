"""Runs that wait for decisions: how soon one continues after its decision, and what thousands that wait cost."""

import json
import time
from contextlib import ExitStack

import psutil

from tests.benchmarks.client import TAG
from tests.benchmarks.figure import MS, Measured, Sizes, errors, problems_of, warm_up, worst
from tests.benchmarks.measuring import Row, percentile
from tests.benchmarks.stage import Outcome, Side, Stage

_POLICY = json.dumps([{"tool": "current_time", "decision": "ask"}])
_MESSAGE = f"What time is it? [tag={TAG} tokens=5 call=current_time:{{}}]"
#: For how many seconds an idle process is measured.
_IDLE_S = 10.0
#: The most memory and CPU that thousands of waiting runs may cost, apart from their rows.
_MOST_MIB = 5.0


def decided(stage: Stage, sizes: Sizes) -> Measured:
    """From sending a decision to the next request to the model; and an idle process with this many waiting runs."""
    here = _decided(stage, sizes)
    elsewhere = _decided(stage, sizes, has_worker=True)
    rows = [
        *_rows("from a decision to the next model call", here, 50.0),
        *_rows("… of a run that a worker executes", elsewhere, 200.0),
    ]
    for name, served in (("SQLite", False), ("PostgreSQL", True)):
        with ExitStack() as until_done:
            until_done.enter_context(stage.apart("waiting", served=served))
            product = until_done.enter_context(stage.product())
            before = _idle(product)
            stage.rows("waiting", sizes.waiting)
            cpu, memory = (after - first for after, first in zip(_idle(product), before, strict=True))
        kind = f"{sizes.waiting:,} runs wait, {name}"
        rows += [
            Row(f"{kind}: CPU of an idle second, more than without", "ms", cpu * MS / _IDLE_S, None, 5.0),
            Row(f"{kind}: memory, more than without", "MiB", memory / (1 << 20), None, _MOST_MIB),
        ]
    problems = problems_of(here, elsewhere)
    return Measured([*rows, errors("decided", problems)], worst(here.window, elsewhere.window), None, problems)


def _decided(stage: Stage, sizes: Sizes, *, has_worker: bool = False) -> Outcome:
    """Runs that wait, each decided on the socket that has sent the message."""
    with stage.apart("decided", has_worker=has_worker, APPROVAL_POLICY=_POLICY), stage.product() as product:
        sessions = stage.rows("sessions", sizes.turns + 2)
        warm_up(stage, product, sessions[:2], f"Tell me [tag={TAG}]")
        return stage.run(product, "decided", sessions[2:], message=_MESSAGE)


def _rows(name: str, outcome: Outcome, bound_ms: float) -> list[Row]:
    last = [max(note.at for note in outcome.notes[str(number)]) for number in range(len(outcome.seconds))]
    took = [(at - sent) * MS for at, sent in zip(last, outcome.seconds, strict=True)]
    return [
        Row(f"{name}, {which}", "ms", percentile(took, share), None, bound_ms)
        for which, share in (("median", 0.5), ("p95", 0.95))
    ]


def _idle(side: Side) -> tuple[float, int]:
    """The CPU time of a process that is sent nothing, and its memory."""
    process = psutil.Process(side.pid)
    # Until the work after its start is done.
    time.sleep(_IDLE_S)
    began = process.cpu_times()
    time.sleep(_IDLE_S)
    ended = process.cpu_times()
    return ended.user + ended.system - began.user - began.system, int(process.memory_info().rss)
