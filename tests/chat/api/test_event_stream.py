"""Event streams by themselves: written no faster than they are read, ended when their client leaves, and without a thread."""

import asyncio
from typing import Any

import pytest
from django.http import HttpRequest
from django.urls import path

from chat.api import event_stream
from chat.api.event_stream import EventStreamResponse, EventWriter, format_event
from config.page_handler import PageHandler


class Connection:
    """The client's side: what it was sent, whether it reads any more, and when it disconnects."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.takes, self.has_left, self.changed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.takes.set()
        self._asked = False

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b""}
        await self.has_left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        self.changed.set()
        if message.get("more_body"):
            await self.takes.wait()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    async def until(self, wanted: bytes) -> None:
        async with asyncio.timeout(10):
            while wanted not in self.body:
                self.changed.clear()
                await self.changed.wait()


#: What has happened to the stream's producer.
ends: list[str] = []


async def _produce(writer: EventWriter) -> None:
    try:
        await writer.write(format_event("begun", "1", "1.a"))
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        ends.append("cancelled")
        raise


async def stream(_request: HttpRequest) -> EventStreamResponse:
    """Write one event, and no more."""
    return EventStreamResponse(_produce)


urlpatterns = [path("stream/", stream)]


@pytest.fixture
def handler(settings: Any) -> PageHandler:
    """Django's chain of middleware, without what needs a database."""
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["config.middleware.CommonMiddleware", "config.middleware.SecurityMiddleware"]
    ends.clear()
    return PageHandler()


def asked(handler: PageHandler, connection: Connection) -> "asyncio.Task[None]":
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/stream/",
        "headers": [(b"host", b"127.0.0.1")],
        "query_string": b"",
    }
    return asyncio.create_task(handler(scope, connection.receive, connection.send))


async def test_a_stream_has_the_headers_of_middleware_and_no_thread(handler: PageHandler) -> None:
    connection = Connection()
    serving = asked(handler, connection)
    await connection.until(b"data: 1")
    headers = dict(connection.sent[0]["headers"])
    assert headers[b"Content-Type"] == b"text/event-stream; charset=utf-8"
    assert headers[b"X-Content-Type-Options"] == b"nosniff"
    assert b"Content-Length" not in headers
    # The request's thread has been released.
    assert len(handler._idle) == 1
    connection.has_left.set()
    await asyncio.wait_for(serving, 10)
    assert ends == ["cancelled"]


async def test_events_of_a_stream_are_lines_that_every_client_reads(handler: PageHandler) -> None:
    connection = Connection()
    serving = asked(handler, connection)
    await connection.until(b"data: 1\n\n")
    retry, rest = connection.body.split(b"\n", 1)
    assert retry.startswith(b"retry: ")
    assert rest == b"id: 1.a\nevent: begun\ndata: 1\n\n"
    connection.has_left.set()
    await asyncio.wait_for(serving, 10)


async def test_a_comment_is_written_where_nothing_else_is(
    handler: PageHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "_LOOK_S", 0.01)
    monkeypatch.setattr(event_stream, "COMMENT_S", 0.03)
    connection = Connection()
    serving = asked(handler, connection)
    await connection.until(b"data: 1\n\n:\n:\n")
    connection.has_left.set()
    await asyncio.wait_for(serving, 10)


async def test_a_client_that_reads_nothing_is_disconnected_after_a_while(
    handler: PageHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "_LOOK_S", 0.01)
    monkeypatch.setattr(event_stream, "STALL_S", 0.05)
    connection = Connection()
    connection.takes.clear()
    await asyncio.wait_for(asked(handler, connection), 10)
    # The first piece was never read: nothing more was written, and the connection was ended.
    assert [message.get("more_body") for message in connection.sent] == [None, True, False]
