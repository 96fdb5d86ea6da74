"""Calls of the same millisecond share one timer of the event loop; on a loop with a virtual clock."""

import asyncio
import functools
import gc
import weakref
from typing import Any

from agents import shared_timers
from tests.agents.test_pace import Loop, on_a_loop


def test_calls_of_the_same_millisecond_are_made_together_and_in_order() -> None:
    async def body(loop: Loop) -> None:
        made: list[str] = []
        for name, delay_s in (("a", 0.0203), ("b", 0.0209), ("late", 0.0215), ("c", 0.0206)):
            shared_timers.call_later(delay_s, functools.partial(made.append, name))
        assert loop.timers == 2
        await asyncio.sleep(0.0211)
        assert made == ["a", "b", "c"]
        await asyncio.sleep(0.001)
        assert made == ["a", "b", "c", "late"]

    on_a_loop(body)


def test_sums_of_the_same_moment_that_differ_by_rounding_share_a_timer() -> None:
    async def body(loop: Loop) -> None:
        shared_timers.call_later(0.1 + 0.2, lambda: None)
        shared_timers.call_later(0.3, lambda: None)
        assert loop.timers == 1

    on_a_loop(body)


def test_a_cancelled_call_is_not_made_and_a_failed_one_does_not_prevent_others() -> None:
    async def body(loop: Loop) -> None:
        made: list[str] = []
        reported: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: reported.append(context))

        def fail() -> None:
            raise ValueError("broken")

        shared_timers.call_later(0.01, fail)
        cancelled = shared_timers.call_later(0.01, lambda: made.append("cancelled"))
        shared_timers.call_later(0.01, lambda: made.append("last"))
        cancelled.cancel()
        await asyncio.sleep(0.02)
        assert made == ["last"]
        assert [repr(context["exception"]) for context in reported] == ["ValueError('broken')"]

    on_a_loop(body)


def test_timers_do_not_keep_a_closed_loop() -> None:
    loops: list[weakref.ref[Loop]] = []

    async def body(loop: Loop) -> None:
        loops.append(weakref.ref(loop))
        shared_timers.call_later(60, lambda: None)

    on_a_loop(body)
    gc.collect()
    assert loops[0]() is None
