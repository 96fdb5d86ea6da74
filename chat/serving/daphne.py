"""The network's pace, kept in both directions: nobody who reads slowly, or writes fast, costs memory or others' time.

Daphne by itself buffers whatever it is given to send and whatever a client sends. Here a sender waits until the network has taken what it
was given; a client is read in small pieces, only while its earlier commands have been handled, and no more often than leaves most of the
loop's time to others. Where daphne, Autobahn or Twisted have no public way to that, a comment beside what is reached into says why.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

from autobahn.twisted import websocket as autobahn_twisted
from autobahn.websocket import protocol as autobahn_protocol
from daphne.server import Server
from daphne.ws_protocol import WebSocketProtocol

from chat.serving.backpressure import Message, MessageQueue, ReadThrottle, do_nothing
from chat.serving.frames import Frame, accept_deflate
from chat.serving.network_producer import NetworkProducer

logger = logging.getLogger(__name__)

#: How long a client has to answer a close frame.
_CLOSE_WITHIN_S = 5.0
#: What daphne knows of a connection that it knows no more.
_GONE: Mapping[str, bool] = {"disconnected": True}
#: Commands that may wait to be handled, and bytes that one of them may have, before no more are read.
_MOST_WAITING = 8
_LARGE = 64 * 1024
#: How often daphne looks at each socket, and a ping without anything in it.
_LOOK_S = 2
_PING = b"\x89\x00"
#: How often it is looked whether an application that should have ended still runs.
_REAP_S = 1
#: Frames that follow one another as fast as this are one burst, which goes out together.
_BURST_S = 0.001


for words_of in cast(tuple[Any, ...], (autobahn_twisted, autobahn_protocol)):
    # With these Autobahn words, in colours, what it would write to a log that nobody reads: ten times for each socket.
    words_of.hltype = words_of.hlval = do_nothing


class SendQueue(list[Any]):
    """What Autobahn would send later, of which there is nothing here: its own takes 760 bytes for that, in each socket."""

    __slots__ = ()

    def popleft(self) -> Any:
        """Take the first."""
        return self.pop(0)


#: What Autobahn sets in each socket, though few ever have another value there: an open one has it from its class.
_USUAL: Mapping[str, Any] = {
    **dict.fromkeys(
        (
            "closedByMe",
            "droppedByMe",
            "failedByMe",
            "wasClean",
            "wasCloseHandshakeTimeout",
            "wasMaxFramePayloadSizeExceeded",
            "wasMaxMessagePayloadSizeExceeded",
            "wasOpenHandshakeTimeout",
            "wasServerConnectionDropTimeout",
            "wasServingFlashSocketPolicyFile",
        ),
        False,
    ),
    **dict.fromkeys(
        (
            "autoPingPending",
            "autoPingPendingCall",
            "autoPingPendingSent",
            "autoPingTimeoutCall",
            "closeHandshakeTimeoutCall",
            "localCloseCode",
            "localCloseReason",
            "openHandshakeTimeoutCall",
            "protocol_to_accept",
            "remoteCloseCode",
            "remoteCloseReason",
            "trackedTimings",
            "wasNotCleanReason",
            "websocket_protocol_in_use",
        )
    ),
}
#: What it keeps of the handshake, and nobody asks for once that is over.
_OF_HANDSHAKE = frozenset(
    {
        "_wskey",
        "application_deferred",
        "http_headers",
        "http_request_data",
        "http_request_params",
        "http_request_path",
        "http_request_uri",
        "http_response_data",
        "http_status_line",
        "websocket_extensions",
        "websocket_protocols",
    }
)


class DaphneSocket(NetworkProducer, WebSocketProtocol):  # type: ignore[misc] # untyped
    """Daphne's side of one socket."""

    #: Looks at it since the client last said anything.
    _silent_looks = 0
    #: The last event's.
    _frame: ClassVar[Frame] = Frame()
    #: What Autobahn copies from its factory into each socket, and words for its log whether anybody reads that or not: half of what a
    #: socket's opening takes. Here all sockets have it together, by `adopt_options`.
    CONFIG_ATTRS: ClassVar[Sequence[str]] = ()
    perMessageCompressionAccept = staticmethod(accept_deflate)  # noqa: N815

    @classmethod
    def adopt_options(cls, factory: Any) -> None:
        """Have the options of a factory from now on."""
        for name in super().CONFIG_ATTRS:
            if name != "perMessageCompressionAccept":
                setattr(cls, name, getattr(factory, name))

    def connectionMade(self) -> None:  # noqa: N802
        """Take the connection over from the HTTP channel, which was told until now when the network takes no more."""
        super().connectionMade()
        for told in (self.is_open, self.is_closed):
            told.addCallback(do_nothing)  # else they hold the protocol, and it them
        self._intake = ReadThrottle(super().dataReceived, self.transport.pauseProducing, self.transport.resumeProducing)
        self._sent_at = 0.0
        self.transport.unregisterProducer()
        self.transport.registerProducer(self, streaming=True)

    def connectionLost(self, reason: Any = None) -> None:  # noqa: N802
        """Nobody waits for a client that has gone."""
        self._intake.end()
        self.resumeProducing()
        super().connectionLost(reason)

    def onOpen(self) -> None:  # noqa: N802
        """The handshake is over, and what it said is with the application."""
        super().onOpen()
        self.http_headers.clear()  # the application has them, too
        self.send_queue = SendQueue()
        self.__dict__ = {
            name: value
            for name, value in vars(self).items()
            if name not in _OF_HANDSHAKE and not (name in _USUAL and value is _USUAL[name])
        }

    # What the client sends

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Take what the client sent."""
        self._silent_looks = 0
        self._intake.take(data)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803
        """Put a command in the queue for the application."""
        if self._perMessageCompress is not None:
            # Each message begins a new one anyway; kept till then, it would be most of an idle socket's memory.
            self._perMessageCompress._decompressor = None  # noqa: SLF001
        super().onMessage(payload, isBinary)
        if len(payload) > _LARGE or self.application_queue.qsize() > _MOST_WAITING:
            self._intake.hold("commands")

    async def command(self) -> Message:
        """The next command, for the application."""
        message: Message = await self.application_queue.get()
        if not self.application_queue.qsize():
            self._intake.release("commands")
        return message

    def onPing(self, payload: bytes) -> None:  # noqa: N802
        """Answer, unless the client doesn't read its answers."""
        if self._drained is None:
            super().onPing(payload)

    def _closeConnection(self, abort: bool = False) -> None:  # noqa: N802
        """Close once everything is sent, or after a while: a client may never read it."""
        super()._closeConnection(abort)
        if not abort:
            asyncio.get_running_loop().call_later(_CLOSE_WITHIN_S, self.transport.abortConnection)

    def check_timeouts(self) -> None:
        """Ping a client that says nothing, and drop one that says nothing to that either.

        Counted by daphne's looks: Autobahn's way takes a timer and twenty random bytes for each ping, and a process that was stopped for a
        while would hold that against its clients.
        """
        if self.state != self.STATE_OPEN or self.duration() > self.server.websocket_timeout:
            super().check_timeouts()
            return
        self._silent_looks += 1
        since_ping = self._silent_looks * _LOOK_S - self.server.ping_interval
        if since_ping > self.server.ping_timeout:
            self.onAutoPingTimeout()
        elif 0 < since_ping <= _LOOK_S:
            self._put(_PING)

    # What it is sent

    def serverSend(self, content: Any, binary: bool = False) -> None:  # noqa: N802
        """Send a frame; those of one event come one after the other, and all are the same object, framed once."""
        if self.state == self.STATE_CLOSED:
            return  # its application has not heard of it yet
        if binary or self.state != self.STATE_OPEN:
            super().serverSend(content, binary)
            return
        frame = DaphneSocket._frame
        if content is not frame.text:
            frame = DaphneSocket._frame = Frame.of(content)
        self._put(frame.under(self._perMessageCompress))

    def _put(self, framed: bytes) -> None:
        """Write at once where nothing waits to be written: to be told when the socket can take it costs more than the writing."""
        now, transport = time.monotonic(), self.transport
        sent = 0
        if now - self._sent_at > _BURST_S and not transport.dataBuffer and not transport._tempDataLen:  # noqa: SLF001
            written = transport.writeSomeData(framed)
            # Anything but a number says that the connection is lost, which the reactor finds out by itself.
            sent = written if isinstance(written, int) else 0
        self._sent_at = now
        if sent < len(framed):
            self.sendData(framed[sent:])

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:  # noqa: N802, N803
        """Refuse an Origin that cannot be parsed with 403, as others that are not ours."""
        super().failHandshake(reason, 403 if "origin" in reason.lower() else code, responseHeaders)


