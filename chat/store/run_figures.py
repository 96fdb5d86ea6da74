"""Figures of runs, however a list of them is narrowed: how long they took, when they spoke first, what they used; also row by row.

Durations are taken by the database, in milliseconds. A list is only ever read up to a limit, its newest first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import F, FloatField, Func, OuterRef, Q, QuerySet, Subquery

from chat.models import ModelCall, Run

#: Runs whose figures are added up: the newest of the list.
NEWEST = 10_000
#: Rows of a file at most, and those that are read at a time for it.
MOST_ROWS, ROWS_AT_ONCE = 100_000, 1_000
#: Columns of a file.
COLUMNS = (
    "run", "session", "number", "parent", "created_at", "started_at", "ended_at", "status", "code", "origin", "user", "agent",
    "version", "provider", "model", "iterations", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "estimated",
    "cost", "currency", "duration_ms", "first_token_ms",
)  # fmt: skip
_FIELDS = (
    "pk", "session_id", "number", "parent_id", "created_at", "started_at", "ended_at", "status", "code", "origin", "user__username",
    "agent_name", "agent_version__number", "provider", "model", "iterations", "input_tokens", "output_tokens", "cached_tokens",
    "reasoning_tokens", "usage_estimated", "cost", "currency", "lasted_ms", "first_ms",
)  # fmt: skip


class Elapsed(Func):
    """Milliseconds from one moment to another, as the database counts them; nothing where one is missing."""

    arity = 2
    output_field = FloatField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Of days, as SQLite has them."""
        template = "((julianday(%(expressions)s)) * 86400000.0)"
        return super().as_sql(compiler, connection, template=template, arg_joiner=") - julianday(", **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Of an interval."""
        template = "(EXTRACT(EPOCH FROM (%(expressions)s)) * 1000.0)"
        return super().as_sql(compiler, connection, template=template, arg_joiner=" - ", **context)


@dataclass(slots=True)
class Figures:
    """What runs took and used; percentiles are of those that have the figure, and None where none has it.

    Tokens and costs are those of runs that nobody's agent asked for: what is within one is counted by it.
    """

    runs: int = 0
    is_all: bool = True
    duration_ms: tuple[float, float] | None = None
    first_token_ms: tuple[float, float] | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    costs: dict[str, Decimal] = field(default_factory=dict)


def with_figures(runs: QuerySet[Run]) -> QuerySet[Any]:
    """Each run with ``lasted_ms``, from its beginning to its end, and ``first_ms``, to the first token of a model."""
    calls = ModelCall.objects.filter(run=OuterRef("pk"), first_token_ms__isnull=False).order_by("iteration", "attempt")
    spoke = calls.annotate(ms=Elapsed(F("started_at"), OuterRef("started_at")) + F("first_token_ms"))
    return runs.annotate(lasted_ms=Elapsed(F("ended_at"), F("started_at")), first_ms=Subquery(spoke.values("ms")[:1]))


def figures_of(runs: QuerySet[Run]) -> Figures:
    """The figures of the newest of these."""
    # What was copied was counted where it ran.
    newest = with_figures(runs.filter(copied_from=None)).order_by("-created_at", "-pk")
    rows = newest.values_list(
        "lasted_ms", "first_ms", "parent_id", "input_tokens", "output_tokens", "cost", "currency"
    )[: NEWEST + 1]
    found = list(rows)
    figures = Figures(runs=min(len(found), NEWEST), is_all=len(found) <= NEWEST)
    lasted, spoke = [], []
    for lasted_ms, first_ms, parent_id, input_tokens, output_tokens, cost, currency in found[:NEWEST]:
        if lasted_ms is not None:
            lasted.append(lasted_ms)
        if first_ms is not None:
            spoke.append(max(0.0, first_ms))
        if parent_id is None:
            figures.input_tokens += input_tokens
            figures.output_tokens += output_tokens
            if cost is not None:
                figures.costs[currency] = figures.costs.get(currency, Decimal(0)) + cost
    figures.duration_ms, figures.first_token_ms = _middle_and_slow(lasted), _middle_and_slow(spoke)
    return figures


def _middle_and_slow(values: list[float]) -> tuple[float, float] | None:
    """Of these, the one that half are no more than, and the one that 95 % are no more than."""
    if not values:
        return None
    values.sort()
    return tuple(values[-(-len(values) * percent // 100) - 1] for percent in (50, 95))  # type: ignore[return-value]


def rows_after(runs: QuerySet[Run], last: tuple[datetime, UUID] | None) -> Sequence[tuple[Any, ...]]:
    """The rows of a file that follow one, by `COLUMNS`, the newest first; so many at a time."""
    found = with_figures(runs).order_by("-created_at", "-pk")
    if last is not None:
        found = found.filter(Q(created_at__lte=last[0]) & (Q(created_at__lt=last[0]) | Q(pk__lt=last[1])))
    return list(found.values_list(*_FIELDS)[:ROWS_AT_ONCE])


def file_rows(rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Rows as a file has them: times in ISO, whole milliseconds."""
    for row in rows:
        values = (value.isoformat() if isinstance(value, datetime) else value for value in row[:-2])
        yield (*values, *map(_whole, row[-2:]))


def _whole(ms: float | None) -> int | None:
    return None if ms is None else max(0, round(ms))
