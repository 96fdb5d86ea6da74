"""Figures of what happens all at once: sockets that reconnect, schedules that are due, and the first page after a restart."""

import time
import urllib.request
from contextlib import suppress
from urllib.error import URLError

from tests.benchmarks.client import TAG
from tests.benchmarks.figure import MOST_GROWTH, MS, UNHURRIED, Measured, Sizes, errors, problems_of, warm_up, worst
from tests.benchmarks.measuring import Row, growth_ratio, percentile
from tests.benchmarks.stage import Stage

#: How many seconds after their creation the schedules are due.
_AHEAD_S = 30
_WITHIN_S = 90
_STILL_S = 20.0


def back(stage: Stage, sizes: Sizes) -> Measured:
    """Sockets that are lost together and reconnect together, as after a restart of a proxy."""
    count = sizes.open_sockets
    with stage.product() as product:
        sessions = stage.rows("sessions", count + 2)
        warm_up(stage, product, sessions[:2], f"Tell me [tag={TAG}]")
        ours = stage.run(product, "back", sessions[2:])
    with stage.relay() as relay:
        theirs = stage.run(relay, "back", sessions[2:])
    rows = [
        Row(
            f"{count} sockets back at once: all live again",
            "ms",
            *(max(s.seconds) * MS for s in (ours, theirs)),
            1_000.0,
        ),
        Row(
            f"{count} sockets back at once, median",
            "ms",
            *(percentile(side.seconds, 0.5) * MS for side in (ours, theirs)),
        ),
        errors("back at once", ours.problems),
    ]
    return Measured(rows, ours.window, theirs.window, ours.problems)


def still(stage: Stage, sizes: Sizes) -> Measured:
    """The server's CPU time for idle sockets, each on a session of its own; and for a tenth of them."""
    counts = sizes.still_sockets // 10, sizes.still_sockets
    with stage.product() as product:
        sessions = stage.rows("sessions", counts[1] + 2)
        warm_up(stage, product, sessions[:2], f"Tell me [tag={TAG}]")
        seen = [stage.run(product, "still", sessions[2:][:count], spread_s=_STILL_S) for count in counts]
    few, many = (outcome.cpu_s / _STILL_S * MS for outcome in seen)
    problems = problems_of(*seen)
    rows = [
        Row(f"{counts[0]:,} idle sockets: CPU of a second", "ms", few),
        Row(f"{counts[1]:,} idle sockets: CPU of a second", "ms", many, None, 50.0),
        Row(f"{counts[0]:,} → {counts[1]:,} idle sockets: growth", "×", growth_ratio(few, many, 10), None, MOST_GROWTH),
        errors("idle sockets", problems),
    ]
    return Measured(rows, worst(*(outcome.window for outcome in seen)), problems=problems)


def due(stage: Stage, sizes: Sizes) -> Measured:
    """Schedules that are due in the same second, each with a session of its own: until the last one's run has begun."""
    count = sizes.schedules
    with stage.apart("due"), stage.product() as product:
        warm_up(stage, product, stage.rows("sessions", 2), f"Tell me [tag={TAG}]")
        stage.rows("schedules", count, _AHEAD_S)
        time.sleep(_AHEAD_S)
        until = time.monotonic() + _WITHIN_S
        while (seen := stage.rows("begun"))["begun"] < count and time.monotonic() < until:
            time.sleep(1)
    problems = [] if seen["begun"] == count else [f"{seen['begun']} of {count} have begun"]
    name = f"{count:,} schedules due in one second"
    rows = [
        Row(f"{name}: the last has begun", "s", seen["latest_s"], None, 15.0),
        Row(f"{name}: the median has", "s", seen["median_s"]),
        errors(name, problems),
    ]
    return Measured(rows, UNHURRIED, problems=problems)


def later_start(stage: Stage, sizes: Sizes) -> Measured:
    """The time of `make run` until its first page, with existing data."""
    times = []
    for _ in range(sizes.starts + 1):
        began = time.perf_counter()
        with stage.make_run() as address:
            while True:
                with suppress(URLError), urllib.request.urlopen(f"{address}/accounts/login/", timeout=30) as page:
                    page.read()
                    break
                time.sleep(0.005)
            times.append((time.perf_counter() - began) * MS)
    # The first start makes the files that the others find.
    row = Row("make run, a later start: to the first page, median", "ms", percentile(times[1:], 0.5), None, 1_200.0)
    return Measured([row], UNHURRIED)
