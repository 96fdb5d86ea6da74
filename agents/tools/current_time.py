"""The `current_time` tool: date, time and weekday, in UTC or in any time zone."""

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

from agents.cancellation import CancelToken
from agents.json_types import JsonObject
from agents.tools.tool import ToolError

# Not from the locale: the model reads English, wherever the server runs.
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _now() -> datetime:
    return datetime.now(UTC)


_PARAMETERS: JsonObject = {
    "type": "object",
    "properties": {
        "time_zone": {
            "type": "string",
            "description": "An IANA time zone such as Asia/Taipei or Europe/London. Left out: UTC.",
        }
    },
    "required": [],
}


class CurrentTimeTool:
    """Returns the current time, which no model knows by itself."""

    name = "current_time"
    description = (
        "Returns the current date and time (ISO 8601), the weekday and the time zone. Use it whenever the answer"
        " depends on today's date or the time of day."
    )
    parameters = _PARAMETERS
    timeout_s = 5.0
    output_limit = 1_000
    reaches_outside = False
    has_side_effects = False

    def __init__(self, now: Callable[[], datetime] = _now) -> None:
        self._now = now

    def call(self, arguments: JsonObject, stop: CancelToken) -> str:
        """Return the time in ``arguments["time_zone"]``, or in UTC."""
        name = str(arguments.get("time_zone") or "UTC").strip()
        try:
            zone = ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            raise ToolError(_unknown(name)) from error
        now = self._now().astimezone(zone).replace(microsecond=0)
        return f"{now.isoformat()}\n{_WEEKDAYS[now.weekday()]}\nTime zone: {name} ({now.tzname()})"


def _unknown(name: str) -> str:
    """The error sentence for an unknown time zone, with similar names."""
    wanted = name.rpartition("/")[2].replace(" ", "_").casefold()
    close = sorted(zone for zone in available_timezones() if wanted and wanted in zone.casefold())[:3]
    hint = f"Did you mean {' or '.join(close)}?" if close else "Use an IANA name such as Asia/Taipei or Europe/London."
    return f"There is no time zone named “{name[:80]}”. {hint}"
