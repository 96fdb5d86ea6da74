"""Stores webhooks and mails about what happens to a run.

Call it in the transaction in which that happens. It sends nothing.
"""

from uuid import UUID

from chat.models import MailKind
from chat.store import mails, webhooks


def record_waiting(run_id: UUID) -> None:
    """Store notices about a run that waits for people."""
    webhooks.record_waiting(run_id)
    mails.queue_run_mails(run_id, MailKind.RUN_WAITING)


def record_end(run_id: UUID) -> None:
    """Store notices about a run that has ended; its row must be saved already."""
    webhooks.record_end(run_id)
    mails.queue_run_mails(run_id, MailKind.RUN_FAILED)
