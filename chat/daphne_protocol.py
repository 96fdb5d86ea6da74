"""A WebSocket of daphne's that costs less: frames made once per event, written at once, and compressed where that pays."""

import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from autobahn.websocket.protocol import PreparedMessage
from daphne.ws_protocol import WebSocketProtocol

#: Bytes from which on a frame is compressed for clients that can take it: below, compressing costs more than it saves.
COMPRESS_FROM = 4096
_WINDOW_BITS = zlib.MAX_WBITS
_COMPRESSED = 0x40
# What a frame's end would say, by RFC 7692 left out.
_EMPTY_BLOCK = b"\x00\x00\xff\xff"
#: Frames that follow one another as fast as this are one burst, which goes out together.
_BURST_S = 0.001


@dataclass(slots=True)
class _Frame:
    """An event's text, framed once for all the sockets it goes to."""

    text: str = ""
    plain: bytes = b""
    _deflated: bytes = field(default=b"")

    @classmethod
    def of(cls, text: str) -> "_Frame":
        return cls(text, _framed(text.encode()))

    @property
    def is_large(self) -> bool:
        return len(self.plain) >= COMPRESS_FROM

    @property
    def deflated(self) -> bytes:
        """As RFC 7692 has it, by itself: nothing of it refers to an earlier frame."""
        if not self._deflated:
            compressor = zlib.compressobj(wbits=-_WINDOW_BITS)
            data = compressor.compress(self.text.encode()) + compressor.flush(zlib.Z_SYNC_FLUSH)
            framed = _framed(data.removesuffix(_EMPTY_BLOCK))
            self._deflated = bytes([framed[0] | _COMPRESSED]) + framed[1:]
        return self._deflated


def _framed(payload: bytes) -> bytes:
    framed: bytes = PreparedMessage(payload, isBinary=False, applyMask=False, doNotCompress=True).payloadHybi
    return framed


class Protocol(WebSocketProtocol):  # type: ignore[misc] # untyped
    """Daphne's, but for how it sends; and an Origin that cannot be parsed is refused with 403, as others that are not ours."""

    #: The last event's: those who are sent the same are sent it one after the other, and are handed the same object.
    _frame: ClassVar[_Frame] = _Frame()

    def connectionMade(self) -> None:  # noqa: N802
        """Begin a handshake."""
        super().connectionMade()
        self.perMessageCompressionAccept = _accepted
        self._sent_at = 0.0

    def serverSend(self, content: Any, binary: bool = False) -> None:  # noqa: N802
        """Send a frame."""
        if binary or self.state != self.STATE_OPEN:
            super().serverSend(content, binary)
            return
        frame = Protocol._frame
        if content is not frame.text:
            frame = Protocol._frame = _Frame.of(content)
        pmce = self._perMessageCompress
        if frame.is_large and pmce is not None and pmce.server_max_window_bits == _WINDOW_BITS:
            self._put(frame.deflated)
        else:
            self._put(frame.plain)

    def _put(self, framed: bytes) -> None:
        """Write at once where nothing waits to be written: to be told when the socket can take it costs more than the writing."""
        now, transport = time.monotonic(), self.transport
        sent = 0
        if now - self._sent_at > _BURST_S and not transport.dataBuffer and not transport._tempDataLen:  # noqa: SLF001
            written = transport.writeSomeData(framed)
            # Anything but a number says that the connection is lost, which the reactor finds out by itself.
            sent = written if isinstance(written, int) else 0
        self._sent_at = now
        if sent < len(framed):
            self.sendData(framed[sent:])

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803
        """Take a client's frame."""
        if self._perMessageCompress is not None:
            # Each message begins a new one anyway; kept till then, it would be most of an idle socket's memory.
            self._perMessageCompress._decompressor = None  # noqa: SLF001
        super().onMessage(payload, isBinary)

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:  # noqa: N802, N803
        """Answer a handshake that the protocol refuses before the application sees it."""
        super().failHandshake(reason, 403 if "origin" in reason.lower() else code, responseHeaders)


def _accepted(offers: Sequence[Any]) -> PerMessageDeflateOfferAccept | None:
    """Compression without a memory on either side, if the client offers that."""
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer) and offer.accept_no_context_takeover:
            return PerMessageDeflateOfferAccept(  # type: ignore[no-untyped-call]
                offer, request_no_context_takeover=True, no_context_takeover=True
            )
    return None
