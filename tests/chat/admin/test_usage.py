"""The usage page of staff: sums by user, agent, model and day; the file; prices and budgets; fast with very many rows."""

import csv
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from chat.accounts.models import User
from chat.models import Budget, DailyUsage, Price
from chat.store import usage
from tests.chat import making
from tests.chat.admin.sent import text_of

pytestmark = pytest.mark.django_db

PAGE = "admin:chat_dailyusage_changelist"


def today() -> date:
    """The current date of the product, evaluated in each test, because some may run after midnight."""
    return timezone.now().date()


@pytest.fixture
def ada() -> User:
    return making.user("ada")


@pytest.fixture
def staff(client: Client) -> User:
    """A member of staff who may see usage, and nothing else."""
    made = making.staff("chat.view_dailyusage")
    client.force_login(made)
    return made


def used(user: User | None, **row: Any) -> None:
    usual = {"day": today(), "agent_name": "researcher", "provider": "default", "model": "m", "calls": 1}
    DailyUsage.objects.create(**(usual | {"user": user, "input_tokens": 10, "output_tokens": 1} | row))


def read(client: Client, **query: Any) -> str:
    answer = client.get(reverse(PAGE), query)
    assert answer.status_code == 200
    return text_of(answer)


#: How sums are grouped, and the expected rows: name (for days, how many ago), input tokens, and the text of the cost.
SUMS: dict[str, list[tuple[str | int, int, str]]] = {
    "day": [
        (3, 5, "unknown for 1 call"),
        (0, 130, "3.00 EUR, 1.25 USD, unknown for 1 call"),
    ],
    "user": [("bo", 100, "3.00 EUR"), ("ada", 30, "1.25 USD, unknown for 1 call"), ("", 5, "unknown for 1 call")],
    "agent": [("writer", 100, "3.00 EUR"), ("researcher", 35, "1.25 USD, unknown for 2 calls")],
    "model": [
        ("m (cluster)", 100, "3.00 EUR"),
        ("m", 25, "1.25 USD, unknown for 1 call"),
        ("n", 10, "unknown for 1 call"),
    ],
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("on_each_database")
@pytest.mark.parametrize("by", SUMS)
def test_sums(by: Any, client: Client, staff: User, ada: User) -> None:
    used(ada, input_tokens=20, cost=Decimal("1.25"), currency="USD")
    used(ada, model="n")
    used(making.user("bo"), agent_name="writer", provider="cluster", input_tokens=100, cost=3, currency="EUR")
    used(None, day=today() - timedelta(days=3), input_tokens=5)
    used(ada, day=today() - timedelta(days=40), input_tokens=10**6)
    answer = client.get(reverse(PAGE), {"by": by, "days": 30})
    found = [(row["total"].name, row["total"].input_tokens, row["cost"]) for row in answer.context["rows"]]
    wanted = [
        (str(today() - timedelta(days=name)) if isinstance(name, int) else name, tokens, cost)
        for name, tokens, cost in SUMS[by]
    ]
    assert [(name, tokens, cost.replace("\N{NO-BREAK SPACE}", " ")) for name, tokens, cost in found] == wanted
    bars = answer.context["bars"]
    assert len(bars) == 30
    assert [round(bar["height"] + bar["out"]) for bar in bars[-4:]] == [5, 0, 0, 100]


@pytest.mark.parametrize("query", [{}, {"by": "nonsense", "days": "nonsense"}, {"days": "-1"}, {"by": "=cmd"}])
def test_odd_questions_get_the_usual_page(query: dict[str, str], client: Client, staff: User) -> None:
    assert "Nothing was used in these days." in read(client, **query)


@pytest.mark.django_db(transaction=True)
def test_the_file_holds_the_sums_and_no_formulas(
    client: Client, staff: User, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "ROWS_AT_ONCE", 1)
    User.objects.filter(pk=ada.pk).update(username="=cmd|' /C calc'!A0")
    used(ada, agent_name="+writer", model="@SUM(1)", cost=Decimal("0.5"), currency="USD")
    used(None, model="-1", day=today() - timedelta(days=1))
    header, first, second = list(csv.reader(io.StringIO(read(client, format="csv"))))
    assert header == list(usage.COLUMNS)
    assert first[:6] == [str(today() - timedelta(days=1)), "", "researcher", "default", "'-1", ""]
    assert first[-1] == ""  # its cost is unknown
    assert second[1:6] == ["'=cmd|' /C calc'!A0", "'+writer", "default", "'@SUM(1)", "USD"]
    assert Decimal(second[-1]) == Decimal("0.5")


def test_usage_is_not_shown_without_the_permission(client: Client, ada: User) -> None:
    for who, status in ((making.staff(name="bare"), 403), (ada, 302)):
        client.force_login(who)
        assert client.get(reverse(PAGE)).status_code == status
        assert client.get(reverse(PAGE), {"format": "csv"}).status_code == status


def test_a_year_of_very_many_sums_is_added_up_by_an_index(client: Client, staff: User, ada: User) -> None:
    """The most sums that 100,000 calls can make, one each; the page shows one month of them."""
    people = User.objects.bulk_create(User(username=f"person{n}") for n in range(100))
    start = datetime(2001, 1, 1, tzinfo=UTC).date()
    DailyUsage.objects.bulk_create(
        (
            DailyUsage(day=start + timedelta(days=n // 100), user=people[n % 100], agent_name="a", model="m", calls=1)
            for n in range(20_000)
        ),
        batch_size=1_000,
    )
    used(ada)
    with connection.cursor() as cursor:
        sql, values = DailyUsage.objects.filter(day__range=(today(), today())).query.sql_with_params()
        explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
        cursor.execute(f"{explain} {sql}", values)
        plan = str(cursor.fetchall())
    assert "one_sum_per_day" in plan or "sqlite_autoindex_chat_dailyusage" in plan, plan
    assert [total.name for total in usage.totals("user", today(), today())[1]] == ["ada"]


# Prices and budgets


def test_staff_set_prices_and_budgets(client: Client) -> None:
    client.force_login(making.user("root", is_staff=True, is_superuser=True))
    price = {"provider": "*", "model": "qwen*", "input": "4", "output": "8", "currency": "CNY"}
    budget = {"scope": "user_day", "limit": "100000", "unit": "tokens"}
    assert client.post(reverse("admin:chat_price_add"), price).status_code == 302
    assert client.post(reverse("admin:chat_budget_add"), budget).status_code == 302
    assert (Price.objects.get().cached, Budget.objects.get().limit) == (None, 100_000)
    assert "qwen*" in client.get(reverse("admin:chat_price_changelist")).content.decode()
    assert "100000" in client.get(reverse("admin:chat_budget_changelist")).content.decode()


#: Invalid prices and budgets, and the field with the error.
WRONG: list[tuple[str, dict[str, str], str]] = [
    ("price", {"model": "m", "provider": "*", "input": "-1", "output": "1", "currency": "USD"}, "input"),
    ("price", {"model": "m", "provider": "*", "input": "1", "output": "1", "currency": "usd"}, "currency"),
    ("price", {"model": "", "provider": "*", "input": "1", "output": "1", "currency": "USD"}, "model"),
    ("budget", {"scope": "run", "limit": "0", "unit": "tokens"}, "limit"),
    ("budget", {"scope": "run", "limit": "1", "unit": "token"}, "unit"),
    ("budget", {"scope": "everything", "limit": "1", "unit": "USD"}, "scope"),
    ("budget", {"scope": "run", "limit": "NaN", "unit": "USD"}, "limit"),
]


@pytest.mark.parametrize(("model", "form", "field"), WRONG)
def test_invalid_prices_and_budgets_are_refused(model: str, form: dict[str, str], field: str, client: Client) -> None:
    client.force_login(making.user("root", is_staff=True, is_superuser=True))
    answer = client.post(reverse(f"admin:chat_{model}_add"), form)
    assert answer.status_code == 200
    assert list(answer.context["adminform"].form.errors) == [field]
