"""Answers that are sent piece by piece over HTTP on daphne: the application goes on once the network has taken the last piece."""

from typing import Any

from daphne.http_protocol import WebRequest

from chat.serving.network_producer import NetworkProducer

#: How long a client has to take the rest of an answer that has ended.
_REST_WITHIN_S = 5.0


class PacedRequest(NetworkProducer, WebRequest):  # type: ignore[misc] # untyped
    """A request whose answer is written no faster than it is read."""

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Send a part of the answer; with the first of several, register for Twisted's backpressure."""
        is_first = message["type"] == "http.response.body" and message.get("more_body") and self.producer is None
        if is_first and not self.finished and self.channel is not None:
            self.registerProducer(self, True)
        if not (message.get("more_body") and self.chunked and self._put_at_once(message["body"])):
            super().handle_reply(message)

    def _put_at_once(self, body: bytes) -> bool:
        """Write a part of a stream directly where the socket's buffer is empty: to have the reactor report that it is writable costs more.

        False where something waits, or the answer is over: then it goes the usual way.
        """
        transport = self.channel and self.channel.transport
        if not body or self.finished or transport is None or self._disconnected:
            return False
        if transport.dataBuffer or transport._tempDataLen or not transport.connected or transport.disconnecting:  # noqa: SLF001
            return False
        chunk = b"%x\r\n%b\r\n" % (len(body), body)
        sent = transport.writeSomeData(chunk)
        # Not a number: the connection is lost, which the reactor finds out by itself.
        written = sent if isinstance(sent, int) else 0
        if written < len(chunk):
            transport.write(chunk[written:])
        self.sentLength += len(body)
        return True

    def finish(self) -> None:
        """The answer is complete: a client that does not read its rest is cut off after a while."""
        channel = self.channel
        if self.is_held_up and channel is not None:
            # The connection's last: it is closed behind the rest.
            channel.persistent = False
            channel.callLater(_REST_WITHIN_S, channel.transport.abortConnection)
        if self.producer is not None:
            self.unregisterProducer()
        self.resumeProducing()
        super().finish()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        """Nobody waits for a client that has gone."""
        self.resumeProducing()
        super().connectionLost(reason)
