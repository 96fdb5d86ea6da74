"""The way from the log to clients on a virtual clock, where each await of something outside can be delayed or made to fail.

Sockets, feeds and groups are the product's. Each await of something outside (the database's answers, the channel layer, the network) is a
point, and the points of a scenario are numbered as they are reached: the same faults at the same numbers give the same order of events
again. Only the virtual clock passes time, and no thread takes part.
"""

import asyncio
import json
import selectors as io_selectors
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from django.db import OperationalError

from chat.consumers import SessionConsumer
from chat.protocol import stored_frame
from chat.runtime import groups
from chat.store.step_log import Stored

#: More points than any scenario reaches, unless it is in an endless loop.
MOST_POINTS = 6_000


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock advances only when nothing is left to do: at once, to the next timer."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        """The same time, for code that asks the module ``time``."""
        return self.now


class _Selector(io_selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "everything waits for something that never comes"
        self._loop.now += max(timeout, 0.0)
        return []


class Hot(AssertionError):
    """The scenario is in an endless loop."""


#: What may happen at a point; a plan of faults names it by these words.
DELAYS = {"0.3 s late": 0.3, "1.2 s late": 1.2, "4 s late": 4.0}
FAILS = "fails"
#: Late, and not to be cancelled meanwhile: like a connection that ignores cancellation.
STUCK = "stuck for 3 s"
LOST, DOUBLED, OVERTAKEN = "lost", "doubled", "overtaken"
OF_DATABASE = ("1.2 s late", "4 s late", FAILS)
OF_LAYER = ("0.3 s late", FAILS, STUCK)
OF_MESSAGES = (*OF_LAYER, LOST, DOUBLED, OVERTAKEN)
OF_NETWORK = ("1.2 s late", FAILS)


@dataclass
class Points:
    """The points that were reached in one scenario, by number, and what happens at which."""

    loop: VirtualLoop
    faults: Mapping[int, str]
    #: The name of each point, and the faults that are possible there.
    reached: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    last_fault_at: float = 0.0

    async def reach(self, name: str, kinds: tuple[str, ...], failure: Exception | None = None) -> str:
        """Pass a point: wait, fail, or go on at once; returns the fault, as some are for the caller to carry out."""
        number = len(self.reached)
        if number > MOST_POINTS:
            raise Hot(f"more than {MOST_POINTS} points, the last of them {name}")
        self.reached.append((name, kinds))
        fault = self.faults.get(number, "")
        await asyncio.sleep(0)
        if fault not in kinds:  # in another order of events this number is another point
            return ""
        lasts = DELAYS.get(fault, 3.0 if fault == STUCK else 0.0)
        self.last_fault_at = max(self.last_fault_at, self.loop.time() + lasts)
        if fault == STUCK:
            await self._stuck(lasts)
        elif lasts:
            await asyncio.sleep(lasts)
        if fault == FAILS:
            assert failure is not None
            raise failure
        return fault

    async def _stuck(self, seconds: float) -> None:
        until, cancelled = self.loop.time() + seconds, False
        while (left := until - self.loop.time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                cancelled = True
        if cancelled:
            raise asyncio.CancelledError


class Database:
    """Access to the database: each call passes one point before it is answered, and another before the answer arrives."""

    def __init__(self, points: Points, answer: Callable[..., Any]) -> None:
        self._points = points
        self._answer = answer

    async def call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Stand in for ``database.read`` and ``database.write``."""
        name = getattr(function, "__name__", "")
        await self._points.reach(f"ask {name}", OF_DATABASE, OperationalError("the database is away"))
        answer = self._answer(function, *args, **options)
        await self._points.reach(f"answer {name}", OF_DATABASE, OperationalError("the answer got lost"))
        return answer


class Layer:
    """A channel layer that reaches other processes."""

    def __init__(self, points: Points) -> None:
        self._points = points
        self._groups: dict[str, set[str]] = {}
        self._channels: dict[str, asyncio.Queue[groups.Message]] = {}
        self._overtaken: list[tuple[str, groups.Message]] = []

    async def _reach(self, name: str, kinds: tuple[str, ...] = OF_LAYER) -> str:
        return await self._points.reach(name, kinds, ConnectionError("the layer is away"))

    async def new_channel(self) -> str:
        await self._reach("new channel")
        channel = f"channel {len(self._channels)}"
        self._channels[channel] = asyncio.Queue()
        return channel

    async def group_add(self, group: str, channel: str) -> None:
        await self._reach("join a group")
        self._groups.setdefault(group, set()).add(channel)

    async def group_discard(self, group: str, channel: str) -> None:
        await self._reach("leave a group")
        self._groups.get(group, set()).discard(channel)

    async def group_send(self, group: str, message: groups.Message) -> None:
        fate = await self._reach(f"tell of {message['type']}", OF_MESSAGES)
        if fate == OVERTAKEN:
            self._overtaken.append((group, message))
        elif fate != LOST:
            late, self._overtaken = self._overtaken, []
            for to, sent in [(group, message)] * (2 if fate == DOUBLED else 1) + late:
                for channel in sorted(self._groups.get(to, ())):
                    self._channels[channel].put_nowait(sent)

    async def receive(self, channel: str) -> groups.Message:
        return await self._channels[channel].get()


