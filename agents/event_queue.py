"""A run's events until they are read."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from agents.events import PartialStep, RunEvent, number_of


class EventQueue:
    """A run's events on their way to their one reader. Made and used on one event loop.

    Growth that isn't read in time gives way to newer growth of the same step; steps never do.
    """

    def __init__(self) -> None:
        self.on_partial: Callable[[PartialStep], None] | None = None
        """Where set, drafts are passed to this at once, unless steps before them are pending."""
        self._events: deque[RunEvent] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._is_closed = False

    def push(self, events: Sequence[RunEvent]) -> None:
        """Add events at the end."""
        for event in events:
            if isinstance(event, PartialStep) and self.on_partial is not None and not self._events:
                self.on_partial(event)
                continue
            last = self._events[-1] if self._events else None
            if isinstance(last, PartialStep) and last.step == number_of(event):
                self._events.pop()  # superseded before anyone has seen it
            self._events.append(event)
        if self._events:
            self._wake()

    async def next(self) -> RunEvent | None:
        """The oldest event; waits until there is one. ``None`` once the queue is closed and empty."""
        while not self._events:
            if self._is_closed:
                return None
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return self._events.popleft()

    def pop_all(self) -> list[RunEvent]:
        """The pending events, which are removed from it."""
        events = list(self._events)
        self._events.clear()
        return events

    def close(self) -> None:
        """Nothing more comes."""
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
