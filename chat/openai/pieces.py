"""Turns the frames of one run into pieces for clients that know no frames; each piece is sent once. Pure: no I/O.

A text that was sent cannot be taken back. So a text that turns out to have been a thought stays part of the answer,
and a text that is written again is sent as a further part.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import orjson

from agents.text import utf16_length
from chat.protocol import ErrorCode
from chat.protocol.frame_data import ReasoningCompleteData, Usage

#: A frame as JSON has it.
Frame = Mapping[str, Any]
Kind = Literal["thought", "text"]
_KINDS: dict[str, Kind] = {"thought": "thought", "final_answer": "text"}

_LENGTHS = ("max_iterations", "budget_exceeded")
_ENDED = {
    "cancelled": "The run was stopped.",
    "interrupted": "The run was interrupted: the server that executed it has stopped. It can be continued.",
    "failed": "The run failed.",
}


def is_request(frame: Frame, run_id: str) -> bool:
    """Whether a frame says that the run, or a run within it, waits for a person."""
    is_own = frame["type"] == "reasoning_step" and frame.get("run_id") == run_id
    return (is_own or frame["type"] == "child_step") and frame["data"]["type"] in ("approval_request", "question")


class Text(NamedTuple):
    """More of a part that is being written; a part is of one kind. ``is_whole``: the part is complete."""

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
    """JSON; or the text that the model wrote, if that is no JSON."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a call."""

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
    """A step that is being written, and how much of it was sent."""

    kind: Kind
    attempt: int
    text: str = ""
    length: int = 0
    """The text's length in UTF-16 code units."""
    sent_length: int = 0
    """How many of its characters were sent."""
    part: int = 0
    """The part in which it is sent; 0 if there is none yet."""

    def continues_with(self, data: Mapping[str, Any]) -> bool:
        """Whether a delta continues exactly what was sent, in a part of its own."""
        is_next = data["attempt"] == self.attempt and data["offset"] == self.length > 0
        return is_next and self.part > 0 and self.sent_length == len(self.text) and data["text"] != ""

    def append_text(self, more: str) -> str:
        """Add text, and return it to be sent at once."""
        self.text += more
        self.length += utf16_length(more)
        self.sent_length = len(self.text)
        return more

    def replace(self, text: str, attempt: int) -> None:
        """Replace the whole text."""
        self.text, self.length, self.attempt = text, utf16_length(text), attempt


