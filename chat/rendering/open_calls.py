"""Calls by their ids, and those without a result: to search all of a run for each event would be quadratic."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chat.rendering.transcript import Call, Item


class OpenCalls:
    """Those of one run, while it is folded."""

    __slots__ = ("_latest", "_rows")

    def __init__(self) -> None:
        #: By id: the rows that have such calls, the latest at the end, each with them in order.
        self._rows: dict[str, list[tuple[Item, deque[Call]]]] = {}
        #: By id: the latest call, with its result or without.
        self._latest: dict[str, Call] = {}

    def __iter__(self) -> Iterator[Call]:
        return (call for rows in self._rows.values() for _, calls in rows for call in calls)

    def add(self, item: Item, call: Call) -> None:
        """A call was put into a row."""
        rows = self._rows.setdefault(call.call_id, [])
        if not rows or rows[-1][0] is not item:
            rows.append((item, deque()))
        rows[-1][1].append(call)
        self._latest[call.call_id] = call

    def note_answered(self, call: Call) -> None:
        """A call with a result was put into a row."""
        self._latest[call.call_id] = call

    def latest(self, call_id: str) -> Call | None:
        """The run's latest call of this identifier, with its result or without."""
        return self._latest.get(call_id)

    def pop(self, call_id: str) -> Call | None:
        """The call that a result belongs to: the first of this identifier in the latest row that has one. It is open no more."""
        rows = self._rows.get(call_id)
        if not rows:
            return None
        calls = rows[-1][1]
        call = calls.popleft()
        if not calls:
            rows.pop()
        if not rows:
            del self._rows[call_id]
        return call

    def forget(self, item: Item) -> None:
        """A row is not the run's any more."""
        for call in item.calls:
            if self._latest.get(call.call_id) is call:
                del self._latest[call.call_id]
        for call_id in {call.call_id for call in item.calls} & self._rows.keys():
            self._rows[call_id] = [row for row in self._rows[call_id] if row[0] is not item]


class Folded:
    """State of folding a run, which is not part of its data."""

    __slots__ = ("open_calls",)

    def __post_init__(self) -> None:
        self.open_calls = OpenCalls()
