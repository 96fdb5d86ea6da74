"""Messages to runs at work (steering). Written by ``store.steering`` only."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from chat.models.sessions import Run, Session


class WordState(models.TextChoices):
    """The state of such a message. Only the first state changes."""

    PENDING = "pending"
    READ = "read"
    TAKEN_BACK = "taken_back"
    QUEUED = "queued"


class SteeringWord(models.Model):
    """A user's message to a run at work: kept after a model call has read it, so that it is not read twice.

    Those of a session have increasing keys in the order in which they were committed. If the run ends first, the message is queued as a
    run of its own with the same ``client_message_id``.
    """

    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="steering_words", db_index=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="steering_words")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    client_message_id = models.CharField(max_length=64)
    message = models.TextField()
    interrupt = models.BooleanField(help_text="Whether what was being done was ended for it.")
    state = models.CharField(max_length=16, choices=WordState, default=WordState.PENDING)
    created_at = models.DateTimeField(auto_now_add=True)
    event_id = models.UUIDField(default=uuid.uuid4, help_text="Of the step that tells of it, once it was read.")
    reading = models.UUIDField(null=True, help_text="The attempt to store that, by which it is found again.")

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.UniqueConstraint(fields=("session", "user", "client_message_id"), name="one_word_per_message"),
        )
        indexes = (models.Index(fields=("session",), condition=Q(state="pending"), name="word_pending"),)

    def __str__(self) -> str:
        return f"{self.state} {self.client_message_id}"
