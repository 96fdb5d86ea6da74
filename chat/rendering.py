"""Markdown of models in pages: rendered in worker processes, each text once, and shown as it is where that takes too long.

A page first says what it is going to show (``prepare_markdown``), so that all of it costs one trip; a template's filter then finds it here.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Literal

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from agents.untrusted.pool import Pool, TooSlow, Unfinished

Kind = Literal["render", "plain"]

#: What one text may take of a CPU, and all of a page by the clock, in seconds.
_CPU_S = 2.0
_PAGE_S = 4.0
#: Bytes of results that are kept, and what one counts beside its characters.
_KEPT = 32 << 20
_OVERHEAD = 300
#: How long a text that was too slow isn't tried again, in seconds.
_SLOW_FOR_S = 600.0
#: Texts of which the beginning alone is asked for: what lies behind it needs no way to the worker and back.
_PLAIN_LIMIT = 1_000

_pool = Pool(2, "agents.untrusted.markdown")


class _Results:
    """What came of texts, the least used forgotten first; None is one that was too slow. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, tuple[str | None, float]] = OrderedDict()
        self._size = 0
        self._awaited: dict[bytes, Future[str | None]] = {}

    def claim(self, key: bytes) -> tuple[Future[str | None], bool]:
        """What becomes of a text, and whether it is the caller who has to see to it: who asks meanwhile waits for the same."""
        with self._lock:
            if key in self._kept and time.monotonic() < self._kept[key][1]:
                self._kept.move_to_end(key)
                done: Future[str | None] = Future()
                done.set_result(self._kept[key][0])
                return done, False
            if key in self._awaited:
                return self._awaited[key], False
            return self._awaited.setdefault(key, Future()), True

    def settle(self, key: bytes, result: object) -> None:
        """Note what came of a claimed text."""
        html = result if isinstance(result, str) else None
        with self._lock:
            if html is not None or isinstance(result, TooSlow):
                self._keep(key, html)
            waiting = self._awaited.pop(key)
        waiting.set_result(html)

    def _keep(self, key: bytes, html: str | None) -> None:
        self._forget(key)
        self._kept[key] = html, float("inf") if html is not None else time.monotonic() + _SLOW_FOR_S
        self._size += _size(html)
        while self._size > _KEPT:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: bytes) -> None:
        if key in self._kept:
            self._size -= _size(self._kept.pop(key)[0])


def _size(html: str | None) -> int:
    # Four bytes are the most that a character takes.
    return _OVERHEAD + (0 if html is None else len(html) * (1 if html.isascii() else 4))


_results = _Results()


def prepare_markdown(texts: Iterable[str], kind: Kind = "render") -> dict[str, str | None]:
    """Render texts in one trip to a worker; None is what became of one that wasn't done in time.

    ``plain`` gives the beginning of each as words alone.
    """
    wanted: dict[str, Future[str | None]] = {}
    missing: dict[bytes, str] = {}
    for text in dict.fromkeys(texts):
        key = hashlib.blake2b(f"{kind} {text}".encode("utf-8", "surrogatepass"), digest_size=20).digest()
        wanted[text], is_ours = _results.claim(key)
        if is_ours:
            missing[key] = text
    _work_on(missing, kind)
    until = time.monotonic() + _PAGE_S
    return {text: _awaited(future, until) for text, future in wanted.items()}


def _work_on(missing: dict[bytes, str], kind: Kind) -> None:
    results: list[object] = []
    try:
        if missing:
            results = _pool.run_each(
                f"markdown.{kind}", [[text] for text in missing.values()], cpu_s=_CPU_S, timeout_s=_PAGE_S
            )
    finally:
        # Whatever happened, nobody waits for ever.
        for at, key in enumerate(missing):
            _results.settle(key, results[at] if at < len(results) else Unfinished())


def _awaited(future: Future[str | None], until: float) -> str | None:
    try:
        return future.result(max(0.0, until - time.monotonic()))
    except TimeoutError:
        return None


def markdown(text: str) -> SafeString:
    """A model's Markdown as HTML; the text as it is where that took too long."""
    html = prepare_markdown([text])[text] if text else ""
    if html is None:
        return mark_safe(f'<p class="unrendered" dir="auto">{escape(text)}</p>')  # noqa: S308 - escaped
    return mark_safe(html)  # noqa: S308 - what the allowlist has let through


def plain(text: str) -> str:
    """The beginning of a model's Markdown as words alone, without its marks."""
    beginning = text[:_PLAIN_LIMIT]
    words = prepare_markdown([beginning], "plain")[beginning] if beginning else ""
    return beginning if words is None else words


def start_workers() -> None:
    """Have a worker ready before the first page is asked for."""
    _pool.warm()
