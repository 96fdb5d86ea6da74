"""Pure: the frames of one run → what a client that knows no frames is told of it, piece by piece, each piece once.

A client of a stream can't be told that something was not so. A text that turns out to have been a thought stays what it was told as,
and what is written anew follows what was told before as a part of its own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from agents.text import utf16_length
from chat.protocol import ErrorCode
from chat.protocol.frames import ReasoningCompleteData, Usage

#: A frame as JSON has it.
Frame = Mapping[str, Any]
Kind = Literal["thought", "text"]
_KINDS: dict[str, Kind] = {"thought": "thought", "final_answer": "text"}

_LENGTHS = ("max_iterations", "budget_exceeded")
_ENDED = {
    "cancelled": "The run was stopped.",
    "interrupted": "The run was interrupted: the server that carried it has stopped. It can be continued.",
    "failed": "The run failed.",
}


@dataclass(frozen=True, slots=True)
class Text:
    """More of a part that is being written; a part is of one kind. ``is_whole``: nothing more of it comes."""

    part: int
    kind: Kind
    text: str
    is_whole: bool = False


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool is called."""

    call_id: str
    name: str
    arguments: str
    """JSON, or the text that the model wrote where that is none."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call came to."""

    call_id: str
    name: str
    content: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The run has ended. Without an ``error`` it has an answer; ``is_cut``: a limit or a budget ended it."""

    usage: Usage
    is_cut: bool
    error: str = ""
    code: ErrorCode | Literal["cancelled", "interrupted"] | None = None
    duration_ms: int = 0


Piece = Text | ToolCall | ToolResult | Ended


@dataclass(slots=True)
class _Draft:
    """What was told of a step that is not stored yet."""

    step: int
    part: int
    kind: Kind
    attempt: int
    text: str = ""
    length: int = 0
    """Of the text as the run has it now, in UTF-16 code units."""
    is_told: bool = False
    """Whether some of this part was told."""


@dataclass(slots=True)
class RunTeller:
    """What was told of a run so far. Give it all frames of its session, in their order; those of others are left."""

    run_id: str
    answer: str = ""
    """The answer as the log has it."""
    _parts: int = 0
    #: By step; a step may begin to grow before the one before it is stored.
    _drafts: dict[int, _Draft] = field(default_factory=dict)
    _failure: Mapping[str, Any] = field(default_factory=dict)

    def take(self, frame: Frame) -> Iterator[Piece]:
        """What is to be told because of one more frame."""
        if frame.get("run_id") != self.run_id:
            return
        data = frame["data"]
        match frame["type"]:
            case "reasoning_delta":
                yield from self._take_growth(data)
            case "reasoning_step":
                yield from self._take_step(data)
            case "error":
                self._failure = data
            case "reasoning_complete":
                yield from self._close_up_to(None)
                yield self._ended(data)

    def _take_growth(self, data: Mapping[str, Any]) -> Iterator[Piece]:
        kind = _KINDS.get(data["type"])
        if kind is None:
            return
        draft = self._drafts.get(data["step"]) or self._begin(data["step"], kind, data["attempt"])
        if data["attempt"] < draft.attempt:
            return
        text = data["text"]
        if data["offset"] == 0:
            yield from self._tell_more(draft, kind, text, data["attempt"])
        elif data["attempt"] == draft.attempt and data["offset"] == draft.length:
            draft.text += text
            draft.length += utf16_length(text)
            draft.is_told = True
            yield Text(draft.part, draft.kind, text)

    def _take_step(self, data: Mapping[str, Any]) -> Iterator[Piece]:
        match data["type"]:
            case "thought" | "final_answer":
                kind = _KINDS[data["type"]]
                if kind == "text":
                    self.answer = data["content"]
                draft = self._drafts.get(data["step"]) or self._begin(data["step"], kind, 0)
                yield from self._tell_more(draft, kind, data["content"], None)
                yield from self._close_up_to(data["step"])
            case "tool_use":
                yield from self._close_up_to(data["step"])
                arguments = data["arguments"]
                text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
                yield ToolCall(data["tool_call_id"], data["tool_name"], text)
            case "tool_result":
                content = f"{data['content']}…" if data["truncated"] else data["content"]
                yield ToolResult(data["tool_call_id"], data["tool_name"], content, data["ok"])

    def _begin(self, step: int, kind: Kind, attempt: int) -> _Draft:
        self._parts += 1
        self._drafts[step] = draft = _Draft(step, self._parts, kind, attempt)
        return draft

    def _tell_more(self, draft: _Draft, kind: Kind, whole: str, attempt: int | None) -> Iterator[Piece]:
        """Tell what a step's text, as a whole, has beyond what was told of it; ``attempt`` is None where it is stored."""
        is_stored = attempt is None
        goes_on = whole.startswith(draft.text)
        is_known = whole.rstrip() == draft.text.rstrip() if is_stored else attempt == draft.attempt
        if not goes_on and is_known and draft.text.startswith(whole.rstrip()):
            return
        known = draft.text if goes_on else ""
        # What was told as text stays text, whatever it turns out to be once it is whole.
        if draft.is_told and not (goes_on and (is_stored or kind == draft.kind)):
            yield Text(draft.part, draft.kind, "", is_whole=True)
            draft = self._begin(draft.step, kind, draft.attempt)
        elif not draft.is_told:
            draft.kind = kind
        draft.text, draft.length = whole, utf16_length(whole)
        draft.attempt = draft.attempt if attempt is None else attempt
        if more := whole[len(known) :]:
            draft.is_told = True
            yield Text(draft.part, draft.kind, more)

    def _close_up_to(self, step: int | None) -> Iterator[Piece]:
        """Nothing more comes of the steps up to this one; None: of all."""
        for number in sorted(self._drafts):
            if step is None or number <= step:
                draft = self._drafts.pop(number)
                if draft.is_told:
                    yield Text(draft.part, draft.kind, "", is_whole=True)

    def _ended(self, data: ReasoningCompleteData) -> Ended:
        status, code = data["status"], data.get("code")
        usage, lasted = data["usage"], data["duration_ms"]
        if status == "completed" or status in _LENGTHS or code in _LENGTHS:
            return Ended(usage, is_cut=status != "completed", duration_ms=lasted)
        if status == "failed":
            error = str(self._failure.get("message") or _ENDED[status])
            return Ended(usage, False, error, code or "internal", lasted)
        return Ended(usage, False, _ENDED[status], "cancelled" if status == "cancelled" else "interrupted", lasted)


@dataclass(slots=True)
class Said:
    """A run's parts, put together: its answer, and what led to it."""

    content: list[str] = field(default_factory=list)
    """The parts that were told as text."""
    reasoning: list[str] = field(default_factory=list)
    """Thoughts and tool steps, as `tool_words` words them."""
    ended: Ended | None = None
    _places: dict[int, int] = field(default_factory=dict)

    def add(self, piece: Piece) -> None:
        """Add one more piece."""
        match piece:
            case Text(part=part, kind=kind, text=text):
                parts = self.content if kind == "text" else self.reasoning
                if part not in self._places:
                    self._places[part] = len(parts)
                    parts.append("")
                parts[self._places[part]] += text
            case Ended():
                self.ended = piece
            case _:
                self.reasoning.append(tool_words(piece))


#: Stands between parts that a client is given as one text.
BETWEEN = "\n\n"


def tool_words(piece: ToolCall | ToolResult) -> str:
    """A tool's call or result as a line that people can read."""
    if isinstance(piece, ToolCall):
        return f"→ {piece.name} {piece.arguments}"
    return f"← {piece.name} {piece.content}" if piece.ok else f"← {piece.name} failed: {piece.content}"
