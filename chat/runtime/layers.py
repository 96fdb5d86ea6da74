"""The channel layer of a process that serves alone."""

import asyncio
import logging
import time
from typing import Any

from channels.layers import InMemoryChannelLayer

logger = logging.getLogger(__name__)

_CLEAN_EVERY_S = 5.0


class ProcessChannelLayer(InMemoryChannelLayer):
    """Channels' in-memory layer for one event loop and messages that no receiver changes.

    The stock one copies a message for each receiver, makes a task for each, and goes through all channels and groups at every send and
    receive: quadratic in the sessions that have sockets. What arrives, and what is dropped at capacity, is the same.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._cleaned_at = 0.0

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Put the same message object on every channel of a group."""
        self._clean_expired()
        expires = time.time() + self.expiry
        for channel in self.groups.get(group, ()):
            queue = self.channels.get(channel)
            if queue is None:
                queue = self.channels[channel] = asyncio.Queue(maxsize=self.get_capacity(channel))
            try:
                queue.put_nowait((expires, message))
            except asyncio.QueueFull:
                logger.warning("A full channel dropped a message for %s", group)

    def _clean_expired(self) -> None:
        now = time.monotonic()
        if now - self._cleaned_at > _CLEAN_EVERY_S:
            self._cleaned_at = now
            super()._clean_expired()  # type: ignore[misc] # its types do not name it
