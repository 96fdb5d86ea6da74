"""Daphne with backpressure in both directions: a client that reads slowly or sends fast costs neither memory nor other clients' time.

Daphne by itself buffers without limit what an application sends and what a client sends. Here ``send`` waits until the network has taken
the data; and a client's data are read in small pieces, only once its earlier commands were handled, and leaving most of the event loop's
time to others. If daphne, Autobahn or Twisted have no public interface for that, a comment next to the private name says why it is
used.
"""

import asyncio
import functools
import logging
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

from autobahn.twisted import websocket as autobahn_twisted
from autobahn.websocket import protocol as autobahn_protocol
from daphne.server import Server
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet import reactor as chosen_reactor

from chat.serving.backpressure import Message, MessageQueue, ReadThrottle, do_nothing
from chat.serving.frames import Frame, accept_deflate
from chat.serving.network_producer import SEND_NOW, NetworkProducer

logger = logging.getLogger(__name__)

#: Twisted has chosen it, and its types declare few of its methods.
_reactor = cast(Any, chosen_reactor)
#: How many seconds a client has to answer a close frame.
_CLOSE_WITHIN_S = 5.0
#: Replaces daphne's record of a connection that it has dropped.
_GONE: Mapping[str, bool] = {"disconnected": True}
#: How many commands may be pending, and their size in bytes, before nothing more is read from the socket.
_MOST_WAITING = 8
_LARGE = 64 * 1024
#: How often daphne calls `check_timeouts` for each socket, in seconds; and a ping frame without a payload.
_CHECK_S = 2
_PING = b"\x89\x00"
#: How often applications are cancelled that should have ended, in seconds.
_REAP_S = 1
#: Frames that follow one another within so many seconds are sent together.
_BURST_S = 0.001


#: A frame for many sockets is the same text each time: it is encoded once for all of them.
_frame_of = functools.lru_cache(maxsize=8)(Frame.of)

for module in cast(tuple[Any, ...], (autobahn_twisted, autobahn_protocol)):
    # With these, Autobahn formats the arguments of its log calls in colours, ten times per socket, whatever its log level.
    module.hltype = module.hlval = do_nothing


class SendQueue(list[Any]):
    """Replaces Autobahn's queue of frames to send later, which stays empty here: its deque would take 760 bytes in each socket."""

    __slots__ = ()

    def popleft(self) -> Any:
        """Remove and return the first item."""
        return self.pop(0)


