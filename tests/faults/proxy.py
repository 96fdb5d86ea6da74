"""A TCP proxy that breaks connections on command: slow, frozen, cut at a byte, reset, half closed, refused."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_AT_ONCE = 64 * 1024
#: Closing a socket with this set sends a reset instead of a proper end.
_LINGER_ZERO = struct.pack("ii", 1, 0)


class Link:
    """One connection through the proxy: from a client to the server behind it."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter, cut_after: int | None) -> None:
        self.near = near
        self.far = far
        #: How many bytes may still go to the client before the connection is cut.
        self.left = cut_after
        self.flows = asyncio.Event()
        self.flows.set()

    def freeze(self) -> None:
        """Stop passing data in either direction, without closing anything."""
        self.flows.clear()

    def thaw(self) -> None:
        """Pass the data that was held back, and go on."""
        self.flows.set()

    def close(self) -> None:
        """Close both sides with FIN."""
        for writer in (self.near, self.far):
            writer.close()

    def reset(self) -> None:
        """Close both sides with RST."""
        for writer in (self.near, self.far):
            _reset(writer)

    def half_close(self) -> None:
        """Close the side towards the client only; the server notices nothing."""
        if self.near.can_write_eof():
            self.near.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    # A socket that is already closed cannot be reset.
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    writer.transport.abort()


class Proxy:
    """Listens on a loopback port and passes data to a host and port.

    Its settings apply to connections that are opened from then on; `lines` has the open ones, each of which can be broken by itself.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.lines: list[Link] = []
        #: Connections accepted so far.
        self.accepted = 0
        #: The delay in seconds of each piece, in each direction.
        self.latency_s = 0.0
        #: After how many bytes towards the client a new connection is cut; None: never.
        self.cut_after: int | None = None
        #: New connections are accepted, but pass no data.
        self.frozen = False
        #: New connections are reset at once.
        self.refuses = False

    @classmethod
    @contextlib.asynccontextmanager
    async def before(cls, host: str, port: int) -> AsyncIterator[Self]:
        """A proxy in front of a host and port, for the length of a block."""
        proxy = cls(host, port)
        proxy._server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        try:
            yield proxy
        finally:
            proxy._server.close()
            proxy.reset()
            for task in proxy._tasks:
                task.cancel()
            await asyncio.gather(*proxy._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        """The port on which it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def instead_of(self, url: str) -> str:
        """The same URL, but through the proxy."""
        parts = urlsplit(url)
        login, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{login}{at}127.0.0.1:{self.port}"))

    def freeze(self) -> None:
        """Freeze all connections, and the ones still to be opened."""
        self.frozen = True
        for line in self.lines:
            line.freeze()

    def thaw(self) -> None:
        """Undo `freeze`."""
        self.frozen = False
        for line in self.lines:
            line.thaw()

    def reset(self) -> None:
        """Reset all open connections."""
        for line in list(self.lines):
            line.reset()

    def _accept(self, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        self.accepted += 1
        # In a task of our own: asyncio logs an error for tasks that it has made itself when they are cancelled.
        task = asyncio.create_task(self._serve(near_reader, near))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        if self.refuses:
            _reset(near)
            return
        try:
            far_reader, far = await asyncio.open_connection(self._host, self._port)
        except OSError:
            _reset(near)
            return
        line = Link(near, far, self.cut_after)
        if self.frozen:
            line.freeze()
        self.lines.append(line)
        try:
            await asyncio.gather(self._pass(near_reader, far, line), self._pass(far_reader, near, line))
        finally:
            self.lines.remove(line)
            line.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Link) -> None:
        """Pass one direction until its end. An error in one direction closes both."""
        with contextlib.suppress(OSError):
            while data := await reader.read(_AT_ONCE):
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                await line.flows.wait()
                if writer is line.near and line.left is not None:
                    data = data[: line.left]
                    line.left -= len(data)
                writer.write(data)
                await writer.drain()
                if line.left == 0:
                    break
        line.close()
