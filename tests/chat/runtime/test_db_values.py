"""Values of raw SQL statements: converted as Django itself converts them for each database, and back again."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from django.db import connection
from django.db.models import UUIDField

from chat.runtime.db_values import datetime_from_db, datetime_param, uuid_from_db, uuid_param
from tests.chat.databases import postgresql

TIMES = [
    datetime(2026, 11, 29, 17, 4, 5, 123456, UTC),
    datetime(2026, 11, 29, 17, 4, 5, tzinfo=UTC),
    datetime(2026, 11, 29, 17, 4, 5, 1000, UTC),
    datetime(2027, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=8))),
    datetime(2026, 12, 31, 23, 30, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
]
IDS = [
    UUID(int=0),
    UUID(int=1),
    UUID("ffffffff-ffff-ffff-ffff-ffffffffffff"),
    UUID("0c5f9a3e-7b1d-4a7e-9c57-2f0d5d1b9a10"),
]


@pytest.fixture(params=["sqlite", "postgresql"])
def vendor(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[str]:
    """Use each database in turn."""
    with contextlib.ExitStack() as until_done:
        if request.param == "postgresql":
            until_done.enter_context(postgresql(request.getfixturevalue("postgres_url"), has_tables=True))
        yield request.param


def test_values_are_those_that_django_gives_the_database(vendor: str) -> None:
    assert connection.vendor == vendor
    for time in TIMES:
        assert datetime_param(time) == connection.ops.adapt_datetimefield_value(time)
        assert datetime_from_db(datetime_param(time) or "") == time
    for each in IDS:
        assert uuid_param(each) == UUIDField().get_db_prep_value(each, connection)
        assert uuid_from_db(uuid_param(each)) == each
