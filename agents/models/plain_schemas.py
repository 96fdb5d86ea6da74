"""Simplifies the JSON schemas of tools' parameters for the strictest model servers: types, descriptions, enums, and nothing else.

Schemas of MCP servers contain all of JSON Schema, and one that a model server refuses would end every question.
"""

from collections.abc import Mapping
from typing import Any

from agents.json_types import JsonObject

Schema = Mapping[str, Any]

#: How many levels of a schema are read; it may refer to itself.
_DEEPEST = 8
#: How many parts of one schema are described completely.
_MOST_PARTS = 500
_TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean"})
_ALTERNATIVES = ("anyOf", "oneOf", "allOf")
#: The longest description of a tool, in characters: OpenAI's and Azure's limit.
_LONGEST_DESCRIPTION = 1_024


def plain_tool(tool: Mapping[str, Any]) -> JsonObject:
    """A tool in OpenAI's format, with plain parameters; without any if it takes none."""
    function = {name: value for name, value in tool["function"].items() if name in ("name", "description")}
    if isinstance(description := function.get("description"), str):
        function["description"] = description[:_LONGEST_DESCRIPTION]
    plain = _Reader(tool["function"].get("parameters") or {}).read()
    if plain.get("properties"):
        function["parameters"] = plain
    return {"type": "function", "function": function}


class _Reader:
    """Reads one schema. One that refers to itself several times would otherwise have no end that anybody lives to see."""

    def __init__(self, whole: Schema) -> None:
        self._whole = whole
        self._left = _MOST_PARTS

    def read(self) -> JsonObject:
        return self._plain(self._whole, 0)

    def _plain(self, schema: Any, depth: int) -> JsonObject:
        self._left -= 1
        schema = _followed(schema, self._whole)
        kind = _type(schema)
        plain: JsonObject = {"type": kind}
        if isinstance(description := schema.get("description"), str) and description:
            plain["description"] = description
        choices = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
        if kind == "string" and choices and all(isinstance(choice, str) and choice for choice in choices):
            plain["enum"] = list(choices)
        goes_on = depth < _DEEPEST and self._left > 0
        if kind == "array":
            items = schema.get("items")
            has_items = goes_on and isinstance(items, Mapping)
            plain["items"] = self._plain(items, depth + 1) if has_items else {"type": "string"}
        properties = schema.get("properties")
        if kind == "object" and goes_on and isinstance(properties, Mapping) and properties:
            plain["properties"] = {str(name): self._plain(each, depth + 1) for name, each in properties.items()}
            wanted = schema.get("required")
            if required := [name for name in wanted if name in properties] if isinstance(wanted, list) else []:
                plain["required"] = required
        return plain


def _followed(schema: Any, whole: Schema) -> Schema:
    """The schema that one means by a reference, or the first of its alternatives that is not nothing; with its own description."""
    description = schema.get("description") if isinstance(schema, Mapping) else None
    for _ in range(_DEEPEST):
        if not isinstance(schema, Mapping):
            return {}
        following = _referred(schema["$ref"], whole) if "$ref" in schema else _first_alternative(schema)
        if following is None:
            break
        schema = following
    return {**schema, "description": description} if description else schema


def _referred(place: Any, whole: Schema) -> Any:
    """The part of the whole at a reference such as ``#/$defs/Name``; an empty schema for any other."""
    found: Any = whole
    for step in str(place).removeprefix("#/").split("/"):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _first_alternative(schema: Schema) -> Any:
    for name in _ALTERNATIVES:
        if isinstance(several := schema.get(name), list) and "type" not in schema and "properties" not in schema:
            return next((each for each in several if isinstance(each, Mapping) and each.get("type") != "null"), {})
    return None


def _type(schema: Schema) -> str:
    given = schema.get("type")
    kinds = [kind for kind in (given if isinstance(given, list) else [given]) if kind in _TYPES]
    if kinds:
        return str(kinds[0])
    return "object" if "properties" in schema else "array" if "items" in schema else "string"