for usual, value_of_most in _USUAL.items():
    setattr(DaphneSocket, usual, value_of_most)


class DaphneServer(Server):  # type: ignore[misc] # untyped
    """Daphne, whose applications wait for the network, and which can stop listening before it stops."""

    def __init__(self, application: Any, **options: Any) -> None:
        super().__init__(application, **options)
        self._port: Any = None
        #: Connections that are gone, and whose applications still run.
        self._left: set[Any] = set()

    def listen_success(self, port: Any) -> None:
        """Note where it listens, and how it was set up."""
        super().listen_success(port)
        DaphneSocket.adopt_options(self.ws_factory)
        self._port = port

    async def stop_listening(self) -> None:
        """Take no further connection; those that are open go on."""
        await self._port.stopListening().asFuture(asyncio.get_running_loop())

    async def finish_requests(self, timeout_s: float) -> None:
        """Let requests that are being answered come to their end; a thread that answers one would wait for ever for a loop that is gone."""
        answering = [
            known["application_instance"]
            for protocol, known in self.connections.items()
            if "application_instance" in known and not isinstance(protocol, DaphneSocket)
        ]
        if answering:
            await asyncio.wait(answering, timeout=timeout_s)

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> MessageQueue | None:
        """As daphne has it, with an inbox that holds less, which the application reads through its socket."""
        known = self.connections.get(protocol)
        if known is None:
            return None
        inbox = MessageQueue()
        receive = protocol.command if isinstance(protocol, DaphneSocket) else inbox.get
        scope.setdefault("asgi", {"version": "3.0"})
        running = self.application(scope, receive, functools.partial(self.handle_reply, protocol))
        known["application_instance"] = task = asyncio.ensure_future(running)
        task.add_done_callback(functools.partial(self._forget_application, protocol))
        return inbox

    def protocol_disconnected(self, protocol: Any) -> None:
        """A connection is gone; daphne may say so twice."""
        known = self.connections.get(protocol)
        if known is None or "disconnected" in known:
            return
        known["disconnected"] = time.time()
        if "application_instance" in known:
            self._left.add(protocol)
        else:
            del self.connections[protocol]

    def _forget_application(self, protocol: Any, application: "asyncio.Task[None]") -> None:
        """An application has ended, in good order or not."""
        known = self.connections[protocol]
        del known["application_instance"]
        error = None if application.cancelled() else application.exception()
        if error is not None:
            logger.error("Exception inside application: %s", error, exc_info=error)
        if "disconnected" in known:
            self._left.discard(protocol)
            del self.connections[protocol]
        elif error is not None:
            protocol.handle_exception(error)

    def application_checker(self) -> None:
        """Every second, end applications that have outlived their connections; daphne goes through all connections for that."""
        for protocol in list(self._left):
            known = self.connections[protocol]
            if time.time() - known["disconnected"] > self.application_close_timeout:
                logger.warning("The application of %r took too long to end, and was cancelled", protocol)
                known["application_instance"].cancel()
        asyncio.get_running_loop().call_later(_REAP_S, self.application_checker)

    async def handle_reply(self, protocol: Any, message: Message) -> None:
        """Pass on what the application sends; it may go on once the network has taken it."""
        if message["type"] == "websocket.send" or message.get("more_body"):
            if not self.connections.get(protocol, _GONE).get("disconnected"):
                protocol.handle_reply(message)
            if protocol.is_held_up:
                await protocol.taken()
            return
        await super().handle_reply(protocol, message)
