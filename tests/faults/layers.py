"""The channel layers of the product, with messages that get lost, duplicated, delayed and reordered.

``tests.faults.settings`` installs them; ``GROUP_MESSAGES`` in the environment says which share of the messages that happens to: ``lost=0.5
doubled=0.2 late=0.1``. A late message is sent after later ones, in any order.
"""

import os
import random
from typing import Any

from chat.runtime.layers import ProcessChannelLayer
from chat.runtime.redis_layer import SharedChannelLayer

Message = dict[str, Any]


class Fate:
    """Decides at random what happens to each message."""

    def __init__(self, words: str) -> None:
        shares = {name: float(share) for name, _, share in (word.partition("=") for word in words.split())}
        self._lost, self._doubled, self._late = (shares.pop(name, 0.0) for name in ("lost", "doubled", "late"))
        assert not shares, f"unknown: {shares}"
        self._random = random.Random(os.getpid())
        self._kept: list[tuple[str, Message]] = []

    def of(self, group: str, message: Message) -> list[tuple[str, Message]]:
        """The messages to send now instead of this one: none, it, two of it, or earlier ones too."""
        drawn = self._random.random()
        if drawn < self._lost:
            return []
        if drawn < self._lost + self._late:
            self._kept.append((group, message))
            return []
        late, self._kept = self._kept, []
        self._random.shuffle(late)
        times = 2 if self._random.random() < self._doubled else 1
        return [(group, message)] * times + late


class FaultyProcessLayer(ProcessChannelLayer):
    """The layer of a process that serves alone."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._fate = Fate(os.environ.get("GROUP_MESSAGES", ""))

    async def group_send(self, group: str, message: Message) -> None:
        """Send what remains of the message."""
        for one in self._fate.of(group, message):
            await super().group_send(*one)


class FaultyRedisLayer(SharedChannelLayer):
    """The layer of processes that share a Redis."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._fate = Fate(os.environ.get("GROUP_MESSAGES", ""))

    async def group_send_counted(self, group: str, message: Message) -> int:
        """Send what remains of the message."""
        count = 1
        for one in self._fate.of(group, message):
            count = await super().group_send_counted(*one)
        return count
