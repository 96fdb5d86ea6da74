"""Calls without a result, by their ids: to search all of a run for each result would be quadratic."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chat.rendering.transcript import Call, Item


class OpenCalls:
    """Those of one run, while it is folded."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        #: By id: the rows that have such calls, the latest at the end, each with them in order.
        self._rows: dict[str, list[tuple[Item, deque[Call]]]] = {}

    def add(self, item: Item, call: Call) -> None:
        """A call was put into a row."""
        rows = self._rows.setdefault(call.call_id, [])
        if not rows or rows[-1][0] is not item:
            rows.append((item, deque()))
        rows[-1][1].append(call)

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
        for call_id in {call.call_id for call in item.calls} & self._rows.keys():
            self._rows[call_id] = [row for row in self._rows[call_id] if row[0] is not item]


class Folded:
    """State of folding a run, which is not part of its data."""

    __slots__ = ("open_calls",)

    def __post_init__(self) -> None:
        self.open_calls = OpenCalls()
