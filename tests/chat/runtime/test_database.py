"""The threads that read and write ask the database that a test is about, whatever tests before it have left."""

import pytest
from asgiref.sync import async_to_sync
from django.db import connection

from chat.models import Session
from chat.runtime import database
from tests.chat.databases import postgresql


@pytest.mark.django_db(transaction=True)
def test_threads_that_were_left_ask_the_other_database_when_a_test_changes_it(tables: str) -> None:
    async def asked() -> list[str]:
        await database.read(Session.objects.exists)
        return [await ask(lambda: connection.vendor) for ask in (database.read, database.write)]

    assert async_to_sync(asked)() == ["sqlite", "sqlite"]
    with postgresql(tables, has_tables=True):
        assert async_to_sync(asked)() == ["postgresql", "postgresql"]
    assert async_to_sync(asked)() == ["sqlite", "sqlite"]
