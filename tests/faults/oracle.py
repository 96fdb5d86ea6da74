"""A client that knows what must hold: it keeps its own state by the protocol's rules, reconnects after every cut, and records broken rules.

It shares no code with the product, so that a mistake there is not repeated here; only the types of frames are the product's.
"""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import uuid4

import websockets

from tests import wire_types

Frame = dict[str, Any]

#: Close codes after which a client must not reconnect.
FINAL_CODES = (4401, 4403, 4404)
#: Error codes after which a command may be sent again; any other code is final.
PASSING_CODES = ("storage",)
STORED = ("reasoning_start", "reasoning_step", "response", "reasoning_complete", "error")
STORED += ("child_start", "child_step", "child_error", "child_complete")
_OPEN_S = 5.0


class Refused(Exception):
    """A command was answered by an error."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


# What a client shows


@dataclass(slots=True)
class PartialText:
    """A text in progress. Kept in UTF-16, whose units offsets count."""

    step: int
    type: str
    attempt: int
    units: bytes = b""

    @property
    def text(self) -> str:
        """The text."""
        return self.units.decode("utf-16-le", "surrogatepass")

    def put(self, offset: int, text: str) -> bool:
        """Put a text at its place; False where what comes before is missing."""
        new = text.encode("utf-16-le", "surrogatepass")
        start = 2 * offset
        if start > len(self.units):
            return False
        if offset == 0:
            self.units = new
        elif start + len(new) > len(self.units):
            self.units = self.units[:start] + new
        return True


@dataclass(slots=True)
class Run:
    """One run as a client shows it."""

    status: str = "running"
    message: str = ""
    entries: list[Frame] = field(default_factory=list)
    answer: str | None = None
    last_step: int = 0
    partial: PartialText | None = None
    #: The id of the call that has started it; None for a root run.
    parent: Frame | None = None

    @property
    def is_child(self) -> bool:
        """Whether it is within another run."""
        return self.parent is not None

    @property
    def ended(self) -> bool:
        """Whether its last event has come."""
        return self.status != "running"

    def has_open(self, call_id: str) -> bool:
        """Whether a call has no result yet."""
        kinds = [e["data"]["type"] for e in self.entries if e["data"].get("tool_call_id") == call_id]
        return kinds == ["tool_use"]

    def shown(self) -> Any:
        """Everything that must look the same on every screen."""
        entries = [(frame["seq"], frame["id"], frame["type"], frame["data"]) for frame in self.entries]
        partial = self.partial.text if self.partial else None
        return [self.status, self.message, entries, self.answer, partial]


class State:
    """The reducer: it turns frames into what a client shows, and calls ``complain`` for each broken rule."""

    def __init__(self, complain: Callable[[str], None]) -> None:
        self._complain = complain
        self.clear()

    def clear(self) -> None:
        """Forget everything, as a client does when it is told to start over."""
        self.seq = 0
        self.id: str | None = None
        self.runs: dict[str, Run] = {}
        self.live: str | None = None
        #: The runs of which text in progress was received.
        self.seen_growing: set[str] = set()
        self.queue: list[Frame] = []
        self.people: list[Frame] = []

    def shown(self) -> Any:
        """Everything that must look the same on every screen."""
        runs = {run_id: run.shown() for run_id, run in self.runs.items()}
        return {"seq": self.seq, "id": self.id, "runs": runs, "live": self.live, "queue": self.queue}

    def stored(self) -> list[Frame]:
        """The numbered frames, in order."""
        return sorted((frame for run in self.runs.values() for frame in run.entries), key=lambda frame: frame["seq"])

    def apply(self, frame: Frame) -> None:
        """Apply a frame that is no answer to a command."""
        data = frame["data"]
        match frame["type"]:
            case "session":
                if data.get("reset"):
                    self.clear()
                self.live = data["run"]["id"] if data["run"] else None
                self.queue = data["queue"]
            case "queue":
                self.queue = data
            case "presence":
                self.people = data
            case "reasoning_delta" | "child_delta":
                if (run := self.runs.get(frame["run_id"])) and run.is_child != (frame["type"] == "child_delta"):
                    self._complain(f"a run grew by {frame['type']}")
                self._update_partial(frame["run_id"], data)
            case _ if "seq" in frame:
                self._store(frame)

    def _update_partial(self, run_id: str, data: Frame) -> None:
        run = self.runs.get(run_id)
        if run is None or run.ended or 0 < data["step"] <= run.last_step:
            return
        known = run.partial
        if known is None or (data["step"], data["attempt"]) > (known.step, known.attempt):
            # Where its beginning is missing, nothing is shown until the whole text comes.
            known = PartialText(data["step"], data["type"], data["attempt"])
            if not known.put(data["offset"], data["text"]):
                return
            run.partial = known
            self.seen_growing.add(run_id)
        elif (data["step"], data["attempt"]) == (known.step, known.attempt):
            known.put(data["offset"], data["text"])

    def _store(self, frame: Frame) -> None:
        if frame["seq"] <= self.seq:
            return
        if frame["seq"] != self.seq + 1:
            self._complain(f"event {frame['seq']} came after {self.seq}")
        self.seq, self.id = frame["seq"], frame["id"]
        run = self.runs.setdefault(frame["run_id"], Run())
        if run.ended:
            self._complain(f"event {frame['seq']} came after its run's end")
        if (frame["type"] in ("reasoning_start", "child_start")) != (not run.entries):
            self._complain(f"a run began with, or went on to, {frame['type']} {frame['seq']}")
        run.entries.append(frame)
        data = frame["data"]
        match frame["type"].replace("child_", "reasoning_"):
            case "reasoning_start":
                self._begin(run, frame)
            case "reasoning_step":
                self._step(run, data)
            case "response":
                self._compare(run.partial, data)
                run.answer, run.partial = data["content"], None
            case "reasoning_complete":
                run.status, run.partial = data["status"], None
                if self.live == frame["run_id"]:
                    self.live = None

    def _begin(self, run: Run, frame: Frame) -> None:
        run.message, run.parent = frame["data"]["message"], frame["data"].get("parent")
        if run.parent is None:
            # One that is removed from the queue starts and ends while another one is executed.
            self.live = self.live or frame["run_id"]
            return
        around = self.runs.get(run.parent["run_id"])
        if around is None or around.ended or not around.has_open(run.parent["tool_call_id"]):
            self._complain(f"run {frame['run_id']} began within nothing that is at work")

    def _step(self, run: Run, data: Frame) -> None:
        number = data.get("step")
        if number is None:
            return
        if number != run.last_step + 1:
            self._complain(f"step {number} came after step {run.last_step}")
        run.last_step = number
        if run.partial is not None and run.partial.step <= number:
            if run.partial.step == number:
                self._compare(run.partial, data)
            run.partial = None
        if data["type"] == "final_answer":
            run.answer = data["content"]

    def _compare(self, partial: PartialText | None, data: Frame) -> None:
        """The text that was shown in progress must be a prefix of the stored one; after a crash the stored one may be the shorter."""
        if partial is None or partial.type == "tool_use" or data.get("type") not in (None, "thought", "final_answer"):
            return
        shown, kept = partial.text.strip(), data["content"].strip()
        if not (kept.startswith(shown) or (data.get("partial") and shown.startswith(kept))):
            self._complain(f"shown as it grew: {shown[:80]!r}, stored: {kept[:80]!r}")


# The client


@dataclass(slots=True)
class _Command:
    kind: str
    payload: Frame
    answered: asyncio.Future[str]
    posted: int = 0


class Oracle:
    """One client of one session, which reconnects until it is told to stop.

    ``addresses`` says where the product can be reached now; one of them is taken at random for each connection.
    """

    def __init__(
        self,
        addresses: Callable[[], Sequence[str]],
        cookie: str,
        session_id: str,
        *,
        name: str = "client",
        seed: int = 0,
        restless_s: float | None = None,
        acknowledges: bool = True,
        ping_s: float = 20.0,
        silence_s: float = 30.0,
    ) -> None:
        self.name = name
        self.session_id = session_id
        #: The average number of seconds after which it cuts its own connection, again and again; None: never.
        self.restless_s = restless_s
        self.acknowledges = acknowledges
        self.ping_s = ping_s
        self.silence_s = silence_s
        self.state = State(self.complain)
        #: A sentence for each rule that was broken.
        self.violations: list[str] = []
        #: Every numbered event that was ever shown: its number, id and frame.
        self.seen: dict[tuple[int, str], Frame] = {}
        self.acknowledged = 0
        self.resets = 0
        self.connections = 0
        #: The close codes of its connections; 1006 where there was none.
        self.closes: list[int] = []
        self.errors: list[Frame] = []
        #: Seconds from the creation of each event that arrived live to its receipt.
        self.delays: list[float] = []
        #: When each of these arrived, by `time.time`.
        self.arrived_at: list[float] = []
        #: The same for tokens, whose texts are the times at which they were sent.
        self.token_delays: list[float] = []
        #: Seconds from losing a connection to the first frame of the next one.
        self.away: list[float] = []
        #: The runs that its messages became, by the messages' ids.
        self.accepted: dict[str, str] = {}
        #: Messages that other clients send with the same id: such a run may begin before this client is answered.
        self.shared: set[str] = set()
        self._addresses = addresses
        self._cookie = cookie
        self._random = random.Random(f"{seed} {name}")
        self._outbox: dict[str, _Command] = {}
        self._socket: Any = None
        self._joined = False
        self._resumed = False
        self._head = 0
        self._known_runs: set[str] = set()
        self._unacknowledged = self._unacknowledged_size = 0
        self._received_at = 0.0
        self._lost_at: float | None = None
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None
        self._stamped: dict[str, int] = {}
        self._posting: set[asyncio.Task[None]] = set()

    def complain(self, words: str) -> None:
        """Record a broken rule."""
        self.violations.append(f"{self.name}, connection {self.connections}: {words}")

    # Connecting

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._live(), name=self.name)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _live(self) -> None:
        while not self.is_refused:
            try:
                await self._connect()
            except websockets.ConnectionClosed as closed:
                self.closes.append(closed.rcvd.code if closed.rcvd is not None else 1006)
            except (OSError, websockets.WebSocketException, TimeoutError, EOFError):
                self.closes.append(1006)
            self._socket = None
            if self._joined:
                self._lost_at = time.monotonic()
            self._look()
            await asyncio.sleep(self._random.uniform(0.02, 0.2))

    @property
    def is_refused(self) -> bool:
        """Whether it was closed with a code after which it must not reconnect."""
        return self.closes[-1:] != [] and self.closes[-1] in FINAL_CODES

    @property
    def is_connected(self) -> bool:
        """Whether it has a connection on which the ``session`` frame has arrived."""
        return self._socket is not None and self._joined

    async def _connect(self) -> None:
        address = self._random.choice(self._addresses())
        cursor = f"?last_seq={self.state.seq}&last_id={self.state.id}" if self.state.id else ""
        self._joined = self._resumed = False
        self._known_runs.clear()
        self._unacknowledged = self._unacknowledged_size = 0
        async with websockets.connect(
            f"{address.replace('http', 'ws', 1)}/ws/chat/{self.session_id}/{cursor}",
            additional_headers={"Cookie": self._cookie},
            origin=address,  # type: ignore[arg-type]
            max_size=None,
            compression=None,
            open_timeout=_OPEN_S,
            close_timeout=0.5,
            ping_interval=None,
        ) as socket:
            self.connections += 1
            self._socket = socket
            self._received_at = time.monotonic()
            for own_id in list(self._outbox):
                await self._post(own_id)
            keeping = asyncio.create_task(self._keep(socket))
            try:
                async for text in socket:
                    self._unacknowledged_size += len(text)
                    await self._handle(wire_types.checked(json.loads(text)))
                # It ends without an exception when it was closed with 1000 or 1001.
                self.closes.append(socket.close_code or 1006)
            finally:
                keeping.cancel()

    async def _keep(self, socket: Any) -> None:
        """Ping; close a connection on which nothing arrives, and, for a restless client, any connection after a while."""
        ends_at = time.monotonic() + self._random.expovariate(1 / self.restless_s) if self.restless_s else float("inf")
        pinged_at = time.monotonic()
        while True:
            await asyncio.sleep(0.05)
            now = time.monotonic()
            if now > ends_at or now - self._received_at > self.silence_s:
                break
            if now - pinged_at > self.ping_s:
                pinged_at = now
                with contextlib.suppress(websockets.ConnectionClosed):
                    await socket.send(json.dumps({"type": "ping"}))
        socket.transport.abort()

    def cut(self) -> None:
        """Abort the connection, if there is one."""
        if self._socket is not None:
            self._socket.transport.abort()

    # Receiving

    async def _handle(self, frame: Frame) -> None:
        self._received_at = time.monotonic()
        if not self._joined:
            self._join(frame)
        elif frame["type"] == "session":
            self._start_over(frame["data"])
        match frame["type"]:
            case "accepted":
                self._answered(frame["data"])
            case "error" if "seq" not in frame:
                self._refused(frame["data"])
            case "reasoning_delta":
                self._mark_known(frame["run_id"])
                if self.state.seq < self._head:
                    self.complain("growth came before the replay had ended")
                self.state.apply(frame)
                self._measure(frame["run_id"])
            case "pong":
                self._check_head(frame["data"]["last_seq"])
            case _:
                if "seq" in frame:
                    self._store(frame)
                self.state.apply(frame)
        if "seq" in frame and self.acknowledges:
            await self._acknowledge()
        self._look()

    def _join(self, frame: Frame) -> None:
        if frame["type"] != "session":
            self.complain(f"{frame['type']} came before session")
            return
        self._joined = True
        if self._lost_at is not None:
            self.away.append(time.monotonic() - self._lost_at)
        self._start_over(frame["data"])

    def _start_over(self, data: Frame) -> None:
        if data["session_id"] != self.session_id:
            self.complain(f"was told of session {data['session_id']}")
        if data.get("reset"):
            self.resets += 1
        elif data["last_seq"] < self.state.seq:
            self.complain(f"the head is {data['last_seq']}, after {self.state.seq} and without a reset")
        self._head = data["last_seq"]

    def _check_head(self, head: int) -> None:
        if head < self.state.seq:
            self.complain(f"the head was told as {head} after {self.state.seq}")

    def _store(self, frame: Frame) -> None:
        seq = frame["seq"]
        if frame["type"] not in STORED:
            self.complain(f"a {frame['type']} has a number")
        if seq <= self.state.seq and not self._resumed:
            self.complain(f"event {seq} came twice")
        self._mark_known(frame["run_id"])
        self.seen[seq, frame["id"]] = frame
        self._unacknowledged += 1
        made_at = frame["data"].get("timestamp")
        if made_at is not None and seq > self._head:
            self.arrived_at.append(time.time())
            self.delays.append(self.arrived_at[-1] - made_at)

    def _mark_known(self, run_id: str) -> None:
        self._known_runs.add(run_id)

    def _measure(self, run_id: str) -> None:
        """Where tokens are times of sending, record the age of each new one."""
        partial = self.state.runs[run_id].partial if run_id in self.state.runs else None
        if partial is None or partial.type != "final_answer":
            return
        key = f"{run_id} {partial.step} {partial.attempt}"
        tokens = partial.text.split(" ")[:-1]
        now = time.time()
        for token in tokens[self._stamped.get(key, 0) :]:
            with contextlib.suppress(ValueError):
                self.token_delays.append(now - float(token))
        self._stamped[key] = len(tokens)

    async def _acknowledge(self) -> None:
        if self._unacknowledged >= 50 or self._unacknowledged_size >= 1 << 18:
            self._unacknowledged = self._unacknowledged_size = 0
            with contextlib.suppress(websockets.ConnectionClosed):
                await self._socket.send(json.dumps({"type": "ack", "payload": {"seq": self.state.seq}}))
                self.acknowledged = self.state.seq

    # Commands

    async def send(self, kind: str, **payload: Any) -> bool:
        """Send a command once, if there is a connection."""
        socket = self._socket
        if socket is None:
            return False
        if kind == "resume":
            self._resumed = True
        try:
            await socket.send(json.dumps({"type": kind, "payload": payload}))
        except websockets.ConnectionClosed:
            return False
        return True

    async def ask(self, message: str, **more: Any) -> str:
        """Send a message until it is answered; returns the run's id. Raises `Refused`."""
        return await self._command("chat", {"message": message, **more})

    async def go_on(self, run_id: str) -> str:
        """Continue a run, again until it is answered; returns the new run's id. Raises `Refused`."""
        return await self._command("continue", {"run_id": run_id})

    async def _command(self, kind: str, payload: Frame) -> str:
        own_id = payload.setdefault("client_message_id", uuid4().hex)
        command = self._outbox[own_id] = _Command(kind, payload, asyncio.get_running_loop().create_future())
        await self._post(own_id)
        return await command.answered

    async def _post(self, own_id: str) -> None:
        command = self._outbox.get(own_id)
        if command is not None:
            command.posted += 1
            await self.send(command.kind, **command.payload)

    async def _post_later(self, own_id: str) -> None:
        await asyncio.sleep(0.5)
        await self._post(own_id)

    def _answered(self, data: Frame) -> None:
        own_id, run_id = data["client_message_id"], data["run_id"]
        # Its run may have been started by a message with the same id, of this client or another one.
        is_shared = own_id in self.shared or own_id in self.accepted
        if self.accepted.setdefault(own_id, run_id) != run_id:
            self.complain(f"one message became the runs {self.accepted[own_id]} and {run_id}")
        command = self._outbox.pop(own_id, None)
        if command is None:
            return
        if command.posted == 1 and not is_shared and run_id in self._known_runs:
            self.complain("a run was told before its message was accepted")
        if not command.answered.done():
            command.answered.set_result(run_id)

    def _refused(self, data: Frame) -> None:
        self.errors.append(data)
        own_id = data.get("client_message_id", "")
        command = self._outbox.get(own_id)
        if command is None:
            return
        if data["code"] in PASSING_CODES:
            again = asyncio.create_task(self._post_later(own_id))
            self._posting.add(again)
            again.add_done_callback(self._posting.discard)
            return
        del self._outbox[own_id]
        if not command.answered.done():
            command.answered.set_exception(Refused(data["code"]))

    # Waiting

    def _look(self) -> None:
        for condition, waiter in list(self._waiting):
            if not waiter.done() and condition():
                waiter.set_result(None)

    async def until(self, condition: Callable[[], Any], timeout_s: float = 20.0) -> None:
        """Wait until a condition holds for what has been received; checked after each frame, and when a connection is lost."""
        if condition():
            return
        entry = (condition, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        try:
            await asyncio.wait_for(entry[1], timeout_s)
        except TimeoutError:
            state = {"seq": self.state.seq, "connected": self.is_connected, "closes": self.closes[-8:]}
            raise AssertionError(f"{self.name} waited {timeout_s:g} s in vain: {state}, {self.errors[-3:]}") from None
        finally:
            self._waiting.remove(entry)

    async def until_seq(self, seq: int, timeout_s: float = 20.0) -> None:
        """Wait until all events up to a number have come."""
        await self.until(lambda: self.state.seq >= seq, timeout_s)

    async def ended(self, run_id: str, timeout_s: float = 60.0) -> str:
        """Wait for a run's last event; returns how it ended."""
        await self.until(lambda: run_id in self.state.runs and self.state.runs[run_id].ended, timeout_s)
        return self.state.runs[run_id].status
