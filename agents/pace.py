"""How often growing texts are shown: the first text at once, then at a pace that all runs of the event loop share.

The pace follows the replies that are being written and the loop: with many of them, and while it is late, frames become fewer rather than
later, down to five a second.
"""

import asyncio
import math
from collections.abc import Callable
from weakref import WeakKeyDictionary

#: Seconds between two updates of a growing text if no other text is growing and the event loop is not late.
PACE_S = 0.0125
#: The longest time between two updates, however late the loop is.
SLOWEST_PACE_S = 0.2

_TICK_S = 0.02
# The average lateness of ticks that counts as too much. A single long block is no load, so a tick counts at most its own length.
_LATE_S = 0.004
_WEIGHT = 0.1
_SLOW_DOWN, _RECOVER = 1.08, 0.99
# With many growing replies the updates themselves are the load: each reply adds so much to the time between updates, before any tick is
# late; and the first few add more each, up to a pace that people can still follow.
_EACH_S = 0.0006
_FEW_EACH_S, _OF_SEVERAL_S = 0.001, 0.04
# From this pace on, text that comes between two updates is left in its socket: reading it earlier would cost time and show nothing sooner.
# At a quicker pace this is done only for replies whose text comes more often than it is shown; else pausing would cost more.
_PAUSE_FROM_S, _MAY_PAUSE_FROM_S = 0.06, 0.02
_MOMENT_S = 0.01
# Text that is read so soon after a pause came during the pause.
_SOON_S = 0.002
# Updates within the same period of this length, or this fraction of a quicker pace, share one wake-up of the loop.
_TOGETHER_S, _PART_TOGETHER = 0.01, 8


class LoopPacer:
    """The pace of one event loop, from a timer that measures how late the loop is while any reply is being written."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.pace_s = PACE_S
        self._loop = loop
        self._writing = 0
        self._due = 0.0
        self._late = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """A reply begins."""
        self._writing += 1
        if self._timer is None:
            self._wait()

    def end(self) -> None:
        """A reply has ended."""
        self._writing -= 1
        if not self._writing and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.pace_s, self._late = PACE_S, 0.0

    def next_update(self) -> float:
        """When to update next. If the loop is busy, updates are grouped: waking up costs it more than an update."""
        due = self._loop.time() + self.pace_s
        if self.pace_s >= _PAUSE_FROM_S:
            return math.ceil(due / _TOGETHER_S) * _TOGETHER_S
        if self.pace_s < _MAY_PAUSE_FROM_S:
            return due
        # Rounded down, so that updates are never further apart than the pace.
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
    """Decides when to show one reply's new text. Use it on the running event loop, from `begin` to `end`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pacer = _pacers.setdefault(self._loop, LoopPacer(self._loop))
        self._show: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next = self._soon = 0.0
        self._holding = self._is_fast = False

    def begin(self, show: Callable[[], None]) -> None:
        """A reply begins; ``show`` is called to show its state."""
        self._show = show
        self._pacer.begin()

    def end(self) -> None:
        """The reply has ended. The caller has to show what came since the last update."""
        self._pacer.end()
        self._forget()
        self._show = None

    def flush(self) -> None:
        """Show the state at once."""
        self._forget()
        self._update()

    def request(self) -> None:
        """Show the state when it is time for the next update."""
        now = self._loop.time()
        self._is_fast = now < max(self._next, self._soon)
        if now >= self._next:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_at(self._next, self._fire)

    def pause(self) -> float:
        """For how many seconds to stop reading, because nothing would be shown sooner; 0 to read on. Call `resume` afterwards."""
        pause = self._next - self._loop.time()
        if pause <= 0 or self._pacer.pace_s < (_MAY_PAUSE_FROM_S if self._is_fast else _PAUSE_FROM_S):
            return 0.0
        if self._timer is not None:
            # Else the update would come just before the text in the socket is read, which would then be shown a whole period later.
            self._forget()
            self._holding = True
        return pause

    def resume(self) -> None:
        """The pause is over: what is read now is shown together with what was held back, a moment later."""
        self._soon = self._loop.time() + _SOON_S
        if self._holding:
            self._holding = False
            moment = _MOMENT_S if self._pacer.pace_s >= _PAUSE_FROM_S else _SOON_S
            self._timer = self._loop.call_later(moment, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._update()

    def _update(self) -> None:
        self._next = self._pacer.next_update()
        if self._show is not None:
            self._show()

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
