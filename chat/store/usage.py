"""What was used: the sums of days, added up by person, agent, model or day."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from django.db.models import F, QuerySet, Sum

from chat.models import DailyUsage

By = Literal["day", "user", "agent", "model"]
_KEYS: dict[By, tuple[str, ...]] = {
    "day": ("day",),
    "user": ("user__username",),
    "agent": ("agent_name",),
    "model": ("provider", "model"),
}
_COUNTS = ("calls", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
#: Columns of the whole, as a file has them.
COLUMNS = ("day", "user", "agent", "provider", "model", "currency", *_COUNTS, "cost")


@dataclass(slots=True)
class Total:
    """What was used under one name; ``costs`` by currency, ``unpriced`` the calls whose cost is not known."""

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
        """In and out."""
        return self.input_tokens + self.output_tokens

    def add(self, row: Mapping[str, Any]) -> None:
        """Add sums of one currency."""
        self.calls += row["sum_calls"]
        self.input_tokens += row["sum_input_tokens"]
        self.output_tokens += row["sum_output_tokens"]
        self.cached_tokens += row["sum_cached_tokens"]
        self.reasoning_tokens += row["sum_reasoning_tokens"]
        if row["currency"]:
            self.costs[row["currency"]] = self.costs.get(row["currency"], Decimal(0)) + row["sum_cost"]
        else:
            self.unpriced += row["sum_calls"]


def totals(by: By, since: date, until: date) -> tuple[list[Total], list[Total]]:
    """The sums of these days, both included: of each day in order, and by what was asked for, those with most tokens first.

    One statement for both: what takes time is to read the rows.
    """
    keys = tuple(dict.fromkeys(("day", *_KEYS[by])))
    days: dict[str, Total] = {}
    named: dict[str, Total] = {}
    sums = {f"sum_{name}": Sum(name) for name in (*_COUNTS, "cost")}
    for row in _between(since, until).values(*keys, "currency").order_by().annotate(**sums):
        for found, name in ((days, str(row["day"])), (named, _name(by, [row[key] for key in _KEYS[by]]))):
            found.setdefault(name, Total(name)).add(row)
    in_order = sorted(days.values(), key=lambda total: total.name)
    most_first = sorted(named.values(), key=lambda total: (-total.tokens, total.name))
    return in_order, in_order if by == "day" else most_first


def rows_between(since: date, until: date) -> Iterator[tuple[Any, ...]]:
    """The sums of these days as they are kept, by `COLUMNS`."""
    rows = _between(since, until).annotate(username=F("user__username")).order_by("day", "pk")
    for row in rows.values_list(
        "day", "username", "agent_name", "provider", "model", "currency", *_COUNTS, "cost"
    ).iterator():
        yield (*row[:-1], row[-1] if row[5] else None)


def _between(since: date, until: date) -> QuerySet[DailyUsage]:
    return DailyUsage.objects.filter(day__range=(since, until))


def _name(by: By, values: list[Any]) -> str:
    if by == "model":
        return values[1] if values[0] in ("demo", "default", "") else f"{values[1]} ({values[0]})"
    return "" if values[0] is None else str(values[0])
