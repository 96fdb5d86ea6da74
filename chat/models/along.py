"""Messages that API clients, which keep the conversation themselves, send along. Written by ``store.sent_along`` only."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from chat.models.sessions import Run


class SentAlong(models.Model):
    """The earlier messages in a request of a client that sends the whole conversation each time.

    ``asked`` is a digest of the conversation up to the run's message, ``answered`` of the same with the run's answer: with that the
    next request finds the session. Each is empty if the session contains anything else, or if there is no answer.
    """

    run = models.OneToOneField(Run, on_delete=models.CASCADE, primary_key=True, related_name="sent_along")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False)
    agent_name = models.CharField(max_length=64)
    instructions = models.TextField(blank=True, help_text="What goes behind the agent's instructions.")
    messages = models.TextField(blank=True, help_text="Earlier messages that the session does not have, as JSON.")
    asked = models.CharField(max_length=64, blank=True, editable=False)
    answered = models.CharField(max_length=64, blank=True, editable=False)
    request_key = models.CharField(  # noqa: DJ001 - unique where there is one
        max_length=64, null=True, blank=True, editable=False, help_text="Of the version before: see `RequestKey`."
    )
    request_digest = models.CharField(max_length=64, blank=True, editable=False)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("owner", "request_key"), name="one_run_per_request_key"),)
        indexes = (
            models.Index(fields=("owner", "agent_name", "answered"), condition=~Q(answered=""), name="along_by_answer"),
        )

    def __str__(self) -> str:
        return f"Sent along with {self.run_id}"
