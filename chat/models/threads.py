"""The names that clients of AG-UI have for their conversations."""

from typing import ClassVar

from django.conf import settings
from django.db import models

from chat.models.sessions import Session


class Thread(models.Model):
    """A session by the name that its owner's clients have for it. Written by ``runs.threads`` only."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="threads")
    name = models.CharField(max_length=256)
    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="threads")

    class Meta:
        constraints: ClassVar = (models.UniqueConstraint(fields=("owner", "name"), name="one_session_per_thread"),)

    def __str__(self) -> str:
        return self.name
