"""A client process of the benchmark: reads one job as JSON, prints "ready", waits for a line, works, and prints its measurements.

Frames are stored as they arrive, with the time, and only parsed at the end, so that parsing delays none of them.
"""

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import psutil

from tests.benchmarks.measuring import Lateness, Ticker, Turn, read_turn

#: A placeholder in a job's message for a tag that is different for each run.
TAG = "TAG"
_DELTA = '{"type":"reasoning_delta"'
_ACK_EVERY = 100
_PATIENCE_S = 60.0
_OPENING_AT_ONCE = 20
_COMMENT_PAUSE_S = 0.3
#: The CSRF token, as a page would have it.
_TOKEN = "t" * 32
_SETTLED_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Job:
    """The task of a client, and its server."""

    kind: str
    url: str
    cookie: str
    pid: int
    sessions: list[str]
    message: str = ""
    times: int = 0
    spread_s: float = 0.0
    """Sessions begin evenly over so long."""
    held: int = 0
    token: str = ""
    """By which other doors than the pages' are opened."""
    after: int = 0
    """The last stored event that the client has already."""
    pages: Mapping[str, str] = field(default_factory=dict)
    """Paths, each with a text that its answer must hold."""


@dataclass(slots=True)
class Observed:
    """The measurements of a client."""

    turns: list[Turn] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    series: dict[str, list[float]] = field(default_factory=dict)
    """Milliseconds, by what was measured."""
    frames: int = 0
    bytes_each: float = 0.0
    cpu_s: float = 0.0
    """The server's processor time when the work was done, since it started."""
    problems: list[str] = field(default_factory=list)
    lateness: Lateness | None = None


@dataclass(frozen=True, slots=True)
class ReceivedFrames:
    """The frames of one run as they arrived."""

    tag: str
    sent: float
    seq: int
    frames: list[tuple[float, str]]

    def read(self) -> Turn:
        """The parsed frames."""
        return read_turn(self.tag, self.sent, self.frames, self.seq)


class Client:
    """Opens sockets and pages of one server with one login."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.server = psutil.Process(job.pid)
        self.ticker = Ticker()
        self._held: list[asyncio.Task[None]] = []
        headers = {
            "Origin": job.url,
            "Cookie": f"sessionid={job.cookie}; csrftoken={_TOKEN}",
            "X-CSRFToken": _TOKEN,
        }
        self.http = aiohttp.ClientSession(
            headers=headers, connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=_PATIENCE_S)
        )

    async def open(self, session: str, query: str = "") -> "Socket":
        """Open a socket; returns when the session frame has arrived."""
        began = time.perf_counter()
        connection = await self.http.ws_connect(f"{self.job.url}/ws/chat/{session}/{query}", max_msg_size=0)
        socket = Socket(connection, session)
        ((_, session_frame),) = await socket.until("session")
        socket.head = orjson.loads(session_frame)["data"]["last_seq"]
        socket.opened_in = time.perf_counter() - began
        return socket

    async def open_all(self) -> list["Socket"]:
        """Open a socket for each of the job's sessions, a few at a time, and receive what is stored there."""
        gate = asyncio.Semaphore(_OPENING_AT_ONCE)

        async def open_(session: str) -> Socket:
            async with gate:
                socket = await self.open(session)
                await socket.catch_up()
                return socket

        return await asyncio.gather(*map(open_, self.job.sessions))

    async def hold(self, sessions: Sequence[str]) -> None:
        """Open sockets that stay open and idle."""
        gate = asyncio.Semaphore(_OPENING_AT_ONCE)

        async def hold(session: str) -> None:
            async with gate:
                socket = await self.open(session)
            # The server's pings are only answered by a client that reads.
            self._held.append(asyncio.create_task(socket.drain()))

        await asyncio.gather(*map(hold, sessions))

    def cpu_s(self) -> float:
        """The server's CPU time so far."""
        times = self.server.cpu_times()
        return float(times.user + times.system)

    async def settled_bytes(self) -> int:
        """The server's memory, once it no longer changes."""
        before = 0
        for _ in range(20):
            now = int(self.server.memory_info().rss)
            if abs(now - before) < _SETTLED_BYTES:
                return now
            before = now
            await asyncio.sleep(1)
        return before

    async def close(self) -> None:
        """Close every socket."""
        for task in self._held:
            task.cancel()
        await asyncio.gather(*self._held, return_exceptions=True)
        await self.http.close()


