"""The newest events of a session that a process has in memory: consecutive numbers, without gaps.

It distinguishes "nothing comes after this" from "that is not known here".
"""

from enum import Enum
from typing import Final

from chat.store.step_log import Stored


class NotKnown(Enum):
    """The result if a window does not have the events; the log may have them."""

    NOT_KNOWN = 0


NOT_KNOWN: Final = NotKnown.NOT_KNOWN


class EventWindow:
    """The events up to the number ``last``, as far back as they are kept.

    It begins empty after a number, and only the next event can be added: so there are no gaps, and the first number follows from the last.
    """

    __slots__ = ("_events", "_keep", "last")

    def __init__(self, last: int, keep: int) -> None:
        #: The number of the newest event that this process has read, or after which it began to read.
        self.last = last
        #: At least so many of the newest events are kept, and at most twice as many.
        self._keep = keep
        self._events: list[Stored] = []

    def append(self, stored: Stored) -> None:
        """Add the next event. Raises `ValueError` for any other."""
        if stored.seq != self.last + 1:
            raise ValueError(f"Event {stored.seq} does not follow {self.last}.")
        self.last = stored.seq
        self._events.append(stored)
        if len(self._events) > 2 * self._keep:
            del self._events[: self._keep]

    def after(self, seq: int) -> list[Stored] | NotKnown:
        """All events after a number, in order; empty if there are none."""
        behind = self.last - seq
        if behind <= 0:
            return []
        if behind > len(self._events):
            return NOT_KNOWN
        return self._events[-behind:]

    def at(self, seq: int) -> Stored | NotKnown:
        """The event with a number."""
        place = len(self._events) - 1 - (self.last - seq)
        return self._events[place] if 0 <= place < len(self._events) else NOT_KNOWN
