"""Two runs side by side, for people: their steps in pairs, with the differing words marked. Does not use the database."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from agents.json_types import JsonObject
from agents.untrusted.pool import Pool, Unfinished
from chat.protocol.frames import KeptFrame
from chat.rendering import humanize

#: The most steps of each run, and characters of each text, that are compared.
MOST_STEPS, MOST_CHARACTERS = 300, 20_000
#: The most time for one pair of texts, in CPU seconds, and for a whole page, in seconds.
_CPU_S, _PAGE_S = 0.5, 4.0

_pool = Pool(1, "agents.untrusted.comparing")

#: A text in pieces, each with whether it is missing in the other text.
Marked = list[tuple[str, bool]]


@dataclass(slots=True)
class Part:
    """A step of a run, with its result."""

    kind: str
    tool: str = ""
    asked: str = ""
    text: str = ""
    ok: bool = True
    duration_ms: int = 0
    #: Both texts as they are shown.
    shown_asked: Marked = field(default_factory=list)
    shown_text: Marked = field(default_factory=list)

    @property
    def is_prose(self) -> bool:
        """Whether it is a model's text, which is rendered as Markdown."""
        return self.kind != "tool"

    @property
    def text_differs(self) -> bool:
        """Whether the other step's text lacks something of this one's."""
        return any(differs for _, differs in self.shown_text)

    @property
    def title(self) -> str:
        """Its title."""
        if self.kind == "tool":
            return self.tool
        return _("Thought") if self.kind == "thought" else pgettext("of a run", "Answer")

    @property
    def icon(self) -> str:
        """Its icon's name."""
        return humanize.icon(self.tool) if self.kind == "tool" else self.kind


@dataclass(frozen=True, slots=True)
class Pair:
    """Two steps next to each other; one of them may be missing."""

    left: Part | None
    right: Part | None
    is_same: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two compared runs. ``is_cut``: one has more steps than are compared."""

    pairs: list[Pair]
    is_cut: bool


def parts_of(run_id: str, frames: Sequence[KeptFrame]) -> list[Part]:
    """A run's own thoughts, calls with their results, and answer."""
    parts: list[Part] = []
    calls: dict[str, Part] = {}
    for frame in frames:
        if frame["run_id"] != run_id:
            continue
        data: JsonObject = dict(frame["data"])
        kind = data.get("type") if frame["type"] == "reasoning_step" else frame["type"]
        text = str(data.get("content", ""))[:MOST_CHARACTERS]
        match kind:
            case "thought":
                parts.append(Part("thought", text=text, duration_ms=data["duration_ms"]))
            case "final_answer" | "response" if not parts or parts[-1].kind != "answer":
                parts.append(Part("answer", text=text, duration_ms=data.get("duration_ms", 0)))
            case "tool_use":
                call = calls[data["tool_call_id"]] = Part("tool", data["tool_name"], _as_text(data["arguments"]))
                parts.append(call)
            case "tool_result" if data["tool_call_id"] in calls:
                call = calls[data["tool_call_id"]]
                call.text, call.ok, call.duration_ms = text, data["ok"], data["duration_ms"]
    return parts


def _as_text(arguments: Any) -> str:
    if isinstance(arguments, str):
        return arguments[:MOST_CHARACTERS]
    text = orjson.dumps(arguments, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
    return text[:MOST_CHARACTERS]


def compare_parts(left: Sequence[Part], right: Sequence[Part]) -> Comparison:
    """Compare two runs. If that takes too long, their steps are paired in order, or their words are not marked."""
    is_cut = max(len(left), len(right)) > MOST_STEPS
    left, right = left[:MOST_STEPS], right[:MOST_STEPS]
    keys = [[(f"{part.kind} {part.tool}", part.asked) for part in parts] for parts in (left, right)]
    try:
        places = _pool.run("comparing.align", *keys, cpu_s=_CPU_S, timeout_s=_PAGE_S)
    except Unfinished:
        both, longer = min(len(left), len(right)), max(len(left), len(right))
        places = [(at, at) for at in range(both)]
        places += [(at, None) if len(left) > both else (None, at) for at in range(both, longer)]
    pairs = [(None if a is None else left[a], None if b is None else right[b]) for a, b in places]
    for part in (*left, *right):
        part.shown_asked, part.shown_text = [(part.asked, False)], [(part.text, False)]
    _mark([(a, b) for a, b in pairs if a is not None and b is not None])
    return Comparison([Pair(a, b, _is_same(a, b)) for a, b in pairs], is_cut)


def prose_of(compared: Comparison) -> list[str]:
    """The texts of both runs that are rendered as Markdown, to be rendered in one call of a worker."""
    parts = [part for pair in compared.pairs for part in (pair.left, pair.right) if part is not None and part.is_prose]
    return [part.text for part in parts if part.text]


def _is_same(left: Part | None, right: Part | None) -> bool:
    return left is not None and right is not None and (left.asked, left.text) == (right.asked, right.text)


def _mark(pairs: Sequence[tuple[Part, Part]]) -> None:
    """Mark the differing words of all pairs, in one call of a worker."""
    differing = [(a, b, name) for a, b in pairs for name in ("asked", "text") if getattr(a, name) != getattr(b, name)]
    texts = [(getattr(a, name), getattr(b, name)) for a, b, name in differing]
    results = _pool.run_each("comparing.mark_words", texts, cpu_s=_CPU_S, timeout_s=_PAGE_S) if texts else []
    for (a, b, name), marked in zip(differing, results, strict=True):
        if not isinstance(marked, Unfinished):
            for part, pieces in zip((a, b), marked, strict=True):
                setattr(part, f"shown_{name}", [(text, differs) for text, differs in pieces])
