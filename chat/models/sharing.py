"""Who besides its owner may see or drive a session. Written by ``runs.sharing`` only; `access` says what a role may do."""

import uuid

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import Q

from chat.models.sessions import Session


class Share(models.Model):
    """A session is shared with one user, one group, or everyone who has a link.

    Of a link only the hash is stored. Users who have joined by it are watchers, as long as it is valid.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="shares")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, related_name="shares")
    group = models.ForeignKey(Group, on_delete=models.CASCADE, null=True, related_name="+")
    link_hash = models.CharField(max_length=64, null=True, unique=True)  # noqa: DJ001 - unique where there is one
    role = models.CharField(max_length=16, help_text="driver or watcher.")
    expires_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("created_at", "id")
        constraints = (
            models.CheckConstraint(
                condition=Q(user__isnull=False, group__isnull=True, link_hash__isnull=True)
                | Q(user__isnull=True, group__isnull=False, link_hash__isnull=True)
                | Q(user__isnull=True, group__isnull=True, link_hash__isnull=False),
                name="share_with_one_kind",
            ),
            models.UniqueConstraint(fields=("session", "user"), name="one_share_per_user"),
            models.UniqueConstraint(fields=("session", "group"), name="one_share_per_group"),
        )

    def __str__(self) -> str:
        return f"{self.role} of {self.session_id}"


class ShareJoin(models.Model):
    """A user has joined a session by its link."""

    share = models.ForeignKey(Share, on_delete=models.CASCADE, related_name="joins")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    joined_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("share", "user"), name="one_join_per_user"),)

    def __str__(self) -> str:
        return f"{self.user_id} by {self.share_id}"


class OwnerOffer(models.Model):
    """A session's owner has offered it to a user, who has not answered yet. Written by ``schedules.handover`` only."""

    session = models.OneToOneField(Session, on_delete=models.CASCADE, primary_key=True, related_name="offer")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    offered_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.session_id} to {self.user_id}"


class IndexMove(models.Model):
    """The search index of a session's steps after this one still has an earlier owner. Written by ``schedules.handover`` only."""

    session = models.OneToOneField(Session, on_delete=models.CASCADE, primary_key=True, related_name="+")
    after = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.session_id} behind {self.after}"
