"""What was made once and may be needed again: kept in the process, up to so many bytes."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

#: What an entry counts beside its text.
_OVERHEAD = 300


def text_size(text: str) -> int:
    """The bytes that a text takes at most."""
    # Four bytes are the most that a character takes.
    return len(text) * (1 if text.isascii() else 4)


class Kept(Generic[K, V]):
    """Values by key, the least used forgotten first where they take more than ``most`` bytes. Safe to use from any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._size = 0

    def get(self, key: K) -> V | None:
        """The value of a key, if it is here."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def __contains__(self, key: K) -> bool:
        return self.get(key) is not None

    def keep(self, key: K, value: V, size: int) -> None:
        """Have a value under a key from now on; ``size`` is about the bytes of its texts."""
        with self._lock:
            self._forget(key)
            self._entries[key] = value, size + _OVERHEAD
            self._size += size + _OVERHEAD
            while self._size > self._most:
                self._forget(next(iter(self._entries)))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._size = 0

    def _forget(self, key: K) -> None:
        if key in self._entries:
            self._size -= self._entries.pop(key)[1]
