"""Sockets of uvicorn that read no faster than the application does."""

import asyncio
from typing import Any, cast

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame as ReceivedFrame

from chat.serving.backpressure import ReadThrottle, TransportProtocol
from chat.serving.daphne import _BAD_REQUEST, _CLOSE_WITHIN_S, _is_utf8


class UvicornSocket(WebSocketsSansIOProtocol):
    """Uvicorn's side of one socket."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Put the intake between the network and uvicorn."""
        network = cast(asyncio.Transport, transport)
        self._intake = ReadThrottle(self._read, network.pause_reading, network.resume_reading)
        super().connection_made(cast(asyncio.Transport, TransportProtocol(network, self._intake)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what it had brought."""
        self._intake.end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        self._intake.take(data)

    def _read(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # Uvicorn leaves a request that is none without an answer, and its connection open.
            self.transport.write(_BAD_REQUEST)
            self.transport.close()

    def handle_cont(self, event: ReceivedFrame) -> None:
        """Take a further piece of a message; empty ones, which no limit of size counts, are not kept."""
        if event.data or event.fin:
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """Put a command in the queue; text that is no UTF-8 is the client's fault, and no traceback of ours."""
        if self.curr_msg_data_type == "text" and not _is_utf8(self.frames):
            self.frames = []
            self.conn.send_close(1007)
            self.handle_parser_exception()
        else:
            super().send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        """The client broke the protocol: it is told so, if it reads that soon."""
        super().handle_parser_exception()
        self.loop.call_later(_CLOSE_WITHIN_S, self.transport.abort)

    def handle_ping(self) -> None:
        """Answer, unless the client doesn't read its answers."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def handle_close(self, event: ReceivedFrame) -> None:
        """The client has said that it is leaving: what it was sent waits for it only a while."""
        super().handle_close(event)
        self.loop.call_later(_CLOSE_WITHIN_S, self.transport.abort)

    def keepalive_timeout(self) -> None:
        """The client is gone: what it was sent waits for nobody."""
        super().keepalive_timeout()
        self.transport.abort()

    async def send(self, message: Any) -> None:
        """Send; a close frame waits for no room, and for its answer only a while."""
        if self.close_sent:  # by the protocol itself; the application has not heard of it yet
            raise ClientDisconnected
        if message["type"] == "websocket.close":
            self.writable.set()
            self.loop.call_later(_CLOSE_WITHIN_S, self.transport.abort)
        await super().send(message)
