"""Frames of the WebSocket protocol, encoded once per event for all sockets that get it, and compressed if that pays off."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept

#: Frames of at least so many bytes are compressed for clients that accept it; below, that costs more than it saves.
COMPRESS_FROM = 4096
_WINDOW_BITS = zlib.MAX_WBITS
_COMPRESSED = 0x40
_TEXT = 0x81
_LENGTH_IN_2_BYTES, _LENGTH_IN_8_BYTES = 126, 127
# The end of a compressed message, which RFC 7692 requires to be left out.
_EMPTY_BLOCK = b"\x00\x00\xff\xff"


@dataclass(slots=True)
class Frame:
    """An event's text, encoded once for all sockets that get it."""

    text: str
    plain: bytes
    _deflated: bytes = field(default=b"")

    @classmethod
    def of(cls, text: str) -> "Frame":
        """The frame of a text."""
        return cls(text, _framed(text.encode()))

    def under(self, compression: Any) -> bytes:
        """The bytes for a socket that has negotiated this compression, or None."""
        if len(self.plain) < COMPRESS_FROM or compression is None:
            return self.plain
        return self._compressed() if compression.server_max_window_bits == _WINDOW_BITS else self.plain

    def _compressed(self) -> bytes:
        """The frame compressed by RFC 7692, without reference to earlier frames."""
        if not self._deflated:
            compressor = zlib.compressobj(wbits=-_WINDOW_BITS)
            data = compressor.compress(self.text.encode()) + compressor.flush(zlib.Z_SYNC_FLUSH)
            framed = _framed(data.removesuffix(_EMPTY_BLOCK))
            self._deflated = bytes([framed[0] | _COMPRESSED]) + framed[1:]
        return self._deflated


def _framed(payload: bytes) -> bytes:
    """An unmasked text frame (RFC 6455, 5.2). Autobahn's `PreparedMessage` also makes parts of it that only older protocols need."""
    length = len(payload)
    if length < _LENGTH_IN_2_BYTES:
        return bytes((_TEXT, length)) + payload
    if length < 1 << 16:
        return bytes((_TEXT, _LENGTH_IN_2_BYTES)) + length.to_bytes(2, "big") + payload
    return bytes((_TEXT, _LENGTH_IN_8_BYTES)) + length.to_bytes(8, "big") + payload


def accept_deflate(offers: Sequence[Any]) -> PerMessageDeflateOfferAccept | None:
    """Accept compression without a context that either side would have to keep, if the client offers that."""
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer) and offer.accept_no_context_takeover:
            return PerMessageDeflateOfferAccept(  # type: ignore[no-untyped-call]
                offer, request_no_context_takeover=True, no_context_takeover=True
            )
    return None