class Socket:
    """One socket: keeps what it receives, and acknowledges."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse, session: str) -> None:
        self.session = session
        self.opened_in = 0.0
        self.head = 0
        """The last stored event when it was opened."""
        self.seq = 0
        self.last = ""
        self._connection = connection
        self._unacked = 0

    async def send(self, kind: str, **payload: Any) -> None:
        """Send a command."""
        await self._connection.send_str(orjson.dumps({"type": kind, "payload": payload}).decode())

    async def until(self, kind: str, *, seq: int = 0) -> list[tuple[float, str]]:
        """Receive up to a frame of a type or number, or an error; returns each frame as it arrived, with its time."""
        frames = []
        while True:
            message = await self._connection.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise ConnectionError(f"The socket ended with {self._connection.close_code}.")
            raw: str = message.data
            frames.append((time.time(), raw))
            self.last = raw
            if raw.startswith(_DELTA):
                continue
            frame = orjson.loads(raw)
            if "seq" in frame:
                self.seq = frame["seq"]
                self._unacked += 1
                if self._unacked == _ACK_EVERY:
                    self._unacked = 0
                    await self.send("ack", seq=self.seq)
            if frame["type"] == kind or (seq and self.seq == seq) or _is_refusal(frame):
                return frames

    async def catch_up(self) -> None:
        """Receive what was stored before."""
        if self.head > self.seq:
            await self.until("", seq=self.head)

    async def ask(self, message: str, tag: str) -> "ReceivedFrames":
        """Send a message, and receive until the run's end."""
        seq, sent = self.seq, time.time()
        await self.send("chat", message=message.replace(TAG, tag))
        return await self.receive_run(tag, sent, seq)

    async def receive_run(self, tag: str, sent: float, seq: int) -> "ReceivedFrames":
        """Receive until the end of a run that another client has started."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return ReceivedFrames(tag, sent, seq, await self.until("reasoning_complete"))
        except TimeoutError:
            raise TimeoutError(f"{tag}: no end came; the last frame was {self.last[:200]}") from None

    async def drain(self) -> None:
        """Read on, so that pings are answered, until cancelled."""
        async for _ in self._connection:
            pass

    async def close(self) -> None:
        """Close it."""
        await self._connection.close()


def _is_refusal(frame: dict[str, Any]) -> bool:
    """Whether it is an error that belongs to no run: the expected frame will not come."""
    return frame["type"] == "error" and "seq" not in frame


async def turns(client: Client, seen: Observed) -> None:
    """Send messages one after the other, ``times`` in each session, with a pause in which the server becomes idle."""
    sockets = await client.open_all()
    await _start(client)
    for number, socket in enumerate(sockets):
        for time_ in range(client.job.times):
            received = await socket.ask(client.job.message, f"{number}-{time_}")
            seen.turns.append(received.read())
            # Not in phase with the server's periodic tasks.
            await asyncio.sleep(0.04 + 0.07 * ((number * 5 + time_ * 3) % 7) / 7)


async def decided(client: Client, seen: Observed) -> None:
    """In each session, send a message whose run waits for a decision, and decide; the seconds say when."""
    sockets = await client.open_all()
    await _start(client)
    for number, socket in enumerate(sockets):
        await socket.send("chat", message=client.job.message.replace(TAG, f"{number}"))
        while True:
            request = orjson.loads((await socket.until("reasoning_step"))[-1][1])
            if request["data"].get("type") == "approval_request":
                break
        names = {"run_id": request["run_id"], "tool_call_id": request["data"]["tool_call_id"]}
        seen.seconds.append(time.time())
        await socket.send("approve", **names, decision="allow")
        await socket.until("reasoning_complete")


async def load(client: Client, seen: Observed) -> None:
    """Send a message in all sessions, so that all stream at once; with more than one time, one after the other in each."""
    job = client.job
    sockets = await client.open_all()
    await _start(client)

    async def one(number: int, socket: Socket) -> list[ReceivedFrames]:
        await asyncio.sleep(job.spread_s * number / len(sockets))
        return [await socket.ask(job.message, f"{socket.session}-{time_}") for time_ in range(job.times or 1)]

    received = await asyncio.gather(*(one(*each) for each in enumerate(sockets)), return_exceptions=True)
    _finish(client, seen)
    _read(received, seen)


async def openings(client: Client, seen: Observed) -> None:
    """The same including the opening of each socket, for comparison with requests that open a stream."""
    job = client.job
    await _start(client)

    async def one(number: int, session: str) -> list[ReceivedFrames]:
        await asyncio.sleep(job.spread_s * number / len(job.sessions))
        socket = await client.open(session)
        await socket.catch_up()
        return [await socket.ask(job.message, f"{session}-0")]

    received = await asyncio.gather(*(one(*each) for each in enumerate(job.sessions)), return_exceptions=True)
    _finish(client, seen)
    _read(received, seen)


async def completions(client: Client, seen: Observed) -> None:
    """The same by OpenAI's API: a stream for each answer."""
    job = client.job
    await _start(client)

    async def one(number: int, session: str) -> list[ReceivedFrames]:
        await asyncio.sleep(job.spread_s * number / len(job.sessions))
        sent = time.time()
        message = {"role": "user", "content": job.message.replace(TAG, session)}
        body = {"model": "researcher", "messages": [message], "stream": True}
        headers = {"Authorization": f"Bearer {job.token}", "X-Session-Id": session}
        async with client.http.post(f"{job.url}/v1/chat/completions", json=body, headers=headers) as answer:
            lines = [(time.time(), line) async for line in answer.content]
        return [ReceivedFrames(session, sent, 0, _as_frames(lines))]

    received = await asyncio.gather(*(one(*each) for each in enumerate(job.sessions)), return_exceptions=True)
    _finish(client, seen)
    _read(received, seen)


