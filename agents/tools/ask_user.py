"""The `ask_user` tool: the agent asks a person, by a form, and gets the answers as its result. The run waits meanwhile."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast, get_args

from agents.cancellation import CancelToken
from agents.json_types import JsonObject
from agents.sentence import Sentence
from agents.steps import FieldKind, QuestionField
from agents.text import utf16_length
from agents.tools.tool import ToolError

_MOST_FIELDS = 20
_MOST_OPTIONS = 50
_LONGEST_TEXT = 4_000
_LONGEST_LABEL = 500
_LARGEST_NUMBER = 1e15
_CHOOSING = ("choice", "choices")


class AskUserTool:
    """Asks a person. The run waits for the answers; if it cannot wait, the model is told so."""

    name = "ask_user"
    description = (
        "Asks the person, and returns their answers. Use it when only they can know something that you need, or are to choose;"
        " ask everything at once, by as many fields as there are things to know."
    )
    parameters: JsonObject = {
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
                        "kind": {"type": "string", "enum": list(get_args(FieldKind))},
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

    def call(self, arguments: JsonObject, stop: CancelToken) -> str:
        """Say that nobody can be asked. If somebody can, the run waits instead of making this call."""
        raise ToolError("Nobody can be asked in this run. Go on with what you know, and say what you have assumed.")


def fields_of(arguments: Mapping[str, Any]) -> list[QuestionField]:
    """The form's fields from a call's arguments, which fit the schema. Raises `ToolError` if they make no form all the same."""
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
    """What is wrong with a person's answers, as a sentence for them; empty if nothing is."""
    known = {field["name"] for field in fields}
    if unknown := next((name for name in answers if name not in known), None):
        return Sentence("There is no field “%(name)s”.", name=unknown[:100])
    for field in fields:
        value = answers.get(field["name"])
        if _is_missing(value):
            if field["required"]:
                return Sentence("“%(label)s” has to be answered.", label=field["label"])
        elif problem := _misfit(field, value):
            return problem
    return ""


def _is_missing(value: Any) -> bool:
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def _misfit(field: QuestionField, value: Any) -> str:
    """What an answer has to be, if it is something else; else empty."""
    fits, words = _KINDS[field["kind"]]
    if fits(value, field.get("options", [])):
        return ""
    return words(field["label"])


def _is_text(value: Any, _options: Sequence[str]) -> bool:
    return isinstance(value, str) and utf16_length(value) <= _LONGEST_TEXT


def _is_choice(value: Any, options: Sequence[str]) -> bool:
    return isinstance(value, str) and value in options


def _are_choices(value: Any, options: Sequence[str]) -> bool:
    known = isinstance(value, list) and len(value) <= len(options) and all(_is_choice(each, options) for each in value)
    return known and len(set(value)) == len(value)


def _is_number(value: Any, _options: Sequence[str]) -> bool:
    # The value comes from JSON without NaN and infinity.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and -_LARGEST_NUMBER < value < _LARGEST_NUMBER


def _is_yes_or_no(value: Any, _options: Sequence[str]) -> bool:
    return isinstance(value, bool)


#: By kind: a check of an answer, and the error sentence for a field's label.
_KINDS: dict[FieldKind, tuple[Callable[[Any, Sequence[str]], bool], Callable[[str], str]]] = {
    "text": (
        _is_text,
        lambda label: Sentence(
            "“%(label)s” has to be a text of at most %(n)s characters.", label=label, n=f"{_LONGEST_TEXT:,}"
        ),
    ),
    "choice": (_is_choice, lambda label: Sentence("“%(label)s” has to be one of its options.", label=label)),
    "choices": (_are_choices, lambda label: Sentence("“%(label)s” has to be a list of its options.", label=label)),
    "number": (_is_number, lambda label: Sentence("“%(label)s” has to be a number.", label=label)),
    "yes_no": (_is_yes_or_no, lambda label: Sentence("“%(label)s” has to be yes or no.", label=label)),
}
