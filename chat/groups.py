"""The only door to the channel layer's groups.

A group message is a hint: it may be lost, doubled or late, and nothing here raises when the layer fails. The step log is the truth.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from asgiref.sync import async_to_sync
from channels.layers import InMemoryChannelLayer, get_channel_layer

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
        await layer.group_send(group, {**message, "group": group})
    except Exception:
        logger.warning("The channel layer did not take a message for %s", group, exc_info=True)


def reach_others() -> bool:
    """Whether the layer carries messages to other processes too."""
    return not isinstance(get_channel_layer(), InMemoryChannelLayer)


def tell_from_thread(loop: asyncio.AbstractEventLoop | None, group: str, message: Message) -> None:
    """Tell a group from synchronous code, through the serving loop where this process has one."""
    if loop is not None and loop.is_running():
        asyncio.run_coroutine_threadsafe(tell(group, message), loop)
    else:
        async_to_sync(tell)(group, message)


class Membership:
    """A place in one group: hands each message to ``deliver``, which must not wait for anything, until it is left."""

    __slots__ = ("deliver", "group")

    def __init__(self, group: str, deliver: Callable[[Message], None]) -> None:
        self.group = group
        self.deliver = deliver

    async def join(self) -> None:
        """Become a member; returns once messages sent from now on will be heard."""
        await _ear().add(self)

    async def leave(self) -> None:
        """Stop listening."""
        await _ear().remove(self)


class _Ear:
    """The one channel on which this process hears all its groups: what nobody says costs nothing, however many groups there are."""

    def __init__(self) -> None:
        self._members: dict[str, dict[Membership, None]] = {}
        self._channel = ""
        self._tasks: list[asyncio.Task[None]] = []
        # One after the other: a group that is left and joined again at once must end up joined.
        self._changing = asyncio.Lock()

    async def add(self, member: Membership) -> None:
        async with self._changing:
            await self._open()
            self._members.setdefault(member.group, {})[member] = None
            await self._call("group_add", member.group)

    async def remove(self, member: Membership) -> None:
        async with self._changing:
            others = self._members.get(member.group, {})
            others.pop(member, None)
            if not others and self._members.pop(member.group, None) is not None:
                await self._call("group_discard", member.group)

    async def _open(self) -> None:
        layer = get_channel_layer()
        if layer is None or any(not task.done() for task in self._tasks):
            return
        self._channel = await layer.new_channel()
        self._tasks = [background.spawn(self._listen(), "listen"), background.spawn(self._renew(), "renew")]

    async def _listen(self) -> None:
        layer = get_channel_layer()
        while layer is not None:
            try:
                message = await layer.receive(self._channel)
            except Exception:
                logger.warning("Lost the channel layer", exc_info=True)
                await asyncio.sleep(_RETRY_S)
                await self._join_all()
                continue
            for member in list(self._members.get(message.get("group", ""), ())):
                try:
                    member.deliver(message)
                except Exception:
                    logger.exception("A message for %s could not be handled", member.group)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            await self._join_all()

    async def _join_all(self) -> None:
        for group in list(self._members):
            await self._call("group_add", group)

    async def _call(self, method: str, group: str) -> None:
        layer = get_channel_layer()
        if layer is None or not self._channel:
            return
        try:
            await getattr(layer, method)(group, self._channel)
        except Exception:
            logger.warning("The channel layer failed at %s for %s", method, group, exc_info=True)


_ears: WeakKeyDictionary[asyncio.AbstractEventLoop, _Ear] = WeakKeyDictionary()


def _ear() -> _Ear:
    return _ears.setdefault(asyncio.get_running_loop(), _Ear())