def _as_frames(lines: Sequence[tuple[float, bytes]]) -> list[tuple[float, str]]:
    """The frames that would say the same as the chunks of a completion."""
    frames: list[tuple[float, str]] = []
    text = ""

    def add_event(at: float, kind: str, **data: Any) -> None:
        frames.append((at, orjson.dumps({"type": kind, "data": data}).decode()))

    for at, line in lines:
        if not line.startswith(b"data: {"):
            continue
        chunk = orjson.loads(line[6:])
        if "error" in chunk:
            add_event(at, "error", message=chunk["error"]["message"])
        for choice in chunk.get("choices", ()):
            if more := choice["delta"].get("content"):
                add_event(at, "reasoning_delta", step=1, type="final_answer", attempt=1, offset=len(text), text=more)
                text += more
            if choice["finish_reason"]:
                add_event(at, "reasoning_step", step=1, type="final_answer", content=text)
    return frames


async def watch(client: Client, seen: Observed) -> None:
    """Watch one answer on many sockets of its session. The first of them sends the message, if there is one."""
    job = client.job
    sockets = await client.open_all()
    await _start(client)

    async def one(number: int, socket: Socket) -> list[ReceivedFrames]:
        if number == 0 and job.message:
            return [await socket.ask(job.message, socket.session)]
        return [await socket.receive_run(socket.session, time.time(), socket.seq)]

    comments = asyncio.create_task(_comment(client, sockets[0], job.times if job.message else 0))
    received = await asyncio.gather(*(one(*each) for each in enumerate(sockets)), return_exceptions=True)
    _finish(client, seen)
    seen.series["comments"] = await comments
    _read(received, seen)


async def _comment(client: Client, socket: Socket, times: int) -> list[float]:
    """Comment on the session's first step again and again while it is watched; returns the milliseconds of each request."""
    took = []
    for number in range(times):
        await asyncio.sleep(_COMMENT_PAUSE_S)
        began = time.perf_counter()
        address = f"{client.job.url}/api/sessions/{socket.session}/comments/"
        async with client.http.post(
            address, json={"seq": 1, "text": f"Comment {number}. " + "So it is. " * 20}
        ) as answer:
            if answer.status != 201:
                raise ConnectionError(f"A comment was answered with {answer.status}: {await answer.text()}")
        took.append((time.perf_counter() - began) * 1_000)
    return took


def _read(received: Sequence[list[ReceivedFrames] | BaseException], seen: Observed) -> None:
    """Parse everything that was received, now that nothing is measured any more."""
    for each in received:
        if isinstance(each, BaseException):
            seen.problems.append(repr(each))
            continue
        seen.frames += sum(len(one.frames) for one in each)
        seen.turns += [one.read() for one in each]


