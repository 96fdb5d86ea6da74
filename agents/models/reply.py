"""A model's reply while it is being written: pieces are sorted into thoughts, text and tool calls."""

import json
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Literal

from agents.arguments import first_object, known_name, repair_arguments
from agents.errors import ModelError
from agents.events import ModelRequest, Usage
from agents.models.call_deltas import begins_again, continues_call, repeats_call
from agents.models.call_readers import Schemas, bare_calls
from agents.models.cleanup import leave_out_repeated, tidy_text
from agents.models.field_texts import FieldTexts
from agents.models.reply_parts import Part
from agents.models.scanner import TextScanner
from agents.models.text_calls import Form, name_in
from agents.sentence import Sentence
from agents.text import clean_text, ends_in_half_a_pair, estimate_tokens

#: The longest reply, in characters. No model writes that much; a broken or hostile server does.
REPLY_LIMIT = 2_000_000
#: The longest JSON, in characters, that a tool call may have besides the known fields.
FIELDS_LIMIT = 65_536

#: Fields with the parts of the reasoning, signed or encrypted: OpenRouter's, and LiteLLM's of Anthropic's blocks.
DETAILS = ("reasoning_details", "thinking_blocks")
_HELD_BY_DETAILS = frozenset({"text", "summary", "data", "thinking"})

#: How many tool calls of a reply are executed. One further call is kept, so that the model gets an error.
MOST_CALLS = 64


