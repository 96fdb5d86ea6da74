"""Event streams over HTTP (``text/event-stream``), written no faster than they are read.

A view answers with an `EventStreamResponse` around a coroutine that writes. `config.page_handler` sends its headers, with all that
middleware has added to them, gives the request's thread back, and lets it write by itself, directly to the network. What is written is
written once: nothing waits in between but what the network takes at a time.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from django.http import StreamingHttpResponse

logger = logging.getLogger(__name__)

#: After so many idle seconds something is written, so that proxies and clients see that the connection is alive.
COMMENT_S = 15.0
#: A stream whose client reads nothing for so many seconds is ended.
STALL_S = 30.0
_LOOK_S = 5.0
#: How long the end of a stream may take to be written.
_END_WITHIN_S = 2.0
_COMMENT = b":\n"
#: When browsers come back by themselves, in milliseconds: not all at the same moment.
_RETRY_MS = (1_000, 3_000)

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Stalled(Exception):
    """The client takes nothing any more."""


class EventWriter:
    """Writes the events of one stream."""

    __slots__ = ("_send", "_since", "_written_at")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._written_at = time.monotonic()
        #: Since when a piece waits for the network.
        self._since: float | None = None

    async def write(self, events: bytes) -> None:
        """Write whole events; returns when the network has taken them. One caller at a time."""
        self._since = time.monotonic()
        await self._send({"type": "http.response.body", "body": events, "more_body": True})
        self._since, self._written_at = None, time.monotonic()

    async def write_last(self, events: bytes) -> None:
        """Write the events that end the stream; it is not kept open for a client that reads nothing."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_WITHIN_S):
                await self.write(events)

    async def look_after(self) -> None:
        """Write a comment where nothing has been written for a while; raises `Stalled` where nothing is taken. Never returns."""
        while True:
            await asyncio.sleep(_LOOK_S)
            now = time.monotonic()
            if self._since is not None:
                if now - self._since > STALL_S:
                    raise Stalled
            elif now - self._written_at > COMMENT_S - _LOOK_S:
                await self.write(_COMMENT)


Produce = Callable[[EventWriter], Awaitable[None]]


class EventStreamResponse(StreamingHttpResponse):
    """A response whose events ``produce`` writes. It ends when that returns; if the client disconnects, ``produce`` is cancelled."""

    def __init__(self, produce: Produce) -> None:
        super().__init__(_nothing(), content_type="text/event-stream; charset=utf-8")
        self["Cache-Control"] = "no-store, no-transform"
        self["X-Accel-Buffering"] = "no"
        self._produce = produce

    async def serve(self, receive: Receive, send: Send) -> None:
        """Write the stream, its headers having been sent, up to its end."""
        writer = EventWriter(send)
        work = [
            asyncio.ensure_future(each)
            for each in (self._write(writer), writer.look_after(), _wait_until_gone(receive))
        ]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in work:
                task.cancel()
            await asyncio.wait(work)
        for task in done:
            failure = task.exception()
            if failure is not None and not isinstance(failure, Stalled | OSError):
                logger.error("An event stream failed", exc_info=failure)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_END_WITHIN_S):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, writer: EventWriter) -> None:
        # A line of the first event: alone, some clients take it for an event without data.
        await writer.write(b"retry: %d\n" % random.randint(*_RETRY_MS))  # noqa: S311 - spread, not secret
        await self._produce(writer)


def format_event(kind: str, data: str, event_id: str = "") -> bytes:
    """One event, of data on a single line; one without a kind is what clients call a message."""
    identified = f"id: {event_id}\n" if event_id else ""
    named = f"event: {kind}\n" if kind else ""
    return f"{identified}{named}data: {data}\n\n".encode()


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _nothing() -> AsyncIterator[bytes]:
    """The content for a handler that does not know streams: empty."""
    for nothing in list[bytes]():
        yield nothing
