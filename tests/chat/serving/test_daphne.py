"""Daphne's side of a socket: configured as its factory says."""

import asyncio
import logging
import socket
from typing import Any

import pytest
from autobahn.websocket import protocol as autobahn
from daphne.ws_protocol import WebSocketFactory
from twisted.internet.testing import StringTransport

from chat.serving import daphne
from chat.serving.daphne import DaphneServer, DaphneSocket
from chat.serving.frames import accept_deflate


class Server:
    """The part of the server that a newly connected socket uses."""

    root_path = ""
    websocket_timeout = 3600
    ping_interval = 20
    ping_timeout = 30


class Network(StringTransport):
    """A transport that accepts everything at once."""

    dataBuffer = b""  # noqa: N815 - Twisted's name
    _tempDataLen = 0  # noqa: N815 - Twisted's name

    def writeSomeData(self, data: bytes) -> int:  # noqa: N802 - Twisted's name
        """Accept all of it."""
        self.write(data)
        return len(data)


class Channel:
    """The HTTP connection before it became a socket."""


@pytest.fixture
def worded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Whatever Autobahn formats for its log."""
    words: list[Any] = []
    monkeypatch.setattr(autobahn, "pformat", words.append)
    return words


def test_a_socket_has_the_options_of_its_factory_and_nobody_words_them(worded: list[Any]) -> None:
    factory = WebSocketFactory(Server(), server="Daphne")
    factory.setProtocolOptions(maxFramePayloadSize=12_345, openHandshakeTimeout=3, autoPingInterval=7)
    factory.protocol = DaphneSocket
    DaphneSocket.adopt_options(factory)
    socket, transport = factory.buildProtocol(None), StringTransport()
    transport.registerProducer(Channel(), True)
    socket.makeConnection(transport)
    options = autobahn.WebSocketServerProtocol.CONFIG_ATTRS
    assert len(options) > 20
    differing = {name for name in options if getattr(socket, name) != getattr(factory, name)}
    assert differing == {"perMessageCompressionAccept"}
    assert socket.perMessageCompressionAccept is accept_deflate
    assert (socket.maxFramePayloadSize, socket.openHandshakeTimeout, socket.autoPingInterval) == (12_345, 3, 7)
    # Attributes of the class, shared by all sockets.
    assert not set(options) & set(vars(socket))
    assert worded == [[]]


@pytest.fixture
async def opened() -> DaphneSocket:
    """A socket after its handshake."""
    factory = WebSocketFactory(Server(), server="Daphne")
    factory.protocol = DaphneSocket
    DaphneSocket.adopt_options(factory)
    socket, network = factory.buildProtocol(None), Network()
    network.registerProducer(Channel(), True)
    socket.makeConnection(network)
    socket.server, socket.socket_opened = Server(), daphne.time.time()
    socket.state, socket.current_frame, socket.websocket_version = socket.STATE_OPEN, None, 13
    return socket


def _look(socket: DaphneSocket, times: int) -> bytes:
    """Call the periodic check this many times; returns what the client was sent."""
    socket.transport.clear()
    for _ in range(times):
        socket.check_timeouts()
    return bytes(socket.transport.value())


async def test_a_client_that_says_nothing_is_pinged_and_dropped_where_it_does_not_answer(opened: DaphneSocket) -> None:
    assert _look(opened, 10) == b""  # twenty seconds
    assert _look(opened, 15) == b"\x89\x00"  # once, however long the answer takes
    assert not opened.transport.disconnecting
    _look(opened, 1)  # thirty seconds more
    assert opened.state == opened.STATE_CLOSED
    assert opened.transport.disconnected


async def test_frames_are_sent_at_once_and_in_one_piece_while_the_network_takes_them(opened: DaphneSocket) -> None:
    opened.transport.clear()
    long, longest = "x" * 300, "x" * 70_000
    assert opened.send_now('{"a":1}', long)
    assert opened.transport.value() == b'\x81\x07{"a":1}' + b"\x81\x7e\x01\x2c" + long.encode()
    opened.transport.clear()
    opened.pauseProducing()
    assert not opened.send_now("held up")
    opened.resumeProducing()
    assert opened.send_now(longest)
    opened.sendClose(1000)
    assert not opened.send_now("after the end")
    assert opened.transport.value() == (
        b"\x81\x7f" + len(longest).to_bytes(8, "big") + longest.encode() + b"\x88\x02\x03\xe8"
    )


async def test_any_word_of_a_client_is_an_answer(opened: DaphneSocket) -> None:
    for _ in range(3):
        assert _look(opened, 11) == b"\x89\x00"
        opened.dataReceived(b"\x8a\x80\x00\x00\x00\x00")  # a pong
    assert _look(opened, 10) == b""
    opened.dataReceived(b"\x81")  # the beginning of a frame
    assert _look(opened, 10) == b""
    assert opened.state == opened.STATE_OPEN


class Request:
    """A connection with an application, as the server knows it."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    def handle_exception(self, error: BaseException) -> None:
        """Record the error that the client would get."""
        self.errors.append(error)


class Applications:
    """An application that ends when it is told to, or fails."""

    def __init__(self) -> None:
        self.end = asyncio.Event()
        self.error: Exception | None = None
        self.is_cancelled = False

    async def __call__(self, _scope: Any, _receive: Any, _send: Any) -> None:
        """Wait for the end."""
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise
        if self.error is not None:
            raise self.error


def _serving(application: Applications) -> tuple[DaphneServer, Request]:
    with socket.socket() as listener:
        server, request = DaphneServer(application, listener), Request()
    server.connections = {}
    server.protocol_connected(request)
    assert server.create_application(request, {}) is not None
    return server, request


async def _settle() -> None:
    """Let a task end, and its callbacks run."""
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize("leaves_first", [True, False])
async def test_a_connection_is_forgotten_once_it_and_its_application_are_gone(*, leaves_first: bool) -> None:
    application = Applications()
    server, request = _serving(application)
    if leaves_first:
        server.protocol_disconnected(request)
    else:
        application.end.set()
    await _settle()
    assert request in server.connections
    application.end.set()
    server.protocol_disconnected(request)
    server.protocol_disconnected(request)  # as daphne does
    await _settle()
    assert not server.connections


async def test_an_error_in_an_application_is_sent_to_a_connected_client(caplog: pytest.LogCaptureFixture) -> None:
    application = Applications()
    application.error = error = ValueError("no such thing")
    _, request = _serving(application)
    application.end.set()
    with caplog.at_level(logging.ERROR):
        await _settle()
    assert request.errors == [error]
    assert "no such thing" in caplog.text


async def test_an_application_that_outlives_its_connection_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    application = Applications()
    server, request = _serving(application)
    monkeypatch.setattr(daphne, "_REAP_S", 3600)
    await _settle()
    server.protocol_disconnected(request)
    server.application_checker()
    await _settle()
    assert not application.is_cancelled
    monkeypatch.setattr(server, "application_close_timeout", -1)
    server.application_checker()
    await _settle()
    assert application.is_cancelled
    assert not server.connections
