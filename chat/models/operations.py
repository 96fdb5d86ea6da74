"""What operators manage: processes, sockets, MCP servers, announcements, and accounts that are being deleted."""

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone

from chat.models.sessions import Session


class ClosedAccount(models.Model):
    """A deleted account: closed for its user at once; `erasure` deletes the rest of it."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="closed"
    )
    closed_at = models.DateTimeField(default=timezone.now)
    pseudonym = models.BigIntegerField(
        null=True, help_text="What the audit calls it from then on, a negative number that is kept nowhere else."
    )

    def __str__(self) -> str:
        return f"Closed: {self.user_id}"


#: The newest change that this version supports, for `Process.knows`: 1 means that runs may wait for people.
SUPPORTS_WAITING = 1


class Process(models.Model):
    """A process of this installation, its last heartbeat, and the problems it has noticed that an operator has to solve, one per line."""

    name = models.CharField(primary_key=True, max_length=120)
    seen_at = models.DateTimeField()
    noticed = models.TextField(
        blank=True, default="", db_default="", help_text="What is wrong around it, as in a proxy's settings."
    )
    #: The newest change that its version supports, by number; earlier versions have none.
    knows = models.PositiveSmallIntegerField(default=0, db_default=0)

    class Meta:
        verbose_name_plural = "processes"
        permissions = (("view_metrics", "Can read the metrics"),)

    def __str__(self) -> str:
        return self.name


class Chore(models.Model):
    """A periodic task that one process at a time does for the whole installation: see `chat.store.chores`."""

    name = models.CharField(primary_key=True, max_length=40)
    next_at = models.DateTimeField(help_text="Before then it is somebody's, or nobody's turn yet.")
    place = models.CharField(max_length=80, blank=True, default="", db_default="", help_text="How far it has come.")

    def __str__(self) -> str:
        return self.name


class Connection(models.Model):
    """One open socket, removed when it closes or when its process is found dead."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    process = models.CharField(max_length=120, db_index=True)
    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="connections")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="connections")
    role = models.CharField(max_length=16)
    opened_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.role} on {self.session_id}"


class ToolServer(models.Model):
    """An MCP server as seen by one process that executes runs, because each has a connection of its own."""

    process = models.CharField(max_length=120)
    name = models.CharField(max_length=200)
    transport = models.CharField(max_length=300, blank=True, help_text="How it is reached, and the host it is at.")
    state = models.CharField(max_length=16)
    tools = models.PositiveIntegerField(default=0)
    offered = models.JSONField(null=True, help_text="Its tools by name, with what each does.")
    attempts = models.PositiveIntegerField(default=0, help_text="Tries in a row that failed.")
    last_error = models.CharField(max_length=500, blank=True)
    since = models.DateTimeField()

    class Meta:
        ordering = ("name", "process")
        constraints = (models.UniqueConstraint(fields=("process", "name"), name="one_tool_server_per_process"),)
        permissions = (("restart_toolserver", "Can have tool servers connected anew"),)
        verbose_name = "tool server (MCP)"
        verbose_name_plural = "tool servers (MCP)"

    def __str__(self) -> str:
        return f"{self.name} in {self.process}"


class Level(models.TextChoices):
    """How urgent an announcement is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Announcement(models.Model):
    """A message from the operators to everyone who is connected."""

    message = models.CharField(max_length=2000)
    level = models.CharField(max_length=16, choices=Level, default=Level.INFO)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.message


class ModelServerFacts(models.Model):
    """What is known about a model server: which parts of a request it refuses, and how long a request may be."""

    #: A digest of its address, which may contain a password, and of the model's name.
    server = models.CharField(primary_key=True, max_length=64)
    facts = models.JSONField()
    learned_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "model server facts"

    def __str__(self) -> str:
        return self.server
