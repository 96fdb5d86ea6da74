"""Sessions, their runs and the log of steps; and which module writes which table.

Rows of `Step` are written by ``step_log`` only, rows of `Run` by ``runs.state`` only, and those of `Schedule` and `Occurrence` by
``schedules`` only; their guarantees (no gap in ``seq``, one live run per session, one run per client message, one occurrence per due time)
are enforced here by constraints. Deleted rows are removed by ``erasure``.
"""

import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.text import Truncator
from django.utils.translation import gettext as _

from chat.models.agents import AgentVersion


class RunStatus(models.TextChoices):
    """The status of a run. The last five are final."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    WAITING = "waiting"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    MAX_ITERATIONS = "max_iterations"
    INTERRUPTED = "interrupted"


#: The longest name of an agent that is stored with sessions and runs.
AGENT_NAME_LENGTH = 64
#: With a process that executes them.
LIVE = (RunStatus.RUNNING, RunStatus.CANCELLING)
#: A session has at most one run with one of these at a time; one that waits for people has no process.
CURRENT = (*LIVE, RunStatus.WAITING)
UNFINISHED = (RunStatus.QUEUED, *CURRENT)


class _Literal(models.Expression):
    """A value that is written into a statement as a literal.

    SQLite plans before it knows the parameters; with a literal it can see that a partial index applies.
    """

    output_field = models.CharField()

    def __init__(self, word: str) -> None:
        super().__init__()
        self._word = str(word)

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """The value, quoted."""
        return f"'{self._word}'", ()


def is_one_of(field: str, values: Sequence[str]) -> Q:
    """The condition of a partial index: a field has one of these values, as literals for the planner."""
    return Q(**{f"{field}__in": [_Literal(word) for word in values]})


#: A run that a user or a schedule has started; the others are runs within runs.
IS_ROOT = Q(parent=None)
ROOT_SQL = "parent_id IS NULL"
#: The conditions of partial indexes, for querysets; raw SQL has the values in the same order. All but the first are about root runs only.
HAS_NOT_ENDED = is_one_of("status", UNFINISHED)
IS_AT_WORK = is_one_of("status", LIVE)
IS_LIVE = is_one_of("status", CURRENT) & IS_ROOT
IS_UNFINISHED = HAS_NOT_ENDED & IS_ROOT
IS_QUEUED = IS_UNFINISHED & Q(status=RunStatus.QUEUED)
#: Of a run, or of the result of a case: it used tokens, and their cost is unknown.
IS_UNPRICED = Q(cost=None) & (Q(input_tokens__gt=0) | Q(output_tokens__gt=0))
AT_WORK_SQL = "status IN ('running', 'cancelling')"
LIVE_SQL = f"status IN ('running', 'cancelling', 'waiting') AND {ROOT_SQL}"
UNFINISHED_SQL = f"status IN ('queued', 'running', 'cancelling', 'waiting') AND {ROOT_SQL}"
#: For one session; the second for all.
QUEUED_SQL = f"{UNFINISHED_SQL} AND status = 'queued'"
ANY_QUEUED_SQL = f"status = 'queued' AND {ROOT_SQL}"


class Origin(models.TextChoices):
    """How a run was started."""

    CHAT = "chat"
    API = "api"
    CONTINUE = "continue"
    SCHEDULE = "schedule"
    AGENT = "agent"
    IMPORT = "import"
    OPENAI = "openai", "OpenAI"
    SET = "set"


class _Sessions(models.Manager["Session"]):
    """The sessions that are not being removed."""

    def get_queryset(self) -> models.QuerySet["Session"]:
        """All but those that are being removed."""
        return super().get_queryset().filter(deleted_at=None)


class Session(models.Model):
    """One conversation of one owner with agents.

    ``last_seq`` is the counter that numbers the session's events; ``status`` repeats its newest run's status so that lists of thousands
    of sessions need no join. A deleted one disappears for everybody at ``deleted_at``; `erasure` removes the rest of it, and is the
    only user of ``everything``, which includes it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # An index of the table begins with it, as with the foreign keys of runs and steps that have none of their own.
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_index=False, related_name="sessions"
    )
    title = models.CharField(max_length=200, blank=True)
    agent_name = models.CharField(max_length=64)
    enable_reasoning = models.BooleanField(
        default=True, db_default=True, help_text="Whether its page asks for the steps, too."
    )
    archived = models.BooleanField(default=False)
    creation_key = models.CharField(  # noqa: DJ001 - unique where there is one
        max_length=64, null=True, blank=True, editable=False, help_text="Of the version before: see `RequestKey`."
    )
    creation_digest = models.CharField(max_length=64, null=True, blank=True, editable=False)  # noqa: DJ001
    last_seq = models.PositiveBigIntegerField(default=0, editable=False)
    status = models.CharField(max_length=16, choices=RunStatus, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    active_at = models.DateTimeField(auto_now_add=True, help_text="When something last happened in it.")
    has_read_private = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="Whether earlier conversations were read in it: tools that reach outside are held to known addresses from then on.",
    )

    has_files = models.BooleanField(default=False, db_default=False, editable=False, help_text="Whether it uses files.")
    notes_version = models.PositiveBigIntegerField(
        default=0, db_default=0, editable=False, help_text="Counts changes of its verdicts and comments."
    )
    # Set if it was imported from another program's trajectory: it is read-only.
    imported_at = models.DateTimeField(null=True, editable=False)
    # Sessions that were copied from each other are a family. These ids of other sessions may be invalid: each user only finds those that
    # they may see, and sessions are deleted with their owners.
    family = models.UUIDField(null=True, editable=False)
    copied_from = models.UUIDField(null=True, editable=False, help_text="The session that its log begins as a copy of.")
    parted_from = models.UUIDField(
        null=True,
        editable=False,
        help_text="The one of the family whose own events it leaves: that one, or one before it.",
    )
    parted_after = models.PositiveBigIntegerField(null=True, editable=False, help_text="The last event they share.")
    for_set = models.UUIDField(
        null=True,
        editable=False,
        help_text="The set a case of which is asked in it: it is led to from there, and stands in no list.",
    )
    deleted_at = models.DateTimeField(null=True, editable=False)

    objects = _Sessions()
    everything: ClassVar[models.Manager["Session"]] = models.Manager()

    class Meta:
        ordering = ("-active_at",)
        constraints = (models.UniqueConstraint(fields=("owner", "creation_key"), name="one_session_per_creation_key"),)
        indexes = (
            models.Index(fields=("deleted_at",), condition=Q(deleted_at__isnull=False), name="session_deleted"),
            models.Index(fields=("owner", "-active_at", "-id"), name="session_by_activity"),
            # Sessions in lists: sets may have made many more.
            models.Index(fields=("owner", "-active_at", "-id"), condition=Q(for_set=None), name="session_listed"),
            models.Index(fields=("for_set",), condition=Q(for_set__isnull=False), name="session_for_set"),
            models.Index(fields=("family",), condition=Q(family__isnull=False), name="session_family"),
            models.Index(fields=("owner", "status", "-active_at"), name="session_by_status"),
        )

    def __str__(self) -> str:
        return self.title or _("Session %(id)s") % {"id": self.id}


