"""Daphne's side of a socket: set up as its factory says."""

from typing import Any

import pytest
from autobahn.websocket import protocol as autobahn
from daphne.ws_protocol import WebSocketFactory
from twisted.internet.testing import StringTransport

from chat.serving.daphne import DaphneSocket
from chat.serving.frames import accept_deflate


class Server:
    """As much of the server as a socket that was just connected knows of it."""

    root_path = ""


class Channel:
    """What the connection was before it became a socket."""


@pytest.fixture
def worded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What Autobahn puts into words for its log."""
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
    # All sockets have them together.
    assert not set(options) & set(vars(socket))
    assert worded == [[]]
