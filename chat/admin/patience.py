"""Limits trials that staff start, because they may take long: each blocks its request's thread, and a process runs only a few at a time."""

import contextlib
import threading
from collections.abc import Iterator

from django.db import connection

from agents.sentence import Sentence

MOST_AT_ONCE = 2
_free = threading.BoundedSemaphore(MOST_AT_ONCE)


class Busy(Exception):
    """Too many trials are running; ``message`` is a sentence for people."""

    def __init__(self) -> None:
        self.message = Sentence("Others are trying something just now. Try again in a moment.")
        super().__init__(self.message)


@contextlib.contextmanager
def one_of_few() -> Iterator[None]:
    """Take one of the few places for a trial, and release the database connection meanwhile. Raises `Busy` at once if none is free."""
    if not _free.acquire(blocking=False):
        raise Busy
    try:
        if not connection.in_atomic_block:
            # The connection is from a pool, which other requests wait for.
            connection.close()
        yield
    finally:
        _free.release()
