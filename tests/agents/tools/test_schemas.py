"""Arguments checked against a tool's schema: errors are sentences, and the time for any schema is limited."""

import re
import socket
import time
from typing import Any

import pytest

from agents.tools import schemas
from agents.tools.schemas import argument_problem

TEXT = {"type": "string"}


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


#: Schema, arguments, and the error; an empty one if they are valid. A further case is one line.
CASES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"anything": [1]}, ""),
    (of(a=TEXT), {"a": "x", "b": 1}, ""),
    (of(a=TEXT), {"a": 1}, "The argument “a” has to be of type string. Nothing was run."),
    (
        of(a={"type": ["string", "null"]}),
        {"a": 1},
        "The argument “a” has to be of type string or null. Nothing was run.",
    ),
    (of(a={"type": ["string", "null"]}), {"a": None}, ""),
    (
        of(a={"anyOf": [TEXT, {"type": "null"}]}),
        {"a": 1},
        "The argument “a” has to be of type string or null. Nothing was run.",
    ),
    (of(a={"type": "integer"}), {"a": 2.0}, ""),
    (of(a={"type": "integer"}), {"a": True}, "The argument “a” has to be of type integer. Nothing was run."),
    (of(a={"enum": ["x", 2]}), {"a": 3}, "The argument “a” has to be one of x, 2. Nothing was run."),
    ({"required": ["a", "b", "c"]}, {"b": 1}, "The call lacks the argument “a” and “c”. Nothing was run."),
    ({"required": ["it's"]}, {}, "The call lacks the argument “it's”. Nothing was run."),
    ({**of(a=TEXT), "required": ["b"]}, {"a": 1}, "The call lacks the argument “b”. Nothing was run."),
    (of(a=of(b=TEXT)), {"a": {"b": 1}}, "The argument “a.b” has to be of type string. Nothing was run."),
    (of(a={**of(), "required": ["b"]}), {"a": {}}, "The argument “a” lacks “b”. Nothing was run."),
    (
        of(a={"items": of(b=TEXT)}),
        {"a": [{}, {"b": 1}]},
        "The argument “a[1].b” has to be of type string. Nothing was run.",
    ),
    (
        of(a={"maximum": 5}),
        {"a": 6},
        "The argument “a” can't be taken: 6 is greater than the maximum of 5. Nothing was run.",
    ),
    (of(a={"maxLength": 3}), {"a": "x" * 999}, f"The argument “a” can't be taken: '{'x' * 199}…. Nothing was run."),
    (
        {**of(), "additionalProperties": False},
        {"a": 1},
        "The call can't be taken: Additional properties are not allowed",
    ),
    ({**of(a={"$ref": "#/$defs/t"}), "$defs": {"t": TEXT}}, {"a": 1}, "The argument “a” has to be of type string"),
    ({**of(a={"$ref": "#/definitions/t"}), "definitions": {"t": TEXT}}, {"a": 1}, "The argument “a” has to be of type"),
    # An earlier draft, in which these keywords have no effect.
    (of(a={"minimum": 0, "exclusiveMinimum": True}), {"a": 1}, ""),
    # Invalid schemas, or references that cannot be resolved, refuse no call; errors that were found before are kept.
    ({"required": True}, {}, ""),
    ({"properties": []}, {"a": 1}, ""),
    (of(a={"type": "text"}), {"a": 1}, ""),
    (of(a={"$ref": "#/nowhere"}), {"a": 1}, ""),
    (of(a={"$ref": "file:///etc/passwd"}), {"a": 1}, ""),
    ({"required": ["a"], **of(b={"type": "text"})}, {"b": 1}, "The call lacks the argument “a”. Nothing was run."),
    # What only the tool itself can check.
    (of(a={"pattern": "^x$"}), {"a": "y"}, ""),
    (of(a={"format": "date"}), {"a": "y"}, ""),
    ({**of(), "patternProperties": {"^x": TEXT}, "additionalProperties": False}, {"y": 1}, ""),
]


@pytest.mark.parametrize(("schema", "arguments", "words"), CASES)
def test_a_wrong_argument_is_a_sentence_that_names_it(
    schema: dict[str, Any], arguments: dict[str, Any], words: str
) -> None:
    problem = argument_problem(arguments, schema)
    assert problem.startswith(words)
    assert bool(problem) is bool(words)


def _ladder(rungs: int) -> dict[str, Any]:
    """Each level refers to the next one twice."""
    steps = {str(n): {"allOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(rungs)}
    return {"$defs": {**steps, str(rungs): {}}, "$ref": "#/$defs/0"}


def _deep(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"properties": {"a": found}, "anyOf": [found, found]}
    return found


_EVIL = {"pattern": "^(a+)+$"}
_VICTIM = {"a": "a" * 60 + "b"}
#: Schemas by which a server could keep the checker busy. A further one is one line.
HOSTILE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "an expression without end": (of(a=_EVIL), _VICTIM),
    "… in the name of another draft": (of(a={**_EVIL, "$schema": "http://json-schema.org/draft-07/schema#"}), _VICTIM),
    "… of names": ({"patternProperties": {"^(a+)+$": {}}}, {"a" * 60 + "b": 1}),
    "… of names that are left over": (
        {"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False},
        {"a" * 60 + "b": 1},
    ),
    "… of names that nothing was said of": (
        {"patternProperties": {"^(a+)+$": {}}, "unevaluatedProperties": False},
        {"a" * 60 + "b": 1},
    ),
    "itself": ({"$ref": "#"}, {}),
    "itself, by its own name": ({"$id": "x:y", "$ref": "x:y"}, {}),
    "itself, whatever it is called": ({"$dynamicAnchor": "me", "$dynamicRef": "#me"}, {}),
    "twice as much at each step": (_ladder(60), {}),
    "deep": (_deep(90), {"a": {"a": {"a": {}}}}),
    "deeper than any stack": ({"not": _deep(2_000)}, {}),
    "things that differ": (of(a={"uniqueItems": True}), {"a": [{"a": n} for n in range(20_000)]}),
    "each by each": (
        of(a={"items": {"anyOf": [{"const": n} for n in range(5_000)]}}),
        {"a": list(range(5_000, 10_000))},
    ),
    "the library's own, for each": (
        of(a={"items": {"$ref": "https://json-schema.org/draft/2020-12/schema"}}),
        {"a": [{"properties": {"a": {}}}] * 20_000},
    ),
    "numbers": (of(a={"multipleOf": 5e-324}, b={"multipleOf": 0}), {"a": 1e308, "b": 1}),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_no_schema_keeps_who_checks_busy(what: str) -> None:
    schema, arguments = HOSTILE[what]
    began = time.thread_time()
    argument_problem(arguments, schema)
    # The CPU time of the check, which may exceed the limit by one keyword.
    assert time.thread_time() - began < 10 * schemas.LONGEST_CHECK_S


@pytest.mark.parametrize("reference", ["$ref", "$dynamicRef", "$schema", "$id"])
def test_no_schema_is_fetched(reference: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        address = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/schema"
        elsewhere.setblocking(False)
        assert argument_problem({"a": 1}, of(a={reference: address, "not": {"$ref": "other"}})) == ""
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


def test_a_check_that_took_too_long_keeps_what_it_has_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "LONGEST_CHECK_S", 0.0)
    assert argument_problem({}, {"required": ["a"]}) == ""
    monkeypatch.undo()
    problem = argument_problem({"a": 1}, {"required": ["b"], **_ladder(60)})
    assert re.fullmatch("The call lacks the argument “b”. Nothing was run.", problem)
