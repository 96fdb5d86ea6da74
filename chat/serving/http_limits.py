"""Limits of a request on daphne before the application sees it: size of the headers, size of the body by route, and a time for both.

Daphne stores a whole body before it calls the application, which has limits of its own (`chat.serving.body_limits`). Here a body that is
too large is refused without being read, and one that does not arrive in time is ended.
"""

import re
import time
from typing import Any

from django.conf import settings
from twisted.web import http

from chat.serving.body_limits import LINGER_S, SILENCE_S, body_limit, refusal_answer, time_limit
from chat.serving.http_pace import PacedRequest

_BEGUN = re.compile(rb"[A-Z]+ ([^ ?]{1,200})")
_WHOLE_ADDRESS = re.compile(rb"(?i)^https?://[^/?#]*/?")


class UnparsedRequest(PacedRequest):
    """A request whose body is left to the application: Twisted would parse forms itself, and fails on some of them."""

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802
        """Pass it on unparsed."""
        self.content.seek(0)
        self.args: dict[bytes, list[bytes]] = {}
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.process()


class LimitedChannel(http.HTTPChannel):  # type: ignore[misc] # untyped
    """An HTTP connection with these limits."""

    _path: bytes
    _ending: Any = None
    #: The time limit for what is arriving, while no timer runs for it yet.
    _ends_in: float | None = None
    _is_gone = False
    _limit = 0
    _received = 0
    _is_busy = False
    _is_refused = False
    _lingers_until = 0.0

    @property
    def requestFactory(self) -> type[UnparsedRequest]:  # noqa: N802
        """The class of requests."""
        return UnparsedRequest

    @requestFactory.setter
    def requestFactory(self, _: Any) -> None:  # noqa: N802
        """Ignored: daphne's factory would set its own."""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Process data. A request has to be complete some time after its first byte."""
        if self._is_refused:
            self._linger()
            return
        if self._ending is None and not self._is_busy:
            self._ends_in = settings.REQUEST_TIMEOUT_S
        super().dataReceived(data)
        self._watch()

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802
        """The request line or a header is too long: answer with an error, where Twisted would only close the connection."""
        if begun := _BEGUN.match(line):
            self._path = begun[1]
        self._refuse(431)

    def allHeadersReceived(self) -> None:  # noqa: N802
        """The headers are complete: the body may follow, unless they announce one that is too large."""
        self._received = 0
        # Clients that take the server for a proxy send the whole address, which every server has to accept (RFC 9112, 3.2.2).
        self._path = _WHOLE_ADDRESS.sub(b"/", self._path)
        self._limit = body_limit(self._path.decode("latin1"))
        if self.length is not None and self.length > self._limit:
            self._refuse(413)
            return
        expected = self._limit if self.length is None else self.length
        self._ends_in = time_limit(expected)
        super().allHeadersReceived()

    def rawDataReceived(self, data: bytes) -> None:  # noqa: N802
        """Process a piece of the body, up to the limit; or data that are sent while a request is being answered."""
        if self._is_refused:
            return
        if not self._is_busy:
            self._received += len(data)
            # The last piece may contain the beginning of the next request.
            if self.length is None and self._received > self._limit:
                self._refuse(413)
                return
        super().rawDataReceived(data)

    def allContentReceived(self) -> None:  # noqa: N802
        """The request is complete."""
        if self._is_refused:
            return
        self._is_busy = True
        self._ends_in = None
        self._forget_ending()
        super().allContentReceived()

    def requestDone(self, request: Any) -> None:  # noqa: N802
        """The request is answered; the next one may come."""
        self._is_busy = False
        super().requestDone(request)
        self._watch()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        """The connection is closed."""
        self._is_gone = True
        self._forget_ending()
        super().connectionLost(reason)

    def _watch(self) -> None:
        """Start a timer for an incomplete request; most are complete at once, and need none."""
        ends_in, self._ends_in = self._ends_in, None
        if ends_in is not None and not self._is_busy and not self._is_gone:
            self._end_in(ends_in)

    def _end_in(self, seconds: float) -> None:
        self._forget_ending()
        self._ending = self.callLater(seconds, self._time_out)

    def _forget_ending(self) -> None:
        ending, self._ending = self._ending, None
        if ending is not None and ending.active():
            ending.cancel()

    def _time_out(self) -> None:
        self._ending = None
        self._refuse(408)

    def _refuse(self, status: int) -> None:
        """Answer with an error, drop what has arrived, and read no more of it than is needed for the client to see the answer."""
        self._is_refused = True
        self._ends_in = None
        self._forget_ending()
        for request in self.requests:
            if request.content is not None:
                request.content.close()
        path = getattr(self, "_path", b"/").decode("latin1")
        reason, kind, body = refusal_answer(status, path)
        head = (
            f"Server: thinkaloud\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            "X-Content-Type-Options: nosniff\r\n\r\n"
        )
        self.transport.write(b"HTTP/1.1 %d %s\r\n" % (status, reason) + head.encode() + body)
        self._lingers_until = time.monotonic() + LINGER_S
        self._linger()

    def _linger(self) -> None:
        self._forget_ending()
        left = self._lingers_until - time.monotonic()
        self._ending = self.callLater(max(0, min(SILENCE_S, left)), self.transport.abortConnection)
