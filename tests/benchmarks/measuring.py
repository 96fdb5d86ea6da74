"""The calculations of the benchmarks: percentiles, lateness, and parsing what a client received."""

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import orjson

#: If the timers of a client or a stub are later than this at the 99th percentile, it measures itself, and not the product.
LATE_S = 0.020
TICK_S = 0.005
_STOOD_STILL_S = 3_600.0
#: Characters of a stamped token: the time of its sending with six decimals, and a space.
STAMP = 18


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values don't exceed (nearest rank)."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late the timers of a process fired, in seconds."""

    p50: float
    p99: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Self:
        """The lateness, from the ticks. A process that never ticked was late all the time."""
        if not samples:
            return cls(_STOOD_STILL_S, _STOOD_STILL_S)
        return cls(percentile(samples, 0.5), percentile(samples, 0.99))

    @property
    def is_late(self) -> bool:
        """Whether measurements made meanwhile are void."""
        return self.p99 > LATE_S


class Ticker:
    """Measures how late the running loop is, every few milliseconds."""

    def __init__(self) -> None:
        self._samples: list[float] = []
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time()
        self._tick()

    def _tick(self) -> None:
        # By due times, so that one long delay counts for every tick that it has delayed.
        self._samples.append(self._loop.time() - self._due)
        self._due += TICK_S
        self._loop.call_at(self._due, self._tick)

    def drain(self) -> Lateness:
        """The lateness since the last call."""
        samples, self._samples = self._samples, []
        return Lateness.of(samples)


@dataclass(slots=True)
class Text:
    """The text of one step as its ``reasoning_delta`` frames build it. ASCII: an offset is an index."""

    text: str = ""
    attempt: int = 0

    def apply(self, attempt: int, offset: int, text: str) -> None:
        """Insert a piece at its offset: one of an older attempt is ignored, and so is one beyond the end."""
        if attempt < self.attempt or (offset and (attempt > self.attempt or offset > len(self.text))):
            return
        self.attempt = attempt
        self.text = self.text[:offset] + text


@dataclass(slots=True)
class Turn:
    """One run as its client saw it. Times are those of the machine's clock."""

    tag: str
    sent: float
    first: float | None = None
    """When the first text of the model was there."""
    after_tool: float | None = None
    """When the first text after a tool's result was there."""
    delays: list[float] = field(default_factory=list)
    """For each stamped token of the answer: from its sending to its being here."""
    answer: str = ""
    problems: list[str] = field(default_factory=list)


def read_turn(tag: str, sent: float, frames: Sequence[tuple[float, str]], seq: int = 0) -> Turn:
    """Parse the frames that were received after a message; ``seq`` is the number of the last event before it."""
    reading = _Reading(Turn(tag, sent), seq)
    for at, raw in frames:
        reading.add(at, orjson.loads(raw))
    return reading.turn


class _Reading:
    """A turn while its frames are read."""

    def __init__(self, turn: Turn, seq: int) -> None:
        self.turn = turn
        self._seq = seq
        self._growing: dict[int, Text] = {}
        self._has_result = False
        self._shown = 0

    def add(self, at: float, frame: dict[str, Any]) -> None:
        """Parse the next frame."""
        data, problems = frame["data"], self.turn.problems
        if "seq" in frame:
            if frame["seq"] != self._seq + 1:
                problems.append(f"seq {frame['seq']} after {self._seq}")
            self._seq = frame["seq"]
        match frame["type"]:
            case "reasoning_delta":
                self._add_delta(at, data)
            case "reasoning_step" if data["type"] == "tool_result":
                self._has_result = True
            case "reasoning_step" if data["type"] == "final_answer":
                self._answer(at, data["content"])
                self.turn.answer = data["content"]
                if not data["content"].startswith(self._growing.get(data["step"], Text()).text):
                    problems.append("the answer is not what had grown")
            case "reasoning_complete" if data["status"] != "completed":
                problems.append(f"the run ended as {data['status']}")
            case "error":
                problems.append(data["message"])

    def _add_delta(self, at: float, data: dict[str, Any]) -> None:
        text = self._growing.setdefault(data["step"], Text())
        text.apply(data["attempt"], data["offset"], data["text"])
        if not data["text"] or data["type"] not in {"thought", "final_answer", "response"}:
            return
        if self.turn.first is None:
            self.turn.first = at
        if self._has_result and self.turn.after_tool is None:
            self.turn.after_tool = at
        if data["type"] == "final_answer":
            self._answer(at, text.text)

    def _answer(self, at: float, text: str) -> None:
        self.turn.delays += _delays(at, text, self._shown)
        self._shown = max(self._shown, len(text) // STAMP)


def _delays(at: float, answer: str, shown: int) -> list[float]:
    """The delays of the stamped tokens that were not shown before."""
    stamps = (answer[i * STAMP : (i + 1) * STAMP] for i in range(shown, len(answer) // STAMP))
    try:
        return [at - float(stamp) for stamp in stamps]
    except ValueError:  # an answer without stamps
        return []


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. A bound is the most that is allowed; a row without a unit is a count."""

    name: str
    unit: str
    product: float
    yardstick: float | None = None
    bound: float | None = None

    @property
    def ratio(self) -> float | None:
        """The product's figure divided by the reference's."""
        return self.product / self.yardstick if self.yardstick else None

    @property
    def is_count(self) -> bool:
        """Whether it counts what must not happen, such as errors."""
        return not self.unit

    @property
    def is_missed(self) -> bool:
        """Whether the bound is exceeded, or the figure is missing."""
        return self.bound is not None and not self.product <= self.bound


@dataclass(frozen=True, slots=True)
class Window:
    """How late client and stub were while the product or the reference was measured."""

    client: Lateness
    stub: Lateness

    @property
    def is_void(self) -> bool:
        """Whether either was so late that the figure means nothing."""
        return self.client.is_late or self.stub.is_late


def verdict(row: Row, window: Window) -> str:
    """The last column of the table."""
    if window.is_void:
        return "void"
    if row.bound is None:
        return ""
    return "missed" if row.is_missed else "ok"


def middle(rows: Sequence[Row]) -> Row:
    """The result of a row that was measured several times: the median; for a count the worst, so that no error is lost."""
    share = 1.0 if rows[0].is_count else 0.5
    yardsticks = [row.yardstick for row in rows if row.yardstick is not None]
    return replace(
        rows[0],
        product=_middle([row.product for row in rows], share),
        yardstick=_middle(yardsticks, share) if yardsticks else None,
    )


def _middle(values: Sequence[float], share: float) -> float:
    return math.nan if any(map(math.isnan, values)) else percentile(values, share)


def growth_ratio(small: float, large: float, times: float = 1.0) -> float:
    """The growth of a cost: 1.0 if ``times`` the size costs ``times`` as much, more if it costs more than that."""
    return large / small / times if small else math.nan
