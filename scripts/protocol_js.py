"""Writes ``static/chat/protocol.js`` from the types in ``chat/protocol``: its names, and the fields of each frame and command."""

import json
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_args

from agents.json_types import JsonObject
from agents.steps import StepData
from chat import protocol
from chat.protocol import schema
from chat.protocol.frames import StoredFrame, UnstoredFrame

TARGET = Path(__file__).resolve().parent.parent / "static" / "chat" / "protocol.js"
_WIDTH = 120
#: Enumerations that have a name of their own.
_SETS = {"End": protocol.ENDS, "ErrorCode": protocol.ERROR_CODES}
_JS_TYPES = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def main() -> None:
    """Write the file."""
    TARGET.write_text(script(), "utf-8")


def script() -> str:
    """The file's text."""
    blocks = [
        _comment("The protocol's words and types. Made from chat/protocol by `make protocol`, not by hand."),
        _constant("COMMANDS", protocol.COMMANDS),
        _constant("STORED", protocol.STORED),
        _constant("UNSTORED", protocol.UNSTORED),
        _constant("STEP_TYPES", protocol.STEP_TYPES),
        _constant("ENDS", protocol.ENDS),
        _constant("ERROR_CODES", protocol.ERROR_CODES),
        _comment("Close codes.") + "\n" + _closes(),
        _comment("Stored frames a client may leave unacknowledged.") + f"\nexport const WINDOW = {protocol.WINDOW};",
        *_types(),
    ]
    return "\n\n".join(blocks) + "\n"


def _constant(name: str, words: Iterable[str]) -> str:
    rows = "".join(f"  {json.dumps(word)},\n" for word in words)
    return f"export const {name} = Object.freeze([\n{rows}]);"


def _closes() -> str:
    rows = "".join(f"  {name}: {code},\n" for name, code in protocol.CLOSES.items())
    return f"export const CLOSE = Object.freeze({{\n{rows}}});"


def _types() -> Iterator[str]:
    for name, words in _SETS.items():
        yield _union(name, map(json.dumps, words))
    for name, described in schema.frame_schemas().items():
        yield _object(name, described)
    commands = []
    for word, described in schema.payload_schemas().items():
        name = word.capitalize()
        commands.append(f"{name}Command")
        yield _object(f"{name}Payload", described)
        yield _comment(f"@typedef {{{{ type: {json.dumps(word)}, payload: {name}Payload }}}} {name}Command")
    yield _union("Command", commands)
    for name, union in (("StoredFrame", StoredFrame), ("UnstoredFrame", UnstoredFrame), ("StepData", StepData)):
        yield _union(name, [member.__name__ for member in get_args(union)])
    yield _union("Frame", ["StoredFrame", "UnstoredFrame"])


def _object(name: str, described: JsonObject) -> str:
    required = described.get("required", ())
    fields = []
    for field, value in described.get("properties", {}).items():
        shown = field if field in required else f"[{field}]"
        fields.append(f"@property {{{_js_type(value)}}} {shown} {_prose(value)}".rstrip())
    return _comment(f"{_prose(described)}\n@typedef {{object}} {name}", *fields)


def _union(name: str, members: Iterable[str]) -> str:
    return _comment(f"@typedef {{{' | '.join(members)}}} {name}")


def _js_type(value: JsonObject) -> str:
    if "$ref" in value:
        return str(value["$ref"]).rpartition("/")[2]
    if "const" in value:
        return json.dumps(value["const"])
    if "enum" in value:
        known = next((name for name, words in _SETS.items() if words == tuple(value["enum"])), None)
        return known or " | ".join(json.dumps(word) for word in value["enum"])
    if "anyOf" in value:
        return " | ".join(_js_type(each) for each in value["anyOf"])
    match value.get("type"):
        case "array":
            return f"Array<{_js_type(value['items'])}>"
        case "object":
            within = value.get("additionalProperties")
            return f"Record<string, {_js_type(within) if isinstance(within, dict) else 'unknown'}>"
        case None:
            return "unknown"
        case kind:
            return _JS_TYPES[kind]


def _prose(described: JsonObject) -> str:
    return " ".join(described.get("description", "").replace("``", "`").split())


def _comment(*paragraphs: str) -> str:
    lines = [line for text in paragraphs for line in text.splitlines()]
    wrapped = [
        part
        for line in lines
        for part in textwrap.wrap(
            line, _WIDTH - 3, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
    ]
    if len(wrapped) == 1 and len(wrapped[0]) + 7 <= _WIDTH:
        return f"/** {wrapped[0]} */"
    return "\n".join(["/**", *(f" * {line}" for line in wrapped), " */"])


if __name__ == "__main__":
    main()
