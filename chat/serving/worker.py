"""A worker: executes up to a number of runs at the same time, on an event loop in a thread of its own.

A call of `Worker.execute_next_run` lasts as long as the run that it executes; that is how a broker knows which worker has a free slot.
The queue itself is in the database: a call for which nothing is queued returns at once, and runs that no call has announced are found
by polling.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from uuid import UUID

from chat.runs import dispatch, executor
from chat.runs import queue as run_queue
from chat.runs import registry as run_registry
from chat.runtime import background, database
from chat.serving import supervisor
from chat.serving.metrics_port import serve_figures


class Worker:
    """The event loop, its thread, and its slots."""

    def __init__(self, slots: int, on_end: Callable[[], None] = lambda: None) -> None:
        """``on_end`` is called when all runs have ended after `stop`."""
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(slots)
        self._thread = threading.Thread(target=self._run, name="runs", daemon=True)
        self._end_figures: Callable[[], None] = lambda: None
        self._ending: asyncio.Task[None] | None = None
        self._on_end = on_end
        #: Whether it was asked to stop.
        self.is_stopping = False

    def start(self) -> None:
        """Begin to poll the queue."""
        self._thread.start()
        self._end_figures = serve_figures()

    def execute_next_run(self, session_id: UUID) -> bool:
        """Execute the session's next run to its end, if one is queued and may start. Returns False if this worker starts no more runs.

        Blocks. Call it from any thread except the event loop's.
        """
        if self.is_stopping:
            return False
        try:
            return asyncio.run_coroutine_threadsafe(self._execute_next(session_id), self._loop).result()
        except CancelledError:
            return False

    def stop(self) -> None:
        """Start no more runs, and let running ones finish their current step. Returns at once; may be called again."""
        if not self.is_stopping:
            self.is_stopping = True
            self._loop.call_soon_threadsafe(self._end)

    def force_stop(self) -> None:
        """After `stop`: do not wait for the end of the current steps."""
        self._loop.call_soon_threadsafe(supervisor.force_stop)

    def join(self) -> None:
        """After `stop`: wait until all runs have ended."""
        self._thread.join()
        self._end_figures()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(supervisor.start_clockwork, self._poll_queue)
        threading.Thread(target=executor.preload_agents, name="warm", daemon=True).start()
        self._loop.run_forever()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()
        self._on_end()

    def _end(self) -> None:
        self._ending = self._loop.create_task(supervisor.stop_clockwork())
        self._ending.add_done_callback(lambda _: self._loop.stop())

    async def _execute_next(self, session_id: UUID) -> bool:
        async with self._slots:
            if not run_registry.is_open():
                return False
            ended = await dispatch.claim_and_start_next(session_id)
            if ended is not None:
                await ended.wait()
        return True

    async def _poll_queue(self) -> None:
        """Poll the queue: start queued runs while slots are free."""
        if self._slots.locked():
            return
        for session_id in await database.read(run_queue.sessions_to_start):
            if self._slots.locked():
                return
            await self._slots.acquire()
            begun = asyncio.Event()
            # The slot is passed to a task at once, which releases it whatever fails.
            background.spawn(self._hold(session_id, begun), "slot")
            await begun.wait()

    async def _hold(self, session_id: UUID, begun: asyncio.Event) -> None:
        try:
            ended = await dispatch.claim_and_start_next(session_id)
            begun.set()
            if ended is not None:
                await ended.wait()
        finally:
            begun.set()
            self._slots.release()