class Reply(TextScanner):
    """Collects one reply of a model. Used on the event loop that reads it.

    The model class adds pieces and then calls `notify`; readers use `parts`. `TextScanner` finds thoughts and calls in the content, calls
    only if ``calls_in_text``. Tags that are quoted as code, or mentioned in prose, stay text. Half a tag is held back until its other
    half comes.
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
        super().__init__(calls_in_text=calls_in_text)
        self.notify = notify
        """Called when there is something new."""
        self.pause = pause
        """Returns for how many seconds to stop reading, because nothing could be shown sooner; mostly 0."""
        self.resume = resume
        """Called when such a pause is over."""
        self.on_retry: Callable[[str, ModelRequest], None] = lambda _error, _request: None
        """Called with why a request was refused, and what is sent instead."""
        self.asks_for_text_calls = False
        """Whether the model was asked to write its calls in its text: one within a thought counts, then, where nothing follows it."""
        self.choice: Any = None
        """Which of a server's answers this is, by its index; None until one has begun."""
        self.is_in_messages = False
        """Whether its choices have messages instead of deltas."""
        self.parts: list[Part] = []
        self.finish_reason: str | None = None
        self.end_is_sure = False
        """Whether nothing of worth is to come any more."""
        self.has_resumed = False
        """Whether text came after a finish reason, so that the reason is not known to be the last."""
        self.done = False
        """Whether the server has said that nothing more will come."""
        self.usage: Usage | None = None
        """As the server reports it, or ``None``."""
        self.input_estimate = 0
        """Tokens of the request, as far as known without a report."""
        self.reasoning_field = ""
        """The field that reasoning came in, if a field of its own."""
        self.server = ""
        """The server that writes it, if it uses fields of its own."""
        self.note = self.end_note = ""
        """Notes for people about how it was requested, and about how it ended."""
        self.call_in_thought = False
        """Whether a call within the thoughts is all that it contains."""
        self.surplus = 0
        """Calls beyond `MOST_CALLS`."""
        self.texts = FieldTexts()
        """What of the texts of its chunks is new."""
        self._clock = clock
        self._details: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._slots: dict[int, Part] = {}
        self._by_id: dict[str, Part] = {}
        self._current: Part | None = None
        self._calls = 0
        self._half = ""
        self._space = ""
        self._after_tag = False
        self._gap = ""
        self._size = 0

    # -- what model classes add -------------------------------------------------------------------

    def add_field_text(self, field: str, text: str) -> None:
        """Add the text of a chunk's field, as far as it is new."""
        texts = self.texts
        if texts.holding or field not in texts.plain:
            for name, new in texts.add(field, text):
                self._add_text(name, new)
        elif field == "content":
            self.add_content(text)
        else:
            self._add_text(field, text)

    def _add_text(self, field: str, text: str) -> None:
        if field == "content":
            self.add_content(text)
        elif not field.startswith(DETAILS):
            self.reasoning_field = field
            self.add_reasoning(text)
        elif not self.reasoning_field:  # otherwise it is a repetition
            self.add_reasoning(text)

    def add_detail(self, field: str, place: int, detail: Mapping[str, Any], text: str) -> None:
        """Add one of a chunk's details of reasoning in one of `DETAILS`, with its text; the server's own data is sent back unchanged."""
        index = detail.get("index", place)
        if text:
            self.add_field_text(f"{field} {index}", text)
        kept = self._details.setdefault((field, str(index), str(detail.get("type"))), {})
        self._count(len(json.dumps(detail)))
        for name, value in detail.items():
            before = kept.get(name)
            if name in _HELD_BY_DETAILS and isinstance(before, str) and isinstance(value, str):
                kept[name] = value if value.startswith(before) else before + value
            elif value is not None:
                kept[name] = value

    def add_reasoning(self, text: str) -> None:
        """Add text of the model's reasoning."""
        if text := self._receive(text):
            self.has_reasoned = True
            self.append("reasoning", text)

    def add_content(self, text: str) -> None:
        """Add text of the answer, with any tags."""
        if not (text := self._receive(text)):
            return
        if not self._held and self._state == "text" and "<" not in text and "[" not in text:  # nothing to scan
            self.append("content", text)
        else:
            self.scan(text)

    def add_call(self, name: str, arguments: str = "", id: str = "") -> Part:  # noqa: A002
        """Start a tool call; `extend_call` adds to its arguments."""
        self.settle_text()
        part = self._current = Part("call", self._clock(), [], clean_text(name), clean_text(id))
        self._keep_call(part)
        self.extend_call(arguments)
        return part

    def extend_call(self, arguments: str) -> None:
        """Add to the arguments of the last tool call."""
        if self._current is not None:
            self._extend(self._current, arguments)

    def add_call_fields(self, fields: Mapping[str, Any]) -> None:
        """Store the server's fields of the current tool call besides the known ones, unless they are too large."""
        part = self._current
        if part is None or part.is_left_out:
            return
        merged = {**part.fields, **fields}
        if "function" in part.fields and "function" in fields:
            merged["function"] = {**part.fields["function"], **fields["function"]}
        size = len(json.dumps(merged))
        self._count(size)
        part.fields = merged if size <= FIELDS_LIMIT else {}

    def add_call_delta(self, slot: int | None, id: str, name: str, arguments: str) -> None:  # noqa: A002
        """Add a streamed piece of a native tool call: a new call, or more of one; see `agents.models.call_deltas`."""
        if self.finish_reason is not None:
            self._resume(name + arguments)
        if self.texts.holding:
            self._add_held()
        self._size += len(name)
        part = self._called(slot, id, name, arguments)
        if part is not None and not (name or id) and begins_again(part, arguments):
            name, part = part.name, None
        if part is None:
            part = self.add_call(name, arguments, id)
        elif not repeats_call(part, id, name, arguments):
            part.id = part.id or clean_text(id)
            self._extend(part, arguments)
        self._current = part
        if slot is not None and (name or id or not part.name):  # a name may follow its arguments
            self._slots[slot] = part
        if id and name:
            self._by_id[id] = part

    def _called(self, slot: int | None, id: str, name: str, arguments: str) -> Part | None:  # noqa: A002
        """The call that a piece continues; None if it begins one."""
        current = self._current
        part = current if slot is None else self._slots.get(slot)
        if id and not name and id in self._by_id:
            return self._by_id[id]
        if not (name or id):  # more of the current call, whatever its index
            return part or current
        if part is None and id and current is not None and current.id == id:
            part = current
        if part is None and id in self._by_id and repeats_call(self._by_id[id], id, name, arguments):
            return self._by_id[id]
        return part if part is None or continues_call(part, id, name, arguments, self.tools) else None

    def end(self, reason: str, *, is_sure: bool = True) -> None:
        """The server reports the finish reason; ``is_sure`` is False if it does so beside text. Later text revokes it."""
        self._add_held()
        self.finish_reason = reason
        self.end_is_sure = is_sure and not self.has_resumed

    def finish(self, reason: str) -> None:
        """The model has finished, with this reason."""
        self.settle()
        self.finish_reason = reason

    def settle(self) -> None:
        """End the reply: text that was held back is processed, and calls are parsed."""
        self._add_held()
        half, self._half = self._half, ""
        if half:
            self.scan(clean_text(half))
        self.settle_text()
        tidy_text(self.parts, thought_is_open=self.thought_is_open, has_thought_first=self.has_thought_first)
        for part in self.parts:
            if part.kind == "call":
                part.name, part.pieces[:] = known_name(part.name, self.tools), [repair_arguments(part.text)]
        leave_out_repeated(self.parts)
        if not self.has_calls:
            self._read_as_call()

    # -- results ----------------------------------------------------------------------------------

    @property
    def content(self) -> str:
        """The text outside thoughts and calls."""
        return "".join(part.text for part in self.parts if part.kind == "content")

    @property
    def reasoning(self) -> str:
        """All thoughts."""
        return "\n\n".join(part.text for part in self.parts if part.kind == "reasoning")

    @property
    def fields(self) -> dict[str, Any]:
        """The fields that its server needs back: servers with a reasoning field accept it, and some require it."""
        thoughts = {self.reasoning_field: self.reasoning} if self.reasoning_field and self.reasoning else {}
        return {**thoughts, **self.details}

    @property
    def details(self) -> dict[str, Any]:
        """The signed or encrypted details of its reasoning, which its server needs back unchanged; empty if they are too large."""
        found: dict[str, list[dict[str, Any]]] = {}
        for (field, *_), detail in self._details.items():
            found.setdefault(field, []).append(detail)
        return found if len(json.dumps(found)) <= FIELDS_LIMIT else {}

    @property
    def has_calls(self) -> bool:
        """Whether a tool call has started."""
        return any(part.kind == "call" for part in self.parts)

    def counted(self) -> Usage:
        """The usage reported, else estimated."""
        if self.usage is not None:
            return self.usage
        written = sum(estimate_tokens(part.text) for part in self.parts)
        return Usage(self.input_estimate, written, estimated=True)

    # -- for the scanner --------------------------------------------------------------------------

    def append(self, kind: Literal["reasoning", "content"], text: str) -> None:
        """Add text of a kind. White space alone starts no part: models put blank lines between thought, call and answer."""
        last = self.parts[-1] if self.parts else None
        if self._after_tag:
            text = text.lstrip()
            if text and last is not None and last.kind == kind:
                text = self._gap + text
        if last is None or last.kind != kind:
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
            if "`" in text or last.ticks:
                last.count_fences(text)

    def last_character(self) -> str:
        """The last character of the text; empty if there is none."""
        if self._space or not self.parts or self.parts[-1].kind == "call" or self._after_tag:
            return self._space[-1:]
        return self.parts[-1].pieces[-1][-1:]

    def is_quoted(self) -> bool:
        """Whether the next text is in code, where the model mentions tags rather than using them."""
        last = self.parts[-1] if self.parts else None
        return last is not None and last.kind == "content" and (last.fences % 2 == 1 or self.last_character() == "`")

    def is_text_alone(self) -> bool:
        """Whether there is text so far, and nothing else."""
        return [part.kind for part in self.parts] == ["content"]

    def follows_call(self) -> bool:
        """Whether there was nothing since a call."""
        return bool(self.parts) and self.parts[-1].kind == "call"

    def has_thought(self, text: str) -> bool:
        """Whether the thoughts so far contain this text, apart from white space."""
        return " ".join(text.split()) in " ".join(self.reasoning.split())

    def turn_into_thought(self) -> None:
        """Make the text so far a thought."""
        self.parts[0].kind = "reasoning"

    def pass_tag(self, gap: str = "") -> None:
        """Ignore white space that follows; a ``gap`` separates the next text from text of the same kind before it."""
        self._after_tag, self._gap = True, gap
        self._space = ""

    def begin_block(self, name: str = "") -> None:
        """A call in the text starts; with ``name``, what follows are its arguments."""
        self._current = Part("call", self._clock(), [""], clean_text(name), raw=not name, is_in_text=True)
        self._keep_call(self._current)

    def add_to_block(self, text: str) -> None:
        """Add text to that call."""
        part = self._current
        if part is not None:
            part.pieces.append(text)
            if not part.name and len(part.pieces) < _NAME_WITHIN:
                part.name = name_in("".join(part.pieces))

    def end_block(self, form: Form, *, until: str = "") -> str | None:
        """End that call: at the first ``until``, if given and the whole cannot be parsed. Returns the text after it."""
        part = self._current
        if part is None:
            return None
        body, rest = "".join(part.pieces), ""
        calls = _read(form, body, self.tools)
        if calls is None and until in body and until:
            body, _, rest = body.partition(until)
            calls = _read(form, body, self.tools)
        part.pieces[:] = [body]
        if calls is None and (found := first_object(body)):
            calls, rest = _read(form, found, self.tools), body.lstrip()[len(found) :]
        if calls is None:
            part.pieces[:] = [part.text.strip() or body.strip()]
        part.raw = False
        for place, (name, arguments) in enumerate(calls or ()):
            if place:
                part = Part("call", part.began, is_in_text=True)
                self._keep_call(part)
            part.name, part.pieces = name, [arguments]
        return rest or None

    # -- inside -----------------------------------------------------------------------------------

    def _add_held(self) -> None:
        """Add text that was held back until the next chunk would show what it is."""
        for name, new in self.texts.flush():
            self._add_text(name, new)

    def _receive(self, text: str) -> str:
        """Count and clean the text; half a surrogate pair waits for the other half."""
        if self.finish_reason is not None:
            self._resume(text)
        self._count(len(text))
        if self._half:
            text, self._half = self._half + text, ""
        if ends_in_half_a_pair(text):
            text, self._half = text[:-1], text[-1]
        return clean_text(text)

    def _count(self, characters: int) -> None:
        self._size += characters
        if self._size > REPLY_LIMIT:
            raise ModelError(
                Sentence("The model's reply was longer than %(n)s characters, so it was stopped.", n=f"{REPLY_LIMIT:,}")
            )

    def _resume(self, text: str) -> None:
        """Text that follows an end has revoked it."""
        if self.finish_reason is not None and text and not text.isspace():
            self.finish_reason = None
            self.has_resumed, self.end_is_sure = True, False

    def _extend(self, part: Part, arguments: str) -> None:
        if (arguments := self._receive(arguments)) and not part.is_left_out:
            part.add(arguments)

    def _keep_call(self, part: Part) -> None:
        """Show a call, unless there are too many."""
        self._calls += 1
        self.surplus = max(0, self._calls - MOST_CALLS)
        part.is_left_out = self.surplus > 1
        if not part.is_left_out:
            self.parts.append(part)

    def _read_as_call(self) -> None:
        """Parse a reply that is nothing but a call: as JSON without any tags, or within a thought."""
        last = self.parts[-1] if self.parts else None
        is_one_text = [part.kind for part in self.parts if part.kind != "reasoning"] == ["content"]
        if last is not None and last.kind == "content" and is_one_text and self.calls_in_text:
            if bare := bare_calls(last.text.strip(), self.tools):
                calls = [Part("call", last.began, [arguments], name) for name, arguments in bare[: MOST_CALLS + 1]]
                self.parts[-1:] = calls
                self.surplus = max(0, len(bare) - MOST_CALLS)
            return
        if last is None or last.kind != "reasoning" or not self.calls_in_text or self.content.strip():
            return
        probe = Reply(clock=lambda: last.began)
        probe.tools, probe.has_reasoned = self.tools, True
        probe.scan(last.text)
        probe.settle_text()
        calls = [part for part in probe.parts if part.kind == "call"]
        if not calls or probe.parts[-1] is not calls[-1] or not all(part.name in self.tools for part in calls):
            return
        self.call_in_thought = True
        if self.asks_for_text_calls:
            for part in probe.parts:
                part.kind = "call" if part.kind == "call" else "reasoning"
                part.pieces[:] = [repair_arguments(part.text) if part.kind == "call" else part.text]
            self.parts[-1:] = probe.parts


#: The name of a call in the text is in this many of its first pieces.
_NAME_WITHIN = 100


def _read(form: Form, body: str, tools: Schemas) -> Sequence[tuple[str, str]] | None:
    try:
        return form.read(body, tools)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


ReplyWriter = Callable[[Reply], Coroutine[Any, Any, None]]
"""Writes a reply, from its first token to `Reply.finish`."""
