"""Figures of runs, for any filter of a list: duration, time to the first token, usage; also row by row.

The database computes durations, in milliseconds. Figures cover all runs of a list; of its rows at most a number is read, newest first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from django.db import connection
from django.db.models import Aggregate, Count, F, FloatField, Func, Max, Min, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from chat.models import IS_UNPRICED, ModelCall, Run

#: The most rows of a file, and how many are read at a time.
MOST_ROWS, ROWS_AT_ONCE = 100_000, 1_000
#: The columns of a file.
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
    """Milliseconds between two times, as the database computes them; null if one is missing."""

    arity = 2
    output_field = FloatField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """SQLite's expression for milliseconds between two times, from days."""
        template = "((julianday(%(expressions)s)) * 86400000.0)"
        return super().as_sql(compiler, connection, template=template, arg_joiner=") - julianday(", **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """PostgreSQL's expression for milliseconds, from an interval."""
        # As a float: exact numbers take several times as long to sort.
        template = "(date_part('epoch', %(expressions)s) * 1000.0)"
        return super().as_sql(compiler, connection, template=template, arg_joiner=" - ", **context)


class _MiddleAndSlow(Aggregate):
    """The median and the 95th percentile of these values."""

    arity = 1
    output_field = FloatField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """The same with PostgreSQL's own functions."""
        template = "percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY %(expressions)s)"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """All values, in whole milliseconds, to be sorted in Python, which is faster than SQLite."""
        template = "json_group_array(CAST(ROUND(%(expressions)s) AS INTEGER))"
        return self.as_sql(compiler, connection, template=template, **context)

    @property
    def convert_value(self) -> Any:
        """Both as a pair; None if there are no values."""
        return _middle_and_slow


@dataclass(slots=True)
class Figures:
    """What runs took and used. Percentiles are over runs that have the value; None if none has it.

    Tokens and costs are those of roots, which include those of runs within them.
    """

    runs: int = 0
    duration_ms: tuple[float, float] | None = None
    first_token_ms: tuple[float, float] | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    costs: dict[str, Decimal] = field(default_factory=dict)
    unpriced: int = 0
    """How many runs have an unknown cost."""


#: The time of a run's first token, in milliseconds from its beginning, for a row of ``chat_run``.
_SPOKE_AFTER = """SELECT call.first_token_ms + CAST(ROUND({elapsed}) AS bigint) FROM chat_modelcall call
    WHERE call.run_id = chat_run.id AND call.first_token_ms IS NOT NULL ORDER BY call.iteration, call.attempt LIMIT 1"""
_ELAPSED = {
    "sqlite": "(julianday(call.started_at) - julianday(chat_run.started_at)) * 86400000.0",
    "postgresql": "date_part('epoch', call.started_at - chat_run.started_at) * 1000.0",
}


def first_token_expression() -> str:
    """The time to the first token that is stored when a run ends, as an expression for raw SQL."""
    return _SPOKE_AFTER.format(elapsed=_ELAPSED[connection.vendor])


def with_figures(runs: QuerySet[Run]) -> QuerySet[Any]:
    """The runs with ``lasted_ms``, their duration, and ``first_ms``, the time to the first token."""
    calls = ModelCall.objects.filter(run=OuterRef("pk"), first_token_ms__isnull=False).order_by("iteration", "attempt")
    spoke = calls.annotate(ms=Elapsed(F("started_at"), OuterRef("started_at")) + F("first_token_ms"))
    # Stored when a run ends; until then, and for runs that an earlier version ended, it is computed.
    first_ms = Coalesce(F("first_token_ms"), Subquery(spoke.values("ms")[:1]), output_field=FloatField())
    return runs.annotate(lasted_ms=Elapsed(F("ended_at"), F("started_at")), first_ms=first_ms)


def figures_of(runs: QuerySet[Run]) -> Figures:
    """All these figures, with one query each."""
    # Copied runs are already counted as the originals.
    counted = with_figures(runs.filter(copied_from=None)).order_by()
    root = Q(parent=None)
    priced = root & Q(cost__isnull=False)
    found = counted.aggregate(
        number=Count("pk"),
        lasted=_MiddleAndSlow("lasted_ms"),
        spoke=_MiddleAndSlow("first_ms"),
        went_in=Sum("input_tokens", filter=root),
        came_out=Sum("output_tokens", filter=root),
        paid=Sum("cost", filter=priced),
        paid_in=Min("currency", filter=priced),
        also_in=Max("currency", filter=priced),
        unpriced=Count("pk", filter=root & IS_UNPRICED),
    )
    if found["paid_in"] == found["also_in"]:
        costs = {} if found["paid"] is None else {found["paid_in"]: found["paid"]}
    else:
        costs = dict(counted.filter(priced).values_list("currency").annotate(Sum("cost")))
    tokens = (found["went_in"] or 0, found["came_out"] or 0)
    return Figures(found["number"], found["lasted"], found["spoke"], *tokens, costs, found["unpriced"])


def _middle_and_slow(values: Any, _expression: Any, connection: Any) -> tuple[float, float] | None:
    if connection.vendor == "sqlite":
        ordered = sorted(value for value in orjson.loads(values) if value is not None)
        values = ordered and [ordered[-(-len(ordered) * percent // 100) - 1] for percent in (50, 95)]
    if not values:
        return None
    middle, slow = (max(0.0, float(value)) for value in values)
    return middle, slow


def rows_after(runs: QuerySet[Run], last: tuple[datetime, UUID] | None) -> Sequence[tuple[Any, ...]]:
    """The next rows of a file, by `COLUMNS`, newest first, as many as are read at a time."""
    found = with_figures(runs).order_by("-created_at", "-pk")
    if last is not None:
        found = found.filter(Q(created_at__lte=last[0]) & (Q(created_at__lt=last[0]) | Q(pk__lt=last[1])))
    return list(found.values_list(*_FIELDS)[:ROWS_AT_ONCE])


def file_rows(rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Rows in the format of the file: times in ISO 8601, whole milliseconds."""
    for row in rows:
        values = (value.isoformat() if isinstance(value, datetime) else value for value in row[:-2])
        yield (*values, *map(_whole, row[-2:]))


def _whole(ms: float | None) -> int | None:
    return None if ms is None else max(0, round(ms))