#: Attributes that Autobahn sets on each socket, though few ever change: an open socket has them from its class instead. That saves
#: memory of each idle socket; Autobahn has no option for it.
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
#: Attributes of the handshake that Autobahn and daphne keep but never read afterwards.
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

    #: How often it was checked since the client last sent anything.
    _silent_checks = 0
    #: Options that Autobahn copies from its factory to each socket and formats for its log: half of the CPU time of opening a socket. Here
    #: the class has them for all sockets, set by `adopt_options`.
    CONFIG_ATTRS: ClassVar[Sequence[str]] = ()
    perMessageCompressionAccept = staticmethod(accept_deflate)  # noqa: N815

    @classmethod
    def adopt_options(cls, factory: Any) -> None:
        """Use the options of a factory for all sockets that are opened from now on."""
        for name in super().CONFIG_ATTRS:
            if name != "perMessageCompressionAccept":
                setattr(cls, name, getattr(factory, name))

    def connectionMade(self) -> None:  # noqa: N802
        """Take the connection over from the HTTP channel, which was the transport's producer until now."""
        super().connectionMade()
        for deferred in (self.is_open, self.is_closed):
            deferred.addCallback(do_nothing)  # without it their result, the protocol, would be in a reference cycle
        self._intake = ReadThrottle(super().dataReceived, self.transport.pauseProducing, self.transport.resumeProducing)
        self._sent_at = 0.0
        self.transport.unregisterProducer()
        self.transport.registerProducer(self, streaming=True)

    def connectionLost(self, reason: Any = None) -> None:  # noqa: N802
        """The client has disconnected: wake whatever waits for it."""
        self._intake.end()
        self.resumeProducing()
        super().connectionLost(reason)

    def onOpen(self) -> None:  # noqa: N802
        """The handshake is over: drop the data of it that are no longer needed."""
        super().onOpen()
        self.http_headers.clear()  # the application's scope has them
        self.send_queue = SendQueue()
        self.__dict__ = {
            name: value
            for name, value in vars(self).items()
            if name not in _OF_HANDSHAKE and not (name in _USUAL and value is _USUAL[name])
        }

    # What the client sends

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Pass on bytes from the client, as fast as they may be handled."""
        self._silent_checks = 0
        self._intake.feed(data)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803
        """Put a command into the application's queue."""
        if self._perMessageCompress is not None:
            # Autobahn makes a new one for each message, and has no public way to drop it: it is most of an idle socket's memory.
            self._perMessageCompress._decompressor = None  # noqa: SLF001
        super().onMessage(payload, isBinary)
        if len(payload) > _LARGE or self.application_queue.qsize() > _MOST_WAITING:
            self._intake.hold("commands")

    async def command(self) -> Message:
        """The application's ``receive``: returns the next command. Reading resumes once none is pending."""
        message: Message = await self.application_queue.get()
        if not self.application_queue.qsize():
            self._intake.release("commands")
        return message

    def onPing(self, payload: bytes) -> None:  # noqa: N802
        """Answer, unless the client doesn't read its answers."""
        if self._drained is None:
            super().onPing(payload)

    def dropConnection(self, abort: bool = False) -> None:  # noqa: N802
        """Close once everything is sent, or after a while: the client may never read it."""
        is_open = self.state != self.STATE_CLOSED
        super().dropConnection(abort)
        if is_open and not abort:
            asyncio.get_running_loop().call_later(_CLOSE_WITHIN_S, self.transport.abortConnection)

    def check_timeouts(self) -> None:
        """Ping a silent client, and drop one that does not answer. Daphne calls this every two seconds.

        The calls are counted instead of measuring time: a process that was suspended would else drop clients for its own silence.
        Autobahn's own pings would take a timer and twenty random bytes each.
        """
        if self.state != self.STATE_OPEN or self.duration() > self.server.websocket_timeout:
            super().check_timeouts()
            return
        self._silent_checks += 1
        since_ping = self._silent_checks * _CHECK_S - self.server.ping_interval
        if since_ping > self.server.ping_timeout:
            self.onAutoPingTimeout()
        elif 0 < since_ping <= _CHECK_S:
            self._put(_PING)

    # What it is sent

    def serverSend(self, content: Any, binary: bool = False) -> None:  # noqa: N802
        """Send a frame."""
        if self.state == self.STATE_CLOSED:
            return  # its application has not received the disconnect yet
        if binary or self.state != self.STATE_OPEN:
            super().serverSend(content, binary)
            return
        self._put(_frame_of(content).under(self._perMessageCompress))

    def send_now(self, *texts: str) -> bool:
        """Send text frames in one piece without waiting; false if the socket is not open, or the network has not taken all sent before.

        The ASGI extension `SEND_NOW`: growing texts are sent so often that awaiting ``send`` for each would cost as much as sending.
        """
        if self.state != self.STATE_OPEN or self._drained is not None:
            return False
        compression = self._perMessageCompress
        self._put(b"".join([_frame_of(text).under(compression) for text in texts]))
        return True

    def _put(self, framed: bytes) -> None:
        """Write to the socket directly if its buffer is empty: having the reactor report that it is writable costs more than the write.

        Twisted's public `write` always waits for the reactor, and its interfaces do not tell whether the buffer is empty.
        """
        now, transport = time.monotonic(), self.transport
        sent = 0
        if now - self._sent_at > _BURST_S and not transport.dataBuffer and not transport._tempDataLen:  # noqa: SLF001
            written = transport.writeSomeData(framed)
            # Otherwise the connection is lost, which the reactor notices by itself.
            sent = written if isinstance(written, int) else 0
        self._sent_at = now
        if sent < len(framed):
            self.sendData(framed[sent:])

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:  # noqa: N802, N803
        """Refuse an ``Origin`` that cannot be parsed with 403, like one that is not allowed."""
        super().failHandshake(reason, 403 if "origin" in reason.lower() else code, responseHeaders)