class Watcher:
    """A client: its sockets one after another, what it was sent, and which rules of the protocol were broken."""

    def __init__(self, points: Points, session_id: UUID, name: str) -> None:
        self._points = points
        self._session_id = session_id
        self.name = name
        self.seq = 0
        self.people = 0
        self.line: list[Any] = []
        #: The text in progress, and the number of its step.
        self.text, self._written = "", 0
        self.closed_at = 0.0
        #: The ``last_seq`` of each ``session`` frame that is still to come.
        self._wanted: list[int] = []
        self._commands: asyncio.Queue[dict[str, Any]] | None = None
        self.complaints: list[str] = []
        self._tasks: list[asyncio.Task[Any]] = []

    @property
    def is_here(self) -> bool:
        """Whether it is connected."""
        return self._commands is not None

    def joins(self, seq: int | None = None) -> None:
        """Open a socket with the ``last_seq`` that it has, or with another one."""
        self._commands = asyncio.Queue()
        self._commands.put_nowait({"type": "websocket.connect"})
        has = self.seq if seq is None else seq
        self._wanted = [has]
        self._spawn(self._serve(self._commands, has))

    def goes(self) -> None:
        """Close the socket."""
        if self._commands is not None:
            self._commands.put_nowait({"type": "websocket.disconnect", "code": 1001})
        self._commands = None

    def resumes(self, seq: int) -> None:
        """Ask for everything after a number again."""
        self._wanted.append(seq)
        self._send_frame("resume", last_seq=seq)

    def _send_frame(self, kind: str, **payload: Any) -> None:
        if self._commands is not None:
            text = json.dumps({"type": kind, "payload": payload})
            self._commands.put_nowait({"type": "websocket.receive", "text": text})

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    async def _serve(self, commands: "asyncio.Queue[dict[str, Any]]", has: int) -> None:
        async def send(message: dict[str, Any]) -> None:
            kind = json.loads(message["text"])["type"] if "text" in message else message["type"]
            try:
                await self._points.reach(f"send {self.name} {kind}", OF_NETWORK, RuntimeError("the network is away"))
            finally:
                if kind == "websocket.close" and commands is self._commands:
                    # Whether or not the frame has arrived, the socket is closed.
                    self._come_back()
            if commands is self._commands:
                self._handle(message)

        scope = {
            "type": "websocket",
            "path": "/",
            "headers": [(b"origin", b"http://localhost"), (b"host", b"localhost")],
            "query_string": f"last_seq={has}".encode(),
            "url_route": {"kwargs": {"session_id": str(self._session_id)}},
        }
        try:
            await SessionConsumer()(scope, commands.get, send)
        except RuntimeError:  # raised by the application, which makes a server close the socket
            if commands is self._commands:
                self._come_back()

    def _handle(self, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            self._handle_frame(json.loads(message["text"]))

    def _come_back(self) -> None:
        self.goes()
        self.closed_at = self._points.loop.time()
        self._points.loop.call_later(0.3, self.joins)

    def _handle_frame(self, frame: dict[str, Any]) -> None:
        data = frame.get("data")
        match frame["type"]:
            case "session":
                self.seq = 0 if data.get("reset") else self._wanted.pop(0)
                self.line = data["queue"]
            case "error" if data["code"] == "storage" and self._wanted:
                self._wanted.pop(0)
            case "presence":
                self.people = sum(person["sockets"] for person in data)
            case "queue":
                self.line = data
            case "reasoning_delta":
                self.text, self._written = self.text[: data["offset"]] + data["text"], data["step"]
            case "reasoning_step":
                if frame["seq"] != self.seq + 1:
                    self.complaints.append(f"{self.name} was sent {frame['seq']} after {self.seq}")
                self.seq = frame["seq"]
                if data["step"] >= self._written:
                    self.text = ""
                if self.seq % 5 == 0:
                    self._send_frame("ack", seq=self.seq)

    async def stop(self) -> None:
        """Cancel its tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def event(seq: int, run_id: UUID) -> Stored:
    """A stored step."""
    body = json.dumps({"type": "thought", "step": seq, "content": f"thought {seq}"})
    return Stored(seq, run_id, stored_frame("reasoning_step", seq, uuid4(), run_id, body), "reasoning_step", seq)
