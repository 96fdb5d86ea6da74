"""The channel layer of processes that share a Redis: the one of channels_redis, which also pipelines messages and counts who received them.

The original sends one message at a time and waits for Redis to answer each: while many answers are written, a step waits behind all
their pieces.
"""

import asyncio
from typing import Any

from channels_redis.pubsub import RedisPubSubChannelLayer, RedisPubSubLoopLayer, RedisSingleShardConnection

#: A channel, the message for it, and how many received that.
_Outgoing = tuple[str, bytes, "asyncio.Future[int]"]


class SharedChannelLayer(RedisPubSubChannelLayer):  # type: ignore[misc] # untyped
    """`RedisPubSubChannelLayer`, with another way of sending to groups."""

    def _get_layer(self) -> RedisPubSubLoopLayer:
        layer = super()._get_layer()
        if not all(isinstance(shard, _Shard) for shard in layer._shards):  # noqa: SLF001 - it has no public way to that
            layer._shards = [_Shard(shard.host, layer) for shard in layer._shards]  # noqa: SLF001
        return layer

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to a group."""
        await self.count_told(group, message)

    async def count_told(self, group: str, message: dict[str, Any]) -> int:
        """Send a message to a group; returns how many processes received it, including this one if it is a member."""
        layer = self._get_layer()
        channel = layer._get_group_channel_name(group)  # noqa: SLF001
        told: int = await layer._get_shard(channel).publish(channel, self.serialize(message))  # noqa: SLF001
        return told


class _Shard(RedisSingleShardConnection):  # type: ignore[misc] # untyped
    """The connection to one Redis. Whoever holds its lock sends all messages that are pending, in one pipeline."""

    def __init__(self, host: Any, channel_layer: RedisPubSubLoopLayer) -> None:
        super().__init__(host, channel_layer)
        self._outgoing: list[_Outgoing] = []

    async def publish(self, channel: str, message: bytes) -> int:
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._outgoing.append((channel, message, told))
        try:
            async with self._lock:
                if not told.done():
                    await self._send_all()
            return told.result()
        finally:
            if not told.done():  # given up
                told.cancel()
                self._outgoing = [each for each in self._outgoing if each[2] is not told]

    async def _send_all(self) -> None:
        batch, self._outgoing = self._outgoing, []
        self._ensure_redis()
        pipeline = self._redis.pipeline(transaction=False)
        for channel, message, _ in batch:
            pipeline.publish(channel, message)
        try:
            answers = await pipeline.execute(raise_on_error=False)
        except (asyncio.CancelledError, Exception) as error:
            # Closing the connection may raise an error of its own in place of the cancellation.
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) or (task is not None and task.cancelling()):
                # Only the caller that was sending gives up: the others' messages stay pending for them.
                self._outgoing = batch + self._outgoing
                raise asyncio.CancelledError from error
            answers = [error] * len(batch)
        for (_, _, told), answer in zip(batch, answers, strict=True):
            if told.done():
                continue
            if isinstance(answer, Exception):
                told.set_exception(answer)
            else:
                told.set_result(answer)
