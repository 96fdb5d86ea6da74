"""Renders models' Markdown for pages: in worker processes, each text once; a text that takes too long is shown as plain text.

A page first names all texts that it will show (`prepare_markdown`), which are rendered in one call of a worker; then a template's filter
takes each result from the cache.
"""

import hashlib
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from agents.untrusted.pool import Pool, TooSlow, Unfinished
from chat.runtime.kept import Kept, text_size

#: The most time for one text, in CPU seconds, and for a whole page, in seconds.
_CPU_S = 2.0
_PAGE_S = 4.0
#: The size of the cache of results, in bytes.
_KEPT = 32 << 20
#: For how many seconds a text that was too slow is not tried again.
_SLOW_FOR_S = 600.0
#: How many characters of thoughts, from the newest on, are rendered with a page. Few are ever opened; the browser renders the others then.
THOUGHT_CHARACTERS = 4_000

_pool = Pool(2, "agents.untrusted.markdown")


class _Results:
    """The cache of rendered texts; None for a text that was too slow. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: Kept[bytes, tuple[str | None, float]] = Kept(_KEPT)
        self._awaited: dict[bytes, Future[str | None]] = {}

    def claim(self, key: bytes) -> tuple[Future[str | None], bool]:
        """A future of a text's HTML, and whether the caller has to render it: other callers wait for the same future."""
        with self._lock:
            known = self._kept.get(key)
            if known is not None and time.monotonic() < known[1]:
                done: Future[str | None] = Future()
                done.set_result(known[0])
                return done, False
            if key in self._awaited:
                return self._awaited[key], False
            return self._awaited.setdefault(key, Future()), True

    def kept(self, key: bytes) -> str | None:
        """A text's HTML, if it is in the cache."""
        known = self._kept.get(key)
        return known[0] if known else None

    def settle(self, key: bytes, result: object) -> None:
        """Store the result of a text that the caller had to render."""
        html = result if isinstance(result, str) else None
        with self._lock:
            if html is not None:
                self._kept.keep(key, (html, float("inf")), text_size(html))
            elif isinstance(result, TooSlow):
                self._kept.keep(key, (None, time.monotonic() + _SLOW_FOR_S), 0)
            waiting = self._awaited.pop(key)
        waiting.set_result(html)


_results = _Results()


def prepare_markdown(texts: Iterable[str]) -> dict[str, str | None]:
    """Render texts in one call of a worker. Returns the HTML by text, None for a text that was not rendered in time. Blocks."""
    wanted: dict[str, Future[str | None]] = {}
    missing: dict[bytes, str] = {}
    for text in dict.fromkeys(texts):
        key = _key(text)
        wanted[text], is_ours = _results.claim(key)
        if is_ours:
            missing[key] = text
    _work_on(missing)
    until = time.monotonic() + _PAGE_S
    return {text: _awaited(future, until) for text, future in wanted.items()}


def _work_on(missing: dict[bytes, str]) -> None:
    results: list[object] = []
    try:
        if missing:
            results = _pool.run_each(
                "markdown.render_markdown", [[text] for text in missing.values()], cpu_s=_CPU_S, timeout_s=_PAGE_S
            )
    finally:
        # Even after an error, no other caller may wait for ever.
        for at, key in enumerate(missing):
            _results.settle(key, results[at] if at < len(results) else Unfinished())


def _awaited(future: Future[str | None], until: float) -> str | None:
    try:
        return future.result(max(0.0, until - time.monotonic()))
    except TimeoutError:
        return None


def newest_thoughts(texts: Iterable[str]) -> Iterator[str]:
    """The thoughts of a page, given oldest first, that are rendered with it."""
    left = THOUGHT_CHARACTERS
    for text in reversed(list(texts)):
        left -= len(text)
        if left < 0:
            return
        yield text


def markdown(text: str) -> SafeString:
    """A model's Markdown as HTML, or as plain text if rendering takes too long. Blocks."""
    return _shown(text, prepare_markdown([text])[text] if text else "")


def prepared_markdown(text: str) -> SafeString:
    """A model's Markdown as HTML if it is in the cache; else plain text, which the page renders when it is scrolled to."""
    return _shown(text, _results.kept(_key(text)) if text else "")


def _shown(text: str, html: str | None) -> SafeString:
    if html is None:
        return mark_safe(f'<p class="unrendered" dir="auto">{escape(text)}</p>')  # noqa: S308 - escaped
    return mark_safe(html)  # noqa: S308 - what the allowlist lets through


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).digest()


def start_workers() -> None:
    """Start a worker before the first page needs it."""
    _pool.preload()
