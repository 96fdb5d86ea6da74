"""Which process owns the data: with SQLite, or without Redis, only one may serve a data folder."""

import fcntl
import logging
import stat
from pathlib import Path
from typing import IO

from django.conf import settings
from django.db import connection

logger = logging.getLogger(__name__)


class AlreadyServing(Exception):
    """Another process serves this data. The message is for people."""


#: Open for the life of the process: closing one would release the lock.
_locks: list[IO[str]] = []


def acquire_lock() -> bool:
    """Make this process the data folder's only server; calling it again changes nothing. Raises `AlreadyServing`.

    Returns False if several processes may serve the data: with PostgreSQL and Redis.
    """
    if connection.vendor != "sqlite" and settings.REDIS_URL:
        return False
    if not _locks:
        lock = (settings.DATA_DIR / "serving.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise AlreadyServing(
                f"Another Thinkaloud server uses the data folder {settings.DATA_DIR}. Stop it first, or set DATA_DIR."
            ) from None
        _locks.append(lock)
    return True


def warn_if_open() -> None:
    """Log a warning if other accounts of this machine can read the data folder or the database's file; the process starts all the same."""
    paths = [settings.DATA_DIR]
    if connection.vendor == "sqlite":
        paths.append(Path(connection.settings_dict["NAME"]))
    for path in paths:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0
        # A file within a folder that is closed to others cannot be read by them.
        is_behind = path != settings.DATA_DIR and not path.parent.stat().st_mode & 0o077
        if mode & 0o077 and not is_behind:
            logger.warning(
                "Other accounts of this machine can read %s (mode %o). Close it: chmod -R go= %s", path, mode, path
            )
