"""Every error code in the source is one of the protocol's, which clients know."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from chat.api import errors

ROOT = Path(errors.__file__).parents[2]
#: The protocol's, all of them.
CODES = set(
    "bad_json bad_frame unknown_type too_large empty_message bad_text unknown_agent bad_last_seq not_found not_allowed "
    "not_continuable nothing_to_cancel conflict rate_limited queue_full model_unreachable model_auth model_rate_limited "
    "model_timeout model_cut_off model_error tool_failed storage internal budget_exceeded too_many_files "
    "unsupported_media not_waiting bad_arguments bad_seq not_decided".split()
)
#: Which argument of a call is the code, by the name of the function; ``code=`` is one in any call.
PLACES = {
    "AgentError": 0,
    "BadField": 2,
    "BadFrame": 0,
    "ModelError": 1,
    "Refused": 0,
    "_error": 0,
    "error_response": 0,
    "error_data": 0,
}
#: Modules whose functions return a code and a text.
RETURNING = {"agents/models/refusals.py"}
SOURCES = sorted(path for folder in ("agents", "chat", "config") for path in (ROOT / folder).rglob("*.py"))


def _name(called: ast.expr) -> str:
    """The name of the called function, but not of a logger's ``error``."""
    if isinstance(called, ast.Attribute):
        return called.attr if called.attr != "error" else ""
    return called.id if isinstance(called, ast.Name) else ""


def _codes(node: ast.expr) -> Iterator[str]:
    """The texts that an expression may have as its value."""
    if isinstance(node, ast.IfExp):
        yield from _codes(node.body)
        yield from _codes(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from _codes(value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        yield node.value


def codes_in(path: Path) -> Iterator[str]:
    """The codes that a module uses in errors."""
    name = str(path.relative_to(ROOT))
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Return) and name in RETURNING and isinstance(node.value, ast.Tuple):
            yield from _codes(node.value.elts[-1])
        if not isinstance(node, ast.Call):
            continue
        at = PLACES.get(_name(node.func))
        if at is not None and len(node.args) > at and name not in RETURNING:
            yield from _codes(node.args[at])
        for keyword in node.keywords:
            if keyword.arg == "code":
                yield from _codes(keyword.value)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_codes_of_the_protocol_are_told(path: Path) -> None:
    assert set(codes_in(path)) <= CODES


def test_codes_are_found_where_they_are_told() -> None:
    """Otherwise the test above would show nothing."""
    found = {code for path in SOURCES for code in codes_in(path)}
    assert CODES - found == set()


def test_each_status_is_one_of_a_code_of_the_protocol() -> None:
    assert errors._STATUS.keys() <= CODES
    assert set(errors._STATUS.values()) <= {400, 401, 403, 404, 409, 413, 415, 429, 500, 503}
