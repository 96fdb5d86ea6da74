"""Sends the traces of ended runs from a background thread, and retries for as long as it takes.

One process sends at a time. A run is marked as sent when the collector has accepted it: after a crash it may be sent again, as the same
spans, but none is left out.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connections

from chat.models import Run
from chat.runtime import database
from chat.traces import cursor
from chat.traces.content import Content, MaskedContent, NoContent
from chat.traces.sending import Sender, Sent
from chat.traces.spans import read_trees, spans_of

logger = logging.getLogger(__name__)

EVERY_S = 5.0


class TraceExporter:
    """The thread that sends. Logs when the collector cannot be reached, and when it can be reached again."""

    def __init__(self, process: str, began_at: datetime) -> None:
        """``process``: the name of this process, which holds the lease. ``began_at``: where to begin when nothing was ever sent."""
        self._process = process
        self._began_at = began_at
        self._sender = Sender()
        self._stop = threading.Event()
        self._is_away = False
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Stop the thread, and wait for a request that is being sent, at most so many seconds."""
        self._stop.set()
        self._sender.close()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        database.use_dedicated_connection()
        try:
            while not self._stop.wait(EVERY_S):
                close_old_connections()
                try:
                    self._send_all()
                except DatabaseError as error:
                    logger.warning("Traces could not be read; trying again: %s", error)
                except Exception:
                    logger.exception("Traces could not be sent; trying again")
            cursor.give_up_lease(self._process)
        except DatabaseError:
            logger.info("The lease for sending traces could not be released; it expires by itself")
        finally:
            connections.close_all()

    def _send_all(self) -> None:
        while not self._stop.is_set() and (lease := cursor.acquire_lease(self._process, self._began_at)):
            if not send_unsent(lease, self._sender, self._log_change):
                return

    def _log_change(self, sent: Sent) -> None:
        """Log a change: the collector cannot be reached any more, or can again."""
        is_away = sent is Sent.AWAY
        if is_away and not self._is_away:
            logger.warning(
                "The collector (OTEL_EXPORTER_OTLP_ENDPOINT) does not answer; traces are sent later: %s",
                self._sender.why,
            )
        elif self._is_away and not is_away:
            logger.warning("The collector accepts traces again")
        self._is_away = is_away


def send_unsent(lease: cursor.Lease, sender: Sender, on_sent: Callable[[Sent], None]) -> bool:
    """Send the next unsent runs and mark them as sent; returns whether there may be more. ``on_sent`` is called with the outcome."""
    runs = cursor.unsent_runs()
    sent = send_runs(sender, runs)
    on_sent(sent)
    if sent is Sent.AWAY:
        return False
    cursor.mark_sent(lease, runs, are_last=len(runs) < cursor.AT_ONCE)
    return len(runs) == cursor.AT_ONCE


def send_runs(sender: Sender, runs: Sequence[Run]) -> Sent:
    """Send ended runs, some at a time. Runs that the collector rejects are logged and left out; stops when it cannot be reached."""
    content = MaskedContent() if settings.OTEL_CONTENT else NoContent()
    for start in range(0, len(runs), content.at_once):
        if _send_together(sender, runs[start : start + content.at_once], content) is Sent.AWAY:
            return Sent.AWAY
    return Sent.ACCEPTED


def _send_together(sender: Sender, runs: Sequence[Run], content: Content) -> Sent:
    """Send runs in one request. If the collector rejects it, each run is sent alone, and those that it rejects again are left out."""
    sent = sender.send([span for tree in read_trees(runs, content) for span in spans_of(tree, content)])
    if sent is not Sent.REFUSED:
        return sent
    if len(runs) == 1:
        logger.warning("The collector refused the trace of run %s: %s", runs[0].pk, sender.why)
        return Sent.ACCEPTED
    for run in runs:
        if _send_together(sender, [run], content) is Sent.AWAY:
            return Sent.AWAY
    return Sent.ACCEPTED
