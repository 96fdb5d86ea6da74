"""Notifies workers, through the broker, that a session has a queued run.

A notification is a hint: it may be lost, repeated or late, and nothing waits for it. The queue itself is in the database, which every
worker with a free slot polls once a second.
"""

import logging
import threading
import time
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from celery import Celery

logger = logging.getLogger(__name__)

#: The task that a notification calls: `chat.tasks.execute_next_run`.
TASK = "chat.execute_next_run"
#: The task's former name, which processes of an earlier version, running at the same time, still send.
FORMER_TASK = "chat.carry"
#: How many seconds after a failure nothing is sent; meanwhile queued runs are found by polling.
_AWAY_S = 1.0
#: One immediate retry: that an idle connection is broken may only be found when it is used.
_RETRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}


class WorkerNotifier:
    """Sends notifications from a thread of its own, because the broker's client blocks."""

    def __init__(self) -> None:
        self._due: dict[UUID, None] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        #: When the broker failed to answer.
        self.away_since: float | None = None

    def notify(self, session_id: UUID) -> None:
        """Notify workers that a session may have a run to start."""
        with self._changed:
            self._due[session_id] = None
            self._start()
            self._changed.notify()

    def preload(self) -> None:
        """Import the broker's client before it is needed."""
        with self._changed:
            self._start()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._notify_forever, name="broker", daemon=True)
            self._thread.start()

    def _notify_forever(self) -> None:
        # Imported here: it takes most of a second, which processes without a broker should not spend.
        app: Celery = import_string(settings.WORKER_APPLICATION)
        app.finalize()
        logger.info("The broker's client is loaded")
        while True:
            with self._changed:
                while not self._due:
                    self._changed.wait()
                due, self._due = self._due, {}
            if self.away_since is not None:
                time.sleep(_AWAY_S)
            for session_id in due:
                if not self._sent(app, session_id):
                    # This one is retried, to find out when the broker is back; other sessions are found by polling.
                    self.notify(session_id)
                    break

    def _sent(self, app: "Celery", session_id: UUID) -> bool:
        try:
            app.send_task(
                TASK, kwargs={"session_id": str(session_id)}, ignore_result=True, retry=True, retry_policy=_RETRY
            )
        except Exception as error:  # noqa: BLE001 - whatever a broker's client raises, the run stays in the queue
            if self.away_since is None:
                self.away_since = time.monotonic()
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                logger.warning(
                    "The broker does not answer; workers find what is in the queue by looking, within a second: %s",
                    reason,
                )
            return False
        if self.away_since is not None:
            logger.warning("The broker answers again, after %.0f s", time.monotonic() - self.away_since)
            self.away_since = None
        return True


notifier = WorkerNotifier()


def notify_workers(session_id: UUID) -> None:
    """Notify the workers of a session with a queued run; returns at once, and raises nothing. Safe from any thread."""
    notifier.notify(session_id)


def preload_notifier() -> None:
    """Import what the first notification needs."""
    notifier.preload()


def is_broken() -> bool:
    """Whether the broker did not answer the last notification."""
    return notifier.away_since is not None
