"""The audit log: who viewed, changed, stopped, deleted or exported what, and where. Written by ``security.audit`` only."""

import uuid
from typing import Any, NoReturn

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import pgettext_lazy


class Door(models.TextChoices):
    """Where a user accessed what belongs to others, or to everyone: pages, API, socket and so on."""

    PAGE = "page", pgettext_lazy("door", "Page")
    API = "api", pgettext_lazy("door", "API")
    SOCKET = "socket", pgettext_lazy("door", "Socket")
    ADMIN = "admin", pgettext_lazy("door", "Administration")
    COMMAND = "command", pgettext_lazy("door", "Command line")
    V1 = "v1", pgettext_lazy("door", "OpenAI-compatible API")
    AGUI = "agui", pgettext_lazy("door", "AG-UI")
    STREAM = "stream", pgettext_lazy("door", "Event stream")
    SCHEDULE = "schedule", pgettext_lazy("door", "Clock")


class Act(models.TextChoices):
    """The audited action. A further one is a line here; the table does not restrict them."""

    VIEW = "view", pgettext_lazy("act", "Looked at")
    SEARCH = "search", pgettext_lazy("act", "Searched")
    STOP = "stop", pgettext_lazy("act", "Stopped")
    STEER = "steer", pgettext_lazy("act", "Steered")
    INTERRUPT = "interrupt", pgettext_lazy("act", "Interrupted")
    CONTINUE = "continue", pgettext_lazy("act", "Continued")
    CREATE = "create", pgettext_lazy("act", "Created")
    CHANGE = "change", pgettext_lazy("act", "Changed")
    DELETE = "delete", pgettext_lazy("act", "Deleted")
    PAUSE = "pause", pgettext_lazy("act", "Paused")
    RESUME = "resume", pgettext_lazy("act", "Resumed")
    RUN_NOW = "run", pgettext_lazy("act", "Run now")
    RESTART = "restart", pgettext_lazy("act", "Connected anew")
    SAVE = "save", pgettext_lazy("act", "Saved")
    PUBLISH = "publish", pgettext_lazy("act", "Published")
    ARCHIVE = "archive", pgettext_lazy("act", "Archived")
    RESTORE = "restore", pgettext_lazy("act", "Brought back")
    PERMIT = "permit", pgettext_lazy("act", "Rights changed")
    SHARE = "share", pgettext_lazy("act", "Shared")
    SHARE_UNKNOWN = "share_unknown", pgettext_lazy("act", "Tried to share with an unknown name")
    UNSHARE = "unshare", pgettext_lazy("act", "Share withdrawn")
    LEAVE = "leave", pgettext_lazy("act", "Left")
    OFFER = "offer", pgettext_lazy("act", "Offered to another owner")
    DECLINE = "decline", pgettext_lazy("act", "Offer declined or withdrawn")
    HAND_OVER = "hand_over", pgettext_lazy("act", "Taken over by another owner")
    COPY = "copy", pgettext_lazy("act", "Copied")
    JOIN = "join", pgettext_lazy("act", "Joined by a link")
    APPROVE = "approve", pgettext_lazy("act", "Approved")
    DENY = "deny", pgettext_lazy("act", "Denied")
    ANSWER = "answer", pgettext_lazy("act", "Answered")
    REVOKE = "revoke", pgettext_lazy("act", "Approval taken back")
    EXPORT = "export", pgettext_lazy("act", "Exported")
    IMPORT = "import", pgettext_lazy("act", "Imported")
    LOGIN = "login", pgettext_lazy("act", "Logged in")
    LOGIN_FAILED = "login_failed", pgettext_lazy("act", "Login failed")
    LOGOUT = "logout", pgettext_lazy("act", "Logged out")
    PASSWORD = "password", pgettext_lazy("act", "Password changed")
    FACTOR_ADDED = "factor_added", pgettext_lazy("act", "Second factor added")
    FACTOR_REMOVED = "factor_removed", pgettext_lazy("act", "Second factor removed")
    TOKEN_MADE = "token_made", pgettext_lazy("act", "Token made")
    TOKEN_REVOKED = "token_revoked", pgettext_lazy("act", "Token revoked")
    EXPIRE = "expire", pgettext_lazy("act", "Deleted after its time")


#: Actions with one entry per person, session and door in ten minutes; each occurrence of any other action has its own entry.
LOOKS = (Act.VIEW, Act.SEARCH)

#: Instead of one session's id: many at once, as in a list or by a search, or none.
MANY_SESSIONS = uuid.UUID(int=0)
#: Instead of an account's id: the installation itself, or an unknown person.
NOBODY = 0


class NeverChanges(TypeError):
    """Code has tried to change or delete audit entries."""


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise NeverChanges("Entries of the audit are neither changed nor removed.")


class _Entries(models.QuerySet["AuditEntry"]):
    """Entries can only be added and read. The database has triggers against everything else, too."""

    update = delete = bulk_update = update_or_create = _refuse


class AuditEntry(models.Model):
    """One action: who, what, on which object of whose, through which door, when.

    It contains only ids, and never changes. ``actor_id`` and ``subject_id`` are ids of accounts; when an account is deleted, both
    become its pseudonym, a negative number that does not lead back to it. For views ``window`` is the number of a period of ten
    minutes; for anything else it is the time in microseconds.
    """

    actor_id = models.BigIntegerField(help_text="Who did it; 0: the installation, or somebody who is not known.")
    action = models.CharField(max_length=16)
    subject_id = models.BigIntegerField(null=True, help_text="Whose it was, or to whom it was done.")
    session_id = models.UUIDField(default=MANY_SESSIONS)
    run_id = models.UUIDField(null=True)
    door = models.CharField(max_length=16)
    about = models.CharField(
        max_length=80, blank=True, default="", db_default="", help_text="What it was done to, where that is no session."
    )
    details = models.JSONField(default=dict, db_default=models.Value({}, models.JSONField()))
    at = models.DateTimeField(default=timezone.now)
    window = models.PositiveBigIntegerField()

    objects = _Entries.as_manager()

    class Meta:
        ordering = ("-at", "-id")
        verbose_name_plural = "audit entries"
        default_permissions = ("view",)
        constraints = (
            models.UniqueConstraint(
                fields=("actor_id", "session_id", "door", "action", "window"),
                condition=Q(action__in=[str(act) for act in LOOKS]),
                name="one_audit_entry_per_window",
            ),
        )
        # The page's filters, each with the order of its entries: newest first.
        indexes = (
            models.Index(fields=("at", "id"), name="audit_in_order"),
            models.Index(fields=("actor_id", "at", "id"), name="audit_by_actor"),
            models.Index(fields=("subject_id", "at", "id"), name="audit_by_subject"),
            models.Index(fields=("session_id", "at", "id"), name="audit_by_session"),
            models.Index(fields=("action", "at", "id"), name="audit_by_act"),
            models.Index(fields=("door", "at", "id"), name="audit_by_door"),
        )

    def __str__(self) -> str:
        return f"{self.action} by {self.actor_id} at {self.at:%Y-%m-%d %H:%M}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert it; an existing entry is never changed."""
        if not self._state.adding:
            _refuse()
        super().save(*args, **kwargs)

    def delete(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()


class AuditPurge(models.Model):
    """Set only within a transaction that deletes expired entries: the database refuses to delete any other entry."""

    before = models.DateTimeField()

    def __str__(self) -> str:
        return f"Before {self.before:%Y-%m-%d}"
