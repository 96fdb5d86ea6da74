"""A model's reply while it is being written: what comes in pieces, sorted into thoughts, text and tool calls."""

import json
import re
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from agents.errors import ModelError
from agents.events import Usage
from agents.text import clean, ends_in_half_a_pair, estimate_tokens

Kind = Literal["reasoning", "content", "call"]

#: Characters one reply may have. No model writes that much; a broken or hostile server does.
REPLY_LIMIT = 2_000_000

_THINK, _THINK_END, _CALL, _CALL_END = "<think>", "</think>", "<tool_call>", "</tool_call>"
# What means something in each state of the text.
_TAGS = {
    "text": re.compile("</?think>|</?tool_call>"),
    "thought": re.compile(_THINK_END),
    "call": re.compile("</?tool_call>"),
}
_LONGEST_TAG = len(_CALL_END)
_TAG_BEGINNINGS = {tag[:n] for tag in (_THINK, _THINK_END, _CALL, _CALL_END) for n in range(1, len(tag))}
_NAME = re.compile(r'"name"\s*:\s*"((?:[^"\\]|\\.)*)"')
_ARGUMENTS = re.compile(r'"arguments"\s*:\s*')


@dataclass(slots=True)
class Part:
    """A stretch of the reply of one kind. Its text only grows."""

    kind: Kind
    began: float
    pieces: list[str] = field(default_factory=list)
    name: str = ""
    """Of a call: the tool."""
    id: str = ""
    """Of a call: as the model gave it; may be empty or repeated."""
    slot: int | None = None
    """Of a native call: its index in the stream."""
    raw: bool = False
    """A call in the text template that isn't closed: the pieces are the template's text."""

    @property
    def text(self) -> str:
        """All of it so far; of a call, its arguments."""
        if len(self.pieces) != 1:
            self.pieces[:] = ["".join(self.pieces)]
        text = self.pieces[0]
        if self.raw:
            found = _ARGUMENTS.search(text)
            return text[found.end() :] if found else ""
        return text


@dataclass(frozen=True, slots=True)
class Call:
    """A finished tool call, its id unique in the run. ``arguments`` is the model's text, which may be no JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Written:
    """A finished reply as Qwen-Agent's loop is to see it."""

    content: str
    reasoning: str
    reasoning_field: str
    calls: Sequence[Call]


