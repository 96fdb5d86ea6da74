"""Idempotency keys of requests. Written by ``runs.request_keys`` only."""

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone


class RequestKey(models.Model):
    """An account's ``Idempotency-Key``: the session, and perhaps the run, that its request has made; ``digest`` is the request's."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=64)
    digest = models.CharField(max_length=64)
    session_id = models.UUIDField(null=True, help_text="Empty only within the transaction that makes it.")
    run_id = models.UUIDField(null=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = (models.UniqueConstraint(fields=("owner", "key"), name="one_request_per_key"),)
        indexes: ClassVar = (models.Index(fields=("created_at",), name="request_key_by_age"),)

    def __str__(self) -> str:
        return self.key
