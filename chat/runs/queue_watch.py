"""Starts queued messages that may start, every second; or, if workers execute the runs, watches that one does."""

import logging
import time
from collections.abc import Sequence
from uuid import UUID

from django.conf import settings

from chat.runs import dispatch
from chat.runs import queue as run_queue
from chat.runtime import database
from chat.runtime.each_row import EachRow

logger = logging.getLogger(__name__)

#: Workers poll the table every second, so after so many seconds something is wrong.
_STARTED_WITHIN_S = 10.0


class QueueWatch:
    """Notices queued runs that may start but that no process starts."""

    def __init__(self) -> None:
        self._waiting_since: dict[UUID, float] = {}

    def look(self, waiting: Sequence[UUID]) -> None:
        """Note since when each of these sessions has waited."""
        now, was_stuck = time.monotonic(), self.is_stuck()
        self._waiting_since = {session_id: self._waiting_since.get(session_id, now) for session_id in waiting}
        if self.is_stuck() != was_stuck:
            message = (
                "Queued messages are started again"
                if was_stuck
                else "Messages wait in the queue and no worker starts them"
            )
            logger.warning("%s (%d sessions wait)", message, len(waiting))

    def is_stuck(self) -> bool:
        """Whether a session has waited for so long that a worker with a free slot would have started its run."""
        return any(time.monotonic() - since > _STARTED_WITHIN_S for since in self._waiting_since.values())


the_watch = QueueWatch()
_each = EachRow("Moving on the queue of session")


async def start_waiting() -> None:
    """Start queued runs that may start. If workers do that, only note whether they do."""
    waiting = await database.read(run_queue.sessions_to_start)
    if settings.BROKER_URL:
        the_watch.look(waiting)
        return
    await _each.do(waiting, dispatch.dispatch_next)


def is_stuck() -> bool:
    """Whether the workers start no queued runs although they may start."""
    return the_watch.is_stuck()
