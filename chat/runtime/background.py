"""The owner of asyncio tasks: it refers to every task until it ends, logs its failure, and a shutdown can wait for it."""

import asyncio
import logging
from collections.abc import Coroutine, Generator
from typing import Any

logger = logging.getLogger(__name__)

tasks: dict[asyncio.Task[Any], None] = {}


def spawn(work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
    """Run a coroutine as a task of its own, which is not cancelled when the caller is; a failure is logged under ``name``."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    tasks[task] = None
    task.add_done_callback(_ended)
    return task


def spawn_eagerly(work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any] | None:
    """Run a coroutine at once up to its first wait, and the rest as a task, which is returned; None if the coroutine never waits.

    Python 3.12 calls this an eager task. Most sends never wait, and a task for each would cost as much as the sending.
    """
    try:
        waiting = work.send(None)
    except StopIteration:
        return None
    except Exception:
        logger.exception("Background work %s failed", name)
        return None
    return spawn(_Remainder(work, waiting).run(), name)


class _Remainder:
    """The rest of a coroutine that waits for a future: passes on what the future and the task send to each other."""

    def __init__(self, work: Coroutine[Any, Any, Any], waiting: Any) -> None:
        self._work = work
        self._waiting = waiting

    async def run(self) -> Any:
        return await self

    def __await__(self) -> Generator[Any, Any, Any]:
        waiting, self._waiting = self._waiting, None
        try:
            while True:
                try:
                    answer = yield waiting
                except BaseException as error:  # noqa: BLE001 - the coroutine handles a cancellation itself
                    waiting = None  # the error refers to this frame, and the future to the error
                    waiting = self._work.throw(error)
                else:
                    waiting = self._work.send(answer)
        except StopIteration as end:
            return end.value


async def drain(timeout_s: float) -> int:
    """Cancel the tasks that are still running, and wait for them. Returns how many did not end within ``timeout_s`` seconds."""
    loop = asyncio.get_running_loop()
    current = asyncio.current_task()
    waiting = [task for task in tasks if task is not current and task.get_loop() is loop]
    for task in waiting:
        task.cancel()
    if not waiting:
        return 0
    _, late = await asyncio.wait(waiting, timeout=timeout_s)
    return len(late)


def _ended(task: asyncio.Task[Any]) -> None:
    tasks.pop(task, None)
    if not task.cancelled() and (failure := task.exception()) is not None:
        logger.error("Background task %s failed", task.get_name(), exc_info=failure)
