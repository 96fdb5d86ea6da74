"""Webhooks and their deliveries. Written by ``store.webhooks`` only."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone


class Webhook(models.Model):
    """An address that is notified when a run of its owner's sessions has ended or waits.

    The secret for signatures is not stored: it is derived from the installation's own key and the identifier. ``fingerprint`` says
    which of the installation's keys, current and former, that was.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="webhooks")
    url = models.CharField(max_length=1000)
    fingerprint = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(default=timezone.now)
    failing_since = models.DateTimeField(null=True, blank=True, help_text="Of failures in a row, the first.")
    disabled_at = models.DateTimeField(null=True, blank=True, help_text="Given up after failures in a row.")

    class Meta:
        ordering = ("created_at", "id")

    def __str__(self) -> str:
        return str(self.pk)


class DeliveryState(models.TextChoices):
    """The state of a delivery."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


class WebhookDelivery(models.Model):
    """One event for one webhook: sent at least once, under one id, and retried until it arrives or is given up."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=32)
    run_id = models.UUIDField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    state = models.CharField(max_length=16, choices=DeliveryState, default=DeliveryState.WAITING)
    next_at = models.DateTimeField(default=timezone.now, help_text="When it is tried, or tried again.")
    attempts = models.PositiveIntegerField(default=0)
    status = models.PositiveIntegerField(null=True, help_text="What was answered last.")
    error = models.CharField(max_length=300, blank=True, help_text="Why it did not arrive, in words.")
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = (
            models.Index(fields=("next_at",), condition=Q(state="waiting"), name="delivery_due"),
            models.Index(fields=("webhook", "-created_at", "-id"), name="delivery_by_webhook"),
            models.Index(fields=("created_at",), name="delivery_by_age"),
        )

    def __str__(self) -> str:
        return f"{self.event} {self.state}"
