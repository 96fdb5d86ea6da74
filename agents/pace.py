"""How often growth is shown: at once when it is the first, then at a pace that all runs of the event loop share.

The pace follows the replies that are being written and the loop: with many of them, and while it is late, frames become fewer rather than
later, down to five a second.
"""

import asyncio
import math
from collections.abc import Callable
from weakref import WeakKeyDictionary

#: Seconds between two looks at what grows, where nothing else does and the loop has room for more.
PACE_S = 0.0125
#: … and at most, however late the loop is.
SLOWEST_PACE_S = 0.2

_TICK_S = 0.02
# How late ticks are on average, from which on it is too much. A single standstill is no load, so none counts for more than a tick.
_LATE_S = 0.004
_WEIGHT = 0.1
_SLOW_DOWN, _RECOVER = 1.08, 0.99
# With many replies at once their looks alone are the load: so much of the pace for each, before any tick is late; and the first few beside
# one are so much more each, up to the pace that eyes follow.
_EACH_S = 0.0006
_FEW_EACH_S, _OF_SEVERAL_S = 0.001, 0.04
# From this on, what comes in between is left in its socket: reading it earlier would cost and show nothing sooner. At a quicker pace so is
# what is known to come more often than it is shown; where it does not, to stop reading and begin again costs more.
_PAUSE_FROM_S, _MAY_PAUSE_FROM_S = 0.06, 0.02
_MOMENT_S = 0.01
# What is read so soon after a pause came during it.
_SOON_S = 0.002
# Looks that fall into the same stretch of this length, or of this part of a quicker pace, are one wake-up of the loop.
_TOGETHER_S, _PART_TOGETHER = 0.01, 8


class LoopPacer:
    """The pace of one event loop: a timer that calls all who show a growing text, while anything is being written."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.pace_s = PACE_S
        self._loop = loop
        self._writing = 0
        self._due = 0.0
        self._late = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """A reply is being written."""
        self._writing += 1
        if self._timer is None:
            self._wait()

    def end(self) -> None:
        """A reply is written."""
        self._writing -= 1
        if not self._writing and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.pace_s, self._late = PACE_S, 0.0

    def next_look(self) -> float:
        """When to look again. Where the loop is busy, looks come together: to wake up costs it more than to look."""
        due = self._loop.time() + self.pace_s
        if self.pace_s >= _PAUSE_FROM_S:
            return math.ceil(due / _TOGETHER_S) * _TOGETHER_S
        if self.pace_s < _MAY_PAUSE_FROM_S:
            return due
        # Rounded down: a look follows the one before it at the pace, and no later.
        together = self.pace_s / _PART_TOGETHER
        return math.floor(due / together) * together

    def _wait(self) -> None:
        self._due = self._loop.time() + _TICK_S
        self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        late = min(_TICK_S, self._loop.time() - self._due)
        self._late += (late - self._late) * _WEIGHT
        pace = self.pace_s * (_SLOW_DOWN if self._late > _LATE_S else _RECOVER)
        of_few = min(_OF_SEVERAL_S, PACE_S + (self._writing - 1) * _FEW_EACH_S)
        self.pace_s = min(SLOWEST_PACE_S, max(of_few, self._writing * _EACH_S, pace))
        self._wait()


_pacers: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopPacer] = WeakKeyDictionary()


class Throttle:
    """Says when to show what one reply has so far. Use it on the running event loop, from `begin` to `end`, as often as you like."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pacer = _pacers.setdefault(self._loop, LoopPacer(self._loop))
        self._show: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next = self._soon = 0.0
        self._holding = self._is_fast = False

    def begin(self, show: Callable[[], None]) -> None:
        """A reply begins, which ``show`` shows."""
        self._show = show
        self._pacer.begin()

    def end(self) -> None:
        """The reply has ended; what has come since it was shown last is for the reply's own end to show."""
        self._pacer.end()
        self._forget()
        self._show = None

    def flush(self) -> None:
        """Something has come that can't wait."""
        self._forget()
        self._look()

    def request(self) -> None:
        """Something has come."""
        now = self._loop.time()
        self._is_fast = now < max(self._next, self._soon)
        if now >= self._next:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_at(self._next, self._fire)

    def pause(self) -> float:
        """How many seconds reading on is of no use: till it is shown next, where several replies are written; else 0. Then `resume`."""
        pause = self._next - self._loop.time()
        if pause <= 0 or self._pacer.pace_s < (_MAY_PAUSE_FROM_S if self._is_fast else _PAUSE_FROM_S):
            return 0.0
        if self._timer is not None:
            # Else it would look just before what waits in the socket is read, which would miss a whole round.
            self._forget()
            self._holding = True
        return pause

    def resume(self) -> None:
        """The pause is over: what is read now is shown together with what was held back, which waits only a moment more."""
        self._soon = self._loop.time() + _SOON_S
        if self._holding:
            self._holding = False
            moment = _MOMENT_S if self._pacer.pace_s >= _PAUSE_FROM_S else _SOON_S
            self._timer = self._loop.call_later(moment, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._look()

    def _look(self) -> None:
        self._next = self._pacer.next_look()
        if self._show is not None:
            self._show()

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