async def connect(client: Client, seen: Observed) -> None:
    """Open sockets one by one while others are open."""
    job = client.job
    await client.hold(job.sessions[: job.held])
    await _start(client)
    for session in job.sessions[job.held :]:
        socket = await client.open(session)
        seen.seconds.append(socket.opened_in)
        await socket.close()


async def back(client: Client, seen: Observed) -> None:
    """Close sockets all at once, and reopen each at once: the time until each has its session frame."""
    sockets = await client.open_all()
    await _start(client)
    await asyncio.gather(*(socket.close() for socket in sockets))
    began = time.perf_counter()

    async def again(session: str) -> Socket:
        socket = await client.open(session)
        seen.seconds.append(time.perf_counter() - began)
        return socket

    again_open = await asyncio.gather(*map(again, client.job.sessions))
    _finish(client, seen)
    await asyncio.gather(*(socket.close() for socket in again_open))


async def idle(client: Client, seen: Observed) -> None:
    """The server's memory for each further idle socket."""
    job = client.job
    first, more = job.sessions[: job.held], job.sessions[job.held :]
    await client.hold(first)
    before = await client.settled_bytes()
    await _start(client)
    await client.hold(more)
    seen.bytes_each = (await client.settled_bytes() - before) / len(more)


async def still(client: Client, _seen: Observed) -> None:
    """Keep idle sockets open for this long."""
    await client.hold(client.job.sessions)
    await client.settled_bytes()
    await _start(client)
    await asyncio.sleep(client.job.spread_s)


async def replay(client: Client, seen: Observed) -> None:
    """From opening a socket to the session's last stored frame, from the beginning or after a client's last event."""
    job, query = client.job, ""
    if job.after:
        query = f"?last_seq={job.after}&last_id={await _id_of(client, job.after)}"
    await _start(client)
    for _ in range(job.times):
        began = time.perf_counter()
        socket = await client.open(job.sessions[0], query)
        frames = await socket.until("", seq=job.held)
        seen.seconds.append(time.perf_counter() - began)
        numbers = [frame["seq"] for frame in (orjson.loads(raw) for _, raw in frames) if "seq" in frame]
        if numbers != list(range(job.after + 1, job.held + 1)):
            seen.problems.append(f"{len(numbers)} frames, not {job.after + 1} to {job.held}")
        await socket.close()


async def _id_of(client: Client, seq: int) -> str:
    """The id of a stored event, by which a client shows that it has this log's events."""
    path = f"/api/sessions/{client.job.sessions[0]}/events/?after={seq - 1}&limit=1"
    async with client.http.get(f"{client.job.url}{path}") as answer:
        return str((await answer.json())["events"][0]["id"])


async def get(client: Client, seen: Observed) -> None:
    """From requesting each of some pages to its last byte, one at a time. A path with ``POST`` before it is sent an empty body."""
    await _start(client)
    for path, expected in client.job.pages.items():
        times = seen.series[path] = []
        for _ in range(client.job.times):
            began = time.perf_counter()
            method, _, address = path.rpartition(" ")
            asked = client.http.request(
                method or "GET", f"{client.job.url}{address}", json={} if method else None, allow_redirects=False
            )
            async with asked as answer:
                body = await answer.read()
            times.append((time.perf_counter() - began) * 1_000)
            if answer.status not in (200, 201) or expected.encode() not in body:
                seen.problems.append(f"{path} answered {answer.status}, {len(body)} bytes, not what was expected")


_KINDS: dict[str, Callable[[Client, Observed], Awaitable[None]]] = {
    work.__name__: work
    for work in (turns, decided, load, openings, completions, watch, connect, back, idle, still, replay, get)
}


async def _start(client: Client) -> None:
    """Print that all is prepared, and wait for the start; the measurement begins now."""
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    client.ticker.drain()


def _finish(client: Client, seen: Observed) -> None:
    """The measurement is over; the rest is parsing."""
    if seen.lateness is None:
        seen.lateness = client.ticker.drain()
        seen.cpu_s = client.cpu_s()


async def main() -> None:
    """Do the job that comes on standard input."""
    gc.disable()
    job = Job(**orjson.loads(sys.stdin.readline()))
    client, seen = Client(job), Observed()
    try:
        await _KINDS[job.kind](client, seen)
        _finish(client, seen)
    finally:
        await client.close()
    print(orjson.dumps(seen).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
