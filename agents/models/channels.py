"""The format of gpt-oss ("harmony"), if the server has not parsed it: messages, each with a header that names its channel.

``<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>commentary to=functions.x <|constrain|>json<|message|>{…}<|call|>``
"""

import re
from dataclasses import dataclass
from typing import Literal

START, CHANNEL, MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
ENDS = frozenset({"<|end|>", "<|return|>", "<|call|>"})
#: Characters that a header, or the white space before one, may have.
LONGEST_HEADER = 300
_OPENERS = (START, CHANNEL)
_MARKS = (*_OPENERS, *ENDS)
MARK = re.compile("|".join(map(re.escape, _MARKS)))
BEGINNINGS = frozenset(mark[:n] for mark in _MARKS for n in range(1, len(mark)))
#: How the first message may begin.
HEADS = (f"{START}assistant", *(f"{CHANNEL}{name}" for name in ("analysis", "commentary", "final")))
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
#: Recipients of messages that are not tools.
_PEOPLE = frozenset({"assistant", "user", "all"})


@dataclass(frozen=True, slots=True)
class Header:
    """The kind of a message, and for a call its tool."""

    kind: Literal["reasoning", "content", "call"]
    tool: str = ""


def is_header(text: str) -> bool | None:
    """Whether the text begins with a message's header; ``None`` while that is undecided."""
    if text.startswith(HEADS):
        return True
    return None if any(head.startswith(text) for head in HEADS) else False


def follows_end(text: str) -> bool | None:
    """Whether another message follows the mark that ends a message; ``None`` while that is undecided."""
    rest = text.lstrip()
    if rest.startswith(_OPENERS) or len(text) - len(rest) > LONGEST_HEADER:
        return True
    return None if any(opener.startswith(rest) for opener in _OPENERS) else False


def parse_header(text: str) -> Header:
    """Parse a header, given without the mark that ends it."""
    role = text.removeprefix(START).partition(CHANNEL)[0].split() if text.startswith(START) else []
    found = _RECIPIENT.search(text)
    if found is not None and found[1] not in _PEOPLE:
        return Header("call", found[1].removeprefix("functions."))
    if (role and role[0] != "assistant") or f"{CHANNEL}analysis" in text.replace(" ", ""):
        return Header("reasoning")  # also the channel of a tool that the model has only thought of
    return Header("content")
