"""The form in which gpt-oss writes ("harmony"), where the server has not read it: messages, each behind a header that names its channel.

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
#: What the first message begins with.
HEADS = (f"{START}assistant", *(f"{CHANNEL}{name}" for name in ("analysis", "commentary", "final")))
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
#: Whom a message may be for that is no tool.
_PEOPLE = frozenset({"assistant", "user", "all"})


@dataclass(frozen=True, slots=True)
class Header:
    """What a message is, and of a call the tool."""

    kind: Literal["reasoning", "content", "call"]
    tool: str = ""


def is_header(text: str) -> bool | None:
    """Whether a message's header begins the text; ``None`` where that can't be told yet."""
    if text.startswith(HEADS):
        return True
    return None if any(head.startswith(text) for head in HEADS) else False


def follows_end(text: str) -> bool | None:
    """Whether what stands behind a mark of a message's end is another message, whoever's; ``None`` where that can't be told yet."""
    rest = text.lstrip()
    if rest.startswith(_OPENERS) or len(text) - len(rest) > LONGEST_HEADER:
        return True
    return None if any(opener.startswith(rest) for opener in _OPENERS) else False


def parse_header(text: str) -> Header:
    """What a header says, given without the mark that ends it."""
    role = text.removeprefix(START).partition(CHANNEL)[0].split() if text.startswith(START) else []
    found = _RECIPIENT.search(text)
    if found is not None and found[1] not in _PEOPLE:
        return Header("call", found[1].removeprefix("functions."))
    if (role and role[0] != "assistant") or f"{CHANNEL}analysis" in text.replace(" ", ""):
        return Header("reasoning")  # that of a tool which the model has only thought of, too
    return Header("content")