class Reply:
    """Collects one reply of a model, on the event loop that reads it.

    A model class adds what comes and calls `notify` when it has added something; who shows the reply
    looks at `parts`. ``<think>…</think>`` in the content is reasoning; so is what precedes a
    ``</think>`` that nothing opened, as where the prompt template did. ``<tool_call>{…}</tool_call>`` is a tool call,
    if ``calls_in_text``.
    Tags quoted as code stay text. Half a tag is nothing until its other half comes.
    """

    def __init__(
        self,
        notify: Callable[[], None] = lambda: None,
        *,
        pause: Callable[[], float] = lambda: 0.0,
        resume: Callable[[], None] = lambda: None,
        calls_in_text: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.notify = notify
        """Says that there is something new."""
        self.pause = pause
        """How many seconds not to read, because nobody could show more sooner; mostly 0."""
        self.resume = resume
        """Says that such a pause is over."""
        self.calls_in_text = calls_in_text
        self.parts: list[Part] = []
        self.finish_reason: str | None = None
        self.done = False
        """Whether the server has said that nothing more comes."""
        self.usage: Usage | None = None
        """As the server reports it, or ``None``."""
        self.input_estimate = 0
        """Tokens of the request, as far as known without a report."""
        self.reasoning_field = ""
        """The field that reasoning came in, if a field of its own."""
        self._clock = clock
        self._state: Literal["text", "thought", "call"] = "text"
        self._held = ""
        self._half = ""
        self._space = ""
        self._after_tag = False
        self._size = 0

    # -- what model classes add -------------------------------------------------------------------

    def add_reasoning(self, text: str) -> None:
        """Add text of the model's reasoning."""
        if text := self._take(text):
            self._append("reasoning", text)

    def add_content(self, text: str) -> None:
        """Add text of the answer, tags and all."""
        if not (text := self._take(text)):
            return
        if self._held or "<" in text or self._state != "text":
            self._scan(self._held + text)
        else:
            self._append("content", text)

    def add_call(self, name: str, arguments: str = "", id: str = "", slot: int | None = None) -> None:  # noqa: A002
        """Begin a tool call; `grow_call` adds to its arguments."""
        self._settle()
        self.parts.append(Part("call", self._clock(), [], clean(name), clean(id), slot))
        self.grow_call(arguments)

    def grow_call(self, arguments: str) -> None:
        """Add to the arguments of the last tool call."""
        self._grow(next(part for part in reversed(self.parts) if part.kind == "call"), arguments)

    def add_call_delta(self, slot: int | None, id: str, name: str, arguments: str) -> None:  # noqa: A002
        """Add a piece of a native tool call as servers stream it: a new call, or more of one.

        Servers differ: some give no index, some the same index to all calls, some no ids, some repeat the name.
        """
        part = self._call_in(slot)
        if part is not None and name and part.name:
            both_have_ids = id and part.id
            if id != part.id if both_have_ids else name != part.name or _complete(part.text):
                part = None
        if part is None:
            self.add_call(name, arguments, id, slot)
            return
        part.name = part.name or clean(name)
        part.id = part.id or clean(id)
        self._grow(part, arguments)

    def finish(self, reason: str) -> None:
        """The model has said that it is done, and why."""
        self._settle()
        self.finish_reason = reason

    # -- what is made of it -----------------------------------------------------------------------

    @property
    def content(self) -> str:
        """The text outside thoughts and calls."""
        return "".join(part.text for part in self.parts if part.kind == "content")

    @property
    def reasoning(self) -> str:
        """All thoughts."""
        return "\n\n".join(part.text for part in self.parts if part.kind == "reasoning")

    @property
    def has_calls(self) -> bool:
        """Whether a tool call has begun."""
        return any(part.kind == "call" for part in self.parts)

    def counted(self) -> Usage:
        """The usage reported, else estimated."""
        if self.usage is not None:
            return self.usage
        written = sum(estimate_tokens(part.text) for part in self.parts)
        return Usage(self.input_estimate, written, estimated=True)

    # -- inside -----------------------------------------------------------------------------------

    def _take(self, text: str) -> str:
        """Count and clean what came; half a surrogate pair waits for the other half."""
        self._size += len(text)
        if self._size > REPLY_LIMIT:
            raise ModelError(f"The model's reply was longer than {REPLY_LIMIT:,} characters, so it was stopped.")
        if self._half:
            text, self._half = self._half + text, ""
        if ends_in_half_a_pair(text):
            text, self._half = text[:-1], text[-1]
        return clean(text)

    def _append(self, kind: Kind, text: str) -> None:
        if self._after_tag:
            text = text.lstrip()
        last = self.parts[-1] if self.parts else None
        if last is None or last.kind != kind:
            # White space alone opens nothing: models put blank lines between thought, call and answer.
            text = self._space + text
            self._space = ""
            if not text or text.isspace():
                self._space = text
                return
            last = Part(kind, self._clock())
            self.parts.append(last)
        if text:
            self._after_tag = False
            last.pieces.append(text)

    def _grow(self, part: Part, arguments: str) -> None:
        if arguments := self._take(arguments):
            part.pieces.append(arguments)

    def _call_in(self, slot: int | None) -> Part | None:
        """The call that a piece for this slot belongs to, if it has begun."""
        calls = (part for part in reversed(self.parts) if part.kind == "call")
        return next((part for part in calls if slot is None or part.slot == slot), None)

    def _scan(self, text: str) -> None:
        """Go through content that may hold tags, whole or in part."""
        self._held = ""
        while True:
            found = self._next_tag(text)
            if found is None:
                break
            self._add_scanned(text[: found.start()])
            self._cross(found[0])
            text = text[found.end() :]
        for length in range(min(len(text), _LONGEST_TAG - 1), 0, -1):
            if text[-length:] in _TAG_BEGINNINGS:
                text, self._held = text[:-length], text[-length:]
                break
        self._add_scanned(text)

    def _next_tag(self, text: str) -> re.Match[str] | None:
        """The next tag that means something where it stands."""
        for found in _TAGS[self._state].finditer(text):
            if "tool_call" in found[0] and not self.calls_in_text:
                continue
            if self._state == "text" and self._quoted(found[0], text[: found.start()]):
                continue
            return found
        return None

    def _quoted(self, tag: str, before: str) -> bool:
        """Whether the tag stands in code, where the model talks about it rather than uses it."""
        last = self.parts[-1] if self.parts else None
        if last is not None and last.kind == "content":
            before = last.text + before
        if before.endswith("`"):
            return True
        # An unopened </think> ends a thought, whose fences need not be balanced.
        return tag != _THINK_END and before.count("```") % 2 == 1

    def _cross(self, tag: str) -> None:
        """Pass a tag."""
        if self._state == "call":
            self._close_call()
        if tag == _THINK:
            self._state = "thought"
        elif tag == _CALL:
            self._state = "call"
            self.parts.append(Part("call", self._clock(), [""], raw=True))
        else:
            if tag == _THINK_END and self._state == "text" and [part.kind for part in self.parts] == ["content"]:
                self.parts[0].kind = "reasoning"
            self._state = "text"
        self._after_tag = True
        self._space = ""

    def _add_scanned(self, text: str) -> None:
        if self._state != "call":
            self._append("content" if self._state == "text" else "reasoning", text)
        elif text:
            part = self.parts[-1]
            part.pieces.append(text)
            if not part.name and (found := _NAME.search("".join(part.pieces))):
                part.name = found[1]

    def _close_call(self) -> None:
        """Read the call that the text template held."""
        part = next(part for part in reversed(self.parts) if part.raw)
        body = "".join(part.pieces)
        try:
            # Models write line breaks into strings as they are.
            call: Any = json.loads(body, strict=False)
            name, arguments = str(call["name"]), call.get("arguments", {})
        except (ValueError, KeyError, TypeError, AttributeError):
            part.pieces[:] = [part.text.strip() or body.strip()]
        else:
            part.name = name
            part.pieces[:] = [arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)]
        part.raw = False

    def _settle(self) -> None:
        """What was held back for its other half is what it is."""
        held, self._held = self._held, ""
        half, self._half = self._half, ""
        if self._state == "call":  # what was held is the beginning of the closing tag
            self._close_call()
        else:
            self._add_scanned(held + clean(half))
        self._state = "text"


Writer = Callable[[Reply], Coroutine[Any, Any, None]]
"""Writes a reply, from its first token to `Reply.finish`."""


def _complete(arguments: str) -> bool:
    try:
        json.loads(arguments)
    except ValueError:
        return False
    return True
