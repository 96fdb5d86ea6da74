"""Timers of an event loop that wake it together: all calls for the same millisecond are one timer.

With hundreds of texts in progress, each waiting for its next update, a timer for each costs a good part of the update.
"""

import asyncio
import math
from collections.abc import Callable
from weakref import WeakKeyDictionary

_MS = 1_000
#: A part of a millisecond that is not waited for, so that inexact sums of the same moment are the same millisecond.
_INEXACT_MS = 0.01


class SharedTimer:
    """A call that is due; `cancel` prevents it."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Do not call; has no effect afterwards."""
        self.callback = None


class _Timers:
    """The pending calls of one event loop, by the millisecond in which they are due."""

    def __init__(self) -> None:
        self._due: dict[int, list[SharedTimer]] = {}

    def add(self, loop: asyncio.AbstractEventLoop, delay_s: float, callback: Callable[[], None]) -> SharedTimer:
        at_ms = math.ceil((loop.time() + delay_s) * _MS - _INEXACT_MS)
        timer = SharedTimer(callback)
        if (timers := self._due.get(at_ms)) is None:
            self._due[at_ms] = [timer]
            loop.call_at(at_ms / _MS, self._fire, at_ms)
        else:
            timers.append(timer)
        return timer

    def _fire(self, at_ms: int) -> None:
        for timer in self._due.pop(at_ms):
            if timer.callback is not None:
                try:
                    timer.callback()
                except Exception as error:  # noqa: BLE001 - as the loop does: the other calls are made nevertheless
                    context = {"message": "A shared timer's call failed", "exception": error}
                    asyncio.get_running_loop().call_exception_handler(context)


_timers: WeakKeyDictionary[asyncio.AbstractEventLoop, _Timers] = WeakKeyDictionary()


def call_later(delay_s: float, callback: Callable[[], None]) -> SharedTimer:
    """Call ``callback`` on the running event loop after ``delay_s`` seconds, rounded up to the next millisecond."""
    loop = asyncio.get_running_loop()
    timers = _timers.get(loop)
    if timers is None:
        timers = _timers[loop] = _Timers()
    return timers.add(loop, delay_s, callback)
