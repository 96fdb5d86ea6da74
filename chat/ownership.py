"""Which process owns the data: with SQLite, or without a Redis, only one may serve a data folder."""

import fcntl
from typing import IO

from django.conf import settings
from django.db import connection


class Owned(Exception):
    """Another process serves this data. The text is for people."""


#: Held open for the life of the process, because closing it would give the lock back.
_locks: list[IO[str]] = []


def take() -> bool:
    """Make this process the data folder's only server; asking again is once. Raises `Owned` where another process is.

    False where the data are shared by design: many processes may serve a PostgreSQL with a Redis.
    """
    if connection.vendor != "sqlite" and settings.REDIS_URL:
        return False
    if not _locks:
        lock = (settings.DATA_DIR / "serving.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise Owned(
                f"Another Thinkaloud server uses the data folder {settings.DATA_DIR}. Stop it first, or set DATA_DIR."
            ) from None
        _locks.append(lock)
    return True
