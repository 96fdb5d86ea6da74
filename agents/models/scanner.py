"""Finds thoughts and tool calls in the text of a reply, however it is split into pieces: tags that have a meaning at their position."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

from agents.arguments import Balance
from agents.models import channels
from agents.models.call_readers import Schemas
from agents.models.text_calls import FORMS, Boundary, Form

_THINK, _THINK_END, _CALL_END = "<think>", "</think>", "</tool_call>"
#: How a thought at the beginning of a reply begins, and the tag that ends it.
_THOUGHTS = {
    _THINK: _THINK_END,
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<mm:think>": "</mm:think>",
    "<|channel>thought": "<channel|>",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<longcat_think>": "</longcat_think>",
    "<reasoning>": "</reasoning>",
}
_FIRST = (*_THOUGHTS, _THINK_END, *channels.HEADS)
_LONGEST_FIRST = max(map(len, _FIRST))
#: How many characters after a call's opener decide whether it is one.
_WINDOW = 600


def _beginnings(tags: tuple[str, ...]) -> frozenset[str]:
    return frozenset(tag[:n] for tag in tags for n in range(1, len(tag)))


def _any_of(tags: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, tags)))


_PROSE_TAGS = (_THINK, _THINK_END)
_ALL_TAGS = (*_PROSE_TAGS, _CALL_END, *FORMS)
# By whether calls are searched for.
_TAGS = {False: _any_of(_PROSE_TAGS), True: _any_of(_ALL_TAGS)}
_BEGINNINGS = {False: _beginnings(_PROSE_TAGS), True: _beginnings(_ALL_TAGS)}
_SPACE = re.compile(r"\s*")
# After these, in the middle of a line, a tag is only mentioned.
_SPOKEN_AFTER = frozenset(" \t\u00a0\"'`([{<:=*_/\\|,“‘（「『《«")
_QUOTING = frozenset("\"'`([{“‘（「『《«*")
_SPOKEN_BEFORE = frozenset(" \t\u00a0\"'`)]}>.,;:!?*”’）」』》»，。、；：！？")


class TextScanner(ABC):
    """Processes the content of one reply as it arrives.

    Replies subclass it instead of holding one: a reference cycle would keep ended replies in memory until the garbage collector runs.
    """

    def __init__(self, *, calls_in_text: bool) -> None:
        self.calls_in_text = calls_in_text
        self.tools: Schemas = {}
        """The parameters of the tools that the model may call, by name; empty if they are not known."""
        self.has_reasoned = False
        """Whether reasoning has come in a field of its own, so that the text contains none."""
        self._state: Literal["start", "text", "thought", "call", "header", "message"] = "start"
        self._held = ""
        self._closer = ""
        self._form = FORMS["<tool_call>"]
        self._boundary = Boundary(self._form)
        self._has_refused = False
        self._takes_any_closer = False
        self._began_as_thought = False
        self._is_spoken_of = False
        self._repeated: list[str] | None = None
        self._has_channels = False
        self.thought_is_open = False
        """Whether the text has ended within a thought."""
        self._message: Literal["reasoning", "content", "call"] = "content"
        self._balance = Balance()

    @property
    def has_thought_first(self) -> bool:
        """Whether the reply began with a thought."""
        return self._began_as_thought or self.has_reasoned

    # -- implemented by the reply -----------------------------------------------------------------

    @abstractmethod
    def append(self, kind: Literal["reasoning", "content"], text: str) -> None:
        """Add text to a thought, or to the answer."""

    @abstractmethod
    def last_character(self) -> str:
        """The last character of the text; empty if there is none."""

    @abstractmethod
    def is_quoted(self) -> bool:
        """Whether the next text is in code."""

    @abstractmethod
    def is_text_alone(self) -> bool:
        """Whether there is text so far, and nothing else."""

    @abstractmethod
    def follows_call(self) -> bool:
        """Whether nothing came since a call."""

    @abstractmethod
    def has_thought(self, text: str) -> bool:
        """Whether the thoughts so far contain this text, apart from white space."""

    @abstractmethod
    def turn_into_thought(self) -> None:
        """Make the text so far a thought."""

    @abstractmethod
    def pass_tag(self, gap: str = "") -> None:
        """Ignore white space that follows; a ``gap`` separates the next text from text of the same kind before it."""

    @abstractmethod
    def begin_block(self, name: str = "") -> None:
        """A call in the text begins; with ``name``, what follows are its arguments."""

    @abstractmethod
    def add_to_block(self, text: str) -> None:
        """Add text to that call."""

    @abstractmethod
    def end_block(self, form: Form, *, until: str = "") -> str | None:
        """End that call at the first ``until``, if given, else at its end.

        Returns the text after it; ``None`` if the call cannot be parsed.
        """

    # -- for callers ------------------------------------------------------------------------------

    def scan(self, text: str, *, is_all: bool = False) -> None:
        """Process the next text. Half a tag is held back until its other half comes, or ``is_all`` says that none will."""
        text, self._held = self._held + text, ""
        at = 0
        while at < len(text):
            at = _SCANNERS[self._state](self, text, at, is_all)

    def settle_text(self) -> None:
        """Process the text that was held back, because no more comes."""
        if self._state != "call":
            self.scan("", is_all=True)
        if self._state == "thought":
            self.thought_is_open = True
            self._end_thought()
        if self._state == "call":
            self._held = ""  # the beginning of its closer
            self._end_call(is_all=True)
        self._state = "header" if self._has_channels else "text"

    def _hold(self, text: str, since: int) -> int:
        self._held = text[since:]
        return len(text)

    # -- the beginning, and thoughts --------------------------------------------------------------

    def _scan_start(self, text: str, at: int, is_all: bool) -> int:
        space = _SPACE.match(text, at)
        begins = space.end() if space else at
        if begins > at:
            self.append("content", text[at:begins])
        head = text[begins : begins + _LONGEST_FIRST]
        if not head:
            return begins
        for opener, closer in _THOUGHTS.items():
            if head.startswith(opener):
                return self._enter_thought(closer, begins + len(opener))
        if head.startswith(channels.HEADS):
            self._state, self._has_channels = "header", True
            return begins
        if head.startswith(
            _THINK_END
        ):  # the rest of a thought that the server has sent in another field, or an empty one
            self.pass_tag()
            self._state, self._began_as_thought = "text", True
            return begins + len(_THINK_END)
        if not is_all and any(tag.startswith(head) for tag in _FIRST):
            return self._hold(text, begins)
        self._state = "text"
        return begins

    def _enter_thought(self, closer: str, at: int) -> int:
        self._state, self._closer, self._began_as_thought = "thought", closer, True
        if self.has_reasoned:  # some servers send a thought both in its field and here
            self._repeated = []
        else:
            self.pass_tag()
        return at

    def _scan_thought(self, text: str, at: int, is_all: bool) -> int:
        start = text.find(self._closer, at)
        if start < 0:
            end = len(text) if is_all else _partial(text, at, self._closer)
            self._add_to_thought(text[at:end])
            return self._hold(text, end)
        self._add_to_thought(text[at:start])
        end = start + len(self._closer)
        before = (self._repeated or [""])[-1][-1:] if self._repeated is not None else self.last_character()
        if before == "`":  # it may be only mentioned, in code
            if end == len(text) and not is_all:
                return self._hold(text, start)
            if text[end : end + 1] == "`":
                self._add_to_thought(self._closer)
                return end
        self._end_thought()
        return end

    def _add_to_thought(self, text: str) -> None:
        if self._repeated is None:
            self.append("reasoning", text)
        elif text:
            self._repeated.append(text)

    def _end_thought(self) -> None:
        text, self._repeated = "".join(self._repeated or ()), None
        if text and not self.has_thought(text):
            self.pass_tag("\n\n")
            self.append("reasoning", text)
        self.pass_tag()
        self._state = "text"

    # -- messages in channels ---------------------------------------------------------------------

    def _scan_header(self, text: str, at: int, is_all: bool) -> int:
        space = _SPACE.match(text, at)
        at = space.end() if space else at
        begun = text[at : at + channels.LONGEST_HEADER]
        if not begun:
            return at
        follows = channels.follows_end(begun)
        found = begun.find(channels.MESSAGE) if follows else -1
        if found >= 0:
            return self._enter_message(channels.parse_header(begun[:found]), at + found + len(channels.MESSAGE))
        if follows is not False and len(begun) < channels.LONGEST_HEADER:
            return len(text) if is_all else self._hold(text, at)
        # There is no header: some servers remove those of answers.
        end = self._enter_message(channels.Header("content"), at)
        if begun[0] == "<":
            self.append("content", begun[0])
            end += 1
        return end

    def _enter_message(self, header: channels.Header, at: int) -> int:
        self._state, self._message = "message", header.kind
        if header.kind == "call":
            self._balance = Balance()
            self.begin_block(header.tool)
        self.pass_tag("\n\n")
        return at

    def _scan_message(self, text: str, at: int, is_all: bool) -> int:
        found = channels.MARK.search(text, at)
        if found is None:
            last = text.rfind("<", at)
            holds = last >= 0 and not is_all and text[last:] in channels.BEGINNINGS
            end = last if holds else len(text)
            self._add_to_message(text[at:end])
            return self._hold(text, end)
        self._add_to_message(text[at : found.start()])
        is_end = found[0] in channels.ENDS
        counts: bool | None = False
        if not self._is_within_text():
            counts = self._is_end_of_message(text, found.end()) if is_end else channels.is_header(text[found.start() :])
        if counts is None and not is_all:
            return self._hold(text, found.start())
        if counts is False or (counts is None and not is_end):
            self._add_to_message(found[0])
            return found.end()
        self._state = "header"
        return found.end() if is_end else found.start()

    def _is_end_of_message(self, text: str, at: int) -> bool | None:
        """Whether a mark ends the message, instead of being mentioned in it."""
        counts = channels.follows_end(text[at : at + 2 * channels.LONGEST_HEADER])
        if counts is False and self._message == "reasoning":
            return self.last_character() not in _SPOKEN_AFTER or text[at] not in _SPOKEN_BEFORE
        return counts

    def _is_within_text(self) -> bool:
        """Whether a mark is in code, or in a string of a call's arguments."""
        return self._balance.in_string if self._message == "call" else self.last_character() == "`"

    def _add_to_message(self, text: str) -> None:
        if not text:
            return
        if self._message == "call":
            self._balance.feed(text)
            self.add_to_block(text)
        else:
            self.append(self._message, text)

    # -- text -------------------------------------------------------------------------------------

    def _scan_text(self, text: str, at: int, is_all: bool) -> int:
        found = _TAGS[self.calls_in_text].search(text, at)
        if found is None:
            end = len(text) if is_all else self._end_of_text(text, at)
            self.append("content", text[at:end])
            return self._hold(text, end)
        start, end, tag = found.start(), found.end(), found[0]
        self.append("content", text[at:start])
        if tag in FORMS:
            counts = not self.is_quoted() and FORMS[tag].begins(text[end : end + _WINDOW], self.tools, is_all=is_all)
        elif tag == _THINK:
            counts = self._is_thought_again()
        elif tag == _THINK_END:
            counts = self._is_unopened_end(text[end : end + 1], is_all=is_all)
        else:  # servers leave it in the text when they have parsed the rest
            counts = self.follows_call()
        if counts is None:
            return self._hold(text, start)
        if counts:
            return self._pass(tag, end)
        self.append("content", tag)
        return end

    def _end_of_text(self, text: str, at: int) -> int:
        """The position of what may be the beginning of a tag."""
        last = max(text.rfind("<", at), text.rfind("[", at))
        return last if last >= 0 and text[last:] in _BEGINNINGS[self.calls_in_text] else len(text)

    def _is_thought_again(self) -> bool:
        before = self.last_character()
        counts = self._began_as_thought and not self.has_reasoned and before not in _SPOKEN_AFTER
        counts = counts and not self.is_quoted()
        self._is_spoken_of |= not counts
        return counts

    def _is_unopened_end(self, after: str, *, is_all: bool) -> bool | None:
        """Whether the text so far was a thought that the prompt's template has begun."""
        before = self.last_character()
        may_be = not (self._is_spoken_of or self._began_as_thought or self.has_reasoned or before in _QUOTING)
        if not may_be or not self.is_text_alone():
            return False
        if before not in (" ", "\t"):
            return True
        if not after and not is_all:
            return None
        counts = bool(after) and after not in _SPOKEN_BEFORE
        self._is_spoken_of |= not counts
        return counts

    def _pass(self, tag: str, end: int) -> int:
        if tag == _THINK:
            return self._enter_thought(_THINK_END, end)
        if tag == _THINK_END:
            self.turn_into_thought()
            self._began_as_thought = True
        if tag in FORMS:
            self._state, self._form, self._has_refused = "call", FORMS[tag], False
            self._boundary = Boundary(self._form)
            self.begin_block()
        self.pass_tag()
        return end

    # -- calls ------------------------------------------------------------------------------------

    def _scan_call(self, text: str, at: int, is_all: bool) -> int:
        closer = self._form.closer
        start = text.find(closer, at) if closer else -1
        if start < 0:
            end = _partial(text, at, closer) if closer else len(text)
            self._add_to_call(text[at:end])
            return self._hold(text, end)
        self._add_to_call(text[at:start])
        if self._takes_any_closer or self._boundary.may_end():
            self._end_call(is_all=False)
        else:
            self._has_refused = True
            self._add_to_call(closer)
        return start + len(closer)

    def _add_to_call(self, text: str) -> None:
        if text:
            self._boundary.feed(text)
            self.add_to_block(text)

    def _end_call(self, *, is_all: bool) -> None:
        self._state = "text"
        rest = self.end_block(self._form, until=self._form.closer if is_all and self._has_refused else "")
        self.pass_tag()
        if rest and is_all:  # the text that contained the closer was no string
            self._takes_any_closer = True
            self.scan(rest, is_all=True)
            self.settle_text()


_SCANNERS: dict[str, Callable[[TextScanner, str, int, bool], int]] = {
    "start": TextScanner._scan_start,  # noqa: SLF001 - its own
    "text": TextScanner._scan_text,  # noqa: SLF001
    "thought": TextScanner._scan_thought,  # noqa: SLF001
    "call": TextScanner._scan_call,  # noqa: SLF001
    "header": TextScanner._scan_header,  # noqa: SLF001
    "message": TextScanner._scan_message,  # noqa: SLF001
}


def _partial(text: str, at: int, tag: str) -> int:
    """The position of a tag's beginning at the end of a text; the end if there is none."""
    for start in range(max(at, len(text) - len(tag) + 1), len(text)):
        if tag.startswith(text[start:]):
            return start
    return len(text)
