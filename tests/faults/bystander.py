"""Another client of the same server, whose pings are timed: it must not be kept waiting by what breaks elsewhere.

``python -m tests.faults.bystander URL COOKIE SESSION`` runs it as a process of its own, because the process of the test is busy. It pings
on time whether or not it is answered, and prints for each ping when it was sent and how long its answer took.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import IO, Self

import websockets

from tests.serving import ROOT, Browser

EVERY_S = 0.02
#: For how long pings are timed before anything is broken.
CALM_S = 0.5
_ANSWER_S = 20.0


class Bystander:
    """The client as the tests see it. Times are `time.monotonic`'s, which all processes of a machine share."""

    def __init__(self) -> None:
        #: Of each answered ping: when it was sent, and how long the answer took.
        self.waits: list[tuple[float, float]] = []
        #: How long answers took before anything was broken.
        self.calm: list[float] = []
        self._watched_from = 0.0
        self._changed = asyncio.Event()

    @classmethod
    @contextlib.asynccontextmanager
    async def beside(cls, browser: Browser) -> AsyncIterator[Self]:
        """A client with its own login and session, for the length of a block; pings are timed for `CALM_S` before the block begins."""
        other = cls()
        cookie = "; ".join(f"{key}={value}" for key, value in browser.cookies.items())
        command = [sys.executable, "-m", "tests.faults.bystander", browser.url, cookie, await browser.new_session()]
        program = await asyncio.to_thread(subprocess.Popen, command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        # In a thread, because the loop does not run between tests: once the pipe is full, the program would no longer read its socket.
        hearing = threading.Thread(target=other._read_output, args=[program.stdout, asyncio.get_running_loop()])
        hearing.start()
        try:
            await other._answered(time.monotonic() + CALM_S)
            other.calm = [took for _, took in other.waits]
            other.begin_anew()
            yield other
        finally:
            program.kill()
            program.wait()
            await asyncio.to_thread(hearing.join)

    def begin_anew(self) -> None:
        """Forget the waits so far."""
        self._watched_from = time.monotonic()
        self.waits.clear()

    async def meanwhile(self) -> list[float]:
        """How long each answer took since `begin_anew`; returns once every ping so far is answered."""
        await self._answered(time.monotonic())
        return [took for sent_at, took in self.waits if sent_at >= self._watched_from]

    async def _answered(self, until: float) -> None:
        """Wait until a ping that was sent after this time has been answered."""
        async with asyncio.timeout(_ANSWER_S + CALM_S):
            while not self.waits or self.waits[-1][0] < until:
                self._changed.clear()
                await self._changed.wait()

    def _read_output(self, output: IO[str], loop: asyncio.AbstractEventLoop) -> None:
        with output:
            for line in output:
                loop.call_soon_threadsafe(self._record, *json.loads(line))

    def _record(self, sent_at: float, took: float) -> None:
        self.waits.append((sent_at, took))
        self._changed.set()


async def _ping_for_ever(url: str, cookie: str, session: str) -> None:
    address = f"{url.replace('http', 'ws', 1)}/ws/chat/{session}/"
    async with websockets.connect(
        address,
        additional_headers={"Cookie": cookie},
        origin=url,  # type: ignore[arg-type]
        compression=None,
        ping_interval=None,
    ) as socket:
        await socket.recv()
        unanswered: deque[float] = deque()

        async def ping() -> None:
            due = time.monotonic()
            while True:
                unanswered.append(time.monotonic())
                await socket.send('{"type": "ping"}')
                due += EVERY_S
                await asyncio.sleep(max(0.0, due - time.monotonic()))

        pinging = asyncio.create_task(ping())
        async for text in socket:
            if json.loads(text)["type"] == "pong":
                sent_at = unanswered.popleft()
                print(json.dumps([sent_at, time.monotonic() - sent_at]), flush=True)  # noqa: T201 - how the tests learn it
        pinging.cancel()


if __name__ == "__main__":
    asyncio.run(_ping_for_ever(*sys.argv[1:]))
