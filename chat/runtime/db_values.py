"""Converts UUIDs and times to parameters of raw SQL, and from its results."""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.utils.dateparse import parse_datetime

logger = logging.getLogger(__name__)


def _is_sqlite() -> bool:
    # From the settings: looking up the thread's connection takes ten times as long, and this is called some sixty times in a run.
    return "sqlite" in connections.settings[DEFAULT_DB_ALIAS]["ENGINE"]


def uuid_param(value: UUID) -> str | UUID:
    """A UUID as a parameter of raw SQL."""
    return value.hex if _is_sqlite() else value


def uuid_from_db(value: str | UUID) -> UUID:
    """The UUID for a result of raw SQL."""
    return value if isinstance(value, UUID) else UUID(value)


#: Invalid UUIDs that were already logged.
_unreadable: set[str] = set()


def uuids_from_db(values: Iterable[str | UUID]) -> list[UUID]:
    """The UUIDs for results of raw SQL; an invalid one is logged, once, and left out."""
    found = []
    for value in values:
        try:
            found.append(uuid_from_db(value))
        except ValueError:
            if value not in _unreadable:
                _unreadable.add(str(value))
                logger.warning("A row of the database is left out, because %r is no identifier", value)
    return found


def decimal_param(value: Decimal) -> Any:
    """An amount of money, with ten decimal places, as a parameter of raw SQL."""
    return connection.ops.adapt_decimalfield_value(value, max_digits=20, decimal_places=10)


def datetime_param(value: datetime) -> str | None:
    """A date and time as a parameter of raw SQL."""
    if value.tzinfo is UTC and _is_sqlite():
        return str(value.replace(tzinfo=None))
    return connection.ops.adapt_datetimefield_value(value)


def datetime_from_db(value: datetime | str) -> datetime:
    """The date and time for a result of raw SQL."""
    read = parse_datetime(value) if isinstance(value, str) else value
    assert read is not None  # noqa: S101 - the column holds nothing else
    return read if read.tzinfo else read.replace(tzinfo=UTC)
