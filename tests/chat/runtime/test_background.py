"""Tasks are referenced until they end, their errors are logged, and work that never awaits makes no task."""

import asyncio
import contextlib
import gc
import logging
import weakref

import pytest

from chat.runtime import background


async def test_work_that_never_waits_is_done_at_once_without_a_task() -> None:
    done: list[int] = []

    async def work() -> None:
        done.append(1)

    assert background.spawn_eagerly(work(), "quick") is None
    assert done == [1]


async def test_work_that_waits_goes_on_as_a_task_with_what_it_waited_for() -> None:
    received: list[str] = []
    first, second = asyncio.get_running_loop().create_future(), asyncio.get_running_loop().create_future()

    async def work() -> str:
        received.append(await first)
        try:
            await second
        except ConnectionError as error:
            received.append(str(error))
        await asyncio.to_thread(received.append, "thread")
        return "end"

    task = background.spawn_eagerly(work(), "patient")
    assert task is not None
    first.set_result("one")
    second.set_exception(ConnectionError("two"))
    assert await task == "end"
    assert received == ["one", "two", "thread"]


async def test_work_that_waits_can_be_cancelled() -> None:
    undone: list[str] = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            undone.append("tidied up")

    task = background.spawn_eagerly(work(), "stuck")
    assert task is not None
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone == ["tidied up"]


@pytest.mark.parametrize("waits", [False, True])
async def test_a_failure_is_noted_and_hurts_nobody(waits: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        if waits:
            await asyncio.sleep(0)
        raise ValueError("broken")

    with caplog.at_level(logging.ERROR):
        task = background.spawn_eagerly(work(), "faulty")
        if task is not None:
            await asyncio.wait([task])
    assert "faulty failed" in caplog.text
    assert "broken" in caplog.text


class Run:
    """What a piece of work holds."""


@pytest.mark.parametrize("is_first", [False, True])
async def test_what_failed_is_freed_at_once(is_first: bool) -> None:
    """The failure holds what the work held; the garbage collector, which would find it, comes every few minutes."""
    answers = [asyncio.get_running_loop().create_future()]
    answers[0].get_loop().call_later(0.01, answers[0].set_exception, ConnectionError("away"))
    run = Run()
    freed = weakref.ref(run)

    async def ask(run: Run) -> None:
        await answers.pop()

    async def work(run: Run) -> None:
        if not is_first:
            await asyncio.sleep(0)
        with contextlib.suppress(ConnectionError):
            await ask(run)

    task = background.spawn_eagerly(work(run), "failing")
    assert task is not None
    del run
    gc.disable()
    try:
        await task
        del task
        await asyncio.sleep(0)
        assert freed() is None
    finally:
        gc.enable()
