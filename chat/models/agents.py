"""Agents and their versions, and the model servers and MCP servers that staff enter.

Versions never change. Written by ``catalog.agent_versions`` and ``catalog.server_changes`` only.
"""

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

#: Valid names of agents: for people, programs, and the tool by which other agents ask them.
AGENT_NAME = r"[a-z][a-z0-9_]{0,39}"


#: Valid names of tool servers: they are part of their tools' names, so no two may look alike.
TOOL_SERVER_NAME = r"[a-z][a-z0-9_-]{0,31}"


class EnteredServer(models.Model):
    """A server that staff have entered. ``key`` is empty, ``env:AGENT_…``, or encrypted with ``FIELD_KEY``: never the key itself."""

    name = models.CharField(max_length=40, unique=True, help_text="What people see of it.")
    address = models.CharField(max_length=500)
    key = models.TextField(blank=True, default="", db_default="", editable=False)
    archived_at = models.DateTimeField(null=True, blank=True, editable=False)
    changed_at = models.DateTimeField(default=timezone.now, editable=False)
    changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", editable=False
    )

    class Meta:
        abstract = True
        ordering = ("name",)
        default_permissions = ("add", "change", "view")

    def __str__(self) -> str:
        return self.name


class ModelServer(EnteredServer):
    """An OpenAI-compatible server that agents may use, beside the one in the environment."""

    address = models.CharField(max_length=500, help_text="Its base URL, which usually ends in /v1.")
    seeing_models = models.JSONField(
        default=list, blank=True, help_text="Names of its models that see pictures; * stands for any letters."
    )


class Transport(models.TextChoices):
    """The transport of an MCP server."""

    EITHER = "http-or-sse", "whichever it speaks"
    STREAMABLE_HTTP = "streamable-http", "streamable HTTP"
    SSE = "sse", "SSE"


class McpServer(EnteredServer):
    """An MCP server at an address, in addition to those in the environment; an agent uses it if its version chooses it.

    ``offered`` are the tools that the last trial has found, by name, with their descriptions.
    """

    name = models.CharField(
        max_length=32,
        unique=True,
        validators=[RegexValidator(rf"\A{TOOL_SERVER_NAME}\Z")],
        help_text="Its tools are called by it: small letters, digits, hyphens and underscores.",
    )
    transport = models.CharField(max_length=16, choices=Transport, default=Transport.EITHER)
    key_header = models.CharField(
        max_length=40,
        default="Authorization",
        help_text="In which the key is sent: by Authorization as a bearer token.",
    )
    offered = models.JSONField(default=dict, blank=True, editable=False)

    class Meta(EnteredServer.Meta):
        verbose_name = "MCP server"


class Agent(models.Model):
    """An agent by its name: its current version, and who may use it. An archived one is not offered."""

    name = models.CharField(
        max_length=40,
        unique=True,
        validators=[RegexValidator(rf"\A{AGENT_NAME}\Z")],
        help_text="Small letters, digits and underscores; it stays.",
    )
    current = models.ForeignKey(
        "AgentVersion", on_delete=models.PROTECT, null=True, related_name="+", editable=False, help_text="Published."
    )
    groups = models.ManyToManyField(Group, blank=True, related_name="+", help_text="Who may use it; none: everyone.")
    archived_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("name",)
        default_permissions = ("add", "change", "view")
        permissions = (("publish_agent", "Can publish and archive agents"),)

    def __str__(self) -> str:
        return self.name


class VersionState(models.TextChoices):
    """Whether runs may use a version."""

    DRAFT = "draft"
    PUBLISHED = "published"


class AgentVersion(models.Model):
    """The content of an agent, as saved once. Immutable, except the state; a run refers to the version that it used.

    ``mcp`` is a list of ``{"server": name, "tools": [names] or null for all}``; null: all servers that are configured. ``parameters``
    and ``limits`` have the fields of `agents.specs.Parameters` and `agents.specs.Limits`.
    """

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=16, choices=VersionState, default=VersionState.DRAFT)
    note = models.CharField(max_length=200, blank=True, help_text="What is new in it, for colleagues.")
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    published_at = models.DateTimeField(null=True)
    title = models.CharField(max_length=80)
    description = models.CharField(max_length=300, blank=True)
    instructions = models.TextField(blank=True)
    instructions_shown = models.BooleanField(
        default=True, help_text="Whether others than staff see the instructions in a run's record."
    )
    tools = models.JSONField(default=list)
    mcp = models.JSONField(null=True)
    sub_agents = models.JSONField(default=list, help_text="Names of agents that it may ask.")
    model_server = models.ForeignKey(
        ModelServer, on_delete=models.PROTECT, null=True, related_name="+", help_text="Null: the environment's."
    )
    model = models.CharField(max_length=200, blank=True, help_text="Empty: the environment's.")
    parameters = models.JSONField(default=dict)
    limits = models.JSONField(default=dict)
    starters = models.JSONField(default=list, help_text="Questions to begin with.")
    policy = models.JSONField(default=list)
    agent_class = models.CharField(
        max_length=40, blank=True, default="", db_default="", help_text="The class of an extension that does its work."
    )

    class Meta:
        ordering = ("agent", "-number")
        default_permissions = ()
        constraints = (models.UniqueConstraint(fields=("agent", "number"), name="one_agent_version_per_number"),)

    def __str__(self) -> str:
        return f"{self.title} {self.number}"
