"""Enforces the budgets of one run: a warning at four fifths, one last call without tools at the end, then no more calls."""

from collections.abc import Callable, Sequence
from decimal import Decimal

from agents import Allowance, CallEnded, Sentence, Usage
from agents.sentence import join_sentences
from agents.steps import BudgetUse
from chat.catalog.budgets import TOKENS, BudgetState, Limit
from chat.models import BudgetScope, Cost
from chat.store.calls import PricedCall

#: The share of a budget from which on people are warned.
_WARN_AT = Decimal("0.8")


class Spent:
    """What calls have used: tokens, and money as far as their cost is known."""

    def __init__(self) -> None:
        self._amounts: dict[str, Decimal] = {}

    def add(self, call: CallEnded, cost: Cost | None) -> None:
        """Add a call."""
        self._more(TOKENS, Decimal(call.usage.input_tokens + call.usage.output_tokens))
        if cost is not None:
            self._more(cost.currency, cost.amount)

    def of(self, limit: Limit) -> Decimal:
        """How much of it counts for a budget, in the budget's unit."""
        return self._amounts.get(limit.unit, Decimal(0))

    def _more(self, unit: str, amount: Decimal) -> None:
        self._amounts[unit] = self._amounts.get(unit, Decimal(0)) + amount


class RunMeter:
    """What a run may still spend, by all budgets that apply to it. ``price`` returns the cost of a call if it is known.

    What other runs spend of a day's budget is known as of this run's beginning, and as of each of its stored calls: `refresh`.
    """

    def __init__(
        self,
        states: Sequence[BudgetState],
        price: Callable[[CallEnded], Cost | None],
        around: Sequence["RunMeter"] = (),
        own: Sequence[BudgetState] = (),
    ) -> None:
        """``around``: the meters of the runs around this one. What it spends counts for them; if one is used up, it gets no more calls.

        ``own``: the budgets of the version that the run uses; they stay the same, whatever staff change meanwhile.
        """
        self._states = list(states)
        self._own = tuple(own)
        self._price = price
        self._around = tuple(around)
        self._spent = Spent()
        #: How much of what this run has spent is already included in the day's sums.
        self._summed = Spent()
        self._is_warned = self._had_last = False
        self._has_asked = False

    def add_earlier(self, used: Usage, cost: Cost | None) -> None:
        """Count what the run used before it waited for people; the day's sums already include it."""
        earlier = CallEnded(0, 0, 0, usage=used)
        for spent in (self._spent, self._summed):
            spent.add(earlier, cost)
        for state in self._states:
            if state.limit.scope != BudgetScope.RUN:
                state.used = max(Decimal(0), state.used - self._summed.of(state.limit))
        self._has_asked = True

    def spend(self, call: CallEnded) -> BudgetUse | None:
        """Count a model call that has ended. See `agents.Meter`."""
        cost = self._price(call)
        for meter in (self, *self._around):
            meter.add(call, cost)
        tight = self._tightest()
        return None if tight is None else tight.use(self._spent.of(tight.limit))

    def refresh(self, stored: Sequence[PricedCall], states: Sequence[BudgetState]) -> None:
        """Update the budgets: these calls of the run are stored now, so the day's sums include them."""
        for meter in (self, *self._around):
            meter.mark_summed(stored)
        for state in states:
            if state.limit.scope != BudgetScope.RUN:
                state.used = max(Decimal(0), state.used - self._summed.of(state.limit))
        self._states = list(states)

    def allow(self) -> Allowance:
        """See `agents.Meter`: any call; the last one, once a budget is used up; none after that, or if one was used up before the first."""
        if refusal := next((reason for meter in self._around if (reason := meter.refusal())), None):
            return Allowance(refusal=refusal)
        tight = self._tightest()
        if tight is None:
            return Allowance()
        share = self._share(tight)
        if share >= 1:
            if self._had_last or not self._has_asked:
                return Allowance(refusal=_used_up(tight.limit))
            self._had_last = True
            return Allowance(
                is_last=True,
                note=join_sentences([_used_up(tight.limit), Sentence("One last answer follows, without tools.")]),
            )
        self._has_asked = True
        if share < _WARN_AT or self._is_warned:
            return Allowance()
        self._is_warned = True
        used = tight.used + self._spent.of(tight.limit)
        return Allowance(note=_mostly_used(tight.limit, f"{share:.0%}", used))

    def add(self, call: CallEnded, cost: Cost | None) -> None:
        """Count an ended call of the run, or of a run within it."""
        self._spent.add(call, cost)

    def mark_summed(self, stored: Sequence[PricedCall]) -> None:
        """Note that calls are stored, so that the day's sums include them."""
        for call in stored:
            self._summed.add(call.ended, call.cost)

    def refusal(self) -> str | None:
        """The sentence about the used-up budget; None if none is used up."""
        tight = self._tightest()
        return None if tight is None or self._share(tight) < 1 else _used_up(tight.limit)

    def _tightest(self) -> BudgetState | None:
        return max((*self._own, *self._states), key=self._share, default=None)

    def _share(self, state: BudgetState) -> Decimal:
        return (state.used + self._spent.of(state.limit)) / state.limit.limit


def used_up(states: Sequence[BudgetState]) -> str | None:
    """The sentence about the used-up budget among these; None if none is used up."""
    return next((_used_up(each.limit) for each in states if each.used >= each.limit.limit), None)


def _used_up(limit: Limit) -> str:
    """The sentence about a used-up budget."""
    if limit.scope == BudgetScope.RUN:
        return Sentence("The budget of this run is used up: %(limit)s.", limit=_whole(limit))
    if limit.scope == BudgetScope.USER_DAY:
        return Sentence(
            "Your budget for today is used up: %(limit)s. There is more from midnight UTC on.", limit=_whole(limit)
        )
    return Sentence(
        "The agent's budget for today is used up: %(limit)s. There is more from midnight UTC on.", limit=_whole(limit)
    )


def _mostly_used(limit: Limit, share: str, used: Decimal) -> str:
    """The sentence about a budget that is mostly used up."""
    values = {"share": share, "used": _figure(used, limit), "limit": _whole(limit)}
    if limit.scope == BudgetScope.RUN:
        return Sentence("%(share)s of the budget of this run is used: %(used)s of %(limit)s.", **values)
    if limit.scope == BudgetScope.USER_DAY:
        return Sentence("%(share)s of your budget for today is used: %(used)s of %(limit)s.", **values)
    return Sentence("%(share)s of the agent's budget for today is used: %(used)s of %(limit)s.", **values)


def _whole(limit: Limit) -> str:
    figure = f"{limit.limit:,.0f}" if limit.unit == TOKENS else f"{limit.limit.normalize():,f}"
    return f"{figure} {limit.unit}"


def _figure(used: Decimal, limit: Limit) -> str:
    return f"{used:,.0f}" if limit.unit == TOKENS else f"{used:,.4f}"
