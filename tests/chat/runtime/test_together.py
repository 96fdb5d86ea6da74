"""Writes that are submitted at the same time: each gets its own result, and one that fails does not affect the others."""

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.db import IntegrityError, connection

from chat.accounts.models import User
from chat.runtime import database
from chat.runtime.together import Together
from tests.chat import making

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="elsewhere each is a transaction of its own"),
]


def make(name: str) -> int:
    return making.user(name).pk


def rename_and_fail(old: str) -> None:
    User.objects.filter(username=old).update(username="lost")
    raise ValueError(old)


async def names() -> list[str]:
    return await sync_to_async(lambda: sorted(User.objects.values_list("username", flat=True)))()


async def test_each_gets_its_own_answer_and_one_that_fails_is_undone_alone() -> None:
    together = Together()
    await together.write(make, "ada")
    made, twice, failed, last = await asyncio.gather(
        together.write(make, "bo"),
        together.write(make, "ada"),
        together.write(rename_and_fail, "bo"),
        together.write(make, "cy"),
        return_exceptions=True,
    )
    assert isinstance(made, int)
    assert isinstance(last, int)
    assert isinstance(twice, IntegrityError)
    assert str(failed) == "bo"
    assert await names() == ["ada", "bo", "cy"]


async def test_concurrent_writes_are_one_commit() -> None:
    together = Together()
    begun: list[str] = []

    def note(name: str) -> None:
        # Savepoints within one transaction: for the outermost there is none.
        begun.append(f"{name} {len(connection.savepoint_ids)}")

    await asyncio.gather(*(together.write(note, name) for name in "abc"))
    assert begun == ["a 1", "b 1", "c 1"]


async def test_a_cancelled_write_does_not_affect_the_others() -> None:
    together = Together()
    gone = asyncio.ensure_future(together.write(make, "ada"))
    stays = asyncio.ensure_future(together.write(make, "bo"))
    await asyncio.sleep(0)
    gone.cancel()
    assert isinstance(await stays, int)
    assert gone.cancelled()
    assert await names() == ["ada", "bo"]


async def test_a_failed_commit_is_an_error_for_every_write(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(database, "write", fail)
    together = Together()
    results = await asyncio.gather(*(together.write(make, name) for name in ("ada", "bo")), return_exceptions=True)
    assert [str(each) for each in results] == ["the disk is full"] * 2
