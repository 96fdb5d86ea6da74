"""Budgets: which ones apply to whom, and what a run may still do when they are exhausted."""

import gc
import weakref
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from agents import Allowance, CallEnded, Limits, Usage
from chat.accounts.models import User
from chat.catalog import budgets
from chat.catalog.budgets import BudgetState, Limit
from chat.models import Budget, Cost, DailyUsage
from chat.runs.metering import RunMeter
from chat.runs.recorder import RunRecorder
from chat.store.calls import PricedCall
from tests.chat import making


def tokens(limit: int, used: int = 0, scope: str = "run") -> BudgetState:
    return BudgetState(Limit(scope, None, "", Decimal(limit), "tokens"), Decimal(used))


def money(limit: str, used: str = "0", scope: str = "user_day") -> BudgetState:
    return BudgetState(Limit(scope, None, "", Decimal(limit), "USD"), Decimal(used))


def call(used: int) -> CallEnded:
    """A call that used this many tokens; each costs a cent."""
    return CallEnded(1, 1, 5, usage=Usage(used, 0))


def cents(ended: CallEnded) -> Cost | None:
    return Cost(Decimal(ended.usage.input_tokens) / 100, "USD")


def course(meter: RunMeter, calls: list[int]) -> list[str]:
    """What a run may do before each of its calls, and after the last, in one word each."""
    reported = []
    for used in [*calls, None]:
        allowance = meter.allow()
        reported.append(
            "refused" if allowance.refusal else "last" if allowance.is_last else "warned" if allowance.note else "free"
        )
        if used is not None and not allowance.refusal:
            meter.spend(call(used))
    return reported


#: Budgets, the usage of each call, and what the run may do before each.
COURSES: dict[str, tuple[list[BudgetState], list[int], list[str]]] = {
    "none": ([], [10**9], ["free", "free"]),
    "far from it": ([tokens(1_000)], [100, 100], ["free", "free", "free"]),
    "warned once": ([tokens(1_000)], [800, 50, 50], ["free", "warned", "free", "free"]),
    "one last call": ([tokens(1_000)], [900, 200, 50], ["free", "warned", "last", "refused"]),
    "past it at once": ([tokens(1_000)], [5_000, 50], ["free", "last", "refused"]),
    "exactly used up": ([tokens(1_000)], [1_000, 1], ["free", "last", "refused"]),
    "spent before": ([tokens(1_000, 1_000, "user_day")], [5], ["refused", "refused"]),
    "nearly spent before": ([tokens(1_000, 900, "user_day")], [200, 5], ["warned", "last", "refused"]),
    "money": ([money("1.00")], [80, 20, 5], ["free", "warned", "last", "refused"]),
    "the tightest counts": ([tokens(10_000), money("1.00", "0.95")], [10, 5], ["warned", "last", "refused"]),
}


@pytest.mark.parametrize("name", COURSES)
def test_a_run_is_warned_then_has_one_last_call_and_then_none(name: str) -> None:
    standings, calls, expected = COURSES[name]
    assert course(RunMeter(standings, cents), calls) == expected, "a run may do something else than its budgets let it"


def test_usage_of_budgets_is_told_after_each_call() -> None:
    meter = RunMeter([tokens(1_000), money("100", "3")], cents)
    assert meter.spend(call(200)) == {"used": 200.0, "limit": 1000.0, "unit": "tokens"}
    assert RunMeter([], cents).spend(call(200)) is None


def test_a_call_whose_cost_is_not_known_uses_no_money() -> None:
    meter = RunMeter([money("1.00")], lambda _: None)
    assert course(meter, [10**6, 10**6]) == ["free"] * 3


def test_usage_of_parallel_runs_counts_and_the_own_once() -> None:
    """Three runs of one user at the same time: the sums of the day contain everything that is stored, this run's own usage too."""
    meter = RunMeter([tokens(1_000, 0, "user_day"), tokens(5_000)], cents)
    assert meter.allow() == Allowance()
    meter.spend(call(300))
    meter.refresh([PricedCall(call(300), None)], [tokens(1_000, 300, "user_day"), tokens(5_000)])
    assert meter.spend(call(0)) == {"used": 300.0, "limit": 1000.0, "unit": "tokens"}
    meter.refresh([PricedCall(call(0), None)], [tokens(1_000, 1_000, "user_day"), tokens(5_000)])
    assert meter.allow().is_last


# Which budgets apply


@pytest.fixture
def ada(db: None) -> Iterator[User]:
    yield making.user("ada")
    Budget.objects.all().delete()
    budgets.load_budgets()


