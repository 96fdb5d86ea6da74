"""Runs that wait for people: how soon one goes on when it is decided, and what thousands cost that wait."""

import json
import time
from contextlib import ExitStack

import psutil

from tests.benchmarks.client import TAG
from tests.benchmarks.figure import MS, Measured, Sizes, errors, problems_of, warm_up
from tests.benchmarks.measuring import Row, percentile
from tests.benchmarks.stage import Side, Stage

_POLICY = json.dumps([{"tool": "current_time", "decision": "ask"}])
_MESSAGE = f"What time is it? [tag={TAG} tokens=5 call=current_time:{{}}]"
#: How long a process that does nothing is looked at.
_IDLE_S = 10.0
#: Of what thousands of runs that wait may cost beside their rows.
_MOST_MIB = 5.0


def decided(stage: Stage, sizes: Sizes) -> Measured:
    """From a decision that is sent to the next request to the model; and an idle process beside so many runs that wait."""
    with stage.apart("decided", APPROVAL_POLICY=_POLICY), stage.product() as product:
        sessions = stage.rows("sessions", sizes.turns + 2)
        warm_up(stage, product, sessions[:2], f"Tell me [tag={TAG}]")
        ours = stage.run(product, "decided", sessions[2:], message=_MESSAGE)
    last = [max(note.at for note in ours.notes[str(number)]) for number in range(len(ours.seconds))]
    asked = [(at - sent) * MS for at, sent in zip(last, ours.seconds, strict=True)]
    rows = [
        Row("from a decision to the next model call, median", "ms", percentile(asked, 0.5), None, 50.0),
        Row("from a decision to the next model call, p95", "ms", percentile(asked, 0.95), None, 50.0),
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
    return Measured([*rows, errors("decided", problems_of(ours))], ours.window, None, problems_of(ours))


def _idle(side: Side) -> tuple[float, int]:
    """The processor time of a process that is asked for nothing, and its memory."""
    process = psutil.Process(side.pid)
    # What it does after its start is over.
    time.sleep(_IDLE_S)
    began = process.cpu_times()
    time.sleep(_IDLE_S)
    ended = process.cpu_times()
    return ended.user + ended.system - began.user - began.system, int(process.memory_info().rss)
