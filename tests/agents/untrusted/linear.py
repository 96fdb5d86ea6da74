"""Checks that work takes time in proportion to the length of its text."""

import time
from collections.abc import Callable

#: A text four times as long may take this many times as long; quadratic work would take sixteen times as long.
_MOST = 8
#: Shorter times than this, in seconds of CPU, are not meaningful.
_LEAST_S = 0.02


def cpu_s(work: Callable[[str], object], text: str) -> float:
    """The lowest CPU time of several repetitions."""
    return min(_once(work, text) for _ in range(3))


def _once(work: Callable[[str], object], text: str) -> float:
    before = time.process_time()
    work(text)
    return time.process_time() - before


def assert_linear(work: Callable[[str], object], text: str, took: Callable[[str], float] | None = None) -> None:
    """Fails where a text takes much more than four times as long as its first quarter.

    Very short times are not measured twice.
    """
    if took is None and _once(work, text) < _LEAST_S:
        return
    measure = took or (lambda some: cpu_s(work, some))
    quarter, whole = measure(text[: len(text) // 4]), measure(text)
    assert whole <= _MOST * max(quarter, _LEAST_S), f"a quarter takes {quarter:.3f} s, all of it {whole:.3f} s"
