"""Celery's part of the workers: the task that notifies a worker, and the step of its process that executes runs."""

import logging
import sys
import time
from typing import Any
from uuid import UUID

from celery import bootsteps, shared_task, signals
from celery.worker import consumer, state
from django.conf import settings
from django.db import connection

from chat.runs import registry as run_registry
from chat.runtime import broker, db_check, malloc, open_files, redis_check
from chat.runtime.leaving import leave_within
from chat.serving.worker import Worker

logger = logging.getLogger(__name__)

#: Celery's pools that run in one process: the runs of a worker share one event loop.
_POOLS = {"celery.concurrency.thread", "celery.concurrency.solo"}

#: Seconds before a restart; meanwhile queued runs are found by polling, as usual.
_AGAIN_AFTER_S = 1.0
#: How many seconds Celery has to leave the broker once all runs have ended: nothing there is needed, and it may never answer.
_LEAVE_S = 5.0

_worker: Worker | None = None


@shared_task(name=broker.TASK)
def execute_next_run(session_id: str, **_later: Any) -> None:
    """Execute a session's next run, if one is queued and may start. Until it has ended, this worker has one slot less.

    Further arguments of a later version are ignored: everything that matters is in the database.
    """
    if _worker is None or not _worker.execute_next_run(UUID(session_id)):
        # This worker is about to stop: have another one notified.
        broker.notify_workers(UUID(session_id))


@shared_task(name=broker.FORMER_TASK)
def execute_next_run_as_before(session_id: str, **later: Any) -> None:
    """The same task, under the name by which processes of an earlier version send it."""
    execute_next_run(session_id, **later)


class Consumer(consumer.Consumer):
    """Celery's consumer, restarted after any error of the broker. Runs continue meanwhile.

    Celery 5.7 by itself exits if Redis is out of memory, or if a message is rejected or acknowledged over a connection that
    was lost meanwhile. Neither is needed: the message's run is in the database.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.connection_errors: tuple[type[Exception], ...] = (Exception,)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Drop what belonged to the lost connection."""
        for channel in getattr(getattr(self.connection, "transport", None), "channels", None) or ():
            channel.do_restore = False
        for request in tuple(state.reserved_requests):
            request.acknowledged = True
        super().on_connection_error_after_connected(exc)

    def on_close(self) -> None:
        """Pause before a restart, so that a broker that refuses everything is not called without end."""
        super().on_close()
        if _worker is None or not _worker.is_stopping:
            time.sleep(_AGAIN_AFTER_S)


class Runs(bootsteps.StartStopStep):
    """Celery's worker executes runs from before it connects to the broker until after it has disconnected."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        if not settings.BROKER_URL:
            sys.exit(
                "A worker needs BROKER_URL. Without it, runs are executed by the process that serves: manage.py serve."
            )
        if parent.pool_cls.__module__ not in _POOLS:
            sys.exit(
                "A worker of Thinkaloud works with Celery's threads (--pool threads, the default) or with --pool solo."
            )
        try:
            open_files.raise_limit()
        except open_files.TooFewFiles as few:
            sys.exit(str(few))
        malloc.limit_malloc_arenas()
        super().__init__(parent, **options)

    def start(self, parent: Any) -> None:
        """Begin to poll the queue, even if the broker does not answer."""
        global _worker
        try:
            redis_check.check_redis()
            db_check.check_tables(explain=True)
        except (db_check.MigrationsPending, redis_check.RedisRefused) as refused:
            sys.exit(str(refused))
        except db_check.DatabaseUnavailable as error:
            logger.warning("%s; trying until it does", error)
        finally:
            connection.close()
        slots = parent.max_concurrency or parent.pool.limit
        _worker = Worker(slots, on_end=lambda: leave_within(_LEAVE_S))
        signals.worker_shutting_down.connect(_on_stop_signal, weak=False)
        _worker.start()
        logger.info("This worker executes up to %d runs at a time, as %s", slots, run_registry.PROCESS)

    def stop(self, parent: Any) -> None:
        """Let the runs finish their current step, and interrupt those that have not."""
        if _worker is not None:
            _worker.stop()
            _worker.join()

    terminate = stop


def _on_stop_signal(**_: Any) -> None:
    """Handle a signal: the first lets the runs finish their current step, the next does not wait for that."""
    if _worker is not None:
        if _worker.is_stopping:
            _worker.force_stop()
        _worker.stop()


@signals.setup_logging.connect
def _leave_logging_alone(**_: Any) -> None:
    """Do nothing, so that Django's logging settings apply to Celery's loggers, too."""
