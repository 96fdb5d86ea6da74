"""The form by which people decide a call, or answer an agent's question: its fields, and reading what was sent.

Pure: the caller passes the request and the sent form. The use case validates the result again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from agents.json_types import JsonObject
from agents.steps import QuestionField

#: Longer texts, and texts of several lines, get a multi-line input.
_LINE = 80
_LONGEST = 200_000


class BadForm(Exception):
    """An invalid input; the message is for people."""


class Sent(Protocol):
    """A form that was sent, such as `request.POST`."""

    def get(self, key: str, default: str) -> Any:
        """The last value of a name."""
        ...

    def getlist(self, key: str) -> list[Any]:
        """All values of a name."""
        ...

    def __contains__(self, key: object) -> bool: ...


@dataclass(slots=True)
class FormField:
    """A field as ``_decide_form.html`` shows it."""

    key: str
    label: str
    #: ``text``, ``lines`` (a list of texts, one a line), ``number``, ``choice``, ``choices`` or ``json``.
    kind: str
    text: str = ""
    #: Value, label, and whether it is selected.
    options: list[tuple[str, str, bool]] = field(default_factory=list)
    required: bool = False
    hint: str = ""

    @property
    def is_long(self) -> bool:
        """Whether it needs a multi-line input."""
        return self.kind in ("lines", "json") or "\n" in self.text or len(self.text) > _LINE

    @property
    def rows(self) -> int:
        """The number of lines."""
        return min(16, max(2, self.text.count("\n") + 1 + len(self.text) // 120))


# ---- a call's arguments ----


def argument_fields(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> list[FormField]:
    """A field for each argument that the call has or its tool's JSON schema names; an argument that fits no field is edited as JSON."""
    return [
        _argument_field(f"a{place}", name, arguments, schema) for place, name in enumerate(_names(arguments, schema))
    ]


