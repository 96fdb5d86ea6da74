"""Frames of the WebSocket protocol, made once per event for all the sockets it goes to, and compressed where that pays."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from autobahn.websocket.protocol import PreparedMessage

#: Bytes from which on a frame is compressed for clients that can take it: below, compressing costs more than it saves.
COMPRESS_FROM = 4096
_WINDOW_BITS = zlib.MAX_WBITS
_COMPRESSED = 0x40
# What a frame's end would say, by RFC 7692 left out.
_EMPTY_BLOCK = b"\x00\x00\xff\xff"


@dataclass(slots=True)
class Frame:
    """An event's text, framed once for all the sockets it goes to."""

    text: str = ""
    plain: bytes = b""
    _deflated: bytes = field(default=b"")

    @classmethod
    def of(cls, text: str) -> "Frame":
        """The frame of a text."""
        return cls(text, _framed(text.encode()))

    def under(self, compression: Any) -> bytes:
        """The bytes for a socket that has agreed on this compression, or on none."""
        if len(self.plain) < COMPRESS_FROM or compression is None:
            return self.plain
        return self._compressed() if compression.server_max_window_bits == _WINDOW_BITS else self.plain

    def _compressed(self) -> bytes:
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


def accept_deflate(offers: Sequence[Any]) -> PerMessageDeflateOfferAccept | None:
    """Compression without a memory on either side, if the client offers that."""
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer) and offer.accept_no_context_takeover:
            return PerMessageDeflateOfferAccept(  # type: ignore[no-untyped-call]
                offer, request_no_context_takeover=True, no_context_takeover=True
            )
    return None
