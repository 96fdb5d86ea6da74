"""The channel layer's groups; nothing else in the application calls the layer.

A group message is a hint: it may be lost, repeated or late. If the layer fails, nothing here raises, or waits for long. The truth is in
the step log.
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

#: The group of all processes: announcements, logins and roles that have changed, runs to be stopped.
EVERYONE = "everyone"
#: After how many seconds memberships are renewed; they expire much later, in every layer.
RENEW_S = 600.0
#: How often a process checks that it receives its own messages, and how long it waits for one, in seconds.
PROBE_S = 10.0
_RECEIVED_WITHIN_S = 2.0
#: For how many seconds a caller waits for a layer that does not answer, and for how many it is not called again after that.
_PATIENCE_S = 0.5
_AWAY_S = 1.0
#: A persistent failure is logged again after so many seconds.
_LOG_AGAIN_S = 60.0
_RETRY_S = 0.5
_TEND_S = 1.0


def of_session(session_id: UUID) -> str:
    """The name of a session's group."""
    return f"session.{session_id.hex}"


class CircuitBreaker:
    """All calls of the layer go through this: each waits only for a moment, and none is made just after one has failed."""

    def __init__(self) -> None:
        self._shut_until = 0.0
        self._skipped = 0
        #: The failure that was logged last, and when.
        self._logged = ""
        self._logged_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the layer has just failed, so that it is not called now."""
        return time.monotonic() < self._shut_until

    @property
    def is_failing(self) -> bool:
        """Whether the layer did not answer the last time."""
        return self._shut_until > 0

    async def call(self, asked: Callable[[], Awaitable[Any]], doing: str) -> Any:
        """Call the layer. Returns False if the call failed, which is logged, or was not made."""
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
            self._shut_until, self._skipped, self._logged = 0.0, 0, ""
        return True if answer is None else answer

    def log_failure(self, error: Exception, doing: str) -> None:
        """Log a failure, but the same one only once in a while, because calls are made every second."""
        reason = f"{type(error).__name__}: {error}"
        if reason != self._logged or time.monotonic() - self._logged_at > _LOG_AGAIN_S:
            self._logged, self._logged_at = reason, time.monotonic()
            logger.warning("The channel layer failed at %s", doing, exc_info=error)


_breakers: WeakKeyDictionary[Any, CircuitBreaker] = WeakKeyDictionary()


def _breaker(layer: Any) -> CircuitBreaker:
    return _breakers.setdefault(layer, CircuitBreaker())


async def publish(group: str, message: Message) -> None:
    """Send a message to a group. Raises nothing: if the layer fails, the message is lost. Await it on the serving event loop."""
    layer = get_channel_layer()
    if layer is None:
        return
    await _breaker(layer).call(lambda: layer.group_send(group, {**message, "group": group}), f"publishing to {group}")


async def publish_counted(group: str, message: Message) -> int | None:
    """Like `publish`; returns how many other processes received the message, or None if the layer does not say."""
    layer: Any = get_channel_layer()
    if not hasattr(layer, "group_send_counted"):
        await publish(group, message)
        return None
    received = await _breaker(layer).call(
        lambda: layer.group_send_counted(group, {**message, "group": group}), f"publishing to {group}"
    )
    return None if received is False else max(0, received - _listener().is_subscribed(group))


def is_failing() -> bool:
    """Whether the layer did not answer the last time."""
    layer = get_channel_layer()
    return layer is not None and _breaker(layer).is_failing


def reach_others() -> bool:
    """Whether the layer carries messages to other processes too."""
    return not isinstance(get_channel_layer(), InMemoryChannelLayer)


def publish_from_thread(loop: asyncio.AbstractEventLoop | None, group: str, message: Message) -> None:
    """Send a message to a group from synchronous code, on any thread; through the serving event loop if this process has one."""
    if loop is not None and loop.is_running():
        asyncio.run_coroutine_threadsafe(publish(group, message), loop)
    else:
        async_to_sync(publish)(group, message)


class GroupSubscription:
    """A subscription to one group, until it is closed. Each message is passed to ``deliver`` on the event loop, which must not block."""

    __slots__ = ("deliver", "group")

    def __init__(self, group: str, deliver: Callable[[Message], None]) -> None:
        self.group = group
        self.deliver = deliver

    async def open(self) -> None:
        """Subscribe; returns once messages that are sent from now on will be received."""
        await _listener().subscribe(self)

    async def close(self) -> None:
        """Unsubscribe, for good."""
        await _listener().unsubscribe(self)
        self.deliver = _unheard  # else it refers to the listener, which refers to it


def _unheard(_message: Message) -> None:
    """Replaces `deliver` once the subscription is closed."""


class GroupListener:
    """The one channel on which this process receives the messages of all its groups, so that silent groups cost nothing."""

    def __init__(self) -> None:
        self._members: dict[str, dict[GroupSubscription, None]] = {}
        #: Groups with subscribers here that the layer could not be asked to join yet.
        self._unknown: set[str] = set()
        self._channel = ""
        self._listening: asyncio.Task[None] | None = None
        self._maintaining: asyncio.Task[None] | None = None
        # One at a time: a group that is left and joined again at once must end up joined.
        self._changing = asyncio.Lock()
        #: A group of this process alone, to check whether messages still arrive.
        self._own = f"ear.{uuid4().hex}"
        self._received = asyncio.Event()

    async def subscribe(self, member: GroupSubscription) -> None:
        """Pass a group's messages to a subscriber from now on."""
        async with self._changing:
            if self._maintaining is None or self._maintaining.done():
                await self._open()
                self._maintaining = background.spawn(self._maintain(), "tend")
            self._members.setdefault(member.group, {})[member] = None
            await self._join(member.group)

    async def unsubscribe(self, member: GroupSubscription) -> None:
        """Stop passing messages to a subscriber."""
        async with self._changing:
            others = self._members.get(member.group, {})
            others.pop(member, None)
            layer = get_channel_layer()
            if others or self._members.pop(member.group, None) is None or layer is None or not self._channel:
                return
            self._unknown.discard(member.group)
            channel = self._channel
            await _breaker(layer).call(lambda: layer.group_discard(member.group, channel), f"leaving {member.group}")

    def is_subscribed(self, group: str) -> bool:
        """Whether this process is a member of a group, as far as the layer has confirmed it."""
        return group in self._members and group not in self._unknown

    async def _open(self) -> None:
        """Get a channel and listen to it; if the layer gives none, `_maintain` tries again."""
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
            except Exception as error:  # noqa: BLE001 - whatever a layer raises, listening goes on
                _breaker(layer).log_failure(error, "receiving")
                await asyncio.sleep(_RETRY_S)
                self._unknown.update(self._members)
                continue
            group = message.get("group", "")
            if group == self._own:
                self._received.set()
            for member in list(self._members.get(group, ())):
                try:
                    member.deliver(message)
                except Exception:
                    logger.exception("A message for %s could not be handled", member.group)

    async def _maintain(self) -> None:
        """Join groups that could not be joined, renew memberships, and open a new channel if this process receives nothing any more."""
        joined_at = probed_at = time.monotonic()
        while True:
            await asyncio.sleep(_TEND_S)
            now = time.monotonic()
            if now - joined_at > RENEW_S:
                joined_at = now
                self._unknown.update(self._members)
            if now - probed_at > PROBE_S and reach_others():
                receives = await self._probe() if self._channel else None
                # A failed call is repeated soon: its connection may be one that the network has dropped.
                probed_at = now if receives is not None else probed_at
                if receives is False:
                    logger.warning("The channel layer accepts messages but delivers none; subscribing again")
                    await self._reset_channel()
            async with self._changing:
                if not self._channel:
                    await self._open()
                for group in list(self._unknown):
                    await self._join(group)

    async def _probe(self) -> bool | None:
        """Whether messages of this process to itself arrive; None if none can be sent.

        They don't if the network has dropped the connection without notifying either side.
        """
        layer: Any = get_channel_layer()
        self._received.clear()
        sent = {"type": "probe", "group": self._own}
        if not await _breaker(layer).call(lambda: layer.group_send(self._own, sent), "probing"):
            return None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._received.wait(), _RECEIVED_WITHIN_S)
        return self._received.is_set()

    async def _reset_channel(self) -> None:
        """Close the channel and, in a layer that keeps one connection per process, that connection."""
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


_listeners: WeakKeyDictionary[asyncio.AbstractEventLoop, GroupListener] = WeakKeyDictionary()


def _listener() -> GroupListener:
    return _listeners.setdefault(asyncio.get_running_loop(), GroupListener())
