"""Connections to model servers: a POST over HTTP/1.1, and its answer as it comes off the network.

Servers send every token as a chunk of its own, and general clients handle chunks one by one, which under load cost more than all that
is done with the tokens. Here httptools takes a read apart at one go, and what it held is one piece for whoever reads.

Aiohttp's client was measured in its place, with its parser in C, by turns with this one: there each chunk passes three functions of
Python's, and what waited in a pause comes by the event loop. 100 streams of 50 tokens a second, paused as under load, took 17.0 ms of
CPU for 1,000 tokens instead of 10.2; the whole product, 120 sessions at 40 tokens a second, 0.067 to 0.093 s instead of 0.045 to 0.073
on a busy machine.
"""

import asyncio
import contextlib
import functools
import ipaddress
import os
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import aiohappyeyeballs
import httptools
from yarl import URL

from agents.addresses import mask_address
from agents.proxies import Proxy, UnusableProxy, accepts_passage, proxy_for, refusal_of
from agents.sentence import Sentence
from agents.tools.special_addresses import is_public

# Servers close idle connections, the strictest after 5 s; a request sent just then would fail.
_KEEPALIVE_S = 4.0
# How long to wait before a name's next address is tried as well (RFC 8305).
_NEXT_ADDRESS_S = 0.25
#: Bytes that may wait to be read before no more are taken from the network.
_MOST_WAITING = 1 << 18
#: Bytes that one reading takes from the network.
_PIECE = 1 << 16
#: How many bytes may come without any of a body: headers, trailers, chunk sizes.
_MOST_ASIDE = 1 << 16
_PORTS = {"http": 80, "https": 443}

#: Scheme, host and port, and whether the host must not have an address in a private network.
_Place = tuple[str, str, int, bool]


class Unreachable(OSError):
    """No connection could be made, or the address is not valid."""


class ProxyRefused(Unreachable):
    """The proxy of the environment refuses to connect. ``message`` is a sentence for people."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class CutOff(ConnectionError):
    """The connection ended before the answer was complete."""


class Unanswered(CutOff):
    """The connection ended before any byte of the answer arrived."""


class Connection(asyncio.Protocol):
    """A connection with the answer to its current request. Callers must `close` it in any case."""

    def __init__(self, idle: "_Idle", place: _Place) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        """With lower-case names; of those sent twice the last."""
        self._idle = idle
        self._place = place
        self._pieces: list[bytes] = []
        #: The parser calls this for each piece of a body: a method in C, so that no Python runs.
        self.on_body = self._pieces.append
        self._parser: httptools.HttpResponseParser | None = None
        self._waiting = self._aside = 0
        self._ends_with_connection = self._is_whole = self._may_go_on = False
        self._has_received = False
        self._error: Exception | None = None
        self._is_paused = False
        self._file: int | None = None
        self._reader: asyncio.Future[None] | None = None
        self._expiry: asyncio.TimerHandle | None = None

    # -- for callers ------------------------------------------------------------------------------

    async def ask(self, request: bytes) -> None:
        """Send a request and wait for the head of its answer. Raises `CutOff`, or `ValueError` for an answer that is not HTTP."""
        if self._expiry is not None:
            self._expiry.cancel()
        self.status = self._waiting = self._aside = 0
        self.headers.clear()
        self._is_whole = self._has_received = False
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True)
        self._transport.write(request)
        while not self.status:
            await self._more()

    async def read(self) -> bytes:
        """The body received since the last call; waits if there is none, and is empty at the end. Raises as `ask` does."""
        if self._is_paused:
            self._catch_up()
        if not self._pieces:
            self._is_paused = False
            self._transport.resume_reading()
        while not self._pieces:
            if self._is_whole:
                return b""
            await self._more()
        return self._pop_pieces()

    def read_now(self) -> bytes:
        """What a paused connection can read without waiting; empty if that is nothing. It stays paused."""
        self._catch_up()
        return self._pop_pieces()

    def _pop_pieces(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._waiting = 0
        return data

    def pause(self) -> None:
        """Stop reading from the network until the next `read`."""
        self._is_paused = True
        self._transport.pause_reading()

    def _catch_up(self) -> None:
        """Read what is available without waiting for the event loop's notification, which costs more than reading."""
        if self._file is not None and not self._transport.is_closing():
            try:
                data = os.read(self._file, _PIECE)
            except OSError:  # nothing available; the transport reports other errors
                return
            if data:
                self.data_received(data)

    def close(self) -> None:
        """Keep the connection for the next request if its answer was read completely; otherwise end it immediately."""
        if self._is_whole and self._may_go_on and self._error is None:
            self._parser = None
            self._pieces.clear()
            self._idle.add(self._place, self)
            self._expiry = asyncio.get_running_loop().call_later(_KEEPALIVE_S, self.abort)
        else:
            self.abort()

    def abort(self) -> None:
        """End the connection immediately."""
        self._idle.discard(self._place, self)
        self._transport.abort()

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        self._reader = asyncio.get_running_loop().create_future()
        await self._reader

    # -- called by the event loop -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is established."""
        self._transport = cast(asyncio.Transport, transport)
        network = self._transport.get_extra_info("socket")
        network.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # With TLS, only the transport can read from the network.
        self._file = network.fileno() if self._transport.get_extra_info("ssl_object") is None else None

    def data_received(self, data: bytes) -> None:
        """Parse received bytes."""
        if self._parser is None:  # data without a request
            self.abort()
            return
        self._has_received = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(ValueError(f"no HTTP: {error}"))
            return
        self._waiting += len(data)
        self._aside = 0 if self._pieces else self._aside + len(data)
        if self._aside > _MOST_ASIDE:
            self._fail(ValueError("an answer without a body, and without end"))
        elif self._waiting > _MOST_WAITING:
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection ended, which completes answers without a length."""
        self._idle.discard(self._place, self)
        if self.status and self._ends_with_connection and error is None:
            self._is_whole = True
        ended = CutOff if self._has_received else Unanswered
        self._error = self._error or ended(str(error or "closed by the server"))
        self._parser = None
        self._wake()

    def _fail(self, error: Exception) -> None:
        self._error = error
        self.abort()
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    # -- called by the parser ---------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """An answer begins; a second one is an error."""
        if self._is_whole:
            raise ValueError("the server sent two answers to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header; trailers are ignored."""
        if not self.status:
            self.headers[name.decode("latin1").lower()] = value.decode("latin1")

    def on_headers_complete(self) -> None:
        """The head is complete, unless it is an interim response."""
        status = cast(Any, self._parser).get_status_code()
        if status < 200:
            self.headers.clear()
            return
        self.status = status
        self._ends_with_connection = not self.headers.keys() & {"content-length", "transfer-encoding"}

    def on_message_complete(self) -> None:
        """The answer is complete."""
        if self.status:
            self._is_whole = True
            self._may_go_on = cast(Any, self._parser).should_keep_alive()


