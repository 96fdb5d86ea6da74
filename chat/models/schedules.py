"""Schedules, and their due times."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from chat.models.cases import CaseSet, SetRun
from chat.models.sessions import Run, Session, is_one_of


class MissedPolicy(models.TextChoices):
    """What happens to due times while no process was running."""

    SKIP = "skip"
    ONCE = "once"


class OverlapPolicy(models.TextChoices):
    """What happens to a due time while the schedule's last run is in progress."""

    QUEUE = "queue"
    SKIP = "skip"


class PauseReason(models.TextChoices):
    """Why a schedule is paused."""

    USER = "user", "paused by its owner"
    OPERATOR = "operator", "paused by an operator"
    DONE = "done", "has run, or nothing is due any more"
    FAILURES = "failures", "failed too often in a row"
    REFUSED = "refused", "could not be asked"
    HANDED_OVER = "handed_over", "its session has another owner"


class Schedule(models.Model):
    """A message that is sent at set times: once, every so many minutes, or by a cron expression in a time zone.

    It is sent to ``session``, or, if ``keeps_session`` is false, to a new session each time. With a ``case_set`` it has no message: the
    cases of that set are run, and it is deleted with the set. ``next_at`` is the first due time that was not processed yet; it only
    increases. ``failures`` counts those in a row.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="schedules")
    name = models.CharField(max_length=200)
    agent_name = models.CharField(max_length=64)
    message = models.TextField()
    keeps_session = models.BooleanField(default=False)
    session = models.ForeignKey(Session, on_delete=models.SET_NULL, null=True, blank=True, related_name="schedules")
    case_set = models.ForeignKey(CaseSet, on_delete=models.CASCADE, null=True, blank=True, related_name="schedules")
    at = models.DateTimeField(null=True, blank=True)
    every_minutes = models.PositiveIntegerField(null=True, blank=True)
    cron = models.CharField(max_length=120, blank=True)
    time_zone = models.CharField(max_length=64, default="UTC")
    since = models.DateTimeField(help_text="From when the minutes count.")
    missed = models.CharField(max_length=8, choices=MissedPolicy, default=MissedPolicy.ONCE)
    overlap = models.CharField(max_length=8, choices=OverlapPolicy, default=OverlapPolicy.QUEUE)
    pause_after = models.PositiveIntegerField(default=5, help_text="Failures in a row; 0 is never.")
    enabled = models.BooleanField(default=True)
    paused_because = models.CharField(max_length=16, choices=PauseReason, blank=True)
    paused_words = models.CharField(max_length=300, blank=True, help_text="More about it, for people.")
    failures = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.CheckConstraint(
                condition=Q(at__isnull=False, every_minutes=None, cron="")
                | Q(at=None, every_minutes__isnull=False, cron="")
                | (Q(at=None, every_minutes=None) & ~Q(cron="")),
                name="one_recurrence",
            ),
        )
        indexes = (
            models.Index(fields=("owner", "-created_at", "-id"), name="schedule_by_owner"),
            models.Index(fields=("next_at",), condition=Q(enabled=True), name="schedule_due"),
            # Sessions that a schedule still sends messages to: they do not expire.
            models.Index(
                fields=("session",), condition=Q(enabled=True, session__isnull=False), name="schedule_into_session"
            ),
        )

    def __str__(self) -> str:
        return self.name


class Outcome(models.TextChoices):
    """The outcome of a due time. The first two are not final; then come the statuses of an ended run, and two without a run."""

    WAITING = "waiting"
    STARTED = "started"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    MAX_ITERATIONS = "max_iterations"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"
    MISSED = "missed"


OPEN = (Outcome.WAITING, Outcome.STARTED)
IS_OPEN = is_one_of("outcome", OPEN)


class Occurrence(models.Model):
    """One due time of a schedule and its outcome.

    There is one row per due time, so that only one process can claim it. Of due times that were missed in a row only the last has a
    row, and ``times`` says how many they were. One that was started by hand is ``by_hand`` and due when that happened.
    """

    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="occurrences")
    due_at = models.DateTimeField()
    by_hand = models.BooleanField(default=False)
    times = models.PositiveIntegerField(default=1)
    outcome = models.CharField(max_length=16, choices=Outcome)
    reason = models.CharField(max_length=32, blank=True, help_text="Why it was skipped.")
    run = models.ForeignKey(Run, on_delete=models.SET_NULL, null=True, blank=True, related_name="occurrences")
    set_run = models.ForeignKey(SetRun, on_delete=models.SET_NULL, null=True, blank=True, related_name="occurrences")
    created_at = models.DateTimeField(auto_now_add=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("schedule", "-due_at")
        constraints = (models.UniqueConstraint(fields=("schedule", "due_at"), name="one_occurrence_per_due_time"),)
        indexes = (
            models.Index(
                fields=("outcome",),
                condition=Q(outcome__in=("waiting", "started")),
                name="occurrence_open",
            ),
            models.Index(fields=("settled_at",), condition=Q(settled_at__isnull=False), name="occurrence_settled"),
        )

    def __str__(self) -> str:
        return f"{self.outcome} {self.due_at:%Y-%m-%d %H:%M}"
