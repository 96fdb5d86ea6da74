"""When text in progress is sent: at once, then at a pace that depends on the loop's load; on a loop with a virtual clock."""

import asyncio
import itertools
import selectors
import statistics
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from agents.pace import PACE_S, SLOWEST_PACE_S, Throttle


class Clock(selectors.SelectSelector):
    """Advances the virtual clock instead of sleeping."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Sleep by advancing the clock."""
        self.now += timeout or 0.0
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    """An event loop on which only waiting, and `hold_up`, take time."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.timers = 0
        super().__init__(self.clock)

    def time(self) -> float:
        """The clock's time."""
        return self.clock.now

    def call_at(self, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        """Start a timer, and count it."""
        self.timers += 1
        return super().call_at(*args, **kwargs)

    def hold_up(self, seconds: float) -> None:
        """Simulate work that blocks the loop."""
        self.clock.now += seconds


Body = Callable[[Loop], Coroutine[Any, Any, None]]


def on_a_loop(body: Body) -> None:
    """Run a test's body on a loop of its own."""
    loop = Loop()
    try:
        loop.run_until_complete(body(loop))
    finally:
        loop.close()


def looks(loop: Loop) -> tuple[Throttle, list[float]]:
    """A pacer, and the times at which it has looked."""
    times: list[float] = []
    pacer = Throttle()
    pacer.begin(lambda: times.append(round(loop.time(), 5)))
    return pacer, times


def test_the_first_is_shown_at_once_and_what_follows_at_the_pace() -> None:
    async def body(loop: Loop) -> None:
        pacer, times = looks(loop)
        for _ in range(10):
            pacer.request()
            await asyncio.sleep(0.3 * PACE_S)
        await asyncio.sleep(1)
        pacer.end()
        assert times == pytest.approx([0.0, PACE_S, 2 * PACE_S, 3 * PACE_S])

    on_a_loop(body)


def test_urgent_text_is_shown_at_once_and_none_after_the_end() -> None:
    async def body(loop: Loop) -> None:
        pacer, times = looks(loop)
        pacer.request()
        await asyncio.sleep(0.01)
        pacer.flush()
        pacer.request()
        pacer.end()
        await asyncio.sleep(1)
        assert times == pytest.approx([0.0, 0.01])

    on_a_loop(body)


async def _hold_up(loop: Loop, seconds: float, times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0.02)
        loop.hold_up(seconds)
        await asyncio.sleep(0)


def test_a_late_loop_slows_the_pace_down_to_its_limit_and_recovers() -> None:
    async def body(loop: Loop) -> None:
        pacer, times = looks(loop)
        await _hold_up(loop, 0.03, 100)
        pacer.request()
        assert pacer.pause() == pytest.approx(SLOWEST_PACE_S, rel=0.05)
        await asyncio.sleep(10)
        pacer.request()
        assert pacer.pause() == 0
        pacer.end()
        assert len(times) == 2

    on_a_loop(body)


def test_one_long_pause_of_the_loop_is_no_load() -> None:
    async def body(loop: Loop) -> None:
        pacer, _ = looks(loop)
        await _hold_up(loop, 0.5, 1)
        await asyncio.sleep(0.1)
        pacer.request()
        assert pacer.pause() == 0
        pacer.end()

    on_a_loop(body)


def test_many_at_once_are_shown_less_often_before_the_loop_is_late() -> None:
    async def body(loop: Loop) -> None:
        pacers = [looks(loop)[0] for _ in range(300)]
        await asyncio.sleep(0.1)
        pacers[0].request()
        assert 2 * PACE_S < pacers[0].pause() < SLOWEST_PACE_S
        for pacer in pacers:
            pacer.end()

    on_a_loop(body)


@pytest.mark.parametrize(("replies", "pace_s"), [(1, PACE_S), (25, 0.0365), (50, 0.04), (100, 0.06)])
def test_each_reply_beside_others_takes_a_little_of_the_pace(replies: int, pace_s: float) -> None:
    async def body(loop: Loop) -> None:
        (pacer, times), *others = [looks(loop) for _ in range(replies)]
        await asyncio.sleep(5)
        began = loop.time()
        while loop.time() < began + 1:
            pacer.request()
            await asyncio.sleep(0.001)
        between = [later - sooner for sooner, later in itertools.pairwise(times)]
        assert statistics.mean(between) == pytest.approx(pace_s, rel=0.15)
        for each, _ in [(pacer, times), *others]:
            each.end()

    on_a_loop(body)


def test_some_of_many_texts_are_looked_at_together() -> None:
    async def body(loop: Loop) -> None:
        pacers = [looks(loop)[0] for _ in range(300)]
        await asyncio.sleep(0.1)
        pauses_end = set()
        for pacer in pacers[:20]:
            pacer.request()
            pauses_end.add(round(loop.time() + pacer.pause(), 6))
            loop.hold_up(0.001)
        assert 2 <= len(pauses_end) <= 4
        for pacer in pacers:
            pacer.end()

    on_a_loop(body)


def test_text_read_after_a_pause_is_shown_with_the_delayed_text() -> None:
    async def body(loop: Loop) -> None:
        pacer, times = looks(loop)
        await _hold_up(loop, 0.03, 100)
        began = loop.time()
        pacer.request()
        await asyncio.sleep(0.05)
        pacer.request()  # read too early, so it waits
        await asyncio.sleep(pacer.pause())
        pacer.resume()
        await asyncio.sleep(0.001)
        pacer.request()  # read after the pause
        await asyncio.sleep(0.1)
        pacer.end()
        assert [time - began for time in times] == pytest.approx([0, SLOWEST_PACE_S + 0.001], abs=0.01)

    on_a_loop(body)


def test_delayed_text_is_shown_though_nothing_more_comes() -> None:
    async def body(loop: Loop) -> None:
        pacer, times = looks(loop)
        await _hold_up(loop, 0.03, 100)
        pacer.request()
        await asyncio.sleep(0.05)
        pacer.request()
        await asyncio.sleep(pacer.pause())
        pacer.resume()
        await asyncio.sleep(0.1)
        pacer.end()
        assert len(times) == 2

    on_a_loop(body)


async def _several(loop: Loop) -> tuple[Throttle, list[float], list[Throttle]]:
    """A pacer among 25, at the pace for so many."""
    (pacer, times), *others = [looks(loop) for _ in range(25)]
    await asyncio.sleep(5)
    return pacer, times, [pacer, *(other for other, _ in others)]


def test_beside_several_what_comes_sooner_than_it_is_shown_is_left_in_its_socket() -> None:
    async def body(loop: Loop) -> None:
        pacer, times, all_ = await _several(loop)
        began = loop.time()
        pacer.request()
        assert pacer.pause() == 0  # its rate is still unknown
        await asyncio.sleep(0.02)
        pacer.request()
        assert 0.01 < pacer.pause() < 0.02
        for _ in range(10):
            await asyncio.sleep(pacer.pause())
            pacer.resume()
            pacer.request()  # read at once: it came during the pause
            assert 0.03 < pacer.pause() < 0.04
        shown = [time - began for time in times]
        assert len(shown) == 11
        assert max(later - sooner for sooner, later in itertools.pairwise(shown)) < 0.038
        for each in all_:
            each.end()

    on_a_loop(body)


def test_beside_several_what_comes_later_than_it_could_be_shown_is_read_as_it_comes() -> None:
    async def body(loop: Loop) -> None:
        pacer, times, all_ = await _several(loop)
        pacer.request()
        pacer.request()
        await asyncio.sleep(pacer.pause())
        pacer.resume()
        await asyncio.sleep(0.05)  # nothing had come during the pause
        pacer.request()
        assert pacer.pause() == 0
        await asyncio.sleep(0.05)
        pacer.request()
        assert pacer.pause() == 0
        assert times[-1] == pytest.approx(loop.time(), abs=1e-4)
        for each in all_:
            each.end()

    on_a_loop(body)


def test_delayed_text_beside_several_does_not_wait_for_more() -> None:
    async def body(loop: Loop) -> None:
        pacer, times, all_ = await _several(loop)
        began = loop.time()
        pacer.request()
        await asyncio.sleep(0.02)
        pacer.request()
        await asyncio.sleep(pacer.pause())
        pacer.resume()
        await asyncio.sleep(0.1)
        assert [time - began for time in times] == pytest.approx([0, 0.0365], abs=0.005)
        for each in all_:
            each.end()

    on_a_loop(body)


def test_some_of_several_texts_are_looked_at_together() -> None:
    async def body(loop: Loop) -> None:
        found: list[float] = []
        pacers = [Throttle() for _ in range(25)]
        for pacer in pacers:
            pacer.begin(lambda: found.append(loop.time()))
        await asyncio.sleep(5)
        for _ in range(300):
            for pacer in pacers:
                pacer.request()
                await asyncio.sleep(0.0001)
        lately = [time for time in found if time > loop.time() - 0.365]
        assert len(lately) >= 9 * 25
        assert len({round(time, 4) for time in lately}) <= 10 * 9
        for pacer in pacers:
            pacer.end()

    on_a_loop(body)
