"""The cost of monitoring: the product with traces and metrics, compared with itself without, in turns."""

import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any, NamedTuple

import psutil

from tests.benchmarks.client import TAG
from tests.benchmarks.figure import Measured, Sizes, errors, problems_of, warm_up, worst
from tests.benchmarks.measuring import Row
from tests.benchmarks.stage import Outcome, Side, Stage
from tests.chat.traces.collector import Collector

_TOKEN = "for the benchmark"
_MOST = 1.03
_SCRAPED_EVERY_S = 15.0
_MESSAGE = f"What time is it? [tag={TAG} reasoning=100 every=20 call=current_time:{{}}]"


def observed(stage: Stage, sizes: Sizes) -> Measured:
    """The median of the CPU times of this many pairs, each of two newly started processes.

    One process can be some hundredths slower than another that is started in the same way, for all of its life.
    """
    pairs = []
    with Collector() as collector:
        environment = {"METRICS_TOKEN": _TOKEN, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.address}
        for _ in range(sizes.pairs):
            with stage.product() as without:
                plain = stage.rows("sessions", sizes.observed_sessions + 2)
                warm_up(stage, without, plain[:2], _MESSAGE)
                with stage.apart("observed", **environment), stage.product() as watched, _scraping(watched):
                    seen = stage.rows("sessions", sizes.observed_sessions + 2)
                    warm_up(stage, watched, seen[:2], _MESSAGE)
                    sides = ((watched, seen[2:]), (without, plain[2:]))
                    pairs.append(run_pair(stage, *sides, "load", message=_MESSAGE, spread_s=1.0))
        traces = sum(not span.parent_span_id for span in collector.spans)
    ours, theirs = (median(pair.seconds[side] for pair in pairs) for side in (0, 1))
    outcomes = [outcome for pair in pairs for outcome in pair.all_outcomes]
    problems = problems_of(*outcomes)
    if traces < sizes.observed_sessions * sizes.pairs:
        problems.append(f"only {traces} runs were sent as traces")
    name = f"traces and figures on, {sizes.pairs} pairs of 2 × {sizes.observed_sessions} runs"
    rows = [
        Row(f"{name}: server CPU, median", "s", ours, theirs, theirs * _MOST),
        errors(name, problems),
    ]
    return Measured(rows, worst(*(outcome.window for outcome in outcomes)), None, problems)


class Pair(NamedTuple):
    """The CPU time of both sides for one job, and what their clients saw."""

    seconds: tuple[float, float]
    """Processor seconds of our process, and of theirs."""
    outcomes: tuple[list[Outcome], list[Outcome]]

    @property
    def all_outcomes(self) -> list[Outcome]:
        """The outcomes of both sides."""
        return [*self.outcomes[0], *self.outcomes[1]]


def run_pair(stage: Stage, ours: tuple[Side, list[str]], theirs: tuple[Side, list[str]], kind: str, **job: Any) -> Pair:
    """Run a job twice on each side: on ours, theirs, theirs and ours again.

    So a machine that becomes slower or faster meanwhile affects both alike.
    """
    sides = (ours, theirs)
    before = [_cpu_s(side.pid) for side, _ in sides]
    outcomes: tuple[list[Outcome], list[Outcome]] = ([], [])
    for which in (0, 1, 1, 0):
        side, sessions = sides[which]
        outcomes[which].append(stage.run(side, kind, sessions, **job))
    after = [_cpu_s(side.pid) for side, _ in sides]
    return Pair((after[0] - before[0], after[1] - before[1]), outcomes)


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


@contextmanager
def _scraping(side: Side) -> Iterator[None]:
    """Request the metrics every few seconds, as Prometheus does."""
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
