"""Checks a call's arguments against its tool's JSON schema (2020-12), which may come from an untrusted server.

A schema's cost is bounded: nothing is fetched, regular expressions in `pattern` are not tried, and a check that takes too
long, or whose schema is invalid, reports nothing more. What is not found here is left to the tool.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import create
from referencing import Registry

from agents.json_types import JsonObject

#: The CPU time that one check may take, in seconds. It is measured between keywords, not within one.
LONGEST_CHECK_S = 0.1
#: At most so many errors are collected; the first ones are reported.
_MOST_FAULTS = 50
_DETAIL_LIMIT = 200
#: Keywords whose cost is not bounded by the size of schema and arguments, or that no tool uses, such as `$dynamicRef`.
_UNCHECKED = frozenset(
    {"pattern", "patternProperties", "uniqueItems", "unevaluatedItems", "unevaluatedProperties", "$dynamicRef"}
)

#: The library's own types do not say that a check may return nothing.
_Check = Callable[[Any, Any, Any, Any], Any]
_deadline: ContextVar[float] = ContextVar("deadline")


class _TookTooLong(Exception):
    """The check has used up its time."""


def argument_problem(arguments: JsonObject, schema: Mapping[str, Any]) -> str:
    """What is wrong with the arguments, as a sentence for the model; empty if nothing is. May be called from any thread."""
    token = _deadline.set(time.thread_time() + LONGEST_CHECK_S)
    faults: list[ValidationError] = []
    try:
        faults.extend(islice(_Arguments(schema, registry=_NOTHING_ELSE).iter_errors(arguments), _MOST_FAULTS))
    except Exception:  # noqa: BLE001, S110 - a schema may be anything, which is the tool's own fault and not the call's
        pass
    finally:
        _deadline.reset(token)
    return _sentence(faults)


def _sentence(faults: list[ValidationError]) -> str:
    if not faults:
        return ""
    first: Any = min(faults, key=lambda fault: (len(fault.path), fault.validator != "required"))
    where, wanted = _place(first), first.validator_value
    what = f"The argument {where}" if where else "The call"
    if first.validator == "required":
        lacking = " and ".join(f"“{name}”" for name in wanted if name not in first.instance)
        return f"{what} lacks {'' if where else 'the argument '}{lacking}. Nothing was run."
    if types := _types(first):
        return f"{what} has to be of type {' or '.join(types)}. Nothing was run."
    if first.validator == "enum":
        return f"{what} has to be one of {', '.join(map(str, wanted))}. Nothing was run."
    detail = first.message if len(first.message) <= _DETAIL_LIMIT else f"{first.message[:_DETAIL_LIMIT]}…"
    return f"{what} can't be taken: {detail}. Nothing was run."


def _place(fault: ValidationError) -> str:
    """Where in the arguments an error is, as ``“places[2].name”``; empty for the arguments as a whole."""
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step[:80]}" for step in fault.path)
    return f"“{path.removeprefix('.')}”" if path else ""


def _types(fault: Any) -> list[str]:
    """The allowed types, if an error is only about the type; also if they are written as alternatives, as many servers do."""
    if fault.validator == "type":
        allowed = fault.validator_value
        return [allowed] if isinstance(allowed, str) else list(map(str, allowed))
    within = list(fault.context or ())
    if within and all(inner.validator == "type" and not inner.path for inner in within):
        return [name for inner in within for name in _types(inner)]
    return []


def _in_time(check: _Check) -> _Check:
    def checked(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if time.thread_time() > _deadline.get():
            raise _TookTooLong
        yield from check(validator, value, instance, schema) or ()

    return checked


def _of_numbers(check: _Check) -> _Check:
    """In earlier drafts this keyword is a boolean, about the keyword next to it; that is ignored."""

    def checked(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if not isinstance(value, bool):
            yield from check(validator, value, instance, schema) or ()

    return checked


def _without_patterns(check: _Check) -> _Check:
    """Skip the check if there are `patternProperties`: additional properties can only be told by trying the patterns."""

    def checked(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if "patternProperties" not in schema:
            yield from check(validator, value, instance, schema) or ()

    return checked


_CHECKS: dict[str, _Check] = {
    name: check for name, check in Draft202012Validator.VALIDATORS.items() if name not in _UNCHECKED
}
_CHECKS |= {name: _of_numbers(_CHECKS[name]) for name in ("exclusiveMinimum", "exclusiveMaximum")}
_CHECKS["additionalProperties"] = _without_patterns(_CHECKS["additionalProperties"])
_create: Any = create
_Arguments = _create(
    meta_schema=Draft202012Validator.META_SCHEMA,
    validators={name: _in_time(check) for name, check in _CHECKS.items()},
    type_checker=Draft202012Validator.TYPE_CHECKER,
    id_of=Draft202012Validator.ID_OF,
)
#: A schema can refer only to itself, and to the schemas of the library.
_NOTHING_ELSE: Any = Registry()


def _evolve(self: Any, *, schema: Any, _resolver: Any = None) -> Any:
    """A validator for a part of the schema. A part that names another draft would else get that draft's class, without these limits."""
    return _Arguments(schema, registry=_NOTHING_ELSE, _resolver=_resolver or self._resolver)


_Arguments.evolve = _evolve
