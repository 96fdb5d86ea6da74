"""Reads several events of a stream at once if they contain only text, as nearly all of them do."""

from typing import Any

import orjson

#: Fields with reasoning as text, in order of precedence.
REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
_TEXT_FIELDS = frozenset({"content", *REASONING_FIELDS})


def read_text_alone(events: bytes, of_choice: Any) -> tuple[str, str] | None:
    """Return the name of the text field of complete events, and their joined text. None unless all contain only that field.

    ``events``: the bytes as received, with line feeds as line ends. ``of_choice``: the choice that the events must be for.
    """
    mark = b"data: " if events.startswith(b"data: {") else b"data:"
    if not (events.startswith(mark) and events.endswith(b"}\n\n")):
        return None
    between = b"\n\n" + mark
    try:
        chunks = orjson.loads(b"[%b]" % events[len(mark) : -2].replace(between, b","))
        if len(chunks) != events.count(between) + 1:
            return None
        field = ""
        texts = []
        for chunk in chunks:
            (choice,) = chunk["choices"]
            ((name, text),) = [held for held in choice["delta"].items() if held[1] and held[0] != "role"]
            if (
                (choice.get("index") or 0) != of_choice
                or choice.get("finish_reason")
                or "finishReason" in choice
                or "error" in choice
                or chunk.get("usage")
                or "error" in chunk
                or (field and name != field)
            ):
                return None
            field = name
            texts.append(text)
        return (field, "".join(texts)) if field in _TEXT_FIELDS else None
    except (AttributeError, LookupError, TypeError, ValueError):  # includes JSON's errors
        return None
