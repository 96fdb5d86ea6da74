"""Tokens by which programs act for an account. Written by ``security.tokens`` only."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone


class Scope(models.TextChoices):
    """What a token may do; each scope includes the previous one."""

    READ = "read"
    ASK = "ask"
    MANAGE = "manage"

    def holds(self, needed: "Scope") -> bool:
        """Whether a token with this scope may do what requires that one."""
        order = list(Scope)
        return order.index(self) >= order.index(needed)


class ApiToken(models.Model):
    """A token of an account: only a digest of the secret is stored, and its beginning, by which users recognise it.

    It is valid until ``expires_at``, if that is set, and until it is revoked; a revoked one stays visible to its owner.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=16)
    digest = models.CharField(max_length=64, unique=True, editable=False, help_text="SHA-256 of the token, as hex.")
    scope = models.CharField(max_length=16, choices=Scope)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="To the minute.")
    last_used_door = models.CharField(max_length=16, blank=True, help_text="Through which door it came then.")

    class Meta:
        ordering = ("-created_at", "-id")
        verbose_name = "API token"
        default_permissions = ("view", "change")
        indexes = (models.Index(fields=("user", "-created_at", "-id"), name="token_by_user"),)

    def __str__(self) -> str:
        return f"{self.prefix}… ({self.scope})"


def holds_now() -> Q:
    """Tokens that are valid now, by their own columns."""
    return Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