@dataclass(slots=True)
class PieceReader:
    """The state of what was sent of a run. Pass it all frames of the session, in order; those of other runs are ignored.

    A step may begin before the one before it is stored: nothing of it is sent until then.
    """

    run_id: str
    answer: str = ""
    """The answer as stored in the log."""
    _parts: int = 0
    #: The number of the last stored step.
    _stored: int = 0
    _drafts: dict[int, _Draft] = field(default_factory=dict)
    _failure: Mapping[str, Any] = field(default_factory=dict)

    def read_frame(self, frame: Frame) -> Iterable[Piece]:
        """The pieces to send for a further frame."""
        if frame.get("run_id") != self.run_id:
            return ()
        data = frame["data"]
        if frame["type"] == "reasoning_delta":
            # Nearly all frames are a token that continues the current text.
            draft = self._drafts.get(data["step"])
            if draft is not None and draft.continues_with(data) and data["step"] == self._stored + 1:
                return (Text(draft.part, draft.kind, draft.append_text(data["text"])),)
        return self._read_other(frame, data)

    def _read_other(self, frame: Frame, data: Any) -> Iterator[Piece]:
        match frame["type"]:
            case "reasoning_delta":
                yield from self._read_partial(data)
            case "reasoning_step":
                yield from self._read_step(data)
            case "error":
                self._failure = data
            case "reasoning_complete":
                for draft in self._drafts.values():
                    yield from self._close(draft)
                yield self._ended(data)

    def _read_partial(self, data: Mapping[str, Any]) -> Iterator[Piece]:
        kind, step, text = _KINDS.get(data["type"]), data["step"], data["text"]
        if kind is None or step <= self._stored:
            return
        draft = self._drafts.get(step)
        if draft is None:
            draft = self._drafts[step] = _Draft(kind, data["attempt"])
        if data["attempt"] < draft.attempt:
            return
        if data["offset"] == 0:
            if data["attempt"] == draft.attempt and draft.text.startswith(text):
                return
            yield from self._begin_anew(draft, kind, text, data["attempt"])
        elif data["attempt"] == draft.attempt and data["offset"] == draft.length:
            draft.text += text
            draft.length += utf16_length(text)
        if step == self._stored + 1:
            yield from self._send_rest(draft)

    def _read_step(self, data: Mapping[str, Any]) -> Iterator[Piece]:
        match data["type"]:
            case "thought" | "final_answer":
                yield from self._read_text(_KINDS[data["type"]], data["step"], data["content"])
            case "tool_use":
                yield from self._drop(data["step"])
                arguments = data["arguments"]
                text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
                yield ToolCall(data["tool_call_id"], data["tool_name"], text)
            case "tool_result":
                yield from self._drop(data["step"])
                content = f"{data['content']}…" if data["truncated"] else data["content"]
                yield ToolResult(data["tool_call_id"], data["tool_name"], content, data["ok"])
            case _:
                return
        self._stored = data["step"]
        if (following := self._drafts.get(self._stored + 1)) is not None:
            yield from self._send_rest(following)

    def _read_text(self, kind: Kind, step: int, content: str) -> Iterator[Piece]:
        if kind == "text":
            self.answer = content
        draft = self._drafts.get(step) or _Draft(kind, 0)
        sent = draft.text[: draft.sent_length]
        # What was sent as text stays text, whatever it turned out to be; only white space at the end may differ.
        if sent and content.rstrip() != sent.rstrip():
            yield from self._begin_anew(draft, draft.kind if content.startswith(sent) else kind, content, draft.attempt)
        elif not sent:
            draft.kind = kind
            draft.replace(content, draft.attempt)
        yield from self._send_rest(draft)
        yield from self._close(draft)
        self._drafts.pop(step, None)

    def _begin_anew(self, draft: _Draft, kind: Kind, text: str, attempt: int) -> Iterator[Piece]:
        """A step's text was replaced: send it as a further part, without the beginning that it shares with what was sent."""
        sent = draft.text[: draft.sent_length]
        goes_on = text.startswith(sent)
        if not goes_on or kind != draft.kind:
            yield from self._close(draft)
            draft.kind, draft.part, draft.sent_length = kind, 0, len(sent) if goes_on else 0
        draft.replace(text, attempt)

    def _send_rest(self, draft: _Draft) -> Iterator[Piece]:
        more = draft.text[draft.sent_length :]
        if not more:
            return
        if not draft.part:
            self._parts += 1
            draft.part = self._parts
        draft.sent_length = len(draft.text)
        yield Text(draft.part, draft.kind, more)

    def _close(self, draft: _Draft) -> Iterator[Piece]:
        if draft.part:
            yield Text(draft.part, draft.kind, "", is_whole=True)

    def _drop(self, step: int) -> Iterator[Piece]:
        """Another step has taken the number of the one that was being written: close its part."""
        draft = self._drafts.pop(step, None)
        if draft is not None:
            yield from self._close(draft)

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
class AnswerParts:
    """A run's parts, joined: its answer, and what led to it."""

    content: list[str] = field(default_factory=list)
    """The parts that were sent as text."""
    reasoning: list[str] = field(default_factory=list)
    """Thoughts and tool steps, as formatted by `tool_words`."""
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


#: Separates parts that a client gets as one text.
BETWEEN = "\n\n"


def tool_words(piece: ToolCall | ToolResult) -> str:
    """A tool's call or result as a readable line."""
    if isinstance(piece, ToolCall):
        return f"→ {piece.name} {piece.arguments}"
    return f"← {piece.name} {piece.content}" if piece.ok else f"← {piece.name} failed: {piece.content}"
