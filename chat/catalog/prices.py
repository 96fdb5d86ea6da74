"""What tokens cost: by the staff's own prices, else by known prices of public servers; else the cost is not known."""

import sys
import threading
import time
from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import NamedTuple
from urllib.parse import urlsplit

from agents import Usage
from chat.models import Cost, Price
from chat.runtime import database

#: How often a process checks for changed prices, in seconds.
_LOOK_EVERY_S = 20.0
_MILLION = Decimal(1_000_000)
#: The module with the prices of public servers.
_DATA = "genai_prices.data"


class OwnPrice(NamedTuple):
    """A price of the staff's."""

    provider: str
    model: str
    input: Decimal
    cached: Decimal | None
    output: Decimal
    currency: str


#: The most specific ones come first.
_own: list[OwnPrice] = []


def load_prices() -> None:
    """Read the prices that staff have entered; from then on this process uses them."""
    rows = [OwnPrice(*row) for row in Price.objects.values_list(*OwnPrice._fields)]
    _own[:] = sorted(rows, key=lambda row: [-len(name.replace("*", "")) for name in (row.model, row.provider)])


def forget_prices() -> None:
    """Know of none that staff have set until they are loaded again: the tables are others."""
    _own.clear()


def warm_prices(server: str) -> None:
    """Import the prices of public servers if this may be one of them. Takes most of a second, and 18 MB: call it in a thread."""
    if _is_named(server):
        _public_cost(server, "", Usage(), datetime.now(UTC))


def expect_server(server: str) -> None:
    """Calls to this server will end soon: have its prices imported meanwhile, in a thread."""
    if _is_named(server) and _DATA not in sys.modules:
        threading.Thread(target=warm_prices, args=(server,), name="prices", daemon=True).start()


def cost_of(usage: Usage, *, model: str, provider: str, server: str, asked_at: datetime) -> Cost | None:
    """The cost of a call; ``None``: not known. ``provider`` is the model server's name, ``server`` its address.

    ``asked_at`` is aware: public prices change by the day, and some by the hour of the day.
    """
    for own in _own:
        if fnmatchcase(model.lower(), own.model.lower()) and fnmatchcase(provider.lower(), own.provider.lower()):
            cached = usage.cached_tokens or 0
            per_cached = own.input if own.cached is None else own.cached
            total = (usage.input_tokens - cached) * own.input + cached * per_cached + usage.output_tokens * own.output
            return Cost(total / _MILLION, own.currency)
    return _public_cost(server, model, usage, asked_at) if _is_named(server) else None


def _is_named(server: str) -> bool:
    """Whether a server's address is one that others than this installation know: a host with a domain."""
    host = urlsplit(server).hostname or ""
    return "." in host and not host.replace(".", "").isdigit()


def _public_cost(server: str, model: str, usage: Usage, asked_at: datetime) -> Cost | None:
    """By the prices in a library, without a request: it knows servers by their address, and their models by name."""
    import genai_prices  # noqa: PLC0415 - see `warm_prices`

    counts = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_tokens or 0,
    )
    try:
        price = genai_prices.calc_price(counts, model, provider_api_url=server, genai_request_timestamp=asked_at)
        return Cost(price.total_price, "USD")
    except (LookupError, ValueError):
        return None


class PriceLoader:
    """Loads them at the first poll, and every so often: staff may change them in another process."""

    def __init__(self) -> None:
        self._due_at = 0.0

    async def load_in_time(self) -> None:
        """Called every second."""
        if time.monotonic() >= self._due_at:
            await database.read(load_prices)
            self._due_at = time.monotonic() + _LOOK_EVERY_S
