"""What it costs to be watched over: the product with traces sent and figures told, beside itself without, in turns."""

import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import psutil

from tests.benchmarks.client import TAG
from tests.benchmarks.figure import Measured, Sizes, errors, problems_of, warm_up, worst
from tests.benchmarks.measuring import Row
from tests.benchmarks.stage import Outcome, Side, Stage
from tests.chat.traces.collector import Collector

_TOKEN = "for the benchmark"
_MOST = 1.03
_SCRAPED_EVERY_S = 15.0
_MESSAGE = f"What time is it? [tag={TAG} reasoning=10 tokens=100 every=20 call=current_time:{{}}]"


def observed(stage: Stage, sizes: Sizes) -> Measured:
    """The median of the processor times of so many pairs: in each, the one answers, then the other, and both rest as long."""
    with stage.product() as without, Collector() as collector:
        plain = stage.rows("sessions", sizes.observed_sessions + 2)
        warm_up(stage, without, plain[:2], _MESSAGE)
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address, "METRICS_TOKEN": _TOKEN}
        with stage.apart("observed", **environment), stage.product() as watched, _scraping(watched):
            seen = stage.rows("sessions", sizes.observed_sessions + 2)
            warm_up(stage, watched, seen[:2], _MESSAGE)
            sides = ((watched, seen[2:]), (without, plain[2:]))
            pairs = [run_pair(stage, *sides, "load", message=_MESSAGE, spread_s=1.0) for _ in range(sizes.pairs)]
        traces = sum(not span.parent_span_id for span in collector.spans)
    ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    outcomes = [outcome for pair in pairs for outcome in pair[2]]
    problems = problems_of(*outcomes)
    if traces < sizes.observed_sessions * (sizes.pairs - 1):
        problems.append(f"only {traces} runs were sent as traces")
    name = f"traces and figures on, {sizes.pairs} pairs of {sizes.observed_sessions} runs"
    rows = [
        Row(f"{name}: server CPU, median", "s", median(ours), median(theirs), median(theirs) * _MOST),
        errors(name, problems),
    ]
    return Measured(rows, worst(*(outcome.window for outcome in outcomes)), None, problems)


def run_pair(
    stage: Stage, ours: tuple[Side, list[str]], theirs: tuple[Side, list[str]], kind: str, **job: Any
) -> tuple[float, float, list[Outcome]]:
    """Have clients do a job with one side and then with the other; the processor seconds that each process took, and what was seen."""
    before = [_cpu_s(side.pid) for side, _ in (ours, theirs)]
    outcomes = [stage.run(side, kind, sessions, **job) for side, sessions in (ours, theirs)]
    after = [_cpu_s(side.pid) for side, _ in (ours, theirs)]
    return after[0] - before[0], after[1] - before[1], outcomes


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


@contextmanager
def _scraping(side: Side) -> Iterator[None]:
    """Somebody asks for the figures now and then."""
    stop = threading.Event()
    asked = urllib.request.Request(f"{side.url}/metrics", headers={"Authorization": f"Bearer {_TOKEN}"})

    def scrape() -> None:
        while not stop.wait(_SCRAPED_EVERY_S):
            with urllib.request.urlopen(asked, timeout=10) as answer:
                answer.read()

    thread = threading.Thread(target=scrape, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
