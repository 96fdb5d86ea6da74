"""What staff try may take long. It keeps the thread of its own request busy, and a process executes only a few such trials at a time."""

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
    """Take one of the few places for a trial, and give the database connection back meanwhile. Raises `Busy` at once if there is none."""
    if not _free.acquire(blocking=False):
        raise Busy
    try:
        if not connection.in_atomic_block:
            # The connection is from a pool, which other requests wait for.
            connection.close()
        yield
    finally:
        _free.release()
