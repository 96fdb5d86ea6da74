"""Webhooks and mails about what happens to a run, in one call.

It is called in the transaction in which that happens, stores what is to be sent, and sends nothing.
"""

from uuid import UUID

from chat.models import MailKind
from chat.store import mails, webhooks


def record_waiting(run_id: UUID) -> None:
    """A run waits for people."""
    webhooks.record_waiting(run_id)
    mails.queue_run_mails(run_id, MailKind.RUN_WAITING)


def record_end(run_id: UUID) -> None:
    """A run has ended; its row is saved already."""
    webhooks.record_end(run_id)
    mails.queue_run_mails(run_id, MailKind.RUN_FAILED)
