"""Reads events of a stream that contain only text, which nearly all do, together."""

from typing import Any

import orjson

#: Fields with reasoning as text, in the order of precedence.
REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
_TEXT_FIELDS = frozenset({"content", *REASONING_FIELDS})


def read_text_alone(events: bytes, of_choice: Any) -> tuple[str, str] | None:
    """The text field of whole events, and its text, put together; None unless all have nothing but text in that field for that choice.

    ``events`` is as it was received, with line feeds as line ends.
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
    except (AttributeError, LookupError, TypeError, ValueError):  # JSON's errors are among them
        return None
