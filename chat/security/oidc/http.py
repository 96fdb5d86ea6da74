"""Requests to the provider, limited in time, size and number, and only to addresses in its own configuration."""

import threading
import time
from typing import Any

import requests

#: Seconds to connect, and between two parts of an answer; and in total.
_PATIENCE_S = (3.0, 5.0)
_IN_ALL_S = 8.0
_LARGEST = 512 * 1024
#: How many requests there may be at the same time; further ones wait for a moment, then fail.
_AT_ONCE = 8
_WAIT_S = 2.0
_slots = threading.BoundedSemaphore(_AT_ONCE)


class Unreachable(requests.RequestException):
    """The provider gave no usable answer: none in time, one that is too long, or a redirect."""


class BoundedSession(requests.Session):
    """An HTTP session with these limits. Raises `requests.RequestException`."""

    def request(self, method: Any, url: Any, *args: Any, **options: Any) -> requests.Response:
        """Send a request, and read the whole answer."""
        if not _slots.acquire(timeout=_WAIT_S):
            raise Unreachable("Too many logins wait for the provider.")
        try:
            bounds = {"timeout": _PATIENCE_S, "stream": True, "allow_redirects": False}
            with super().request(method, url, *args, **{**options, **bounds}) as answer:
                if answer.is_redirect:
                    raise Unreachable("The provider's answer leads elsewhere.")
                answer._content = _read(answer)  # noqa: SLF001 - as read by itself, which has no bounds
                return answer
        finally:
            _slots.release()


def _read(answer: requests.Response) -> bytes:
    until = time.monotonic() + _IN_ALL_S
    read = bytearray()
    for part in answer.iter_content(16 * 1024):
        read += part
        if len(read) > _LARGEST or time.monotonic() > until:
            raise Unreachable("The provider's answer is too long, or takes too long.")
    return bytes(read)
