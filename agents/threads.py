"""Daemon threads that are started before they are needed: starting one would delay a run, and the event loop."""

import queue
import threading
from collections.abc import Callable

_idle: list["_Worker"] = []
_spare: list["_Worker"] = []
_lock = threading.Lock()
_MOST_IDLE = 64
_MOST_SPARE = 4


class _Worker:
    """A thread that executes what is put into its queue: again and again, or ``once``."""

    def __init__(self, *, once: bool = False) -> None:
        self.work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        # Daemon: a tool that never ends must not keep the process alive.
        threading.Thread(target=self._run_once if once else self._run, name="agent", daemon=True).start()

    def _run(self) -> None:
        while True:
            self.work.get()()
            with _lock:
                if len(_idle) >= _MOST_IDLE:
                    return
                _idle.append(self)

    def _run_once(self) -> None:
        self.work.get()()
        # Where several end at the same moment there may be some more, until they are used.
        if len(_spare) < _MOST_SPARE:
            spare = _Worker(once=True)
            with _lock:
                _spare.append(spare)


def run_in_thread(work: Callable[[], None]) -> None:
    """Run ``work`` at once in a thread in which nothing else runs meanwhile. ``work`` has to handle its own errors."""
    (_pop(_idle) or _Worker()).work.put(work)


def run_in_new_thread(work: Callable[[], None]) -> None:
    """The same in a thread that ends with ``work``, and in which nothing has run before: what is kept by thread belongs to it alone."""
    (_pop(_spare) or _Worker(once=True)).work.put(work)


def _pop(workers: list[_Worker]) -> _Worker | None:
    with _lock:
        return workers.pop() if workers else None
