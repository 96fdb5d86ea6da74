"""The only door to the channel layer's groups.

A group message is a hint: it may be lost, doubled or late, and nothing here raises or waits for long when the layer fails. The step log
is the truth.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID, uuid4
from weakref import WeakKeyDictionary

from asgiref.sync import async_to_sync
from channels.layers import InMemoryChannelLayer, get_channel_layer

from chat.runtime import background

logger = logging.getLogger(__name__)

Message = Mapping[str, Any]

#: What concerns every process: announcements, people who lost their right to be here, runs to be stopped.
EVERYONE = "everyone"
#: Membership lapses by itself in every layer; it is renewed well before.
RENEW_S = 600.0
#: How often a process makes sure that it receives what is sent to it, and how long it waits for that.
PROBE_S = 10.0
_HEARD_WITHIN_S = 2.0
#: How long a caller waits for a layer that does not answer, and how long nobody tries again after that.
_PATIENCE_S = 0.5
_AWAY_S = 1.0
#: A failure that goes on is logged again after so long.
_TELL_AGAIN_S = 60.0
_RETRY_S = 0.5
_TEND_S = 1.0


def of_session(session_id: UUID) -> str:
    """The name of a session's group."""
    return f"session.{session_id.hex}"


class CircuitBreaker:
    """What a layer is asked for goes through here: for a moment at most, and not at all just after it has failed."""

    def __init__(self) -> None:
        self._shut_until = 0.0
        self._skipped = 0
        #: What was logged of the failure last, and when.
        self._told = ""
        self._told_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the layer has failed a moment ago, so that nobody waits for it again already."""
        return time.monotonic() < self._shut_until

    @property
    def is_failing(self) -> bool:
        """Whether the layer has not answered when it was last asked."""
        return self._shut_until > 0

    async def call(self, asked: Callable[[], Awaitable[Any]], doing: str) -> Any:
        """Ask the layer for something; False where that failed, which is logged, or was not tried."""
        if self.is_open:
            self._skipped += 1
            return False
        try:
            async with asyncio.timeout(_PATIENCE_S):
                answer = await asked()
        except Exception as error:  # noqa: BLE001 - whatever a layer raises costs the message, never the caller
            self._shut_until = time.monotonic() + _AWAY_S
            self.log_failure(error, doing)
            return False
        if self._shut_until:
            logger.warning("The channel layer answers again; it was not asked %d times meanwhile", self._skipped)
            self._shut_until, self._skipped, self._told = 0.0, 0, ""
        return True if answer is None else answer

    def log_failure(self, error: Exception, doing: str) -> None:
        """Log a failure; the same one again only after a while: it is tried once a second."""
        reason = f"{type(error).__name__}: {error}"
        if reason != self._told or time.monotonic() - self._told_at > _TELL_AGAIN_S:
            self._told, self._told_at = reason, time.monotonic()
            logger.warning("The channel layer failed at %s", doing, exc_info=error)


_doors: WeakKeyDictionary[Any, CircuitBreaker] = WeakKeyDictionary()


def _breaker(layer: Any) -> CircuitBreaker:
    return _doors.setdefault(layer, CircuitBreaker())


async def publish(group: str, message: Message) -> None:
    """Tell a group; a layer that is down costs the message, never the caller."""
    layer = get_channel_layer()
    if layer is None:
        return
    await _breaker(layer).call(lambda: layer.group_send(group, {**message, "group": group}), f"telling {group}")


def is_failing() -> bool:
    """Whether the layer has not answered when it was last asked."""
    layer = get_channel_layer()
    return layer is not None and _breaker(layer).is_failing


def reach_others() -> bool:
    """Whether the layer carries messages to other processes too."""
    return not isinstance(get_channel_layer(), InMemoryChannelLayer)


def publish_from_thread(loop: asyncio.AbstractEventLoop | None, group: str, message: Message) -> None:
    """Tell a group from synchronous code, through the serving loop where this process has one."""
    if loop is not None and loop.is_running():
        asyncio.run_coroutine_threadsafe(publish(group, message), loop)
    else:
        async_to_sync(publish)(group, message)


class GroupSubscription:
    """A place in one group: hands each message to ``deliver``, which must not wait for anything, until it is left."""

    __slots__ = ("deliver", "group")

    def __init__(self, group: str, deliver: Callable[[Message], None]) -> None:
        self.group = group
        self.deliver = deliver

    async def open(self) -> None:
        """Become a member; returns once messages sent from now on will be heard."""
        await _listener().subscribe(self)

    async def close(self) -> None:
        """Stop listening, for good."""
        await _listener().unsubscribe(self)
        self.deliver = _unheard  # else it holds the listener, which holds it


def _unheard(_message: Message) -> None:
    """Stand in for a listener that has gone."""


class GroupListener:
    """The one channel on which this process receives what its groups are sent: what nobody sends costs nothing, however many they are."""

    def __init__(self) -> None:
        self._members: dict[str, dict[GroupSubscription, None]] = {}
        #: Groups with members of which the layer does not know yet.
        self._unknown: set[str] = set()
        self._channel = ""
        self._listening: asyncio.Task[None] | None = None
        self._maintaining: asyncio.Task[None] | None = None
        # One after the other: a group that is left and joined again at once must end up joined.
        self._changing = asyncio.Lock()
        #: Where this process alone is a member: what it sends there tells whether it still receives.
        self._own = f"ear.{uuid4().hex}"
        self._heard = asyncio.Event()

    async def subscribe(self, member: GroupSubscription) -> None:
        """Have a member receive its group's messages from now on."""
        async with self._changing:
            if self._maintaining is None or self._maintaining.done():
                await self._open()
                self._maintaining = background.spawn(self._maintain(), "tend")
            self._members.setdefault(member.group, {})[member] = None
            await self._join(member.group)

    async def unsubscribe(self, member: GroupSubscription) -> None:
        """Have a member receive nothing more."""
        async with self._changing:
            others = self._members.get(member.group, {})
            others.pop(member, None)
            layer = get_channel_layer()
            if others or self._members.pop(member.group, None) is None or layer is None or not self._channel:
                return
            self._unknown.discard(member.group)
            channel = self._channel
            await _breaker(layer).call(lambda: layer.group_discard(member.group, channel), f"leaving {member.group}")

    async def _open(self) -> None:
        """Get a channel and listen to it; where there is none to be had, `_maintain` tries again."""
        layer = get_channel_layer()
        if layer is None:
            return
        if self._listening is not None:
            self._listening.cancel()
        self._channel = await _breaker(layer).call(layer.new_channel, "opening a channel") or ""
        if self._channel:
            self._listening = background.spawn(self._listen(layer, self._channel), "listen")
            await self._join_all()

    async def _listen(self, layer: Any, channel: str) -> None:
        while True:
            try:
                message = await layer.receive(channel)
            except Exception as error:  # noqa: BLE001 - whatever a layer raises, it is listened to again
                _breaker(layer).log_failure(error, "receiving")
                await asyncio.sleep(_RETRY_S)
                self._unknown.update(self._members)
                continue
            group = message.get("group", "")
            if group == self._own:
                self._heard.set()
            for member in list(self._members.get(group, ())):
                try:
                    member.deliver(message)
                except Exception:
                    logger.exception("A message for %s could not be handled", member.group)

    async def _maintain(self) -> None:
        """Join what could not be joined; renew the memberships; and open a new channel where this process receives nothing any more."""
        joined_at = probed_at = time.monotonic()
        while True:
            await asyncio.sleep(_TEND_S)
            now = time.monotonic()
            if now - joined_at > RENEW_S:
                joined_at = now
                self._unknown.update(self._members)
            if now - probed_at > PROBE_S and reach_others():
                receives = await self._probe() if self._channel else None
                # Where it could not be asked it is asked again soon: its connection may be one of those forgotten.
                probed_at = now if receives is not None else probed_at
                if receives is False:
                    logger.warning("The channel layer takes messages but brings none; listening anew")
                    await self._reset_channel()
            async with self._changing:
                if not self._channel:
                    await self._open()
                for group in list(self._unknown):
                    await self._join(group)

    async def _probe(self) -> bool | None:
        """Whether what is sent to this process arrives; None where nothing can be sent.

        It does not where a network in between has forgotten the connection without a word to either side.
        """
        layer: Any = get_channel_layer()
        self._heard.clear()
        sent = {"type": "probe", "group": self._own}
        if not await _breaker(layer).call(lambda: layer.group_send(self._own, sent), "probing"):
            return None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._heard.wait(), _HEARD_WITHIN_S)
        return self._heard.is_set()

    async def _reset_channel(self) -> None:
        """Give up the channel, and in a layer that keeps one connection for all of a process, that connection."""
        layer: Any = get_channel_layer()
        self._channel = ""
        if reach_others():
            await _breaker(layer).call(layer.flush, "closing its connections")

    async def _join_all(self) -> None:
        for group in [self._own, *self._members]:
            await self._join(group)

    async def _join(self, group: str) -> None:
        layer = get_channel_layer()
        if layer is None or (group != self._own and group not in self._members):
            return
        self._unknown.add(group)
        channel = self._channel
        if channel and await _breaker(layer).call(lambda: layer.group_add(group, channel), f"joining {group}"):
            self._unknown.discard(group)


_ears: WeakKeyDictionary[asyncio.AbstractEventLoop, GroupListener] = WeakKeyDictionary()


def _listener() -> GroupListener:
    return _ears.setdefault(asyncio.get_running_loop(), GroupListener())
