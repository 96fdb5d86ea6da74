"""The protocol's types as JSON Schema, from which `protocol.js` and the API's documents are made."""

from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict

from agents.json_types import JsonObject
from agents.steps import StepData
from chat.protocol.commands import PAYLOADS
from chat.protocol.frames import StoredFrame, UnstoredFrame

#: Where references find a definition.
_REFERENCE = "#/components/schemas/{model}"


@cache
def frame_schemas() -> JsonObject:
    """The types of all frames, of their data and of the steps, by their names."""

    # Made on demand: reading the docstrings takes longer than most of the product's start.
    class Frames(BaseModel):
        # Attribute docstrings become descriptions.
        model_config = ConfigDict(use_attribute_docstrings=True)

        unstored: UnstoredFrame
        stored: StoredFrame
        step: StepData

    schemas: JsonObject = Frames.model_json_schema(ref_template=_REFERENCE)["$defs"]
    return {name: _without_titles(schema) for name, schema in schemas.items()}


@cache
def payload_schemas() -> JsonObject:
    """The payload of each command, by the command's name."""
    return {word: _without_titles(payload.model_json_schema()) for word, payload in PAYLOADS.items()}


def _without_titles(schema: Any) -> Any:
    """Remove the titles, which repeat the names; a field called ``title`` stays."""
    if isinstance(schema, list):
        return [_without_titles(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _without_titles(value) for key, value in schema.items() if key != "title" or isinstance(value, dict)}
