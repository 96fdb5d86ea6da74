"""The `ask_user` tool: the agent asks a person, by a form, and gets the answers as its result. The run waits meanwhile."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

from agents.cancellation import CancelToken
from agents.steps import FieldKind, QuestionField
from agents.text import utf16_length
from agents.tools.tool import ToolError

_MOST_FIELDS = 20
_MOST_OPTIONS = 50
_LONGEST_TEXT = 4_000
_LONGEST_LABEL = 500
_CHOOSING = ("choice", "choices")
_KINDS: tuple[FieldKind, ...] = get_args(FieldKind)


class AskUserTool:
    """Asks a person. Whoever runs the agent has it wait for the answers; where it cannot wait, the model is told so."""

    name = "ask_user"
    description = (
        "Asks the person, and returns their answers. Use it when only they can know something that you need, or are to choose;"
        " ask everything at once, by as many fields as there are things to know."
    )
    parameters: dict[str, Any] = {
        "type": "object",
        "properties": {
            "question": {"type": "string", "description": "What you need to know, and why, in a sentence or two."},
            "fields": {
                "type": "array",
                "minItems": 1,
                "maxItems": _MOST_FIELDS,
                "description": "The fields of the form. Without any, there is one for a text.",
                "items": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string", "description": "By which you find the answer."},
                        "label": {"type": "string", "description": "What the person reads beside it."},
                        "kind": {"type": "string", "enum": list(_KINDS)},
                        "options": {
                            "type": "array",
                            "items": {"type": "string"},
                            "maxItems": _MOST_OPTIONS,
                            "description": "For choice and choices.",
                        },
                        "required": {"type": "boolean", "default": True},
                    },
                    "required": ["name", "kind"],
                },
            },
        },
        "required": ["question"],
    }
    timeout_s = 60.0
    output_limit = 100_000
    reaches_outside = False
    has_side_effects = False

    def call(self, arguments: dict[str, Any], stop: CancelToken) -> str:
        """Say that nobody can be asked: where somebody can, the call never comes here."""
        raise ToolError("Nobody can be asked in this run. Go on with what you know, and say what you have assumed.")


def fields_of(arguments: Mapping[str, Any]) -> list[QuestionField]:
    """The form that a call asks for. Its arguments fit the schema; raises `ToolError` for what makes no form all the same."""
    asked = arguments.get("fields") or [{"name": "answer", "kind": "text", "label": str(arguments["question"])}]
    fields = [_field(each) for each in asked]
    names = [field["name"] for field in fields]
    if len(set(names)) < len(names):
        raise ToolError("Two fields have the same name; each needs one of its own. Nobody was asked.")
    return fields


def _field(asked: Mapping[str, Any]) -> QuestionField:
    name = str(asked["name"]).strip()[:100]
    if not name:
        raise ToolError("A field has no name. Nobody was asked.")
    kind = cast(FieldKind, asked["kind"])
    field: QuestionField = {
        "name": name,
        "label": (str(asked.get("label") or "").strip() or name)[:_LONGEST_LABEL],
        "kind": kind,
        "required": bool(asked.get("required", True)),
    }
    if kind in _CHOOSING:
        options = list(dict.fromkeys(str(each)[:_LONGEST_LABEL] for each in asked.get("options") or ()))
        if not options:
            raise ToolError(f"The field “{name}” is a {kind} without options. Nobody was asked.")
        field["options"] = options
    return field


def answer_problem(fields: Sequence[QuestionField], answers: Mapping[str, Any]) -> str:
    """What is wrong with somebody's answers, as a sentence for them; empty where nothing is."""
    known = {field["name"] for field in fields}
    if unknown := next((name for name in answers if name not in known), None):
        return f"There is no field “{unknown[:100]}”."
    for field in fields:
        value = answers.get(field["name"])
        if _is_missing(value):
            if field["required"]:
                return f"“{field['label']}” has to be answered."
            continue
        if wanted := _wanted(field, value):
            return f"“{field['label']}” has to be {wanted}."
    return ""


def _is_missing(value: Any) -> bool:
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def _wanted(field: QuestionField, value: Any) -> str:
    """What an answer has to be, where it is not that."""
    options = field.get("options", [])
    match field["kind"]:
        case "text":
            fits = isinstance(value, str) and utf16_length(value) <= _LONGEST_TEXT
            return "" if fits else f"a text of at most {_LONGEST_TEXT:,} characters"
        case "choice":
            return "" if isinstance(value, str) and value in options else "one of its options"
        case "choices":
            fits = isinstance(value, list) and len(value) <= len(options)
            fits = fits and all(isinstance(each, str) and each in options for each in value)
            return "" if fits else "a list of its options"
        case "number":
            fits = isinstance(value, int | float) and not isinstance(value, bool)
            return "" if fits and abs(value) < 1e15 and math.isfinite(value) else "a number"
        case "yes_no":
            return "" if isinstance(value, bool) else "yes or no"