def _names(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    known = schema.get("properties")
    return list(dict.fromkeys([*arguments, *(known if isinstance(known, dict) else ())]))


def _argument_field(key: str, name: str, arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> FormField:
    known = schema.get("properties")
    part = known.get(name) if isinstance(known, dict) else None
    part = part if isinstance(part, dict) else {}
    wanted = schema.get("required")
    is_required = isinstance(wanted, list) and name in wanted
    value = arguments.get(name)
    kind = _kind(value, part, is_there=name in arguments)
    hint = part.get("description")
    shown = FormField(key, name, kind, required=is_required, hint=hint if isinstance(hint, str) else "")
    if kind == "choice":
        choices = part.get("enum") or [True, False]
        has_none = not is_required or name not in arguments
        shown.options = [("", "–", name not in arguments)] if has_none else []
        shown.options += [
            (_as_json(each), _option_words(each), each == value and name in arguments) for each in choices
        ]
    elif name in arguments:
        shown.text = _text(kind, value)
    return shown


def _kind(value: Any, part: Mapping[str, Any], *, is_there: bool) -> str:
    """The kind of field for the schema and the present value; ``json`` if no other field can show the value."""
    kind = _kind_by_schema(part) or (_kind_by_value(value) if is_there else "json")
    if not is_there:
        return kind
    fits = {
        "text": isinstance(value, str),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "choice": value in (part.get("enum") or [True, False]),
        "lines": isinstance(value, list) and all(isinstance(each, str) and "\n" not in each for each in value),
    }
    return kind if fits.get(kind, True) else "json"


def _kind_by_schema(part: Mapping[str, Any]) -> str:
    choices = part.get("enum")
    if isinstance(choices, list) and choices and all(isinstance(each, str | int | float) for each in choices):
        return "choice"
    kind = part.get("type")
    kinds = [each for each in kind if each != "null"] if isinstance(kind, list) else [kind]
    if len(kinds) != 1:
        return "json" if kinds else ""
    items = part.get("items")
    match kinds[0]:
        case "string":
            return "text"
        case "integer" | "number":
            return "number"
        case "boolean":
            return "choice"
        case "array" if isinstance(items, dict) and items.get("type") == "string" and "enum" not in items:
            return "lines"
        case None:
            return ""
    return "json"


def _kind_by_value(value: Any) -> str:
    match value:
        case bool():
            return "choice"
        case str():
            return "text"
        case int() | float():
            return "number"
        case [str(), *_]:
            return "lines"
    return "json"


def _text(kind: str, value: Any) -> str:
    if kind == "text":
        return str(value)
    return "\n".join(value) if kind == "lines" else _as_json(value, indent=2 if kind == "json" else None)


def _option_words(value: Any) -> str:
    if isinstance(value, bool):
        return pgettext("an answer", "Yes") if value else pgettext("an answer", "No")
    return str(value)


def _as_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent if isinstance(value, dict | list) else None)


def whole_json(arguments: Mapping[str, Any]) -> str:
    """All arguments as one JSON text."""
    return _as_json(dict(arguments), indent=2)


def with_sent(fields: list[FormField], sent: Sent) -> list[FormField]:
    """The fields with the values that were sent."""
    for shown in fields:
        if shown.key in sent:
            shown.text = _lf(sent.get(shown.key, ""))
            shown.options = [(value, label, value == shown.text) for value, label, _is_chosen in shown.options]
    return fields


def read_arguments(sent: Sent, arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> JsonObject | None:
    """The edited arguments; None if nothing was changed. Raises `BadForm`."""
    by_fields = _read_fields(sent, arguments, schema)
    text = _lf(sent.get("json", ""))
    if not text.strip() or text == whole_json(arguments):
        return by_fields
    found = _parse(text, _("All arguments"))
    if not isinstance(found, dict):
        raise BadForm(_("The arguments have to be a JSON object."))
    if found == arguments:
        return by_fields
    if by_fields is not None and by_fields != found:
        raise BadForm(_("The fields and the JSON were both changed. Change one of the two."))
    return found


def _read_fields(sent: Sent, arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> JsonObject | None:
    edited = dict(arguments)
    for shown in argument_fields(arguments, schema):
        if shown.key not in sent:
            continue
        text = _lf(sent.get(shown.key, ""))
        before = (
            next((value for value, _label, is_chosen in shown.options if is_chosen), "")
            if shown.options
            else shown.text
        )
        if text == before:
            continue
        if text == "" and (shown.kind != "text" or shown.label not in arguments):
            edited.pop(shown.label, None)
        else:
            edited[shown.label] = _value(shown, text)
    return edited if edited != arguments else None


def _value(shown: FormField, text: str) -> Any:
    match shown.kind:
        case "text":
            return text
        case "lines":
            return [line for line in text.split("\n") if line.strip()]
        case "number":
            return _number(text, shown.label)
        case "choice":
            if text not in [value for value, _label, _is_chosen in shown.options]:
                raise BadForm(_("“%(name)s”: choose one of the options.") % {"name": shown.label})
    return _parse(text, shown.label)


def _number(text: str, name: str) -> int | float:
    value = _parse(text.strip(), name) if len(text) < 400 else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadForm(_("“%(name)s” has to be a number.") % {"name": name})
    return value


def _parse(text: str, name: str) -> Any:
    if len(text) > _LONGEST:
        raise BadForm(_("“%(name)s” is too long.") % {"name": name})
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise BadForm(_("“%(name)s” is not valid JSON.") % {"name": name}) from None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _lf(text: Any) -> str:
    """The text with line feeds: browsers send line ends as CRLF."""
    return str(text).replace("\r\n", "\n")


# ---- an agent's question ----


def question_fields(fields: Sequence[QuestionField], sent: Sent | None = None) -> list[FormField]:
    """A field for each field of a question, with the values that were sent before."""
    return [_question_field(f"q{place}", asked, sent) for place, asked in enumerate(fields)]


def _question_field(key: str, asked: QuestionField, sent: Sent | None) -> FormField:
    kind = asked["kind"]
    shown = FormField(key, asked["label"] or asked["name"], kind, required=asked["required"])
    chosen = [] if sent is None else sent.getlist(key)
    if kind in ("choice", "choices"):
        options = asked.get("options", [])
        shown.options = [(str(place), label, str(place) in chosen) for place, label in enumerate(options)]
    elif kind == "yes_no":
        shown.kind = "choice"
        shown.options = [
            (word, label, word in chosen)
            for word, label in (("yes", pgettext("an answer", "Yes")), ("no", pgettext("an answer", "No")))
        ]
    elif chosen:
        shown.text = _lf(chosen[-1])
    return shown


def read_answers(sent: Sent, fields: Sequence[QuestionField]) -> JsonObject:
    """The answers by the fields' names, without empty ones. Raises `BadForm`."""
    answers: JsonObject = {}
    for shown, asked in zip(question_fields(fields, sent), fields, strict=True):
        value = _answer(shown, asked)
        if value is None:
            if asked["required"]:
                raise BadForm(_("“%(name)s” needs an answer.") % {"name": shown.label})
            continue
        answers[asked["name"]] = value
    return answers


def _answer(shown: FormField, asked: QuestionField) -> Any:
    """An answer; None if the field is empty."""
    match asked["kind"]:
        case "choices":
            return [label for _value, label, is_chosen in shown.options if is_chosen] or None
        case "choice":
            return next((label for _value, label, is_chosen in shown.options if is_chosen), None)
        case "yes_no":
            return next((value == "yes" for value, _label, is_chosen in shown.options if is_chosen), None)
        case "number":
            return _number(shown.text, shown.label) if shown.text.strip() else None
    return shown.text if shown.text.strip() else None
