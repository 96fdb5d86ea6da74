"""The threads that read and write ask the database that a test is about, whatever tests before it have left."""

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
    """What a call may hold."""

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
    """What was written for a client that has gone would stay until that thread is needed again."""
    freed = asyncio.Event()
    client = Client()
    weakref.finalize(client, asyncio.get_running_loop().call_soon_threadsafe, freed.set)
    assert await database.write(partial(getattr, client, "name")) == "bo"
    del client
    await asyncio.wait_for(freed.wait(), 10)