for attribute, default in _USUAL.items():
    setattr(DaphneSocket, attribute, default)


class DaphneServer(Server):  # type: ignore[misc] # untyped
    """Daphne with backpressure for applications, and with a shutdown in steps. Call its methods on the event loop."""

    def __init__(self, application: Any, listener: socket.socket, **options: Any) -> None:
        """Serve an application on a listening socket, which stays the caller's; the other options are daphne's."""
        super().__init__(application, endpoints=[listener], **options)
        # A descriptor among daphne's own endpoints is read as one of IPv4, and addresses of IPv6 clients would be garbage.
        self.endpoints: list[Any] = []
        self._listener = listener
        self._port: Any = None
        #: Closed connections whose applications are still running.
        self._left: set[Any] = set()

    def run(self) -> None:
        """Serve until the reactor is stopped."""
        _reactor.callWhenRunning(self._listen)
        super().run()

    def _listen(self) -> None:
        self._listener.setblocking(False)
        port = _reactor.adoptStreamPort(self._listener.fileno(), self._listener.family, self.http_factory)
        self.listen_success(port)

    def listen_success(self, port: Any) -> None:
        """Keep the port, to be able to stop listening, and set the server's socket options."""
        super().listen_success(port)
        DaphneSocket.adopt_options(self.ws_factory)
        self._port = port

    async def stop_listening(self) -> None:
        """Accept no further connections; open ones stay."""
        await self._port.stopListening().asFuture(asyncio.get_running_loop())

    async def finish_requests(self, timeout_s: float) -> None:
        """Wait at most ``timeout_s`` for HTTP requests that are being answered: a thread of one would wait for ever for a stopped loop."""
        answering = [
            known["application_instance"]
            for protocol, known in self.connections.items()
            if "application_instance" in known and not isinstance(protocol, DaphneSocket)
        ]
        if answering:
            await asyncio.wait(answering, timeout=timeout_s)

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> MessageQueue | None:
        """Start a connection's application as daphne does, but with a bounded queue; a socket's application reads with `command`."""
        known = self.connections.get(protocol)
        if known is None:
            return None
        inbox = MessageQueue()
        receive = protocol.command if isinstance(protocol, DaphneSocket) else inbox.get
        scope.setdefault("asgi", {"version": "3.0"})
        if isinstance(protocol, DaphneSocket):
            scope["extensions"] = {SEND_NOW: protocol.send_now}
        running = self.application(scope, receive, functools.partial(self.handle_reply, protocol))
        known["application_instance"] = task = asyncio.ensure_future(running)
        task.add_done_callback(functools.partial(self._forget_application, protocol))
        return inbox

    def protocol_disconnected(self, protocol: Any) -> None:
        """A connection is closed; daphne may call it twice."""
        known = self.connections.get(protocol)
        if known is None or "disconnected" in known:
            return
        known["disconnected"] = time.time()
        if "application_instance" in known:
            self._left.add(protocol)
        else:
            del self.connections[protocol]

    def _forget_application(self, protocol: Any, application: "asyncio.Task[None]") -> None:
        """Forget an application that has ended, with or without an error."""
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
        """Every second, cancel applications that have outlived their connections. Daphne's own method checks every connection for that."""
        for protocol in list(self._left):
            known = self.connections[protocol]
            if time.time() - known["disconnected"] > self.application_close_timeout:
                logger.warning("The application of %r took too long to end, and was cancelled", protocol)
                known["application_instance"].cancel()
        asyncio.get_running_loop().call_later(_REAP_S, self.application_checker)

    async def handle_reply(self, protocol: Any, message: Message) -> None:
        """The application's ``send``: returns once the network has taken what was sent."""
        if message["type"] == "websocket.send" or message.get("more_body"):
            if not self.connections.get(protocol, _GONE).get("disconnected"):
                protocol.handle_reply(message)
            if protocol.is_held_up:
                await protocol.wait_drained()
            return
        await super().handle_reply(protocol, message)
