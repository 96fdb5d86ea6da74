"""A tool on Thinkaloud's own base."""

from typing import Any, ClassVar

from agents import CancelToken, Secret, Setting, Tool, ToolError


class Weather(Tool):
    """Tells the weather."""

    name = "weather"
    description = "Returns the weather at a place. Use it whenever the answer depends on it."
    parameters: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {"place": {"type": "string", "description": "A town."}},
        "required": ["place"],
    }
    timeout_s = 5.0
    has_side_effects = False  # so that a call may be made once more
    units = Setting("env:WEATHER_UNITS", "°C")
    key = Secret("env:WEATHER_KEY")

    def call(self, arguments: dict[str, Any], stop: CancelToken) -> str:
        """The weather at ``arguments["place"]``."""
        if arguments["place"] == "Atlantis":
            raise ToolError("There is no weather in Atlantis.")
        return f"{arguments['place']}: 21 {self.units} (asked with {self.key})"
