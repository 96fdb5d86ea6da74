"""A thread-safe cancellation token, which every tool call is given."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


def ignore_progress(_text: str) -> None:
    """Does nothing."""


class CancelToken:
    """Tells a tool, in any thread, that its result is not needed any more.

    A tool checks `is_set`, waits by `wait`, or has something closed by `add_callback`. The first reason given is kept.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._callbacks: dict[object, Callable[[], None]] = {}
        # Locked while callbacks run: once the function that removes a callback has returned, the callback neither runs nor will.
        self._lock = threading.RLock()
        self._reason = ""
        self.call_id = ""
        """The id of its call, unique in the run."""
        self.is_decided = False
        """Whether a person has allowed its call with exactly these arguments."""
        self.on_progress: Callable[[str], None] = ignore_progress
        """Called, in the tool's thread or another, with what the tool reports about its progress."""

    def progress(self, text: str) -> None:
        """Report progress; the call is given more time for it."""
        self.on_progress(text)

    @property
    def reason(self) -> str:
        """Why, as a sentence fit for people and tool results; empty until set."""
        return self._reason

    def is_set(self) -> bool:
        """Whether the work is to end."""
        return self._event.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until set or for ``timeout`` seconds; whether it is set."""
        return self._event.wait(timeout)

    def set(self, reason: str) -> None:
        """Say stop; the callbacks run here and now, in the caller's thread."""
        with self._lock:
            if self._event.is_set():
                return
            self._reason = reason
            self._event.set()
            callbacks = list(self._callbacks.values())
            self._callbacks.clear()
            for callback in callbacks:
                self._run(callback)

    def add_callback(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have ``callback`` called at the cancellation (at once if it has been cancelled); returns a function that removes it.

        A callback must be short and must not wait: it may run on an event loop.
        """
        key = object()

        def remove_callback() -> None:
            with self._lock:
                self._callbacks.pop(key, None)

        with self._lock:
            if self._event.is_set():
                self._run(callback)
            else:
                self._callbacks[key] = callback
        return remove_callback

    @staticmethod
    def _run(callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:
            log.exception("A callback of a cancelled run failed")
