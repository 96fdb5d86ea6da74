"""Backpressure for HTTP responses on daphne: the application continues once the network has taken the last piece."""

from typing import Any

from daphne.http_protocol import WebRequest

from chat.serving.network_producer import NetworkProducer

#: How many seconds a client has to read the rest of a complete response.
_REST_WITHIN_S = 5.0


class PacedRequest(NetworkProducer, WebRequest):  # type: ignore[misc] # untyped
    """A request whose response is written no faster than the client reads it."""

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Send a part of the response; with the first of several, register for Twisted's backpressure."""
        is_first = message["type"] == "http.response.body" and message.get("more_body") and self.producer is None
        if is_first and not self.finished and self.channel is not None:
            self.registerProducer(self, True)
        if not (message.get("more_body") and self.chunked and self._put_at_once(message["body"])):
            super().handle_reply(message)

    def _put_at_once(self, body: bytes) -> bool:
        """Write a part of a stream directly if the socket's buffer is empty: that costs less than waiting for the reactor.

        Returns False if something is pending, or the response is over: then it has to be written as usual.
        """
        transport = self.channel and self.channel.transport
        if not body or self.finished or transport is None or self._disconnected:
            return False
        if transport.dataBuffer or transport._tempDataLen or not transport.connected or transport.disconnecting:  # noqa: SLF001
            return False
        chunk = b"%x\r\n%b\r\n" % (len(body), body)
        sent = transport.writeSomeData(chunk)
        # Otherwise the connection is lost, which the reactor notices by itself.
        written = sent if isinstance(sent, int) else 0
        if written < len(chunk):
            transport.write(chunk[written:])
        self.sentLength += len(body)
        return True

    def finish(self) -> None:
        """The response is complete: a client that does not read the rest is disconnected after a while."""
        channel = self.channel
        if self.is_held_up and channel is not None:
            # The connection is closed after this response.
            channel.persistent = False
            channel.callLater(_REST_WITHIN_S, channel.transport.abortConnection)
        if self.producer is not None:
            self.unregisterProducer()
        self.resumeProducing()
        super().finish()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        """Wake what waits for a client that has disconnected."""
        self.resumeProducing()
        super().connectionLost(reason)
