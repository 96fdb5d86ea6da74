"""Limits the size of a request's body by its route, and the time that it may take. Enforced by the application, under any server."""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from django.conf import settings

from chat.protocol import ErrorCode, error_data

#: How many bytes of a body have to arrive per second, beyond the time that any request has.
BYTES_PER_S = 64 * 1024
#: For how many seconds a refused client may go on sending, so that it reads the answer: if the connection were closed at once, the answer
#: would be lost. A client that has stopped sending for a while has read it.
LINGER_S = 2.0
SILENCE_S = 0.2
#: Bodies of routes with no higher limit than this are read before anything else is done, so that none delays others.
_READ_FIRST = 64 * 1024
_REASONS: dict[int, tuple[bytes, ErrorCode | None, str]] = {
    408: (b"Request Timeout", None, "The request took too long to arrive. Please try again."),
    413: (b"Content Too Large", "too_large", "The request is too large."),
    431: (
        b"Request Header Fields Too Large",
        "too_large",
        "The address of the request, or one of its headers, is too long.",
    ),
}

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Receive, Send], Awaitable[None]]


def body_limit(path: str) -> int:
    """The most bytes of a body for a path: by the longest prefix of it in `MAX_BODY_BYTES`."""
    limits: dict[str, int] = settings.MAX_BODY_BYTES
    path = _own_path(path)
    # A target that is no path (``OPTIONS *``, or the site's own without a slash) has the lowest limit.
    return limits[max((start for start in limits if path.startswith(start)), key=len, default="/")]


def time_limit(size: int) -> float:
    """How many seconds a request with a body of this size may take to arrive."""
    return float(settings.REQUEST_TIMEOUT_S + size / BYTES_PER_S)


def _own_path(path: str) -> str:
    """A path without the prefix below which the site is served."""
    return path.removeprefix(settings.PUBLIC_URL.path)


def refusal_answer(status: int, path: str) -> tuple[bytes, str, bytes]:
    """The answer to a request that is refused before the application sees it: the status's phrase, the content type, the body."""
    reason, code, message = _REASONS[status]
    if _own_path(path).startswith("/v1/"):
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code or "timeout"}
        error["id"] = secrets.token_hex(4)
        return reason, "application/json", orjson.dumps({"error": error})
    if code is None or not _own_path(path).startswith("/api/"):
        return reason, "text/plain; charset=utf-8", f"{message}\n".encode()
    body = orjson.dumps({"error": error_data(code, message, secrets.token_hex(4))})
    return reason, "application/json", body


class BodyLimits:
    """Passes requests to an application, and refuses those whose body is too large or does not arrive in time."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await _Request(scope, receive, send).serve(self._application)


class _Request:
    """One request, whose body is counted while it is read."""

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._limit = body_limit(scope["path"])
        self._received = 0
        self._declared: int | None = None
        self._read: deque[Message] = deque()
        self._is_whole = self._has_begun = self._is_refused = False

    async def serve(self, application: Application) -> None:
        """Have the application answer the request, or refuse it."""
        lengths = [value for name, value in self._scope["headers"] if name == b"content-length"]
        self._declared = int(lengths[0]) if lengths and lengths[0].isdigit() and len(lengths[0]) < 20 else None
        if self._declared is not None and self._declared > self._limit:
            await self._refuse(413)
            return
        self._deadline = asyncio.get_running_loop().time() + time_limit(
            self._limit if self._declared is None else self._declared
        )
        while self._limit <= _READ_FIRST and not self._is_whole and not self._is_refused:
            self._read.append(await self._next())
        if not self._is_refused:
            await application(self._scope, self.receive, self.send)

    async def receive(self) -> Message:
        """The application's ``receive``; it gets nothing more of a refused body."""
        if self._read:
            return self._read.popleft()
        return await self._receive() if self._is_whole else await self._next()

    async def send(self, message: Message) -> None:
        """Send the application's answer, unless the request was refused meanwhile."""
        if not self._is_refused:
            self._has_begun = True
            await self._send(message)

    async def _next(self) -> Message:
        if self._is_refused:
            return _GONE
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            return await self._refuse(408)
        self._received += len(message.get("body", b""))
        if self._received > self._limit:
            return await self._refuse(413)
        self._is_whole = not message.get("more_body", False)
        return message

    async def _refuse(self, status: int) -> Message:
        """Refuse the request, and read no more of the body than is needed for the client to see the answer."""
        self._is_refused = True
        if self._has_begun:
            return _GONE
        _, kind, body = refusal_answer(status, self._scope["path"])
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        until = time.monotonic() + LINGER_S
        while (left := until - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(min(SILENCE_S, left)):
                    message = await self._receive()
            except TimeoutError:
                break
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                break
        await self._send({"type": "http.response.body", "body": b""})
        return _GONE


_GONE: Message = {"type": "http.disconnect"}
