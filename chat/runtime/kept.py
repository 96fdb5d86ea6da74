"""A cache in the process's memory with a limit in bytes."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

#: How many bytes an entry counts besides its text.
_OVERHEAD = 300


def text_size(text: str) -> int:
    """The most bytes that a text may take."""
    # A character takes four bytes at most.
    return len(text) * (1 if text.isascii() else 4)


class Kept(Generic[K, V]):
    """A cache of values by key. Beyond ``most`` bytes, the least recently used values are dropped. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._size = 0

    def get(self, key: K) -> V | None:
        """The value of a key; None if it is not in the cache."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def __contains__(self, key: K) -> bool:
        return self.get(key) is not None

    def keep(self, key: K, value: V, size: int) -> None:
        """Store a value; ``size``: about the bytes of its texts."""
        with self._lock:
            self._forget(key)
            self._entries[key] = value, size + _OVERHEAD
            self._size += size + _OVERHEAD
            while self._size > self._most:
                self._forget(next(iter(self._entries)))

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._entries.clear()
            self._size = 0

    def _forget(self, key: K) -> None:
        if key in self._entries:
            self._size -= self._entries.pop(key)[1]
