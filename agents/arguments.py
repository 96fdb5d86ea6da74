"""A tool call's name and arguments as models write them: repaired if there is only one way to read them, else described as an error."""

import ast
import json
import re
import warnings
from collections.abc import Collection
from typing import Any

from agents.json_types import JsonObject
from agents.text import json_object

_DECODER = json.JSONDecoder(strict=False)
_NOTHING = frozenset({"", "null", "none", "undefined", '""'})
#: How many levels of JSON within a JSON string are decoded.
_DEEPEST = 4
_NEAR = 24


def repair_arguments(raw: str) -> str:
    """Return the arguments as a JSON object if they can be read as one in only one way. Else they are returned unchanged."""
    if json_object(raw, None) is not None and raw.strip():
        return raw
    text = _MARKS.sub("", raw.strip().removeprefix("\ufeff"))
    for _ in range(_DEEPEST):
        if text.lower() in _NOTHING:
            return "{}"
        text = without_fence(text)
        values = values_in(text) or python_values(text)
        if not values:
            return raw
        if len(values) == 1 and isinstance(values[0], list):
            values = values[0]
        if len(values) == 1 and isinstance(values[0], str):  # a string that contains the JSON
            text = values[0].strip()
            continue
        found = _only_object(values)
        if found is None:
            return raw
        try:
            made = json.dumps(found, ensure_ascii=False)
        except TypeError:  # Python has literals that JSON lacks
            return raw
        return raw if json_object(made, None) is None else made
    return raw


def without_fence(text: str) -> str:
    """The content of a code fence, if the text is one; else the text. Without a regex: such a pattern is slow over many spaces."""
    bare = text.strip()
    if not bare.startswith("```"):
        return text
    return bare.removeprefix("```").removeprefix("json").removesuffix("```").strip()


#: Marks of a chat template after the arguments, which some servers do not remove.
_MARKS = re.compile(r"(?:</tool_call>|<\|tool_call_end\|>|<\|im_end\|>|<\|eo[mt]_id\|>|<\|call\|>|</s>)\Z")
#: Longer texts are not parsed as Python: that takes some microseconds for each character, in a process that serves.
LONGEST_PYTHON = 100_000


def python_values(text: str) -> list[Any]:
    """The value of a text that is a Python literal, as a list of one; an empty list for any other text."""
    if len(text) > LONGEST_PYTHON:
        return []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes that Python does not know
            return [ast.literal_eval(text)]
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return []


def values_in(text: str) -> list[Any] | None:
    """The JSON values that follow one another in a text, ignoring surplus closing brackets at its end; None if there is anything else."""
    values: list[Any] = []
    at = 0
    try:
        while text[at : at + 1]:
            value, at = _DECODER.raw_decode(text, at)
            values.append(value)
            while text[at : at + 1].isspace():
                at += 1
            if text[at : at + 1] in "}]" and not text[at:].strip("}] \t\r\n"):
                break
    except (ValueError, RecursionError):
        return None
    return values


def first_object(text: str) -> str:
    """The JSON object at the beginning of a text, if something else follows it; else an empty string."""
    text = text.lstrip()
    if not text.startswith("{"):
        return ""
    try:
        _, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return ""
    return text[:end] if text[end:].strip() else ""


def _only_object(values: list[Any]) -> JsonObject | None:
    """The only object among the values, which may occur several times, or after an empty one that a server begins with. Else None."""
    objects = [value for value in values if isinstance(value, dict)]
    if len(objects) != len(values):
        return None
    full = [value for value in objects if value] or objects[:1]
    return full[0] if full and all(value == full[0] for value in full) else None


class Balance:
    """Tells whether JSON that arrives in pieces is complete, in linear time: it only follows brackets and quotes."""

    def __init__(self) -> None:
        self.in_string = False
        self._depth = 0
        self._has_begun = self._is_escaped = False

    def feed(self, text: str) -> None:
        """Add the next piece."""
        if self._is_escaped and text:
            text, self._is_escaped = text[1:], False
        for found in _SIGNS.finditer(text):
            sign = found[0]
            if sign == '"':
                self.in_string = not self.in_string
            elif sign[0] == "\\":
                self._is_escaped = len(sign) == 1
            elif not self.in_string:
                self._has_begun = True
                self._depth += 1 if sign in "{[" else -1

    @property
    def is_whole(self) -> bool:
        """Whether something was opened, and everything that was opened is closed."""
        return self._has_begun and self._depth <= 0 and not self.in_string


_SIGNS = re.compile(r'\\.|\\\Z|["{}\[\]]', re.DOTALL)


#: What models and servers add to a tool's name: marks of a template, the namespace in which it was offered, a number.
_AROUND_NAME = re.compile(
    r"^(?:(?:functions?|tools?|default_api|default|assistant|commentary)[.:/])*(.+?)(?::\d+|\(.*\))?(?:<\|.*)?$",
    re.DOTALL,
)


def known_name(name: str, tools: Collection[str]) -> str:
    """The only tool that a name can mean. Returned unchanged if it is a tool's name already, or might mean several tools or none."""
    if name in tools or len(name) > _LONGEST_NAME:
        return name
    found = _AROUND_NAME.match(name.strip().strip("\"'`"))
    if found is None:
        return name
    bare = found[1].strip()
    meant = [tool for tool in tools if tool == bare] or [tool for tool in tools if _folded(tool) == _folded(bare)]
    return meant[0] if len(meant) == 1 else name


#: Longer names are not repaired.
_LONGEST_NAME = 256


def _folded(name: str) -> str:
    return re.sub(r"[-_. ]+", "_", name).casefold()


def describe_fault(raw: str) -> str:
    """A sentence for the model about arguments that are no JSON object: what is wrong with them."""
    what = _fault(raw)
    return f"The arguments of the call could not be read: {what}. They have to be one JSON object. Nothing was run."


def _fault(raw: str) -> str:
    values = values_in(raw.strip())
    if values and len(values) > 1:
        return f"they are {len(values)} JSON values one after the other, where each call takes one object"
    try:
        value = json.loads(raw, strict=False)
    except json.JSONDecodeError as error:
        near = " ".join(raw[max(0, error.pos - _NEAR) : error.pos + _NEAR].split())
        return f"{error.msg} at character {error.pos + 1}, near “{near}”"
    except ValueError:
        return "they hold a number that is too large"
    except RecursionError:
        return "they are nested too deeply"
    if isinstance(value, dict):
        return "they hold a number that is none or too large"
    return f"they are a JSON {_KINDS.get(type(value), 'value')}"


_KINDS: dict[type, str] = {list: "list", str: "text", int: "number", float: "number", bool: "yes or no"}
