"""Usage: the daily sums, added up by user, agent, model or day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from django.db import connection
from django.db.models import Q, QuerySet

from chat.accounts.models import User
from chat.models import DailyUsage

By = Literal["day", "user", "agent", "model"]
#: The columns by which sums are grouped, and the expression of each sum's name.
_KEYS: dict[By, tuple[str, str]] = {
    "day": ("day", "CAST(day AS text)"),
    "user": ("user_id", "CAST(user_id AS text)"),
    "agent": ("agent_name", "agent_name"),
    "model": ("provider, model", "provider || '\n' || model"),
}
_COUNTS = ("calls", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
#: Columns of the whole, as a file has them.
ROWS_AT_ONCE = 1_000
COLUMNS = ("day", "user", "agent", "provider", "model", "currency", *_COUNTS, "cost")
_SUMS = ", ".join(f"SUM({name}) AS {name}" for name in (*_COUNTS, "cost"))
#: Rows: "day" or "name", the key, the currency, and the sums.
_TOTALS = f"""WITH each_day AS (SELECT {{columns}}, currency, {_SUMS} FROM {{table}}
        WHERE day BETWEEN %s AND %s GROUP BY {{columns}}, currency)
    SELECT 'day', CAST(day AS text), currency, {_SUMS} FROM each_day GROUP BY day, currency
    UNION ALL SELECT 'name', {{key}}, currency, {_SUMS} FROM each_day GROUP BY {{key}}, currency"""  # noqa: S608 - our own names


@dataclass(slots=True)
class Total:
    """The usage of one name; ``costs`` by currency; ``unpriced``: the number of calls with unknown cost."""

    name: str
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    unpriced: int = 0
    costs: dict[str, Decimal] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Tokens in and out."""
        return self.input_tokens + self.output_tokens

    def add(self, currency: str, *sums: Any) -> None:
        """Add sums of one currency, in the order of their columns."""
        calls, *tokens, cost = sums
        self.calls += int(calls)
        self.input_tokens += int(tokens[0])
        self.output_tokens += int(tokens[1])
        self.cached_tokens += int(tokens[2])
        self.reasoning_tokens += int(tokens[3])
        if currency:
            self.costs[currency] = self.costs.get(currency, Decimal(0)) + round(Decimal(cost), 10)
        else:
            self.unpriced += int(calls)


def totals(by: By, since: date, until: date) -> tuple[list[Total], list[Total]]:
    """The sums from one day to another, inclusive: by day, in order; and by name, those with most tokens first.

    One query for both, which reads the rows only once, because reading them takes the time.
    """
    named_by, key = _KEYS[by]
    columns = "day" if by == "day" else f"day, {named_by}"
    statement = _TOTALS.format(table=DailyUsage._meta.db_table, columns=columns, key=key)
    with connection.cursor() as cursor:
        cursor.execute(statement, (str(since), str(until)))
        found = cursor.fetchall()
    people = User.objects.in_bulk({int(key) for of, key, *_ in found if of == "name" and key}) if by == "user" else {}
    days: dict[str, Total] = {}
    named: dict[str, Total] = {}
    for of, key, *sums in found:
        group, name = (days, key) if of == "day" else (named, _name(by, key, people))
        group.setdefault(name, Total(name)).add(*sums)
    in_order = sorted(days.values(), key=lambda total: total.name)
    return in_order, in_order if by == "day" else sorted(named.values(), key=lambda total: (-total.tokens, total.name))


def rows_after(since: date, until: date, last: tuple[date, int] | None) -> Sequence[tuple[Any, ...]]:
    """The next rows of these days, each with its key and the columns of `COLUMNS`, as many as are read at a time."""
    rows = _between(since, until).order_by("day", "pk")
    if last is not None:
        rows = rows.filter(Q(day__gte=last[0]) & (Q(day__gt=last[0]) | Q(pk__gt=last[1])))
    names = ("day", "user__username", "agent_name", "provider", "model", "currency", *_COUNTS, "cost")
    return list(rows.values_list("pk", *names)[:ROWS_AT_ONCE])


def file_row(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row in the format of the file: without its key, and without an unknown cost."""
    return (*row[1:-1], row[-1] if row[6] else None)


def _between(since: date, until: date) -> QuerySet[DailyUsage]:
    return DailyUsage.objects.filter(day__range=(since, until))


def _name(by: By, key: str | None, people: Mapping[int, User]) -> str:
    if by == "user":
        person = people.get(int(key)) if key else None
        return "" if person is None else person.get_username()
    if by == "model":
        provider, _, model = (key or "").partition("\n")
        return model if provider in ("demo", "default", "") else f"{model} ({provider})"
    return key or ""
