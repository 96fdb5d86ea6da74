"""Limits of a request on daphne before the application sees it: size of the headers, size of the body by route, and a time for both.

Daphne stores a whole body before it asks the application, which has limits of its own (`chat.serving.body_limits`); here what is too large
is refused unread, and what doesn't end is ended.
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
    """A request whose body is the application's to read: Twisted would parse forms itself, and fails on some of them."""

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802
        """Pass it on, whole as it is."""
        self.content.seek(0)
        self.args: dict[bytes, list[bytes]] = {}
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.process()


class LimitedChannel(http.HTTPChannel):  # type: ignore[misc] # untyped
    """One HTTP connection, whose requests keep within their limits."""

    _path: bytes
    _ending: Any = None
    #: How long what is arriving may take, where no timer runs for it yet.
    _ends_in: float | None = None
    _is_gone = False
    _limit = 0
    _received = 0
    _is_busy = False
    _is_refused = False
    _lingers_until = 0.0

    @property
    def requestFactory(self) -> type[UnparsedRequest]:  # noqa: N802
        """The result of parsing a request."""
        return UnparsedRequest

    @requestFactory.setter
    def requestFactory(self, _: Any) -> None:  # noqa: N802
        """Daphne's factory would have its own."""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Take what has come; a request has to be there some time after its first byte."""
        if self._is_refused:
            self._linger()
            return
        if self._ending is None and not self._is_busy:
            self._ends_in = settings.REQUEST_TIMEOUT_S
        super().dataReceived(data)
        self._watch()

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802
        """The address, or a header, is too long: answer so, where Twisted would just close the connection."""
        if begun := _BEGUN.match(line):
            self._path = begun[1]
        self._refuse(431)

    def allHeadersReceived(self) -> None:  # noqa: N802
        """The headers are complete: the body may follow, unless they announce one that is too large."""
        self._received = 0
        # Whoever takes us for a proxy names the whole address, which every server has to understand (RFC 9112, 3.2.2).
        self._path = _WHOLE_ADDRESS.sub(b"/", self._path)
        self._limit = body_limit(self._path.decode("latin1"))
        if self.length is not None and self.length > self._limit:
            self._refuse(413)
            return
        expected = self._limit if self.length is None else self.length
        self._ends_in = time_limit(expected)
        super().allHeadersReceived()

    def rawDataReceived(self, data: bytes) -> None:  # noqa: N802
        """Take a piece of the body, up to the limit; or data that is sent while a request is being answered."""
        if self._is_refused:
            return
        if not self._is_busy:
            self._received += len(data)
            # The last piece may hold the beginning of the next request.
            if self.length is None and self._received > self._limit:
                self._refuse(413)
                return
        super().rawDataReceived(data)

    def allContentReceived(self) -> None:  # noqa: N802
        """The request is whole."""
        if self._is_refused:
            return
        self._is_busy = True
        self._ends_in = None
        self._forget_ending()
        super().allContentReceived()

    def requestDone(self, request: Any) -> None:  # noqa: N802
        """It is answered; the next one may come."""
        self._is_busy = False
        super().requestDone(request)
        self._watch()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        """The connection is gone."""
        self._is_gone = True
        self._forget_ending()
        super().connectionLost(reason)

    def _watch(self) -> None:
        """Start the clock of what has not come whole: most has, at once, and needs none."""
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
        """Answer, forget what has come, and read no more of it than the client needs to see the answer."""
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
