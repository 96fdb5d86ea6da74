"""Following a session by server-sent events, with a client that others wrote."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
from httpx_sse import EventSource, ServerSentEvent, aconnect_sse

from tests import wire_types
from tests.serving import WAIT_S, Browser


class EventStream:
    """The events of one stream: those that were read, and the next."""

    def __init__(self, source: EventSource) -> None:
        self.source = source
        self.events: list[ServerSentEvent] = []
        self._coming = source.aiter_sse()

    @property
    def response(self) -> httpx.Response:
        """The response with the stream."""
        return self.source.response

    async def next(self) -> ServerSentEvent:
        """The next event; the type in its data is checked to be its own."""
        event = await anext(self._coming)
        if event.event != "close":
            frame = wire_types.checked(json.loads(event.data))
            assert event.event == frame["type"]
        self.events.append(event)
        return event

    async def until(self, wanted: Callable[[ServerSentEvent], bool]) -> ServerSentEvent:
        """Read up to and including an event for which this holds."""
        while not wanted(event := await self.next()):
            pass
        return event

    async def until_type(self, kind: str) -> ServerSentEvent:
        """Read up to and including an event of this type."""
        return await self.until(lambda event: event.event == kind)

    async def closed(self) -> int:
        """Read to the end; returns the close code in the last event."""
        code: int = json.loads((await self.until_type("close")).data)["code"]
        with contextlib.suppress(StopAsyncIteration):
            raise AssertionError(f"after the end there is {await self.next()}")
        return code

    def frames(self) -> list[dict[str, Any]]:
        """The data of the events read so far."""
        return [json.loads(event.data) for event in self.events if event.event != "close"]

    def stored(self) -> list[dict[str, Any]]:
        """The numbered ones of them."""
        return [frame for frame in self.frames() if "seq" in frame]


@contextlib.asynccontextmanager
async def client_of(browser: Browser, url: str = "") -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client with a browser's login."""
    # Not through a proxy of the machine's own environment.
    async with httpx.AsyncClient(
        base_url=url or browser.url, cookies=browser.cookies, timeout=WAIT_S, trust_env=False
    ) as client:
        yield client


@contextlib.asynccontextmanager
async def following(
    browser: Browser, session_id: str, query: str = "", *, last: str = "", url: str = "", token: str = ""
) -> AsyncIterator[EventStream]:
    """A stream of a session, after the event with the id ``last``; with a token, that is used and not the login."""
    headers = {"Last-Event-ID": last} if last else {}
    headers |= {"Authorization": token} if token else {}
    async with (
        client_of(browser, url) as client,
        aconnect_sse(client, "GET", f"/api/sessions/{session_id}/stream/{query}", headers=headers) as source,
    ):
        yield EventStream(source)
