"""Bodies that come compressed, though they were asked for as they are: some gateways do it all the same."""

import zlib

from agents.errors import ModelError
from agents.models.connections import Connection, CutOff

_PIECE = 1 << 16
_UNPACKED = frozenset({"gzip", "x-gzip", "deflate"})


class Body:
    """The body of an answer as it was before it was compressed. Raises as `Connection` does, `ModelError` for what can't be unpacked."""

    def __init__(self, connection: Connection) -> None:
        self.pause = connection.pause
        self._connection = connection
        self._packed = b""
        encoding = connection.headers.get("content-encoding", "").strip().lower()
        self._inflate = _inflate() if encoding in _UNPACKED else None
        if self._inflate is None and encoding not in ("", "identity"):
            words = f"The model server sent its answer compressed ({encoding[:20]}), though it was asked not to."
            raise ModelError(words)

    async def read(self) -> bytes:
        """What has come since the last time, waiting for it if need be; nothing at the end."""
        if self._inflate is None:
            return await self._connection.read()
        while True:
            if not self._packed:
                self._packed = await self._connection.read()
                if not self._packed:
                    if not self._inflate.eof:
                        raise CutOff("compressed, and not to its end")
                    return b""
            if self._inflate.eof:
                self._inflate = _inflate()
            try:
                data = self._inflate.decompress(self._packed, _PIECE)
            except zlib.error as error:
                raise ValueError(f"compressed, but not so: {error}") from error
            self._packed = self._inflate.unconsumed_tail or self._inflate.unused_data
            if data:
                return data


def _inflate() -> "zlib._Decompress":
    return zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip's header, or zlib's
