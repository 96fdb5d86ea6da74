"""The only door to the channel layer's groups.

A group message is a hint: it may be lost, doubled or late, and nothing here raises when the layer fails. The step log is the truth.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from chat import background

logger = logging.getLogger(__name__)

Message = dict[str, Any]

#: What concerns every process: announcements, people who lost their right to be here, runs to be stopped.
EVERYONE = "everyone"
#: Membership lapses by itself in every layer; it is renewed well before.
RENEW_S = 600.0
_RETRY_S = 0.5


def of_session(session_id: UUID) -> str:
    """The name of a session's group."""
    return f"session.{session_id.hex}"


async def tell(group: str, message: Message) -> None:
    """Tell a group; a layer that is down costs the message, never the caller."""
    layer = get_channel_layer()
    if layer is None:
        return
    try:
        await layer.group_send(group, message)
    except Exception:
        logger.warning("The channel layer did not take a message for %s", group, exc_info=True)


def tell_from_thread(loop: asyncio.AbstractEventLoop | None, group: str, message: Message) -> None:
    """Tell a group from synchronous code, through the serving loop where this process has one."""
    if loop is not None and loop.is_running():
        asyncio.run_coroutine_threadsafe(tell(group, message), loop)
    else:
        async_to_sync(tell)(group, message)


class Membership:
    """This process's place in one group: hands each message to ``deliver`` until it is left."""

    def __init__(self, group: str, deliver: Callable[[Message], Awaitable[None]]) -> None:
        self._group = group
        self._deliver = deliver
        self._channel = ""
        self._tasks: list[asyncio.Task[None]] = []

    async def join(self) -> None:
        """Become a member; returns once messages sent from now on will be heard."""
        layer = get_channel_layer()
        if layer is None:
            return
        self._channel = await layer.new_channel()
        try:
            await layer.group_add(self._group, self._channel)
        except Exception:
            logger.warning("Could not join %s", self._group, exc_info=True)
        self._tasks = [
            background.spawn(self._listen(), f"listen {self._group}"),
            background.spawn(self._renew(), f"renew {self._group}"),
        ]

    async def leave(self) -> None:
        """Stop listening."""
        for task in self._tasks:
            task.cancel()
        self._tasks = []
        layer = get_channel_layer()
        if layer is None or not self._channel:
            return
        try:
            await layer.group_discard(self._group, self._channel)
        except Exception:
            logger.warning("Could not leave %s", self._group, exc_info=True)

    async def _listen(self) -> None:
        layer = get_channel_layer()
        while layer is not None:
            try:
                message = await layer.receive(self._channel)
            except Exception:
                logger.warning("Lost the channel layer for %s", self._group, exc_info=True)
                await asyncio.sleep(_RETRY_S)
                await self._join_again()
                continue
            try:
                await self._deliver(message)
            except Exception:
                logger.exception("A message for %s could not be handled", self._group)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            await self._join_again()

    async def _join_again(self) -> None:
        layer = get_channel_layer()
        if layer is None:
            return
        try:
            await layer.group_add(self._group, self._channel)
        except Exception:
            logger.warning("Could not renew membership of %s", self._group, exc_info=True)
