"""Where the parts of a run are on its time axis: the strip of bars above its steps."""

from typing import Literal, TypedDict

#: The shortest bar of a strip, in per cent of the run.
SHORTEST_BAR = 1.6


class Bar(TypedDict, total=False):
    """The place of something on a run's time axis; empty if that is not known."""

    x: float
    """Where it begins, in per cent of the strip."""
    width: float
    fill: Literal["model", "tool", "fail"]
    """The colour: for what was running, or for a failure."""


def make_bar(
    span: tuple[float, float] | None,
    started_at: float | None,
    total_ms: float | None,
    fill: Literal["model", "tool", "fail"],
) -> Bar:
    """The bar of a span (Unix seconds) in a run that began at ``started_at`` and took ``total_ms``."""
    if span is None or not total_ms or started_at is None:
        return {}
    start = min(100 - SHORTEST_BAR, max(0.0, (span[0] - started_at) * 100_000 / total_ms))
    width = max(SHORTEST_BAR, (span[1] - span[0]) * 100_000 / total_ms)
    return {"x": _tenth(start), "width": _tenth(min(width, 100 - start)), "fill": fill}


def _tenth(number: float) -> float:
    return int(number * 10 + 0.5) / 10
