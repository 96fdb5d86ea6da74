"""The network's pace, kept in both directions on both servers: nobody who reads slowly, or writes fast, costs memory or others' time.

Daphne by itself buffers whatever it is given to send and whatever a client sends; uvicorn waits for a reader, but for ever, and answers
every protocol ping. Here a sender waits until the network has taken what it was given; a client is read in small pieces, only while
its earlier commands have been taken up, and no more often than leaves most of the loop's time to others.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, ClassVar, cast

from daphne.server import Server
from daphne.ws_protocol import WebSocketProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame as ReceivedFrame

from chat.serving.framing import Frame, accepted

Message = MutableMapping[str, Any]

_PIECE = 4096
#: Time of the loop that one reading may take, and how many times as long is rested after one that took more.
_BRIEF_S = 0.002
_REST = 4
#: Commands that may wait to be taken up before no more are read.
_MOST_WAITING = 8
_LARGE = 64 * 1024
#: Frames that follow one another as fast as this are one burst, which goes out together.
_BURST_S = 0.001
#: How long a client has to answer a close frame.
_CLOSE_WITHIN_S = 5.0
#: What daphne knows of a connection that it knows no more.
_GONE: Mapping[str, bool] = {"disconnected": True}
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Intake:
    """What one connection has brought, handed to its protocol piece by piece while nothing speaks against it."""

    __slots__ = ("_against", "_gone", "_pause", "_paused", "_read", "_reading", "_resume", "_waiting")

    #: When the loop has rested from all that took long, whichever connection it came from.
    _rested_at: ClassVar[float] = 0.0

    def __init__(self, read: Callable[[bytes], None], pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._read = read
        self._pause = pause
        self._resume = resume
        self._waiting = bytearray()
        self._against: set[str] = set()
        self._paused = False
        self._reading = False
        self._gone = False

    def take(self, data: bytes) -> None:
        """Read what has come, now or later."""
        self._waiting += data
        self._go_on()

    def hold(self, reason: str) -> None:
        """Read no more until this reason is gone."""
        self._against.add(reason)
        if not self._reading:
            self._go_on()

    def release(self, reason: str) -> None:
        """The reason is gone."""
        self._against.discard(reason)
        if not self._reading:
            self._go_on()

    def end(self) -> None:
        """The connection is gone, and with it what it had brought and who was to have it."""
        self._gone = True
        self._waiting.clear()
        self._read = self._pause = self._resume = _nobody

    def _go_on(self) -> None:
        self._reading = True
        # This thread's own time: what the machine gives to others meanwhile is nobody's fault.
        began = time.thread_time()
        try:
            while self._waiting and not self._against:
                piece = bytes(self._waiting[:_PIECE])
                del self._waiting[:_PIECE]
                self._read(piece)
                took = time.thread_time() - began
                if took > _BRIEF_S:
                    self._rest(took)
        finally:
            self._reading = False
        wants_pause = bool(self._against)
        if wants_pause != self._paused and not self._gone:
            self._paused = wants_pause
            (self._pause if wants_pause else self._resume)()

    def _rest(self, took: float) -> None:
        loop = asyncio.get_running_loop()
        Intake._rested_at = max(Intake._rested_at, loop.time()) + _REST * took
        self._against.add("rest")
        loop.call_at(Intake._rested_at, self.release, "rest")


def _nobody(*_: object) -> None:
    """Stand in for a protocol that is gone."""


class Inbox:
    """What a connection has brought, in line for its application: all of `asyncio.Queue` that daphne uses, in a fifth of the memory."""

    __slots__ = ("_messages", "_reader")

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._reader: asyncio.Future[None] | None = None

    def put_nowait(self, message: Message) -> None:
        """Put a message in line."""
        self._messages.append(message)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def qsize(self) -> int:
        """How many are in line."""
        return len(self._messages)

    async def get(self) -> Message:
        """Take the next one, waiting for it if need be. One reader."""
        while not self._messages:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._messages.pop(0)


class DaphneSocket(WebSocketProtocol):  # type: ignore[misc] # untyped
    """Daphne's side of one socket."""

    #: The last event's.
    _frame: ClassVar[Frame] = Frame()

    def connectionMade(self) -> None:  # noqa: N802
        """Take the connection over from the HTTP channel, which was told until now when the network takes no more."""
        super().connectionMade()
        for told in (self.is_open, self.is_closed):
            told.addCallback(_nobody)  # else they hold the protocol, and it them
        self._intake = Intake(super().dataReceived, self.transport.pauseProducing, self.transport.resumeProducing)
        self._room: asyncio.Future[None] | None = None
        self._sent_at = 0.0
        self.perMessageCompressionAccept = accepted
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
        self.http_headers.clear()
        self.http_request_data = b""

    # What the client sends

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Take what the client sent."""
        self._intake.take(data)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803
        """Put a command in line for the application."""
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
        if self._room is None:
            super().onPing(payload)

    def _closeConnection(self, abort: bool = False) -> None:  # noqa: N802
        """Close once everything is sent, or after a while: a client may never read it."""
        super()._closeConnection(abort)
        if not abort:
            asyncio.get_running_loop().call_later(_CLOSE_WITHIN_S, self.transport.abortConnection)

    # What it is sent

    def pauseProducing(self) -> None:  # noqa: N802
        """The network takes no more."""
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()

    def resumeProducing(self) -> None:  # noqa: N802
        """The network has taken everything."""
        room, self._room = self._room, None
        if room is not None:
            room.set_result(None)

    def stopProducing(self) -> None:  # noqa: N802
        """The connection is gone already."""

    @property
    def is_held_up(self) -> bool:
        """Whether the network has still to take some of what this client was sent."""
        return self._room is not None

    async def taken(self) -> None:
        """Wait until the network has taken what this client was sent."""
        while self._room is not None:
            await asyncio.shield(self._room)

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


class DaphneServer(Server):  # type: ignore[misc] # untyped
    """Daphne, whose applications wait for the network, and which can stop listening before it stops."""

    def __init__(self, application: Any, **options: Any) -> None:
        super().__init__(application, **options)
        self._port: Any = None

    def listen_success(self, port: Any) -> None:
        """Note where it listens."""
        super().listen_success(port)
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

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Inbox | None:
        """As daphne has it, with an inbox that holds less, which the application reads through its socket."""
        known = self.connections.get(protocol)
        if known is None:
            return None
        inbox = Inbox()
        receive = protocol.command if isinstance(protocol, DaphneSocket) else inbox.get
        scope.setdefault("asgi", {"version": "3.0"})
        running = self.application(scope, receive, functools.partial(self.handle_reply, protocol))
        known["application_instance"] = asyncio.ensure_future(running)
        return inbox

    async def handle_reply(self, protocol: Any, message: Message) -> None:
        """Pass on what the application sends; it may go on once the network has taken it."""
        if message["type"] != "websocket.send":
            await super().handle_reply(protocol, message)
            return
        if not self.connections.get(protocol, _GONE).get("disconnected"):
            protocol.handle_reply(message)
        if protocol.is_held_up:
            await protocol.taken()


class UvicornSocket(WebSocketsSansIOProtocol):
    """Uvicorn's side of one socket."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Put the intake between the network and uvicorn."""
        network = cast(asyncio.Transport, transport)
        self._intake = Intake(self._read, network.pause_reading, network.resume_reading)
        super().connection_made(cast(asyncio.Transport, _Transport(network, self._intake)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what it had brought."""
        self._intake.end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        self._intake.take(data)

    def _read(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # Uvicorn leaves a request that is none without an answer, and its connection open.
            self.transport.write(_BAD_REQUEST)
            self.transport.close()

    def handle_cont(self, event: ReceivedFrame) -> None:
        """Take a further piece of a message; empty ones, which no limit of size counts, are not kept."""
        if event.data or event.fin:
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """Put a command in line; text that is no UTF-8 is the client's fault, and no traceback of ours."""
        if self.curr_msg_data_type == "text" and not _is_utf8(self.frames):
            self.frames = []
            self.conn.send_close(1007)
            self.handle_parser_exception()
        else:
            super().send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        """The client broke the protocol: it is told so, if it reads that soon."""
        super().handle_parser_exception()
        self.loop.call_later(_CLOSE_WITHIN_S, self.transport.abort)

    def handle_ping(self) -> None:
        """Answer, unless the client doesn't read its answers."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def handle_close(self, event: ReceivedFrame) -> None:
        """The client has said that it is leaving: what it was sent waits for it only a while."""
        super().handle_close(event)
        self.loop.call_later(_CLOSE_WITHIN_S, self.transport.abort)

    def keepalive_timeout(self) -> None:
        """The client is gone: what it was sent waits for nobody."""
        super().keepalive_timeout()
        self.transport.abort()

    async def send(self, message: Any) -> None:
        """Send; a close frame waits for no room, and for its answer only a while."""
        if self.close_sent:  # by the protocol itself; the application has not heard of it yet
            raise ClientDisconnected
        if message["type"] == "websocket.close":
            self.writable.set()
            self.loop.call_later(_CLOSE_WITHIN_S, self.transport.abort)
        await super().send(message)


def _is_utf8(pieces: Sequence[bytes]) -> bool:
    try:
        b"".join(pieces).decode()
    except UnicodeDecodeError:
        return False
    return True


class _Transport:
    """A transport whose reading uvicorn may hold up, as others may."""

    def __init__(self, transport: asyncio.Transport, intake: Intake) -> None:
        self._transport = transport
        self._intake = intake

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def pause_reading(self) -> None:
        """Uvicorn has a command that the application hasn't taken up."""
        self._intake.hold("commands")

    def resume_reading(self) -> None:
        """It has none."""
        self._intake.release("commands")
