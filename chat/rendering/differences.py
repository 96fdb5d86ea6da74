"""The difference of two versions of an agent, for people: field by field, and long texts line by line."""

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from django.utils.translation import gettext as _


class Line(NamedTuple):
    """A line of a text that both may have: ``sign`` is ``+``, ``-`` or a blank."""

    sign: str
    text: str


class Difference(NamedTuple):
    """A field that differs: ``lines`` of a long text, or ``before`` and ``after``."""

    label: str
    before: str
    after: str
    lines: list[Line]


#: Lines around a change that are shown with it.
_AROUND = 2


def list_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """The fields in which the contents of two versions, as returned by `chat.catalog.agent_versions.content_of`, differ."""
    return [
        Difference(label, "", "", list(_lines(str(before[name]), str(after[name]))))
        if name == "instructions"
        else Difference(label, _as_words(before[name]), _as_words(after[name]), [])
        for name, label in _labels().items()
        if before[name] != after[name]
    ]


def _labels() -> dict[str, str]:
    return {
        "title": _("Title"),
        "description": _("What it is for"),
        "instructions": _("Instructions"),
        "instructions_shown": _("Others may read the instructions"),
        "tools": _("Tools"),
        "mcp": _("Tool servers (MCP)"),
        "sub_agents": _("Agents that it may ask"),
        "model_server": _("Model server"),
        "model": _("Model"),
        "parameters": _("Parameters"),
        "limits": _("Limits"),
        "starters": _("Questions to begin with"),
        "policy": _("Calls that wait for people"),
    }


def _as_words(value: Any) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if value is None or value in ("", [], {}):
        return "–"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return str(value)


def _lines(before: str, after: str) -> Iterator[Line]:
    compared = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=_AROUND)
    for line in list(compared)[2:]:
        yield Line("…", "") if line.startswith("@@") else Line(line[:1], line[1:])
