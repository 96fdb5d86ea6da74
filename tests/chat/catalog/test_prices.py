"""What calls cost: by public prices, by the staff's own, or unknown."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from agents import Usage
from chat.catalog import prices
from chat.models import Cost, Price

pytestmark = pytest.mark.django_db

#: A million tokens in and out; of the input, this many from the cache.
M = 1_000_000
OPENAI, OPENROUTER = "https://api.openai.com/v1", "https://openrouter.ai/api/v1"
DEEPSEEK, MOONSHOT = "https://api.deepseek.com", "https://api.moonshot.ai/v1"

#: When the calls were made: a price may be valid from a day on, or at some hours of each day.
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
EVENING = NOON.replace(hour=20)

#: Server, model, tokens, and the cost in US dollars at noon; None: unknown. A further price is a line.
KNOWN: list[tuple[str, str, Usage, str | None]] = [
    (OPENAI, "gpt-4o", Usage(M, 0), "2.5"),
    (OPENAI, "gpt-4o", Usage(0, M), "10"),
    (OPENAI, "gpt-4o", Usage(M, M, False, M), "11.25"),
    (OPENAI, "gpt-4o-mini", Usage(100_000, 100_000, False, 40_000), "0.072"),
    (OPENROUTER, "openai/gpt-4o", Usage(M, 0), "2.5"),
    (DEEPSEEK, "deepseek-chat", Usage(M, 0, False, M), "0.07"),
    (MOONSHOT, "kimi-k2-0905-preview", Usage(0, M), "2.5"),
    ("https://api.mistral.ai/v1", "mistral-large-latest", Usage(M, M), "8"),
    ("https://api.groq.com/openai/v1", "llama-3.3-70b-versatile", Usage(M, 0), "0.59"),
    ("https://api.x.ai/v1", "grok-4-0709", Usage(M, 0), "3"),
    (OPENAI, "a-model-of-ours", Usage(M, M), None),
    (OPENAI, "", Usage(M, M), None),
    # The price of the same models on one's own machine is unknown.
    ("http://127.0.0.1:8000/v1", "gpt-4o", Usage(M, M), None),
    ("http://gpt-4o.test/v1", "deepseek-chat", Usage(M, M), None),
    ("dashscope", "qwen-max", Usage(M, M), None),
    ("", "demo", Usage(M, M), None),
]


@pytest.mark.parametrize(("server", "model", "usage", "dollars"), KNOWN)
def test_known_prices(server: str, model: str, usage: Usage, dollars: str | None) -> None:
    wanted = None if dollars is None else Cost(Decimal(dollars), "USD")
    assert prices.cost_of(usage, model=model, provider="default", server=server, asked_at=NOON) == wanted


#: The time of the call, and the cost of a million tokens from the cache at that time.
BY_THE_HOUR = [
    (NOON, "0.07"),
    (EVENING, "0.035"),
    (EVENING.astimezone(timezone(timedelta(hours=-8))), "0.035"),
    (NOON.astimezone(timezone(timedelta(hours=8))), "0.07"),
]


@pytest.mark.parametrize(("asked_at", "dollars"), BY_THE_HOUR)
def test_a_price_that_changes_with_the_hour_is_that_of_the_question(asked_at: datetime, dollars: str) -> None:
    usage = Usage(M, 0, False, M)
    found = prices.cost_of(usage, model="deepseek-chat", provider="default", server=DEEPSEEK, asked_at=asked_at)
    assert found == Cost(Decimal(dollars), "USD"), "it has the price of another hour"


@pytest.fixture
def own() -> Iterator[None]:
    """The staff's own prices, loaded by this process."""
    rows: list[dict[str, Any]] = [
        {"model": "*", "provider": "cluster", "input": 1, "output": 2, "currency": "EUR"},
        {"model": "qwen*", "input": 4, "cached": 1, "output": 8, "currency": "CNY"},
        {"model": "qwen-max", "provider": "default", "input": 16, "output": 32, "currency": "CNY"},
        {"model": "gpt-4o", "input": 0, "output": 0},
    ]
    for row in rows:
        Price.objects.create(**row)
    prices.load_prices()
    yield
    Price.objects.all().delete()
    prices.load_prices()


#: Model server's name, model, tokens, amount and currency.
OWN = [
    ("default", "qwen3-8b", Usage(M, M), "12", "CNY"),
    ("default", "Qwen3-8B", Usage(M, 0, False, M), "1", "CNY"),
    # The more specific price comes first.
    ("default", "qwen-max", Usage(M, M), "48", "CNY"),
    ("elsewhere", "qwen-max", Usage(M, M), "12", "CNY"),
    # Without a price of its own, cached input costs as much as other input.
    ("default", "qwen-max", Usage(M, 0, False, M), "16", "CNY"),
    ("cluster", "whatever", Usage(M, M), "3", "EUR"),
    # A price of 0 is a price, and has precedence over the public one.
    ("default", "gpt-4o", Usage(M, M), "0", "USD"),
]


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(("provider", "model", "usage", "amount", "currency"), OWN)
def test_own_prices_come_first(provider: str, model: str, usage: Usage, amount: str, currency: str) -> None:
    found = prices.cost_of(usage, model=model, provider=provider, server=OPENAI, asked_at=NOON)
    assert found == Cost(Decimal(amount), currency)


@pytest.mark.usefixtures("own")
def test_a_model_without_an_own_price_has_the_public_one() -> None:
    found = prices.cost_of(Usage(M, 0), model="gpt-4o-mini", provider="default", server=OPENAI, asked_at=NOON)
    assert found == Cost(Decimal("0.15"), "USD")
