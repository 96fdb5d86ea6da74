"""Tools of extensions that are registered with Qwen-Agent's `@register_tool`, wrapped as this package's `Tool`."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from qwen_agent.llm.schema import ContentItem
from qwen_agent.tools.base import BaseTool, ToolServiceError

from agents.cancellation import CancelToken
from agents.json_types import JsonObject
from agents.masking import mask_text
from agents.tools.file_access import ReturnedFile
from agents.tools.tool import ToolError, ToolText

TIMEOUT_S = 60.0
OUTPUT_LIMIT = 50_000
_MOST_CHARACTERS = 300


def is_tool(each: type) -> bool:
    """Whether a class is a tool of Qwen-Agent's."""
    return issubclass(each, BaseTool)


class QwenTool:
    """A tool of Qwen-Agent's. Uses the limits and effects that its class declares; else cautious defaults."""

    def __init__(self, tool: BaseTool) -> None:
        self._tool = tool
        self.name: str = tool.name
        self.description: str = tool.description
        self.parameters = schema_of(tool.parameters)
        self.timeout_s: float = getattr(tool, "timeout_s", TIMEOUT_S)
        self.output_limit: int = getattr(tool, "output_limit", OUTPUT_LIMIT)
        self.has_side_effects: bool = getattr(tool, "has_side_effects", True)
        self.reaches_outside: bool = getattr(tool, "reaches_outside", True)

    def call(self, arguments: JsonObject, stop: CancelToken) -> str:
        """Call the tool with its arguments as JSON, as Qwen-Agent does. Raises `ToolError`."""
        try:
            return as_text(self._tool.call(json.dumps(arguments, ensure_ascii=False)))
        except ToolServiceError as error:
            reason = mask_text(" ".join(str(error).split()))[:_MOST_CHARACTERS]
            raise ToolError(f"The tool failed: {reason}") from error


def schema_of(parameters: Any) -> Any:
    """Qwen-Agent's parameters as a JSON schema: they are one already, or a list, as older tools have it. Others are returned unchanged."""
    if not isinstance(parameters, list):
        return {"properties": {}, **parameters} if isinstance(parameters, dict) else parameters
    if not all(isinstance(each, Mapping) and isinstance(each.get("name"), str) for each in parameters):
        return parameters
    return {
        "type": "object",
        "properties": {
            each["name"]: {key: value for key, value in each.items() if key not in ("name", "required")}
            for each in parameters
        },
        "required": [each["name"] for each in parameters if each.get("required")],
    }


def as_text(result: Any) -> str:
    """A tool's result as text for a model. Parts that are no text are described; a file that came with the result is passed on, too."""
    if isinstance(result, str):
        return result
    if isinstance(result, list) and result and all(isinstance(item, ContentItem) for item in result):
        return ToolText("\n\n".join(map(_described, result)), [file for item in result if (file := _file(item))])
    try:
        return json.dumps(result, ensure_ascii=False, indent=4)
    except (TypeError, ValueError):
        return str(result)


def _described(item: ContentItem) -> str:
    kind, value = item.get_type_and_value()
    if kind == "text":
        return str(value)
    place = value if isinstance(value, str) and not value.startswith("data:") and len(value) <= _MOST_CHARACTERS else ""
    where = f" {place}" if place else ""
    return f"[{kind}{where}: it was returned, but only text can be passed on to you]"


def _file(item: ContentItem) -> ReturnedFile | None:
    """The file within an item, if its content is in a ``data:`` address; other addresses are not fetched."""
    kind, value = item.get_type_and_value()
    head, is_data, encoded = value.partition(";base64,") if isinstance(value, str) else ("", "", "")
    if kind == "text" or not is_data or not head.startswith("data:"):
        return None
    try:
        return ReturnedFile("", base64.b64decode(encoded))
    except ValueError:
        return ReturnedFile("", b"")
