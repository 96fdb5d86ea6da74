"""What staff try keeps its own request's thread for as long as it takes, no other's: of such trials a process has a few at a time."""

import contextlib
import threading
from collections.abc import Iterator

from django.db import connection

from agents.sentence import Sentence

MOST_AT_ONCE = 2
_free = threading.BoundedSemaphore(MOST_AT_ONCE)


class Busy(Exception):
    """Others are trying something; ``message`` is a sentence for people."""

    def __init__(self) -> None:
        self.message = Sentence("Others are trying something just now. Try again in a moment.")
        super().__init__(self.message)


@contextlib.contextmanager
def one_of_few() -> Iterator[None]:
    """Be one of the few trials at a time, without a connection to the database meanwhile. Raises `Busy` at once where there are so many."""
    if not _free.acquire(blocking=False):
        raise Busy
    try:
        if not connection.in_atomic_block:
            # Of a pool of them, which others wait for.
            connection.close()
        yield
    finally:
        _free.release()
