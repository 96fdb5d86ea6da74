"""Model calls of runs: requests, results and costs; prices of tokens; budgets.

A session's calls refer to their messages; each content is stored once per session, and each call stores only what differs from an earlier
one: so the stored size grows linearly with the conversation, not quadratically. Written by ``store.calls`` only, except prices and budgets,
which staff edit.
"""

from decimal import Decimal
from typing import NamedTuple

from django.conf import settings
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

from chat.models.sessions import Run, Session


class Cost(NamedTuple):
    """The cost of tokens."""

    amount: Decimal
    currency: str
    """Three letters."""


#: An ISO code of three capital letters.
_CURRENCY = r"\A[A-Z]{3}\Z"


class ModelContent(models.Model):
    """A message, or the declaration of the tools, as it was sent in some call of the session: the JSON text, once."""

    session = models.ForeignKey(Session, on_delete=models.CASCADE, db_index=False, related_name="+")
    sha256 = models.CharField(max_length=64)
    role = models.CharField(max_length=16, help_text="Of a message; “tools” for the declaration of the tools.")
    tokens = models.PositiveIntegerField(help_text="Estimated.")
    body = models.TextField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("session", "sha256"), name="one_content_per_session"),)

    def __str__(self) -> str:
        return f"{self.role} {self.sha256[:8]}"


class ModelCall(models.Model):
    """One request to a model.

    ``messages`` is a JSON list: a number is the id of a `ModelContent`, or, if it is negative, an index into ``contents`` of a call; a
    pair ``[first, end]`` is a range of the messages of ``base``. Complete lists are stored often enough that ``depth``, the number of
    calls back to the last one, stays below the length of the list. ``duration_ms`` is empty until the call has ended.
    """

    session = models.ForeignKey(Session, on_delete=models.CASCADE, db_index=False, related_name="+")
    run = models.ForeignKey(Run, on_delete=models.CASCADE, db_index=False, related_name="calls")
    iteration = models.PositiveIntegerField()
    attempt = models.PositiveIntegerField(help_text="A request that the server refused is followed by a narrower one.")
    model = models.CharField(max_length=200)
    provider = models.CharField(max_length=100, help_text="The model server's name.")
    agent_version = models.PositiveIntegerField(null=True)
    parameters = models.TextField(help_text="The rest of the request, as JSON.")
    tool_names = models.TextField(help_text="As JSON.")
    # Both without a constraint: they are deleted with the session.
    tools = models.ForeignKey(
        ModelContent, on_delete=models.DO_NOTHING, null=True, db_constraint=False, db_index=False, related_name="+"
    )
    base = models.ForeignKey(
        "self", on_delete=models.DO_NOTHING, null=True, db_constraint=False, db_index=False, related_name="+"
    )
    depth = models.PositiveIntegerField()
    messages = models.TextField()
    # Empty so that adding it does not rewrite the table.
    contents = models.TextField(null=True, help_text="What is new in it, where that is short, as JSON.")  # noqa: DJ001
    left_out_messages = models.PositiveIntegerField(default=0)
    left_out_tokens = models.PositiveIntegerField(default=0)
    context_limit = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField()
    first_token_ms = models.PositiveIntegerField(null=True)
    duration_ms = models.PositiveIntegerField(null=True)
    finish_reason = models.CharField(max_length=64, blank=True)
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    cached_tokens = models.PositiveBigIntegerField(null=True)
    reasoning_tokens = models.PositiveBigIntegerField(null=True)
    estimated = models.BooleanField(default=False)
    cost = models.DecimalField(max_digits=20, decimal_places=10, null=True)
    currency = models.CharField(max_length=8, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("run", "iteration", "attempt"), name="one_call_per_attempt"),)
        indexes = (models.Index(fields=("session", "id"), name="call_in_session"),)

    def __str__(self) -> str:
        return f"{self.model} {self.iteration}.{self.attempt}"


class DailyUsage(models.Model):
    """How much a user's runs with an agent used of a model on a day (UTC): added up as calls end, and kept longer than their sessions."""

    day = models.DateField()
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    agent_name = models.CharField(max_length=64)
    provider = models.CharField(max_length=100)
    model = models.CharField(max_length=200)
    currency = models.CharField(max_length=8, blank=True, help_text="Empty for calls whose cost is not known.")
    calls = models.PositiveBigIntegerField(default=0)
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    cached_tokens = models.PositiveBigIntegerField(default=0)
    reasoning_tokens = models.PositiveBigIntegerField(default=0)
    cost = models.DecimalField(max_digits=20, decimal_places=10, default=Decimal(0))

    class Meta:
        verbose_name_plural = "usage"
        constraints = (
            models.UniqueConstraint(
                fields=("day", "user", "agent_name", "provider", "model", "currency"), name="one_sum_per_day"
            ),
        )

    def __str__(self) -> str:
        return f"{self.day} {self.agent_name} {self.model}"


def _per_million(description: str) -> "models.DecimalField[Decimal, Decimal]":
    return models.DecimalField(description, max_digits=12, decimal_places=6, validators=[MinValueValidator(Decimal(0))])


class Price(models.Model):
    """A price of a model's tokens, set by staff; it takes precedence over the public prices."""

    provider = models.CharField(
        "model server", max_length=100, default="*", help_text="Its name; * stands for anything."
    )
    model = models.CharField("model", max_length=200, help_text="Its name; * stands for anything.")
    input = _per_million("a million tokens of input")
    cached = models.DecimalField(
        "a million tokens of cached input",
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[MinValueValidator(Decimal(0))],
        help_text="Empty: as other input.",
    )
    output = _per_million("a million tokens of output")
    currency = models.CharField(
        max_length=3, default="USD", validators=[RegexValidator(_CURRENCY)], help_text="Three letters, as in USD."
    )

    class Meta:
        constraints = (models.UniqueConstraint(fields=("provider", "model"), name="one_price_per_model"),)

    def __str__(self) -> str:
        return f"{self.provider} {self.model}"


class BudgetScope(models.TextChoices):
    """What a budget limits: a run, a user's day or an agent's day."""

    RUN = "run", "each run"
    USER_DAY = "user_day", "a person's day"
    AGENT_DAY = "agent_day", "an agent's day"


class Budget(models.Model):
    """How many tokens, or how much money, runs may use. Days are UTC."""

    scope = models.CharField("for", max_length=16, choices=BudgetScope)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        verbose_name="person",
        help_text="Empty: for everybody, each by themselves.",
    )
    agent_name = models.CharField(
        "agent", max_length=64, blank=True, help_text="Its name; empty: for all agents, each by itself."
    )
    limit = models.DecimalField(
        "limit", max_digits=20, decimal_places=4, validators=[MinValueValidator(Decimal("0.0001"))]
    )
    unit = models.CharField(
        max_length=8,
        default="tokens",
        validators=[RegexValidator(rf"{_CURRENCY}|\Atokens\Z")],
        help_text="“tokens”, or a currency such as USD.",
    )

    class Meta:
        constraints = (
            models.CheckConstraint(condition=~Q(scope="agent_day") | Q(user=None), name="an_agents_day_is_everybodys"),
        )

    def __str__(self) -> str:
        return f"{self.scope} {self.limit.normalize():f} {self.unit}"
