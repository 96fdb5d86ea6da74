"""How late the machine itself is: at waiting for a moment, and at reading from the database, as the product does.

A bound in seconds is a promise of the product. On a busy machine every process runs later than it would, and the product is not to blame.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Self

import psycopg

EVERY_S = 0.05


class Lateness:
    """Measured during a block, by this process and the database server."""

    def __init__(self) -> None:
        #: When each measurement began, by `time.time`, and by how many seconds it took longer than the pause in it.
        self._late: list[tuple[float, float]] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def beside(cls, database_url: str) -> AsyncIterator[Self]:
        """Measure again and again, on a connection of its own."""
        lateness = cls()
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            task = asyncio.create_task(lateness._measure(connection))
            try:
                yield lateness
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _measure(self, connection: "psycopg.AsyncConnection[tuple[object, ...]]") -> None:
        while True:
            began_at, began = time.time(), time.monotonic()
            await asyncio.sleep(EVERY_S)
            await connection.execute("SELECT 1")
            self._late.append((began_at, time.monotonic() - began - EVERY_S))

    def between(self, begin: float, end: float) -> float:
        """How many seconds the machine was late in total between two moments of `time.time`."""
        return sum(late for at, late in self._late if begin <= at <= end)
