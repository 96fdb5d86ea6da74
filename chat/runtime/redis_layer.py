"""The channel layer of processes that share a Redis: channels_redis's, but it pipelines messages and counts their receivers.

The original waits for Redis's answer to each message before it sends the next: while many answers are being written, a step would wait
behind all of their pieces.
"""

import asyncio
from typing import Any

from channels_redis.pubsub import RedisPubSubChannelLayer, RedisPubSubLoopLayer, RedisSingleShardConnection

#: A channel, a message for it, and the future number of its receivers.
_Outgoing = tuple[str, bytes, "asyncio.Future[int]"]


class SharedChannelLayer(RedisPubSubChannelLayer):  # type: ignore[misc] # untyped
    """`RedisPubSubChannelLayer` with another way of sending to groups."""

    def _get_layer(self) -> RedisPubSubLoopLayer:
        layer = super()._get_layer()
        if not all(isinstance(shard, _Shard) for shard in layer._shards):  # noqa: SLF001 - it has no public way to that
            layer._shards = [_Shard(shard.host, layer) for shard in layer._shards]  # noqa: SLF001
        return layer

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to a group."""
        await self.group_send_counted(group, message)

    async def group_send_counted(self, group: str, message: dict[str, Any]) -> int:
        """Send a message to a group; returns how many processes received it, including this one if it is a member."""
        layer = self._get_layer()
        channel = layer._get_group_channel_name(group)  # noqa: SLF001
        received: int = await layer._get_shard(channel).publish(channel, self.serialize(message))  # noqa: SLF001
        return received


class _Shard(RedisSingleShardConnection):  # type: ignore[misc] # untyped
    """The connection to one Redis. The caller that holds its lock sends all pending messages in one pipeline."""

    def __init__(self, host: Any, channel_layer: RedisPubSubLoopLayer) -> None:
        super().__init__(host, channel_layer)
        self._outgoing: list[_Outgoing] = []

    async def publish(self, channel: str, message: bytes) -> int:
        answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._outgoing.append((channel, message, answered))
        try:
            async with self._lock:
                if not answered.done():
                    await self._send_all()
            return answered.result()
        finally:
            if not answered.done():  # the caller has given up
                answered.cancel()
                self._outgoing = [each for each in self._outgoing if each[2] is not answered]

    async def _send_all(self) -> None:
        batch, self._outgoing = self._outgoing, []
        self._ensure_redis()
        pipeline = self._redis.pipeline(transaction=False)
        for channel, message, _ in batch:
            pipeline.publish(channel, message)
        try:
            answers = await pipeline.execute(raise_on_error=False)
        except (asyncio.CancelledError, Exception) as error:
            # Closing the connection may raise an error of its own instead of the cancellation.
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) or (task is not None and task.cancelling()):
                # Only the caller that was sending gives up: the messages of others stay pending for them.
                self._outgoing = batch + self._outgoing
                raise asyncio.CancelledError from error
            answers = [error] * len(batch)
        for (_, _, answered), answer in zip(batch, answers, strict=True):
            if answered.done():
                continue
            if isinstance(answer, Exception):
                answered.set_exception(answer)
            else:
                answered.set_result(answer)
