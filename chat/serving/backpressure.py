"""Stops reading from a client that sends faster than its messages are handled."""

import asyncio
import time
from collections.abc import Callable, MutableMapping
from typing import Any, ClassVar

Message = MutableMapping[str, Any]

_PIECE = 4096
#: How many seconds of CPU time one read may take; and how many times as long reading pauses after one that took more.
_BRIEF_S = 0.002
_BACK_OFF = 4


class ReadThrottle:
    """Passes the bytes that one connection has received to its protocol piece by piece, while nothing holds it up."""

    __slots__ = ("_against", "_gone", "_pause", "_paused", "_read", "_reading", "_resume", "_waiting")

    #: Until when reading pauses, after anything that took long, on whichever connection.
    _backed_off_until: ClassVar[float] = 0.0

    def __init__(self, read: Callable[[bytes], None], pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._read = read
        self._pause = pause
        self._resume = resume
        self._waiting = bytearray()
        # A list: while it is empty, which is nearly always, it takes a quarter of the memory of a set.
        self._against: list[str] = []
        self._paused = False
        self._reading = False
        self._gone = False

    def feed(self, data: bytes) -> None:
        """Pass on bytes that were received, now or later."""
        self._waiting += data
        self._go_on()

    def hold(self, reason: str) -> None:
        """Stop reading, until this reason is released."""
        self._add(reason)
        if not self._reading:
            self._go_on()

    def release(self, reason: str) -> None:
        """This reason to stop reading is gone."""
        if reason in self._against:
            self._against.remove(reason)
        if not self._reading:
            self._go_on()

    def end(self) -> None:
        """The connection is closed: drop what it has received, and the protocol."""
        self._gone = True
        self._waiting.clear()
        self._read = self._pause = self._resume = do_nothing

    def _go_on(self) -> None:
        self._reading = True
        # CPU time of this thread, so that time used by other processes does not count.
        began = time.thread_time()
        try:
            while self._waiting and not self._against:
                piece = bytes(self._waiting[:_PIECE])
                del self._waiting[:_PIECE]
                self._read(piece)
                took = time.thread_time() - began
                if took > _BRIEF_S:
                    self._back_off(took)
        finally:
            self._reading = False
        wants_pause = bool(self._against)
        if wants_pause != self._paused and not self._gone:
            self._paused = wants_pause
            (self._pause if wants_pause else self._resume)()

    def _add(self, reason: str) -> None:
        if reason not in self._against:
            self._against.append(reason)

    def _back_off(self, took: float) -> None:
        loop = asyncio.get_running_loop()
        ReadThrottle._backed_off_until = max(ReadThrottle._backed_off_until, loop.time()) + _BACK_OFF * took
        self._add("back off")
        loop.call_at(ReadThrottle._backed_off_until, self.release, "back off")


def do_nothing(*_: object) -> None:
    """Replaces a method of a protocol that is gone."""


class MessageQueue:
    """A connection's pending messages for its application: the part of `asyncio.Queue` that daphne uses, in a fifth of the memory."""

    __slots__ = ("_messages", "_reader")

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._reader: asyncio.Future[None] | None = None

    def put_nowait(self, message: Message) -> None:
        """Put a message in the queue."""
        self._messages.append(message)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def qsize(self) -> int:
        """How many are in the queue."""
        return len(self._messages)

    async def get(self) -> Message:
        """Remove and return the next message; waits for one. For one reader only."""
        while not self._messages:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._messages.pop(0)
