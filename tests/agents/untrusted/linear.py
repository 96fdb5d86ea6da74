"""Checks that work takes time in proportion to the length of its text."""

import time
from collections.abc import Callable

#: A text four times as long may take this many times as long; quadratic work would take sixteen times as long.
_MOST = 8
#: Shorter times than this, in seconds of CPU, are not meaningful.
_LEAST_S = 0.02
#: The lowest time of this many repetitions counts.
_TRIES = 3


def _once(work: Callable[[str], object], text: str) -> float:
    before = time.process_time()
    work(text)
    return time.process_time() - before


def assert_linear(work: Callable[[str], object], text: str, took: Callable[[str], float] | None = None) -> None:
    """Fails where a text takes much more than four times as long as its first quarter. ``took`` measures once, in seconds of CPU.

    Nothing is repeated that can no longer fail.
    """
    measure = took or (lambda some: _once(work, some))
    whole = measure(text)
    if whole <= _MOST * _LEAST_S:
        return
    quarter = min(measure(text[: len(text) // 4]) for _ in range(_TRIES))
    most = _MOST * max(quarter, _LEAST_S)
    for _ in range(_TRIES - 1):
        if whole > most:
            whole = min(whole, measure(text))
    complaint = f"it takes more time than in proportion\na quarter {quarter:.3f} s, all of it {whole:.3f} s"
    assert whole <= most, complaint
