"""Sets of cases: questions with expectations about their answers, which can be run repeatedly. Written by ``cases`` only.

A set has one owner, who may share it. A case has its own copy of the question and of its files, so the session that it was made from may be
deleted. A run of a set has a result for each case that the set had when it started.
"""

import uuid

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from chat.models.agents import AgentVersion
from chat.models.files import File
from chat.models.sessions import AGENT_NAME_LENGTH, Run


class CaseSet(models.Model):
    """Cases that are run together. ``agent_name`` is the agent that was chosen last."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="case_sets", db_index=False
    )
    name = models.CharField(max_length=200)
    agent_name = models.CharField(max_length=AGENT_NAME_LENGTH, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = "set of cases"
        verbose_name_plural = "sets of cases"
        ordering = ("-created_at", "-id")
        indexes = (models.Index(fields=("owner", "-created_at", "-id"), name="case_set_by_owner"),)

    def __str__(self) -> str:
        return self.name


class SetShare(models.Model):
    """A set is shared with one user or one group. `access` says what a role may do.

    ``role`` is a role in sessions: a watcher sees the set and the sessions of its cases, a driver changes its cases and runs it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    case_set = models.ForeignKey(CaseSet, on_delete=models.CASCADE, related_name="shares", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, related_name="set_shares")
    group = models.ForeignKey(Group, on_delete=models.CASCADE, null=True, related_name="+")
    role = models.CharField(max_length=16, help_text="driver or watcher.")
    expires_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("created_at", "id")
        constraints = (
            models.CheckConstraint(
                condition=Q(user__isnull=False, group__isnull=True) | Q(user__isnull=True, group__isnull=False),
                name="set_share_with_one_kind",
            ),
            models.UniqueConstraint(fields=("case_set", "user"), name="one_set_share_per_user"),
            models.UniqueConstraint(fields=("case_set", "group"), name="one_set_share_per_group"),
        )

    def __str__(self) -> str:
        return f"{self.role} of {self.case_set_id}"


class Case(models.Model):
    """A question, its files, and the expectations about the answer: words that must occur, one per line, and a rule in Python.

    ``files`` is like `Run.files`. ``source_run`` is the run that it was made from, which may be deleted.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    case_set = models.ForeignKey(CaseSet, on_delete=models.CASCADE, related_name="cases", db_index=False)
    number = models.PositiveIntegerField(help_text="Place in the set.")
    question = models.TextField()
    files = models.TextField(blank=True, default="")
    expected = models.TextField(blank=True, default="", help_text="Words or phrases, a line each.")
    rule = models.TextField(blank=True, default="")
    notes = models.TextField(blank=True, default="")
    source_run = models.UUIDField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    changed_at = models.DateTimeField(default=timezone.now, help_text="Of what is asked and what is expected.")

    class Meta:
        ordering = ("case_set", "number")
        constraints = (models.UniqueConstraint(fields=("case_set", "number"), name="one_case_per_number"),)

    def __str__(self) -> str:
        return f"{self.number}"


class CaseFile(models.Model):
    """A file of a case: it belongs to the set's owner, and is kept as long as the case."""

    case = models.ForeignKey(Case, on_delete=models.CASCADE, related_name="used_files", db_index=False)
    file = models.ForeignKey(File, on_delete=models.CASCADE, related_name="used_by_cases")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("case", "file"), name="one_use_per_case"),)

    def __str__(self) -> str:
        return f"{self.case_id} {self.file_id}"


class SetRunState(models.TextChoices):
    """Whether a run of a set is in progress."""

    RUNNING = "running"
    STOPPED = "stopped"
    DONE = "done"


class SetRun(models.Model):
    """A run of a set with one version of an agent.

    ``number`` counts the runs of the set; ``by_clock``: a schedule has started it. ``asked_by`` is the user of its cases' runs: the one
    who has started it; if it is empty, the set's owner.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    case_set = models.ForeignKey(CaseSet, on_delete=models.CASCADE, related_name="runs", db_index=False)
    number = models.PositiveIntegerField()
    agent_name = models.CharField(max_length=AGENT_NAME_LENGTH)
    agent_version = models.ForeignKey(AgentVersion, on_delete=models.PROTECT, related_name="+", db_index=False)
    state = models.CharField(max_length=8, choices=SetRunState, default=SetRunState.RUNNING)
    by_clock = models.BooleanField(default=False)
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("case_set", "-number")
        constraints = (
            models.UniqueConstraint(fields=("case_set", "number"), name="one_set_run_per_number"),
            models.UniqueConstraint(fields=("case_set",), condition=Q(state="running"), name="one_set_run_at_work"),
        )
        indexes = (models.Index(fields=("created_at",), condition=Q(state="running"), name="set_run_at_work"),)

    def __str__(self) -> str:
        return f"{self.number}"


class CaseVerdict(models.TextChoices):
    """The verdict on a case. The first two are not final."""

    WAITING = "waiting"
    ASKED = "asked"
    PASSED = "passed"
    FAILED = "failed"
    #: It has no expectations.
    ANSWERED = "answered"
    #: It has no answer that could be judged, or its rule has failed.
    ERROR = "error"
    STOPPED = "stopped"


class CaseResult(models.Model):
    """The result of one case in one run of its set, and its run; the figures stay when the run is deleted.

    ``attempts`` counts how often it was asked: a run that was interrupted with its process says nothing about the agent, and is
    repeated.
    """

    set_run = models.ForeignKey(SetRun, on_delete=models.CASCADE, related_name="results", db_index=False)
    case = models.ForeignKey(Case, on_delete=models.CASCADE, related_name="results")
    run = models.ForeignKey(Run, on_delete=models.SET_NULL, null=True, related_name="case_results", db_index=False)
    verdict = models.CharField(max_length=8, choices=CaseVerdict, default=CaseVerdict.WAITING)
    why = models.JSONField(default=dict, blank=True, help_text="As errors are: a message, and what it was made of.")
    attempts = models.PositiveSmallIntegerField(default=0)
    duration_ms = models.PositiveBigIntegerField(null=True)
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    cost = models.DecimalField(max_digits=20, decimal_places=10, null=True)
    currency = models.CharField(max_length=8, blank=True, default="")
    settled_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("set_run", "case"), name="one_result_per_case"),)
        indexes = (
            models.Index(fields=("set_run", "verdict"), name="case_result_by_verdict"),
            models.Index(fields=("run",), condition=Q(run__isnull=False), name="case_result_by_run"),
        )

    def __str__(self) -> str:
        return f"{self.verdict} {self.case_id}"
