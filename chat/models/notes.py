"""Verdicts and comments of users: not part of the log, and never sent to a model. Written by ``runs.notes`` only."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from chat.models.sessions import Run, Session


class VerdictWord(models.TextChoices):
    """A user's verdict on a run."""

    GOOD = "good"
    BAD = "bad"


class Verdict(models.Model):
    """One user's verdict on one run.

    An empty one was withdrawn, which has to be sent to others, too. ``version`` is the session's ``notes_version`` at its last change,
    by which a client that has missed the change finds it.
    """

    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="+", db_index=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="verdicts", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    word = models.CharField(max_length=8, choices=VerdictWord, blank=True)
    reason = models.TextField(blank=True)
    version = models.PositiveBigIntegerField()
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("run", "user"), name="one_verdict_per_person"),)
        indexes = (
            models.Index(fields=("session", "version"), name="verdict_by_version"),
            models.Index(fields=("word", "run"), condition=~Q(word=""), name="verdict_by_word"),
        )

    def __str__(self) -> str:
        return f"{self.word or '–'} of {self.run_id}"


class Comment(models.Model):
    """A user's comment on a step, as plain text.

    A deleted one has no text; others are sent that it was deleted. ``seq`` is the step's number in its session, ``version`` as for
    verdicts.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="comments", db_index=False)
    seq = models.PositiveBigIntegerField()
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False)
    text = models.TextField()
    version = models.PositiveBigIntegerField()
    created_at = models.DateTimeField(default=timezone.now)
    edited_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("created_at", "id")
        indexes = (
            models.Index(fields=("session", "version"), name="comment_by_version"),
            models.Index(fields=("session", "seq"), name="comment_by_step"),
            models.Index(fields=("user", "created_at"), name="comment_by_user"),
        )

    def __str__(self) -> str:
        return f"Comment on {self.seq} of {self.session_id}"
