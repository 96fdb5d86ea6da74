"""Calls that wait for people, their decisions, and approvals for a whole session. Written by ``runs.waiting`` only."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from chat.models.sessions import Run, Session


class WaitingKind(models.TextChoices):
    """What a person is asked for: a decision or an answer."""

    APPROVAL = "approval"
    QUESTION = "question"


class WaitingCall(models.Model):
    """A tool call of a run that waits, or has waited, for a decision.

    ``decided_at`` is empty as long as it waits; ``spent_at`` is the time at which an allowed call was begun, stored before it begins.
    ``rule`` names the rules that require a decision, as `agents.approval` does. Arguments, fields and answers are JSON.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="waiting_calls", db_index=False)
    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="+", db_index=False)
    tool_call_id = models.CharField(max_length=200)
    kind = models.CharField(max_length=16, choices=WaitingKind, default=WaitingKind.APPROVAL)
    tool_name = models.CharField(max_length=200)
    arguments = models.TextField()
    parameters = models.TextField(
        blank=True, default="", db_default="", help_text="The JSON schema that the arguments fit."
    )
    fields = models.TextField(blank=True)
    rule = models.CharField(max_length=64, blank=True)
    unanswered = models.CharField(max_length=8, default="deny")
    created_at = models.DateTimeField(default=timezone.now)
    deadline = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)
    decision = models.CharField(max_length=8, blank=True, help_text="allow, deny or answer.")
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    new_arguments = models.TextField(blank=True)
    reason = models.TextField(blank=True)
    answers = models.TextField(blank=True)
    spent_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        constraints = (models.UniqueConstraint(fields=("run", "tool_call_id"), name="one_waiting_call_per_call"),)
        indexes = (
            models.Index(fields=("deadline",), condition=Q(decided_at=None), name="waiting_call_due"),
            models.Index(fields=("session", "deadline"), condition=Q(decided_at=None), name="waiting_call_open"),
            models.Index(fields=("session",), name="waiting_call_of_session"),
        )

    def __str__(self) -> str:
        return f"{self.tool_name} {self.decision}".strip()


class StandingApproval(models.Model):
    """Calls of a tool that need no further decision: under these rules, in this session, in runs of this user."""

    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="standing_approvals", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    tool_name = models.CharField(max_length=200)
    rule = models.CharField(max_length=64)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=("session", "user", "tool_name", "rule"), name="one_standing_approval"),
        )

    def __str__(self) -> str:
        return self.tool_name
