"""Calls a function for each row that a poll has found; one that fails does not stop the others."""

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import TypeVar

from django.db import Error as DatabaseError

from chat.runtime import database, db_check

logger = logging.getLogger(__name__)

Row = TypeVar("Row", bound=Hashable)
Result = TypeVar("Result")

#: For how many seconds a failed row is skipped, so that a permanent failure is not retried and logged every second.
_AGAIN_S = 60.0


class EachRow:
    """Calls a function for each row that a poll has found; remembers from poll to poll which rows have failed."""

    def __init__(self, what: str, *, at_once: int = 1) -> None:
        self._what = what
        self._at_once = at_once
        self._left_alone: dict[Hashable, float] = {}

    async def do(self, rows: Iterable[Row], function: Callable[[Row], Awaitable[Result]]) -> list[Result]:
        """Call ``function`` for each row, several at the same time. Returns the results of those that succeeded.

        A row that fails is logged and skipped for a while. Only if the database does not answer at all, the poll ends, and its exception
        is raised.
        """
        now = time.monotonic()
        self._left_alone = {row: until for row, until in self._left_alone.items() if until > now}
        left = iter([row for row in rows if row not in self._left_alone])
        done: list[Result] = []
        while some := list(itertools.islice(left, self._at_once)):
            answers = await asyncio.gather(*(function(row) for row in some), return_exceptions=True)
            for row, answer in zip(some, answers, strict=True):
                if isinstance(answer, BaseException):
                    await self._failed(row, answer)
                else:
                    done.append(answer)
        return done

    async def _failed(self, row: Hashable, error: BaseException) -> None:
        if not isinstance(error, Exception):
            raise error
        if isinstance(error, DatabaseError) and db_check.is_away(error):
            if not await database.read(db_check.database_answers):
                raise error
            # The row is locked, or the connection was lost: it may succeed at the next poll.
            logger.warning("%s failed for %s", self._what, row, exc_info=error)
            return
        logger.error("%s failed for %s; it is left alone for a while", self._what, row, exc_info=error)
        self._left_alone[row] = time.monotonic() + _AGAIN_S
