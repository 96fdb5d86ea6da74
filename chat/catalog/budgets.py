"""Budgets of tokens or money: which apply to whom, and how much of them is used."""

import re
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from django.db.models import F, Sum
from django.utils import timezone

from agents import Limits
from agents.steps import BudgetUse
from chat.models import Budget, BudgetScope, DailyUsage
from chat.runtime import database

#: How often a process checks for changed budgets, in seconds.
_LOOK_EVERY_S = 5.0
TOKENS = "tokens"
_AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")


class Limit(NamedTuple):
    """A budget as staff have set it."""

    scope: str
    user_id: int | None
    agent_name: str
    limit: Decimal
    unit: str

    def holds_for(self, user_id: int | None, agent_name: str) -> bool:
        """Whether it is about runs of this person with this agent."""
        return self.user_id in (None, user_id) and self.agent_name in ("", agent_name)


@dataclass(slots=True)
class BudgetState:
    """A budget that applies to a run, and how much of it was used before that."""

    limit: Limit
    used: Decimal

    def use(self, more: Decimal) -> BudgetUse:
        """Its use if so much more is used."""
        return {"used": float(self.used + more), "limit": float(self.limit.limit), "unit": self.limit.unit}


#: All budgets. Most installations have none, and then no query is made for them.
_limits: list[Limit] = []


def load_budgets() -> None:
    """Read the budgets again; from then on they apply in this process."""
    _limits[:] = [Limit(*row) for row in Budget.objects.order_by("pk").values_list(*Limit._fields)]


def forget_budgets() -> None:
    """Know of none until they are loaded again: the tables are others."""
    _limits.clear()


def budget_states_for(user_id: int | None, agent_name: str) -> list[BudgetState]:
    """The budgets that apply to a user's run with an agent, with today's use of each. No query if there are none."""
    return [
        BudgetState(limit, Decimal(0) if limit.scope == BudgetScope.RUN else used_of(limit, user_id, agent_name))
        for limit in _limits
        if limit.holds_for(user_id, agent_name)
    ]


def of_version(limits: Limits) -> list[BudgetState]:
    """The budgets that an agent's version sets for each of its runs."""
    found = []
    if limits.tokens:
        found.append(Limit(BudgetScope.RUN, None, "", Decimal(limits.tokens), TOKENS))
    amount, _, currency = (limits.budget or "").partition(" ")
    if currency and _AMOUNT.fullmatch(amount) and Decimal(amount):
        found.append(Limit(BudgetScope.RUN, None, "", Decimal(amount), currency.strip()))
    return [BudgetState(limit, Decimal(0)) for limit in found]


def used_of(limit: Limit, user_id: int | None, agent_name: str) -> Decimal:
    """Today's use of a day's budget, by a user or with an agent."""
    sums = DailyUsage.objects.filter(day=timezone.now().date())
    if limit.scope == BudgetScope.USER_DAY:
        sums = sums.filter(user=user_id)
    if limit.scope == BudgetScope.AGENT_DAY or limit.agent_name:
        sums = sums.filter(agent_name=agent_name)
    if limit.unit == TOKENS:
        return Decimal(sums.aggregate(used=Sum(F("input_tokens") + F("output_tokens")))["used"] or 0)
    return sums.filter(currency=limit.unit).aggregate(used=Sum("cost"))["used"] or Decimal(0)


def is_any() -> bool:
    """Whether there are budgets at all."""
    return bool(_limits)


def tightest_for(user_id: int | None, agent_name: str) -> BudgetUse | None:
    """The budget of a user's next run with an agent of which the largest share is used."""
    uses = [state.use(Decimal(0)) for state in budget_states_for(user_id, agent_name)]
    return max(uses, key=lambda use: use["used"] / use["limit"], default=None)


class BudgetLoader:
    """Loads them at the first poll, and every so often: staff may change them in another process."""

    def __init__(self) -> None:
        self._due_at = 0.0

    async def load_in_time(self) -> None:
        """Called every second."""
        if time.monotonic() >= self._due_at:
            await database.read(load_budgets)
            self._due_at = time.monotonic() + _LOOK_EVERY_S
