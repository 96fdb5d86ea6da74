"""A client that may break every rule of the protocol: it writes any bytes, and reads only when it is told to."""

import asyncio
import base64
import contextlib
import json
import os
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from tests import wire_types
from tests.serving import WAIT_S, Browser

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
#: The code for a connection that ended without a close frame.
NO_CLOSE_FRAME = 1006


def frame(
    payload: bytes | str = b"",
    opcode: int = TEXT,
    *,
    fin: bool = True,
    reserved: int = 0,
    masked: bool = True,
    length: int | None = None,
) -> bytes:
    """Build a frame, valid or not; ``length`` is the length that its header claims."""
    data = payload.encode() if isinstance(payload, str) else payload
    claimed = len(data) if length is None else length
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    mask_bit = 0x80 if masked else 0
    if claimed < 126:
        head = struct.pack("!BB", first, mask_bit | claimed)
    elif claimed < 1 << 16:
        head = struct.pack("!BBH", first, mask_bit | 126, claimed)
    else:
        head = struct.pack("!BBQ", first, mask_bit | 127, claimed)
    # A mask of zeros is as good as any.
    return head + (b"\x00" * 4 if masked else b"") + data


async def handshake(url: str, path: str, *headers: str) -> int:
    """Try a WebSocket handshake with these additional headers; returns the status of the answer."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(_request(path, *headers))
        async with asyncio.timeout(WAIT_S):
            line = await reader.readline()
        return int(line.split(b" ")[1]) if line else 0
    finally:
        writer.close()


def _request(path: str, *headers: str) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        *headers,
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


class RawSocket:
    """One connection, its handshake done."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._received = b""

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, browser: Browser, session: str, query: str = "", *, receive_buffer: int = 0, extensions: str = ""
    ) -> AsyncIterator["RawSocket"]:
        """Connect as this browser's user; with a small receive buffer, so that the server soon notices that nothing is read."""
        address = urlsplit(browser.url)
        assert address.hostname is not None
        with socket.socket() as connection:
            if receive_buffer:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connection.setblocking(False)
            raw = cls(connection)
            await raw._loop.sock_connect(connection, (address.hostname, address.port))
            headers = (
                f"Host: {address.netloc}",
                f"Origin: {browser.url}",
                f"Cookie: sessionid={browser.cookie('sessionid')}",
                *([f"Sec-WebSocket-Extensions: {extensions}"] if extensions else []),
            )
            await raw.write(_request(f"/ws/chat/{session}/{query}", *headers))
            answer = await raw._until(b"\r\n\r\n")
            assert b" 101 " in answer.split(b"\r\n")[0], answer
            yield raw

    @property
    def port(self) -> int:
        """The client's own port."""
        port: int = self._connection.getsockname()[1]
        return port

    async def write(self, data: bytes, within_s: float = WAIT_S) -> None:
        """Write these bytes."""
        async with asyncio.timeout(within_s):
            await self._loop.sock_sendall(self._connection, data)

    async def flood(self, data: bytes, *, total: int, within_s: float) -> int:
        """Write the same bytes again and again, up to a number of bytes or of seconds; returns how many were accepted."""
        sent = 0
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(within_s):
                view = memoryview(data)
                while sent < total:
                    try:
                        sent += self._connection.send(view[sent % len(data) :])
                    except BlockingIOError:
                        # With `sock_sendall` asyncio does not say how many bytes were sent.
                        await _writable(self._connection)
                    else:
                        await asyncio.sleep(0)
        return sent

    async def frame(self, within_s: float = WAIT_S) -> tuple[int, bytes]:
        """The next frame: its opcode and payload."""
        async with asyncio.timeout(within_s):
            head = await self._exactly(2)
            length = head[1] & 0x7F
            if length >= 126:
                length = int.from_bytes(await self._exactly(2 if length == 126 else 8), "big")
            return head[0] & 0x0F, await self._exactly(length)

    async def message(self, within_s: float = WAIT_S) -> dict[str, Any]:
        """Read the next message as JSON, and answer WebSocket pings that come before it."""
        while True:
            opcode, payload = await self.frame(within_s)
            if opcode == PING:
                await self.write(frame(payload, PONG))
            if opcode in (PING, PONG):
                continue
            assert opcode == TEXT, (opcode, payload)
            message: dict[str, Any] = wire_types.checked(json.loads(payload))
            return message

    async def ending(self, within_s: float = WAIT_S) -> int:
        """Read until the connection ends; returns the server's close code."""
        code = NO_CLOSE_FRAME
        try:
            async with asyncio.timeout(within_s):
                while True:
                    opcode, payload = await self.frame(within_s)
                    if opcode == CLOSE:
                        code = int.from_bytes(payload[:2], "big")
        except (ConnectionError, asyncio.IncompleteReadError):
            return code

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()

    async def _until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            await self._more()
        found, self._received = self._received.split(mark, 1)
        return found

    async def _exactly(self, length: int) -> bytes:
        while len(self._received) < length:
            await self._more()
        data, self._received = self._received[:length], self._received[length:]
        return data

    async def _more(self) -> None:
        data = await self._loop.sock_recv(self._connection, 65_536)
        if not data:
            raise asyncio.IncompleteReadError(self._received, None)
        self._received += data


async def _writable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    drained = loop.create_future()
    loop.add_writer(connection, lambda: drained.done() or drained.set_result(None))
    try:
        await drained
    finally:
        loop.remove_writer(connection)
