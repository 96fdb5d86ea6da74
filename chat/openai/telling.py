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
class _Writing:
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
    _writing: _Writing | None = None
    _failure: Mapping[str, Any] = field(default_factory=dict)

    def take(self, frame: Frame) -> Iterator[Piece]:
        """What is to be told because of one more frame."""
        if frame.get("run_id") != self.run_id:
            return
        data = frame["data"]
        match frame["type"]:
            case "reasoning_delta":
                yield from self._grow(data)
            case "reasoning_step":
                yield from self._store(data)
            case "error":
                self._failure = data
            case "reasoning_complete":
                yield from self._close()
                yield self._ended(data)

    def _grow(self, data: Mapping[str, Any]) -> Iterator[Piece]:
        kind = _KINDS.get(data["type"])
        if kind is None:
            return
        writing = self._writing
        if writing is None or writing.step != data["step"]:
            yield from self._close()
            writing = self._begin(data["step"], kind, data["attempt"])
        if data["attempt"] < writing.attempt:
            return
        text = data["text"]
        if data["offset"] == 0:
            yield from self._say(kind, text, data["attempt"])
        elif data["attempt"] == writing.attempt and data["offset"] == writing.length:
            writing.text += text
            writing.length += utf16_length(text)
            writing.is_told = True
            yield Text(writing.part, writing.kind, text)

    def _store(self, data: Mapping[str, Any]) -> Iterator[Piece]:
        match data["type"]:
            case "thought" | "final_answer":
                kind = _KINDS[data["type"]]
                if kind == "text":
                    self.answer = data["content"]
                if self._writing is None or self._writing.step != data["step"]:
                    yield from self._close()
                    self._begin(data["step"], kind, 0)
                yield from self._say(kind, data["content"], None)
                yield from self._close()
            case "tool_use":
                yield from self._close()
                arguments = data["arguments"]
                text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
                yield ToolCall(data["tool_call_id"], data["tool_name"], text)
            case "tool_result":
                content = f"{data['content']}…" if data["truncated"] else data["content"]
                yield ToolResult(data["tool_call_id"], data["tool_name"], content, data["ok"])

    def _begin(self, step: int, kind: Kind, attempt: int) -> _Writing:
        self._parts += 1
        self._writing = _Writing(step, self._parts, kind, attempt)
        return self._writing

    def _say(self, kind: Kind, whole: str, attempt: int | None) -> Iterator[Piece]:
        """Tell what a step's text, as a whole, has beyond what was told of it; ``attempt`` is None where it is stored."""
        writing = self._writing
        assert writing is not None  # noqa: S101 - whoever calls this has begun it
        is_stored = attempt is None
        goes_on = whole.startswith(writing.text)
        is_known = whole.rstrip() == writing.text.rstrip() if is_stored else attempt == writing.attempt
        if not goes_on and is_known and writing.text.startswith(whole.rstrip()):
            return
        known = writing.text if goes_on else ""
        # What was told as text stays text, whatever it turns out to be once it is whole.
        if writing.is_told and not (goes_on and (is_stored or kind == writing.kind)):
            yield from self._close()
            writing = self._begin(writing.step, kind, writing.attempt)
        elif not writing.is_told:
            writing.kind = kind
        writing.text, writing.length = whole, utf16_length(whole)
        writing.attempt = writing.attempt if attempt is None else attempt
        if more := whole[len(known) :]:
            writing.is_told = True
            yield Text(writing.part, writing.kind, more)

    def _close(self) -> Iterator[Piece]:
        writing, self._writing = self._writing, None
        if writing is not None and writing.is_told:
            yield Text(writing.part, writing.kind, "", is_whole=True)

    def _ended(self, data: ReasoningCompleteData) -> Ended:
        status, code = data["status"], data.get("code")
        usage, lasted = data["usage"], data["duration_ms"]
        if status == "completed" or status in _LENGTHS or code in _LENGTHS:
            return Ended(usage, is_cut=status != "completed", duration_ms=lasted)
        if status == "failed":
            error = str(self._failure.get("message") or _ENDED[status])
            return Ended(usage, False, error, code or "internal", lasted)
        return Ended(usage, False, _ENDED[status], status, lasted)


@dataclass(slots=True)
class Said:
    """A run's parts, put together: its answer, and what led to it."""

    content: list[str] = field(default_factory=list)
    """The parts that were told as text."""
    reasoning: list[str] = field(default_factory=list)
    """Thoughts and tool steps, as `tool_words` words them."""
    ended: Ended | None = None
    _part: int = 0

    def add(self, piece: Piece) -> None:
        """Add one more piece."""
        match piece:
            case Text(part=part, kind=kind, text=text):
                parts = self.content if kind == "text" else self.reasoning
                if part != self._part:
                    self._part = part
                    parts.append("")
                parts[-1] += text
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
