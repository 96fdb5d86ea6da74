"""Writes that come at the same moment are made in one transaction: one by one, most of the cost would be waiting for the disk."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ParamSpec, TypeVar

from django.db import transaction

from chat.runtime import background, database

P = ParamSpec("P")
T = TypeVar("T")


class Together:
    """Makes all writes of one turn of the event loop in one transaction. One that fails is rolled back alone, and raised to its caller.

    On PostgreSQL, which has several writers, each write is a transaction of its own: otherwise it would lock its rows longer than needed.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []

    async def write(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `database.write`, for a function that needs no transaction of its own."""
        if database.WRITERS > 1:
            return await database.write(function, *args, **kwargs)
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((partial(function, *args, **kwargs), answer))
        if len(self._waiting) == 1:
            background.spawn(self._do_all(), "write together")
        return await answer

    async def _do_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        outcomes: list[tuple[Any, Exception | None]]
        try:
            outcomes = await database.write(_in_one_transaction, [call for call, _ in waiting])
        except Exception as failure:  # noqa: BLE001 - raised to each of the callers
            outcomes = [(None, failure)] * len(waiting)
        except asyncio.CancelledError:
            for _, answer in waiting:
                answer.cancel()
            raise
        for (_, answer), (result, error) in zip(waiting, outcomes, strict=True):
            if answer.done():  # its caller was cancelled
                continue
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)


@transaction.atomic
def _in_one_transaction(calls: Sequence[Callable[[], Any]]) -> list[tuple[Any, Exception | None]]:
    outcomes: list[tuple[Any, Exception | None]] = []
    for call in calls:
        try:
            with transaction.atomic():
                result = call()
        except Exception as error:  # noqa: BLE001 - raised to its caller
            outcomes.append((None, error))
        else:
            outcomes.append((result, None))
    return outcomes
