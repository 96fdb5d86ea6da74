"""Parses and validates an ATIF document of another program, within limits that a server can handle. Runs in a worker."""

import json
import re
from typing import Any, NoReturn

import orjson
from atif import Trajectory
from pydantic import ValidationError

from agents.json_types import JsonObject
from agents.sentence import Sentence
from agents.text import clean_text

#: Limits: steps and trajectories in a document, lists and objects, and their depth.
MOST_STEPS = 10_000
_MOST_TRAJECTORIES = 500
_MOST_PARTS = 1_000_000
_DEEPEST = 100
_MOST_NESTED = 8
_VERSION = re.compile(r"ATIF-v1\.\d{1,3}")


class BadDocument(Exception):
    """The document cannot be read: an error code of the protocol, and a message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def read_document(body: bytes) -> tuple[Trajectory, str]:
    """The trajectory, and the document to be stored. Raises `BadDocument`, whose message names the position of the error."""
    document = _load(body)
    if not isinstance(document, dict):
        raise BadDocument("bad_frame", Sentence("The document must be a JSON object: an ATIF trajectory."))
    _check_depth(document)
    _count(document)
    if not _VERSION.fullmatch(str(document.get("schema_version", ""))):
        raise BadDocument("bad_frame", Sentence("schema_version: only ATIF-v1.0 to ATIF-v1.8 are read here."))
    try:
        trajectory = Trajectory.model_validate(document)
    except ValidationError as failure:
        first = failure.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))[:200] or "trajectory"
        raise BadDocument("bad_frame", f"{place}: {first['msg'][:300]}") from None
    return trajectory, orjson.dumps(document).decode()


def _load(body: bytes) -> Any:
    if body.count(b"{") + body.count(b"[") > _MOST_PARTS:
        raise BadDocument("bad_frame", Sentence("The document has more lists and objects than are read here."))
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        # Lone surrogates, which orjson refuses, are repaired.
        try:
            text = body.decode()
            document = json.loads(text, parse_constant=_refuse, parse_int=_integer)
        except (ValueError, RecursionError):
            raise BadDocument("bad_json", Sentence("This is not valid JSON.")) from None
        return _cleaned(document)
    # Texts of models and tools are repaired in the same way as those of runs here.
    return _cleaned(document) if b"\\u0000" in body else document


def _refuse(word: str) -> NoReturn:
    raise ValueError(word)


def _integer(digits: str) -> int:
    if len(digits) > 19 or not -(2**63) <= int(digits) < 2**63:
        raise ValueError(digits)
    return int(digits)


def _cleaned(value: Any, depth: int = 0) -> Any:
    if depth > _DEEPEST:
        raise _too_deep()
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(name): _cleaned(each, depth + 1) for name, each in value.items()}
    return [_cleaned(each, depth + 1) for each in value] if isinstance(value, list) else value


def _too_deep() -> BadDocument:
    return BadDocument("bad_frame", Sentence("The document is nested more than %(n)d deep.", n=_DEEPEST))


def _check_depth(document: Any) -> None:
    level = [document]
    for _ in range(_DEEPEST):
        level = [
            each
            for value in level
            for each in (value.values() if isinstance(value, dict) else value)
            if isinstance(each, dict | list)
        ]
        if not level:
            return
    raise _too_deep()


def _count(document: JsonObject) -> None:
    """Refuse too many steps or trajectories before parsing each of them."""
    steps, trajectories = 0, 0
    level: list[Any] = [document]
    for _ in range(_MOST_NESTED):
        below: list[Any] = []
        for each in level:
            trajectories += 1
            own_steps = each.get("steps")
            steps += len(own_steps) if isinstance(own_steps, list) else 0
            within = each.get("subagent_trajectories")
            below += [one for one in within if isinstance(one, dict)] if isinstance(within, list) else []
        if steps > MOST_STEPS:
            raise BadDocument(
                "bad_frame", Sentence("steps: there are more than %(n)d, which is the most that is read.", n=MOST_STEPS)
            )
        level = below
    if level or trajectories > _MOST_TRAJECTORIES:
        raise BadDocument(
            "bad_frame", Sentence("subagent_trajectories: there are too many, or they lie too deep in each other.")
        )
