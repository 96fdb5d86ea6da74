"""Current values for metrics: of this process, as they are now; of the whole installation, as read from the database seconds ago."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.db import Error as DatabaseError
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from chat.live import registry as feed_registry
from chat.runs import queue as run_queue
from chat.runs import queue_watch
from chat.runs import registry as run_registry
from chat.runtime import broker, clock, database, groups, metrics
from chat.serving import supervisor

logger = logging.getLogger(__name__)

#: The database is queried no more often than this, however often metrics are read; and values older than this are left out.
READ_EVERY_S, _OLD_AFTER_S = 5.0, 60.0
#: How long a scrape waits for the database; without its answer only this process's values are reported.
_PATIENCE_S = 2.0

_HERE: dict[str, tuple[str, Callable[[], float]]] = {
    "sockets": ("Open sockets.", lambda: len(feed_registry.open_sockets)),
    "feeds": ("Sessions that somebody looks at.", lambda: len(feed_registry.open_feeds)),
    "runs_here": ("Runs that this process executes.", lambda: len(run_registry.running)),
    "database_away": ("Whether the database did not answer when it was last asked.", supervisor.misses_database),
    "channel_layer_away": ("Whether the channel layer did not answer when it was last asked.", groups.is_failing),
    "broker_away": ("Whether the broker did not answer when it was last asked.", broker.is_broken),
    "queue_stuck": ("Whether no worker starts what may start.", queue_watch.is_stuck),
    "clock_skew_seconds": ("How far this machine's clock is ahead of the database's.", clock.skew_s),
}


@dataclass(frozen=True, slots=True)
class _Everywhere:
    """The database's answer, and when it came."""

    figures: run_queue.QueueCounts
    read_at: float


class Gauges(Collector):
    """Reports current values to `metrics.REGISTRY`."""

    def __init__(self) -> None:
        self._everywhere: _Everywhere | None = None
        self._reading: asyncio.Task[None] | None = None

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The current values. May be called from any thread."""
        for name, (description, value) in _HERE.items():
            yield GaugeMetricFamily(f"thinkaloud_{name}", description, value=float(value()))
        known = self._everywhere
        if known is None or time.monotonic() - known.read_at > _OLD_AFTER_S:
            return
        counts = known.figures
        everywhere = {
            "queued_runs": ("Messages in the queue, in the whole installation.", counts.queued),
            "active_runs": ("Runs at work, in the whole installation.", counts.at_work),
            "waiting_sessions": ("Sessions whose next run may start and has not yet, up to 200.", counts.may_start),
            "oldest_queued_seconds": ("How long the oldest message has been in the queue.", counts.oldest_s),
        }
        for name, (description, figure) in everywhere.items():
            yield GaugeMetricFamily(f"thinkaloud_{name}", description, value=figure)

    async def refresh(self) -> None:
        """Query the database, unless that was just done. Only one caller at a time does so, and none waits for long."""
        if self._everywhere is not None and time.monotonic() - self._everywhere.read_at < READ_EVERY_S:
            return
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._read())
        await asyncio.wait([self._reading], timeout=_PATIENCE_S)

    async def _read(self) -> None:
        try:
            self._everywhere = _Everywhere(await database.read(run_queue.count_unfinished), time.monotonic())
        except DatabaseError:
            logger.warning("The numbers of runs could not be read for the metrics", exc_info=True)


gauges = Gauges()
metrics.REGISTRY.register(gauges)
