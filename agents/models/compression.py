"""Decompresses bodies that come compressed although the request did not accept it: some gateways do that."""

import asyncio
import sys
import zlib
from collections.abc import Callable
from typing import Protocol

import brotli

from agents.errors import ModelError
from agents.models.http import Connection, CutOff
from agents.sentence import Sentence

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_PIECE = 1 << 16
#: Bytes that an answer may be decompressed to: a small body may expand to gigabytes.
MOST_UNPACKED = 128 << 20
_MOST_CODINGS = 3
#: The largest window of a stream, as a power of two; RFC 9659 allows HTTP no more.
_ZSTD_WINDOW = 23


class _Unpacker(Protocol):
    """Decodes one coding, at most `_PIECE` bytes at a time."""

    is_whole: bool
    """Whether the data received so far may be complete."""

    def feed(self, packed: bytes) -> None:
        """Add compressed data; only after `read` has returned everything."""

    def read(self) -> bytes:
        """The next piece; empty if more data is needed first."""


class _Deflated:
    """gzip, zlib and deflate, the last with zlib's header or, against the standard, without."""

    def __init__(self) -> None:
        self.is_whole = False
        self._packed = b""
        self._inflate: zlib._Decompress | None = None
        self._bits = 0

    def feed(self, packed: bytes) -> None:
        self._packed = packed

    def read(self) -> bytes:
        while self._packed:
            if self._inflate is None:
                has_head = self._packed[0] == 0x1F or self._packed[0] & 0x0F == 8
                self._bits = self._bits or (zlib.MAX_WBITS | 32 if has_head else -zlib.MAX_WBITS)
                self._inflate = zlib.decompressobj(self._bits)
            data = self._inflate.decompress(self._packed, _PIECE)
            self._packed = self._inflate.unconsumed_tail or self._inflate.unused_data
            self.is_whole = self._inflate.eof
            if self._inflate.eof:
                self._inflate = None
            if data:
                return data
        # Data that was held back because the piece was full.
        return b"" if self._inflate is None else self._inflate.decompress(b"", _PIECE)


class _Brotli:
    def __init__(self) -> None:
        self.is_whole = False
        self._packed = b""
        self._decompressor = brotli.Decompressor()

    def feed(self, packed: bytes) -> None:
        self._packed = packed

    def read(self) -> bytes:
        packed, self._packed = self._packed, b""
        if self.is_whole and packed:
            raise ValueError("there is more after the end of the compressed body")
        data: bytes = self._decompressor.process(packed, output_buffer_limit=_PIECE) if not self.is_whole else b""
        self.is_whole = self._decompressor.is_finished()
        return data


class _Zstandard:
    def __init__(self) -> None:
        self.is_whole = False
        self._packed = b""
        self._decompressor = _zstd_decompressor()

    def feed(self, packed: bytes) -> None:
        self._packed = packed

    def read(self) -> bytes:
        while self._packed or not (self.is_whole or self._decompressor.needs_input):
            if self._decompressor.eof:
                self._decompressor = _zstd_decompressor()
            packed, self._packed = self._packed, b""
            data = self._decompressor.decompress(packed, _PIECE)
            self.is_whole = self._decompressor.eof
            if self.is_whole:
                self._packed = self._decompressor.unused_data
            if data:
                return data
        return b""


def _zstd_decompressor() -> "zstd.ZstdDecompressor":
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW})


_UNPACKERS: dict[str, Callable[[], _Unpacker]] = {
    "gzip": _Deflated,
    "x-gzip": _Deflated,
    "deflate": _Deflated,
    "br": _Brotli,
    "zstd": _Zstandard,
}


class Body:
    """The decompressed body of an answer. Raises as `Connection` does, and `ModelError` for data that cannot be decompressed."""

    def __init__(self, connection: Connection) -> None:
        self.pause = connection.pause
        self._connection = connection
        encodings = connection.headers.get("content-encoding", "").lower()
        codings = [name for each in encodings.split(",") if (name := each.strip()) not in ("", "identity")]
        unknown = [name for name in codings if name not in _UNPACKERS]
        if unknown or len(codings) > _MOST_CODINGS:
            name = (unknown or [encodings])[0][:40]
            raise ModelError(
                Sentence(
                    "The model server sent its answer compressed (%(name)s), though it was asked not to.", name=name
                )
            )
        # The coding named last was applied last.
        self._unpackers = [_UNPACKERS[name]() for name in reversed(codings)]
        self._unpacked = 0

    async def read(self) -> bytes:
        """What was received since the last call; waits if there is nothing, and is empty at the end."""
        if not self._unpackers:
            return await self._connection.read()
        while not (data := self._read_layer(len(self._unpackers))):
            packed = await self._connection.read()
            if not packed:
                if not all(each.is_whole for each in self._unpackers):
                    raise CutOff("the compressed body ends too early")
                return b""
            self._unpackers[0].feed(packed)
        self._unpacked += len(data)
        if self._unpacked > MOST_UNPACKED:
            raise ModelError(Sentence("The model server's answer was too large to read."))
        await asyncio.sleep(0)  # little data may expand to much: let other tasks run
        return data

    def read_now(self) -> bytes:
        """What can be read without waiting while reading is paused; empty if that is nothing, and always if the body is compressed."""
        return b"" if self._unpackers else self._connection.read_now()

    def _read_layer(self, layers: int) -> bytes:
        """The next piece after decoding so many layers; empty if more data is needed first."""
        if not layers:
            return b""
        unpacker = self._unpackers[layers - 1]
        try:
            while not (data := unpacker.read()):
                if not (packed := self._read_layer(layers - 1)):
                    return b""
                unpacker.feed(packed)
        except (zlib.error, zstd.ZstdError, brotli.error) as error:
            raise ValueError(f"the body is not compressed as its Content-Encoding says: {error}") from error
        return data
