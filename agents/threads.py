"""Daemon threads that are used again: starting a new one would delay the event loop."""

import queue
import threading
from collections.abc import Callable

_idle: list["_Worker"] = []
_lock = threading.Lock()
_MOST_IDLE = 64


class _Worker:
    """A thread that executes what is put into its queue."""

    def __init__(self) -> None:
        self.work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        # Daemon: a tool that never ends must not keep the process alive.
        threading.Thread(target=self._run, name="agent", daemon=True).start()

    def _run(self) -> None:
        while True:
            self.work.get()()
            with _lock:
                if len(_idle) >= _MOST_IDLE:
                    return
                _idle.append(self)


def run_in_thread(work: Callable[[], None]) -> None:
    """Run ``work`` at once in a thread of its own. ``work`` has to handle its own errors."""
    with _lock:
        worker = _idle.pop() if _idle else None
    (worker or _Worker()).work.put(work)