@pytest.fixture
def used(ada: User) -> User:
    """A user with usage today and yesterday; and another user with usage."""
    bo = making.user("bo")
    today = timezone.now().date()
    rows: list[dict[str, Any]] = [
        {
            "user": ada,
            "agent_name": "researcher",
            "input_tokens": 60,
            "output_tokens": 40,
            "cost": 2,
            "currency": "USD",
        },
        {"user": ada, "agent_name": "writer", "input_tokens": 5, "output_tokens": 5, "currency": ""},
        {"user": bo, "agent_name": "researcher", "input_tokens": 900, "cost": 7, "currency": "EUR"},
        {"user": ada, "agent_name": "researcher", "input_tokens": 10**6, "day": date(2001, 1, 1)},
    ]
    for row in rows:
        DailyUsage.objects.create(**({"day": today, "provider": "default", "model": "m"} | row))
    return bo


#: Budgets, and the usage that counts for a run of ada's with the researcher; None: the budget does not apply.
HOLDING: dict[str, tuple[dict[str, Any], int | None]] = {
    "each run": ({"scope": "run"}, 0),
    "each run of another agent": ({"scope": "run", "agent_name": "writer"}, None),
    "a person's day": ({"scope": "user_day"}, 110),
    "a person's day with the agent": ({"scope": "user_day", "agent_name": "researcher"}, 100),
    "a person's day in dollars": ({"scope": "user_day", "unit": "USD"}, 2),
    "a person's day in euros": ({"scope": "user_day", "unit": "EUR"}, 0),
    "another person's day": ({"scope": "user_day", "user": "bo"}, None),
    "an agent's day": ({"scope": "agent_day"}, 1_000),
    "that agent's day": ({"scope": "agent_day", "agent_name": "researcher", "unit": "EUR"}, 7),
    "another agent's day": ({"scope": "agent_day", "agent_name": "writer"}, None),
}


@pytest.mark.parametrize("name", HOLDING)
def test_which_budgets_hold_and_what_is_used_of_them(name: str, ada: User, used: User) -> None:
    row, wanted = HOLDING[name]
    Budget.objects.create(**({"limit": 10_000} | row | ({"user": used} if "user" in row else {})))
    budgets.load_budgets()
    found = [int(standing.used) for standing in budgets.budget_states_for(ada.pk, "researcher")]
    assert found == ([] if wanted is None else [wanted])


#: The limits of an agent's version, and what applies to each run: limits and units.
OF_VERSIONS: list[tuple[Limits, list[tuple[str, str]]]] = [
    (Limits(), []),
    (Limits(tokens=5_000), [("5000", "tokens")]),
    (Limits(budget="0.50 USD"), [("0.50", "USD")]),
    (Limits(tokens=5_000, budget="2 EUR"), [("5000", "tokens"), ("2", "EUR")]),
    (Limits(tokens=0, budget="0 EUR"), []),
    (Limits(budget="much"), []),
    (Limits(budget="NaN USD"), []),
    (Limits(budget="-1 USD"), []),
]


@pytest.mark.parametrize(("limits", "holding"), OF_VERSIONS)
def test_the_limits_of_an_agents_version_hold_for_its_runs(limits: Limits, holding: list[tuple[str, str]]) -> None:
    found = [(str(each.limit.limit), each.limit.unit) for each in budgets.of_version(limits)]
    assert found == holding


def test_no_query_is_made_where_there_are_no_budgets(ada: User, django_assert_num_queries: Any) -> None:
    budgets.load_budgets()
    with django_assert_num_queries(0):
        assert budgets.budget_states_for(ada.pk, "researcher") == []
    assert not budgets.is_any()


def test_the_tightest_budget_is_the_one_of_which_most_is_used(ada: User, used: User) -> None:
    Budget.objects.create(scope="user_day", limit=1_000)
    Budget.objects.create(scope="agent_day", limit="7.5", unit="EUR")
    budgets.load_budgets()
    assert budgets.is_any()
    assert budgets.tightest_for(ada.pk, "researcher") == {"used": 7.0, "limit": 7.5, "unit": "EUR"}
    assert budgets.tightest_for(ada.pk, "writer") == {"used": 110.0, "limit": 1000.0, "unit": "tokens"}


@pytest.mark.django_db
def test_what_recorded_a_run_with_a_budget_waits_for_no_collector() -> None:
    recorder = RunRecorder(making.run(making.session(making.user("ada"))), lambda _: None)
    assert recorder.meter([tokens(1_000)]) is not None
    left = weakref.ref(recorder)
    gc.disable()
    try:
        del recorder
        assert left() is None
    finally:
        gc.enable()