class Run(models.Model):
    """One message and its execution to the end.

    ``number`` counts the runs of a session in the order in which they were requested. While it is live, ``owner`` names the process
    that executes it, ``fence`` increases with every change of owner, and ``heartbeat_at`` is that process's last heartbeat.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    session = models.ForeignKey(Session, on_delete=models.CASCADE, db_index=False, related_name="runs")
    number = models.PositiveIntegerField()
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        db_index=False,
        related_name="runs",
        help_text="Who asked.",
    )
    client_message_id = models.CharField(max_length=64)
    message = models.TextField(blank=True)
    files = models.TextField(
        blank=True,
        default="",
        db_default="",
        help_text="The files of the message, as JSON, as the wire has them; empty without.",
    )
    agent_name = models.CharField(max_length=64)
    agent_version = models.ForeignKey(
        AgentVersion,
        on_delete=models.PROTECT,
        null=True,
        db_index=False,
        related_name="+",
        help_text="The one it took when it began.",
    )
    model = models.CharField(max_length=200, blank=True, default="", db_default="")
    provider = models.CharField(
        max_length=40, blank=True, default="", db_default="", help_text="The name of the server that the model is at."
    )
    enable_reasoning = models.BooleanField(default=True)
    origin = models.CharField(max_length=16, choices=Origin, default=Origin.CHAT)
    continues = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="continuations"
    )
    parent = models.ForeignKey(
        "self",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        # For child runs only, because nearly all runs have no parent.
        db_index=False,
        related_name="children",
        help_text="The run whose agent has asked this one.",
    )
    parent_call_id = models.CharField(max_length=200, blank=True, default="", db_default="")
    depth = models.PositiveSmallIntegerField(default=0, db_default=0, help_text="How many runs it is within.")
    status = models.CharField(max_length=16, choices=RunStatus, default=RunStatus.QUEUED)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    owner = models.CharField(max_length=120, blank=True, help_text="The process that executes the run.")
    fence = models.PositiveIntegerField(default=0)
    heartbeat_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    cancelled_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    # Without a check that it is positive: a wrong clock must not keep a run from ending.
    first_token_ms = models.BigIntegerField(
        null=True, help_text="From its beginning to the first token of a model; kept when it ends."
    )
    iterations = models.PositiveIntegerField(default=0)
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    usage_estimated = models.BooleanField(default=False)
    cached_tokens = models.PositiveBigIntegerField(null=True, help_text="Of the input, as far as its server tells.")
    reasoning_tokens = models.PositiveBigIntegerField(null=True, help_text="Of the output, likewise.")
    cost = models.DecimalField(max_digits=20, decimal_places=10, null=True, help_text="Empty: it is not known.")
    currency = models.CharField(max_length=8, blank=True, default="", db_default="")
    code = models.CharField(max_length=32, blank=True, help_text="Why it failed, as the wire's error code.")
    copied_from = models.UUIDField(
        null=True,
        editable=False,
        help_text="The run that this one is a copy of, at first hand: it alone was executed, and counts.",
    )
    waiting_since = models.DateTimeField(null=True, help_text="Since when it has waited for people, while it does.")
    waited_ms = models.PositiveBigIntegerField(default=0, db_default=0, help_text="How long it has waited before.")
    decided_at = models.DateTimeField(null=True, help_text="While it waits: since when all is decided.")
    #: Only set in the process that started it: when, by `time.monotonic`, in seconds.
    begun_at: float | None = None
    #: Only set in the process that executes it: whether its session uses files.
    session_has_files: bool = False
    #: Only set where it was looked up: the current version of its agent, which it uses when it begins.
    current_version: int | None = None
    #: Only set before it is queued: the version to use instead, as long as the user may use that agent.
    pinned_version: int | None = None

    class Meta:
        ordering = ("session", "number")
        permissions = (("stop_run", "Can stop runs of others"),)
        constraints = (
            models.UniqueConstraint(
                fields=("session",),
                condition=Q(status__in=[str(s) for s in CURRENT], parent=None),
                name="one_live_run_per_session",
            ),
            models.UniqueConstraint(
                fields=("session", "number"), condition=Q(parent=None), name="run_number_in_session"
            ),
            models.UniqueConstraint(fields=("session", "user", "client_message_id"), name="one_run_per_client_message"),
        )
        indexes = (
            models.Index(
                fields=("user", "created_at"),
                condition=Q(status__in=[str(s) for s in UNFINISHED]),
                name="run_unfinished",
            ),
            models.Index(
                fields=("session", "number"),
                condition=Q(status__in=[str(s) for s in UNFINISHED]),
                name="run_unfinished_in_session",
            ),
            models.Index(fields=("user", "-created_at"), name="run_by_user"),
            models.Index(fields=("-created_at",), name="run_by_date"),
            models.Index(
                fields=("ended_at",), condition=Q(ended_at__isnull=False, parent__isnull=True), name="run_by_end"
            ),
            models.Index(fields=("parent",), condition=Q(parent__isnull=False), name="run_within_run"),
            models.Index(
                fields=("decided_at",), condition=Q(status="waiting", decided_at__isnull=False), name="run_decided"
            ),
            # Few, however many wait for people: roots and others alike.
            models.Index(
                fields=("user", "depth"), condition=Q(status__in=[str(s) for s in LIVE]), name="run_at_work_by_user"
            ),
            models.Index(fields=("user", "created_at"), condition=Q(status="queued"), name="run_queued"),
        )

    def __str__(self) -> str:
        if not self.beginning:
            return _("Run %(n)d") % {"n": self.number}
        return _("%(message)s · run %(n)d") % {"message": self.beginning, "n": self.number}

    @property
    def beginning(self) -> str:
        """The beginning of its message, on one line; empty for a run that continues another."""
        return Truncator(" ".join(self.message[:400].split())).chars(60)

    @property
    def is_finished(self) -> bool:
        """Whether the run has ended, and so never changes again."""
        return self.status not in UNFINISHED


class Step(models.Model):
    """One stored event of a session, append-only.

    ``body`` is the JSON text of the event's ``data`` exactly as it is sent; the other columns repeat what lists filter by. ``seq`` is
    empty for the steps of a run that was requested without reasoning: they are stored with the run but never sent.
    """

    session = models.ForeignKey(Session, on_delete=models.CASCADE, db_index=False, related_name="steps")
    run = models.ForeignKey(Run, on_delete=models.CASCADE, db_index=False, related_name="steps")
    seq = models.PositiveBigIntegerField(null=True)
    position = models.PositiveIntegerField(help_text="Place among the run's events: 1, 2, 3 …")
    event_id = models.UUIDField(default=uuid.uuid4)
    event = models.CharField(max_length=24, help_text="The frame's type on the wire.")
    type = models.CharField(max_length=24, blank=True, help_text="The step's type, for a reasoning step.")
    number = models.PositiveIntegerField(
        null=True, help_text="The wire's step: counts thoughts, calls, results and answers."
    )
    iteration = models.PositiveIntegerField(default=0)
    tool_name = models.CharField(max_length=128, blank=True)
    ok = models.BooleanField(null=True)
    duration_ms = models.PositiveBigIntegerField(null=True)
    body = models.TextField()
    created_at = models.DateTimeField()
    copied_from = models.UUIDField(null=True, help_text="The identifier of the event that this one is a copy of.")

    class Meta:
        ordering = ("session", "seq", "position")
        constraints = (
            models.UniqueConstraint(fields=("session", "seq"), name="one_step_per_seq"),
            models.UniqueConstraint(fields=("run", "position"), name="one_step_per_position"),
        )

    def __str__(self) -> str:
        return f"{self.type or self.event} {self.seq or self.position}"


class StepContent(models.Model):
    """The whole text of a tool result that was too long for its step."""

    step = models.OneToOneField(Step, on_delete=models.CASCADE, primary_key=True, related_name="full_content")
    content = models.TextField()

    def __str__(self) -> str:
        return f"Content of {self.step_id}"


class StepOrigin(models.Model):
    """What the model's server has to be sent back with later requests: never in a frame, never shown.

    ``data`` is the JSON of `agents.Step.origin`. Few steps have one.
    """

    step = models.OneToOneField(Step, on_delete=models.CASCADE, primary_key=True, related_name="origin")
    data = models.TextField()

    def __str__(self) -> str:
        return f"Origin of {self.step_id}"


class Draft(models.Model):
    """The step that a live run is writing now, saved at least every two seconds so that a crash loses no more than that."""

    run = models.OneToOneField(Run, on_delete=models.CASCADE, primary_key=True, related_name="draft")
    number = models.PositiveIntegerField()
    type = models.CharField(max_length=24)
    attempt = models.PositiveIntegerField(default=1)
    text = models.TextField()
    updated_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"Draft of {self.run_id}"
