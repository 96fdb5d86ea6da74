"""The `current_time` tool."""

from datetime import UTC, datetime, timedelta

import pytest

from agents.tools import CancelToken, ToolError
from agents.tools.current_time import CurrentTimeTool

NEW_YEAR = datetime(2030, 12, 31, 20, 30, 5, 999, tzinfo=UTC)


def time_of(**arguments: object) -> str:
    return CurrentTimeTool(now=lambda: NEW_YEAR).call(arguments, CancelToken())


@pytest.mark.parametrize("arguments", [{}, {"time_zone": ""}, {"time_zone": None}, {"time_zone": "UTC"}])
def test_tells_the_time_in_utc(arguments: dict[str, object]) -> None:
    assert time_of(**arguments) == "2030-12-31T20:30:05+00:00\nTuesday\nTime zone: UTC (UTC)"


def test_tells_the_time_and_the_day_of_another_zone() -> None:
    assert time_of(time_zone="Asia/Taipei") == "2031-01-01T04:30:05+08:00\nWednesday\nTime zone: Asia/Taipei (CST)"
    assert time_of(time_zone=" America/New_York ").startswith("2030-12-31T15:30:05-05:00\nTuesday")


def test_without_a_clock_of_its_own_it_is_now() -> None:
    shown = datetime.fromisoformat(CurrentTimeTool().call({}, CancelToken()).split("\n")[0])
    assert abs(datetime.now(UTC) - shown) < timedelta(seconds=5)


@pytest.mark.parametrize("name", ["Narnia", "../../etc/passwd", "/etc/passwd", "a\0b", "天", "x" * 5_000, "Asia"])
def test_an_unknown_zone_is_a_clear_error(name: str) -> None:
    with pytest.raises(ToolError, match="There is no time zone named “"):
        time_of(time_zone=name)


@pytest.mark.parametrize(
    ("name", "meant"), [("Taipei", "Asia/Taipei"), ("New York", "America/New_York"), ("europe/london", "Europe/London")]
)
def test_a_zone_that_is_nearly_right_is_suggested(name: str, meant: str) -> None:
    with pytest.raises(ToolError, match=f"Did you mean .*{meant}"):
        time_of(time_zone=name)
