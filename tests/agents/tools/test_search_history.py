"""The `search_history` tool."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from agents.tools import CancelToken, ToolError
from agents.tools.search_history import SearchHistoryTool


class History:
    def __init__(self, *hits: dict[str, Any]) -> None:
        self.hits = list(hits)
        self.asked: list[tuple[str, int]] = []

    def __call__(self, query: str, limit: int) -> list[dict[str, Any]]:
        self.asked.append((query, limit))
        return self.hits


def test_hits_read_well() -> None:
    history = History(
        {
            "session_title": "Percentages",
            "date": datetime(2026, 11, 20, 9, tzinfo=UTC),
            "step": 4,
            "excerpt": "17 %\n of  2,340",
        },
        {"session_title": "", "date": date(2026, 1, 2), "step": None, "excerpt": "天氣很好"},
        {"session_title": "Notes", "date": "2025-03-04T10:00:00Z"},
    )
    assert SearchHistoryTool(history).call({"query": " percent "}, CancelToken()) == (
        "3 hits for “percent” in earlier sessions:\n\n"
        "1. “Percentages”, 2026-11-20, step 4\n   17 % of 2,340\n\n"
        "2. “Untitled”, 2026-01-02\n   天氣很好\n\n"
        "3. “Notes”, 2025-03-04\n   "
    )
    assert history.asked == [("percent", 5)]


def test_nothing_found_is_said() -> None:
    assert (
        SearchHistoryTool(History()).call({"query": "天氣"}, CancelToken())
        == "Nothing was found for “天氣” in earlier sessions."
    )


@pytest.mark.parametrize(("given", "used"), [(1, 1), (20, 20), (0, 5), (-3, 1), (500, 20)])
def test_the_number_of_hits_is_limited(given: int, used: int) -> None:
    history = History()
    SearchHistoryTool(history).call({"query": "x", "limit": given}, CancelToken())
    assert history.asked == [("x", used)]


def test_an_empty_query_is_refused_without_searching() -> None:
    history = History()
    with pytest.raises(ToolError, match="empty"):
        SearchHistoryTool(history).call({"query": "  "}, CancelToken())
    assert history.asked == []


def test_without_a_history_it_says_so() -> None:
    with pytest.raises(ToolError, match="no history"):
        SearchHistoryTool(None).call({"query": "x"}, CancelToken())
