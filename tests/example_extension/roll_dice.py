"""A tool as Qwen-Agent has them, unchanged."""

import json
from typing import Any, ClassVar

from qwen_agent.llm.schema import ContentItem
from qwen_agent.tools.base import BaseTool, register_tool


@register_tool("roll_dice")
class RollDice(BaseTool):  # type: ignore[misc] # Qwen-Agent has no types
    """Rolls dice that always fall the same."""

    description = "Rolls dice."
    parameters: ClassVar[list[dict[str, Any]]] = [
        {"name": "times", "type": "integer", "description": "How many.", "required": True},
        {"name": "picture", "type": "boolean", "description": "Whether to show them."},
    ]

    def call(self, params: str, **_: Any) -> Any:
        """Roll them."""
        given = json.loads(params)
        rolled = {"rolled": [4] * given["times"]}
        if given.get("picture"):
            return [ContentItem(text=json.dumps(rolled)), ContentItem(image="https://dice.test/4.png")]
        return rolled
