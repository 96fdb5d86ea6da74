"""Schemas of tools' parameters in the simple form that every model server supports."""

import json
from typing import Any

import pytest

from agents.models.plain_schemas import plain_tool

#: A schema of one parameter, and its simple form. A further one is one line.
PLAIN: list[tuple[Any, dict[str, Any]]] = [
    ({"type": "string", "minLength": 1, "format": "uri", "default": "a"}, {"type": "string"}),
    ({"type": ["null", "integer"]}, {"type": "integer"}),
    ({"anyOf": [{"type": "null"}, {"type": "number"}], "description": "d"}, {"type": "number", "description": "d"}),
    ({"oneOf": [{"const": "a"}, {"const": "b"}]}, {"type": "string", "enum": ["a"]}),
    ({"allOf": [{"$ref": "#/$defs/Place"}]}, {"type": "object", "properties": {"x": {"type": "number"}}}),
    ({"$ref": "#/$defs/Gone"}, {"type": "string"}),
    ({"$ref": "http://elsewhere.invalid/"}, {"type": "string"}),
    ({"$ref": 7}, {"type": "string"}),
    ({"enum": [1, 2], "type": "integer"}, {"type": "integer"}),
    ({"type": "array"}, {"type": "array", "items": {"type": "string"}}),
    ({"type": "array", "items": [{"type": "string"}]}, {"type": "array", "items": {"type": "string"}}),
    ({"type": "object"}, {"type": "object"}),
    ({"type": "string", "properties": {"a": {}}, "required": ["a"]}, {"type": "string"}),
    ({"properties": {"a": True}, "required": ["a", "b"]}, {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}),
    (True, {"type": "string"}),
    ({}, {"type": "string"}),
    (None, {"type": "string"}),
    ({"type": "nonsense", "description": 7, "required": 7}, {"type": "string"}),
]  # fmt: skip


def plain_parameters(parameters: Any) -> dict[str, Any]:
    tool = {"type": "function", "function": {"name": "t", "description": "d", "strict": True, "parameters": parameters}}
    return dict(plain_tool(tool)["function"])


@pytest.mark.parametrize(("schema", "plain"), PLAIN, ids=[str(row[0])[:60] for row in PLAIN])
def test_a_parameter_is_told_in_plain(schema: Any, plain: dict[str, Any]) -> None:
    place = {"type": "object", "properties": {"x": {"type": "number", "minimum": 0}}}
    whole = {"type": "object", "properties": {"a": schema}, "$defs": {"Place": place}}
    assert plain_parameters(whole)["parameters"]["properties"] == {"a": plain}


@pytest.mark.parametrize("parameters", [{}, {"type": "object", "properties": {}}, None, {"type": "string"}])
def test_a_tool_without_parameters_has_none(parameters: Any) -> None:
    assert plain_parameters(parameters) == {"name": "t", "description": "d"}


def test_a_schema_that_refers_to_itself_has_an_end() -> None:
    whole = {"type": "object", "properties": {f"p{n}": {"$ref": "#"} for n in range(30)}}
    assert len(json.dumps(plain_parameters(whole))) < 100_000
    circle = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"$ref": "#/$defs/A"}}}
    assert plain_parameters(circle)["parameters"]["properties"] == {"a": {"type": "string"}}