class _Idle:
    """The idle connections of one event loop."""

    def __init__(self) -> None:
        self._by_place: dict[_Place, list[Connection]] = {}

    def add(self, place: _Place, connection: Connection) -> None:
        self._by_place.setdefault(place, []).append(connection)

    def pop(self, place: _Place) -> Connection | None:
        """The connection that was used last, which is the least likely to be closed soon."""
        found = self._by_place.get(place)
        if not found:
            return None
        connection = found[-1]
        self.discard(place, connection)
        return connection

    def discard(self, place: _Place, connection: Connection) -> None:
        found = self._by_place.get(place, [])
        if connection in found:
            found.remove(connection)
            if not found:
                del self._by_place[place]

    def close(self) -> None:
        for connection in [each for found in self._by_place.values() for each in found]:
            connection.abort()


_idle: dict[asyncio.AbstractEventLoop, tuple[_Idle, AsyncIterator[None]]] = {}


async def _idle_here() -> _Idle:
    """The idle connections of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _idle:
        lifetime = _lifetime(loop)
        _idle[loop] = (_Idle(), lifetime)
        await anext(lifetime)
    return _idle[loop][0]


async def _lifetime(loop: asyncio.AbstractEventLoop) -> AsyncIterator[None]:
    """Closes idle connections with the event loop: loops close the async generators that were started in them."""
    try:
        yield
    finally:
        _idle.pop(loop)[0].close()


async def post(
    url: str, headers: Mapping[str, str], body: bytes, *, connect_s: float, public_only: bool = False
) -> Connection:
    """Post a body; returns when the head of the answer is there. Raises `Unreachable` where nothing answers within ``connect_s``.

    Redirects are not followed: one would carry the key elsewhere. Where a connection that was kept ends before any byte of an answer,
    a new one is asked, once. ``public_only``: a host that stands for an address in a private network is not reached.
    """
    headers = {**headers, "Content-Length": str(len(body))}
    return await _send("POST", _address(url), headers, body, connect_s, public_only=public_only)


async def get(url: str, headers: Mapping[str, str], *, connect_s: float, public_only: bool = False) -> Connection:
    """Send a GET request; arguments and errors as for `post`."""
    return await _send("GET", _address(url), headers, b"", connect_s, public_only=public_only)


async def _send(
    method: str, address: URL, headers: Mapping[str, str], body: bytes, connect_s: float, *, public_only: bool
) -> Connection:
    proxy = _proxy_for(address)
    request = _head(method, address, headers, proxy) + body
    idle = await _idle_here()
    place = (address.scheme, address.raw_host or "", address.port or 0, public_only)
    kept = idle.pop(place)
    if kept is not None:
        with contextlib.suppress(Unanswered):
            return await _asked(kept, request)
        # The server had closed it meanwhile.
    return await _asked(await _connect(idle, place, proxy, connect_s), request)


async def _asked(connection: Connection, request: bytes) -> Connection:
    try:
        await connection.ask(request)
    except BaseException:
        connection.abort()
        raise
    return connection


def _address(url: str) -> URL:
    try:
        address = URL(url)
    except ValueError as error:
        raise Unreachable(f"it is not a valid address: {error}") from error
    if address.scheme not in _PORTS or not address.raw_host:
        raise Unreachable("it is not the address of a web server")
    return address


def _proxy_for(address: URL) -> Proxy | None:
    try:
        return proxy_for(address.scheme, address.raw_host or "", address.port or 0)
    except UnusableProxy as error:
        raise ProxyRefused(error.args[0]) from error


def _head(method: str, address: URL, headers: Mapping[str, str], proxy: Proxy | None) -> bytes:
    host = f"[{address.raw_host}]" if ":" in (address.raw_host or "") else address.raw_host
    port = "" if address.port == _PORTS[address.scheme] else f":{address.port}"
    lines = {"Host": f"{host}{port}", "User-Agent": "Thinkaloud", **headers}
    if address.user is not None and "Authorization" not in headers:
        proof = b64encode(f"{address.user}:{address.password or ''}".encode()).decode()
        lines["Authorization"] = f"Basic {proof}"
    target = address.raw_path_qs
    if proxy is not None and address.scheme == "http":
        # A proxy needs the whole address; with TLS, only a tunnel is requested from it.
        target = f"http://{host}{port}{target}"
        if proxy.authorization:
            lines["Proxy-Authorization"] = proxy.authorization
    if any(sign in value for value in lines.values() for sign in "\r\n\0"):
        raise ValueError("a header with a line break in it")
    fields = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {target} HTTP/1.1\r\n{fields}\r\n".encode()


async def _connect(idle: _Idle, place: _Place, proxy: Proxy | None, connect_s: float) -> Connection:
    scheme, host, port, public_only = place
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(connect_s):
            addresses = await (_addresses(proxy.host, proxy.port) if proxy else _addresses(host, port))
            if public_only and proxy is None:
                addresses = [
                    found for found in addresses if is_public(ipaddress.ip_address(found[4][0].partition("%")[0]))
                ]
                if not addresses:
                    raise Unreachable("an address in a private network")
            # asyncio's own way of trying several addresses leaks a connection if it is cancelled while it connects.
            network = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S)
            if proxy is not None and scheme == "https":
                await _pass_through(network, proxy, host, port)
            _, connection = await loop.create_connection(
                lambda: Connection(idle, place),
                sock=network,
                ssl=tls_context() if scheme == "https" else None,
                server_hostname=host if scheme == "https" else None,
            )
    except ProxyRefused:
        raise
    except (OSError, UnicodeError) as error:
        if proxy is not None:
            raise ProxyRefused(
                Sentence("The proxy at %(address)s does not answer, or not in time.", address=mask_address(proxy.url))
            ) from error
        raise Unreachable(str(error)) from error
    return connection


async def _pass_through(network: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Have the proxy open a tunnel. What follows its answer comes from the server, which does not speak first."""
    loop = asyncio.get_running_loop()
    answer = b""
    try:
        await loop.sock_sendall(network, proxy.connect_request(host, port))
        while (
            b"\r\n\r\n" not in answer and len(answer) < _MOST_ASIDE and (data := await loop.sock_recv(network, 4_096))
        ):
            answer += data
        if not accepts_passage(answer):
            raise ProxyRefused(
                Sentence(
                    "The proxy at %(address)s does not lead to the model server%(reason)s.",
                    address=mask_address(proxy.url),
                    reason=refusal_of(answer),
                )
            )
    except BaseException:
        network.close()
        raise


async def _addresses(host: str, port: int) -> list[Any]:
    """The addresses of a host name; an IP address is used as it is, without a thread for resolving."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Cached, because loading the certificates of all authorities takes about ten milliseconds."""
    return ssl.create_default_context()
