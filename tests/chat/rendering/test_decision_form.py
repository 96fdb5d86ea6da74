"""The form with which people decide: the field for each argument, and how the submitted form is read."""

from typing import Any

import pytest
from django.http import QueryDict

from chat.rendering import decision_form
from chat.rendering.decision_form import BadForm

SCHEMA: dict[str, Any] = {
    "properties": {
        "to": {"type": "string"},
        "n": {"type": "integer"},
        "ok": {"type": "boolean"},
        "level": {"enum": ["low", "high", 3]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "maybe": {"type": ["string", "null"]},
        "deep": {"type": "object"},
    },
    "required": ["to"],
}


def sent(fields: dict[str, Any]) -> QueryDict:
    data = QueryDict(mutable=True)
    for name, value in fields.items():
        data.setlist(name, value if isinstance(value, list) else [value])
    return data


KINDS: list[tuple[dict[str, Any], dict[str, Any], dict[str, str]]] = [
    (
        {"a": "x", "b": 1, "c": True, "d": ["x"], "e": {"f": 1}, "g": None, "h": []},
        {},
        dict(zip("abcdegh", ["text", "number", "choice", "lines", "json", "json", "json"], strict=False)),
    ),
    (
        {},
        SCHEMA,
        {
            "to": "text",
            "n": "number",
            "ok": "choice",
            "level": "choice",
            "tags": "lines",
            "maybe": "text",
            "deep": "json",
        },
    ),
    # The model's value does not fit such a field.
    (
        {"to": 5, "n": "five", "ok": "yes", "level": "none", "tags": [1], "maybe": None},
        SCHEMA,
        dict.fromkeys(("to", "n", "ok", "level", "tags", "maybe", "deep"), "json"),
    ),
    ({"tags": ["a\nb"]}, {"properties": {"tags": SCHEMA["properties"]["tags"]}}, {"tags": "json"}),
    # Unusual schemas of servers.
    ({"a": "x"}, {"properties": [], "required": 3}, {"a": "text"}),
    ({"a": "x"}, {"properties": {"a": True}}, {"a": "text"}),
    ({"a": "x"}, {"properties": {"a": {"type": ["string", "number"], "enum": []}}}, {"a": "json"}),
]


@pytest.mark.parametrize(("arguments", "schema", "kinds"), KINDS)
def test_each_argument_has_the_field_that_fits(
    arguments: dict[str, Any], schema: dict[str, Any], kinds: dict[str, str]
) -> None:
    fields = decision_form.argument_fields(arguments, schema)
    assert {shown.label: shown.kind for shown in fields} == kinds
    assert len({shown.key for shown in fields}) == len(fields)


ARGUMENTS = {"to": "a\nb", "n": 2.0, "ok": True, "tags": ["x", "y"], "deep": {"a": 1}}
#: The arguments to, n, ok, tags, deep, level, maybe are the fields a0 … a6.
READ: list[tuple[dict[str, Any], dict[str, Any] | None]] = [
    ({}, None),
    ({"a0": "a\r\nb", "a1": "2.0", "a2": "true", "a3": "x\r\ny", "a5": "", "a6": ""}, None),
    ({"a0": ""}, ARGUMENTS | {"to": ""}),
    ({"a1": " 3 "}, ARGUMENTS | {"n": 3}),
    ({"a1": ""}, {name: value for name, value in ARGUMENTS.items() if name != "n"}),
    ({"a2": "false"}, ARGUMENTS | {"ok": False}),
    ({"a3": "x\r\n\r\nz"}, ARGUMENTS | {"tags": ["x", "z"]}),
    ({"a4": '{"a": 2}'}, ARGUMENTS | {"deep": {"a": 2}}),
    ({"a5": "3"}, ARGUMENTS | {"level": 3}),
    ({"a5": '"low"'}, ARGUMENTS | {"level": "low"}),
    ({"a6": "it"}, ARGUMENTS | {"maybe": "it"}),
    ({"json": '{"to": "c"}'}, {"to": "c"}),
    ({"json": '{"to": "c"}', "a0": "c"}, "both"),  # type: ignore[list-item] # see below
    ({"json": decision_form.whole_json(ARGUMENTS).replace("\n", "\r\n"), "a0": "c"}, ARGUMENTS | {"to": "c"}),
]


@pytest.mark.parametrize(("fields", "expected"), READ)
def test_changed_arguments_are_read(fields: dict[str, Any], expected: Any) -> None:
    if expected == "both":
        with pytest.raises(BadForm):
            decision_form.read_arguments(sent(fields), ARGUMENTS, SCHEMA)
    else:
        assert decision_form.read_arguments(sent(fields), ARGUMENTS, SCHEMA) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"a1": "two"},
        {"a1": "true"},
        {"a1": "9" * 500},
        {"a2": "perhaps"},
        {"a5": "none"},
        {"a4": "{"},
        {"json": "[" * 5_000},
        {"json": "x" * 200_001},
    ],
)
def test_an_invalid_field_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadForm):
        decision_form.read_arguments(sent(fields), ARGUMENTS, SCHEMA)


FIELDS: list[Any] = [
    {"name": "t", "label": "Text", "kind": "text", "required": False},
    {"name": "c", "label": "", "kind": "choice", "options": ["a", "b"], "required": False},
    {"name": "m", "label": "Many", "kind": "choices", "options": ["a", "b", "a b"], "required": False},
    {"name": "n", "label": "Number", "kind": "number", "required": False},
    {"name": "y", "label": "Yes?", "kind": "yes_no", "required": False},
]
ANSWERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"q0": "  ", "q1": "7", "q2": [], "q3": " ", "q4": "perhaps"}, {}),
    (
        {"q0": " x\r\ny", "q1": "1", "q2": ["2", "0", "9"], "q3": "2.5", "q4": "yes"},
        {"t": " x\ny", "c": "b", "m": ["a", "a b"], "n": 2.5, "y": True},
    ),
]


@pytest.mark.parametrize(("fields", "answers"), ANSWERS)
def test_answers_are_read(fields: dict[str, Any], answers: dict[str, Any]) -> None:
    assert decision_form.read_answers(sent(fields), FIELDS) == answers


@pytest.mark.parametrize("place", range(5))
def test_required_arguments_are_required_in_the_form(place: int) -> None:
    fields = [asked | {"required": number == place} for number, asked in enumerate(FIELDS)]
    with pytest.raises(BadForm):
        decision_form.read_answers(sent({}), fields)
