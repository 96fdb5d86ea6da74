"""The database threads use the database of the current test, whatever earlier tests have left."""

import asyncio
import weakref
from functools import partial

import pytest
from asgiref.sync import async_to_sync
from django.db import connection

from chat.models import Session
from chat.runtime import database
from tests.chat.databases import postgresql


class Client:
    """An object that a call may reference."""

    name = "bo"


@pytest.mark.django_db(transaction=True)
def test_threads_that_were_left_ask_the_other_database_when_a_test_changes_it(tables: str) -> None:
    async def asked() -> list[str]:
        await database.read(Session.objects.exists)
        return [await ask(lambda: connection.vendor) for ask in (database.read, database.write)]

    assert async_to_sync(asked)() == ["sqlite", "sqlite"]
    with postgresql(tables, has_tables=True):
        assert async_to_sync(asked)() == ["postgresql", "postgresql"]
    assert async_to_sync(asked)() == ["sqlite", "sqlite"]


@pytest.mark.asyncio
async def test_an_idle_thread_holds_nothing_of_its_last_call() -> None:
    """Otherwise what a call has written for a client that has disconnected would stay in memory until the thread's next call."""
    freed = asyncio.Event()
    client = Client()
    weakref.finalize(client, asyncio.get_running_loop().call_soon_threadsafe, freed.set)
    assert await database.write(partial(getattr, client, "name")) == "bo"
    del client
    await asyncio.wait_for(freed.wait(), 10)
