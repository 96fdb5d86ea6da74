"""Mails to be sent. Written by ``store.mails`` only."""

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone


class MailKind(models.TextChoices):
    """The event that a mail is about."""

    RUN_WAITING = "run.waiting"
    RUN_FAILED = "run.failed"
    PASSWORD_RESET = "password.reset"  # noqa: S105 - a word, no password
    PASSWORD_CHANGED = "password.changed"  # noqa: S105


class MailState(models.TextChoices):
    """The state of a mail. One that is being sent is never sent by another process, nor a second time."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    DROPPED = "dropped"


class Mail(models.Model):
    """A mail to an account: its text and address are not stored, but determined when it is sent."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="mails", db_index=False)
    kind = models.CharField(max_length=32, choices=MailKind)
    run_id = models.UUIDField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    state = models.CharField(max_length=16, choices=MailState, default=MailState.WAITING)
    next_at = models.DateTimeField(
        default=timezone.now, help_text="When it is tried; of one that is being sent, when it is lost."
    )
    attempts = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=300, blank=True, help_text="Why it was not sent, in words.")
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at", "-id")
        indexes: ClassVar = (
            models.Index(fields=("next_at",), condition=Q(state__in=["sending", "waiting"]), name="mail_due"),
            models.Index(fields=("user", "-created_at"), name="mail_by_user"),
            models.Index(fields=("created_at",), name="mail_by_age"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.state}"
