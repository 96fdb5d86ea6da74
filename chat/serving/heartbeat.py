"""The heartbeat of this process, by which others know that it still executes its runs."""

import logging
import threading

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import close_old_connections, connections

from chat.live import connections as live_connections
from chat.runs import registry as run_registry
from chat.runs import state as run_state
from chat.runtime import clock, database

logger = logging.getLogger(__name__)


class Heartbeat:
    """Renews the lease on this process's runs, in a thread with a connection of its own, so that no busy loop or tool delays it."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        #: By the database's clock, as the leases are: then a changed clock and a suspended machine are gaps, too.
        self._beaten_at = self._steady_since = 0.0
        #: Whether the lease could not be renewed the last time.
        self.missed = False

    def start(self) -> None:
        """Send heartbeats from now on, in a thread of its own."""
        self.stop()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, args=(self._stop,), name="heartbeat", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float | None = None) -> None:
        """Send no more heartbeats, and wait until the thread has ended, but no longer than the timeout. Blocks."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            self._thread = None

    def is_steady(self, now: float) -> bool:
        """Whether this process could renew its own lease throughout the length of one, up to ``now`` by the database's clock.

        If it could not, others could not either: they get that time before their silence means anything.
        """
        return not self._is_gap(now) and now - self._steady_since > settings.RUN_LEASE_S

    def _beat(self, stop: threading.Event) -> None:
        database.use_dedicated_connection()
        try:
            while True:
                close_old_connections()
                try:
                    live_connections.store_heartbeat(run_registry.PROCESS)
                    run_state.beat(run_registry.PROCESS, run_registry.running_ids())
                    beaten_at = clock.measure().timestamp()
                    self.missed = False
                except DatabaseError:
                    self.missed = True
                    logger.warning("The lease could not be renewed", exc_info=True)
                else:
                    self._has_beaten(beaten_at)
                if stop.wait(settings.RUN_LEASE_S / 6):
                    return
        finally:
            connections.close_all()

    def _has_beaten(self, now: float) -> None:
        if self._beaten_at and self._is_gap(now):
            self._steady_since = now
        self._beaten_at = now

    def _is_gap(self, now: float) -> bool:
        """Whether the last heartbeat was so long ago that another process's, a little later, may have been missed."""
        return abs(now - self._beaten_at) > settings.RUN_LEASE_S * 2 / 3
