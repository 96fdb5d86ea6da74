"""The owner of asyncio tasks: every task is held until it ends, its failure is logged, and a shutdown can wait for it."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger(__name__)

_tasks: dict[asyncio.Task[Any], None] = {}


def spawn(work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
    """Run a coroutine to its end, independently of who asked for it."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    _tasks[task] = None
    task.add_done_callback(_ended)
    return task


async def drain(timeout_s: float) -> int:
    """Cancel what is still at work and wait for it; returns how many tasks did not end in time."""
    loop = asyncio.get_running_loop()
    current = asyncio.current_task()
    waiting = [task for task in _tasks if task is not current and task.get_loop() is loop]
    for task in waiting:
        task.cancel()
    if not waiting:
        return 0
    _, late = await asyncio.wait(waiting, timeout=timeout_s)
    return len(late)


def _ended(task: asyncio.Task[Any]) -> None:
    _tasks.pop(task, None)
    if not task.cancelled() and (failure := task.exception()) is not None:
        logger.error("Background task %s failed", task.get_name(), exc_info=failure)
