"""Reads several events of a stream at once if they contain only text, as nearly all of them do."""

import re
from typing import Any

import orjson

#: Fields with reasoning as text, in order of precedence.
REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
_TEXT_FIELDS = {
    name: re.compile(rb'"%b"\s*:\s*("(?:[^"\\]|\\.)*")' % name.encode()) for name in ("content", *REASONING_FIELDS)
}
#: How often in a row something is kept that is not met again, until no more is.
_TRIES = 8


class TextReader:
    """For the events of one answer, which mostly differ in nothing but their text.

    What stands before and after the text of an event is kept; where it is the same again, only the text is parsed.
    """

    def __init__(self) -> None:
        self._field = ""
        self._before = self._after = b""
        self._choice: Any = None
        self._tries = _TRIES

    def read(self, events: bytes, of_choice: Any) -> tuple[str, str] | None:
        """Return the name of the text field of complete events, and their joined text. None unless all contain only that field.

        ``events``: the bytes as received, with line feeds as line ends. ``of_choice``: the choice that the events must be for.
        """
        return self._read_like_last(events, of_choice) or self._read_any(events, of_choice)

    def _read_like_last(self, events: bytes, of_choice: Any) -> tuple[str, str] | None:
        before, after = self._before, self._after
        if not before or of_choice != self._choice or not events.startswith(before) or not events.endswith(after):
            return None
        values = events[len(before) : -len(after)].split(after + before)
        try:
            texts = orjson.loads(b"[%b]" % b",".join(values))
            # As many values as events, and each of them a text: then nothing else can differ.
            if len(texts) != len(values) or "" in texts:
                return None
            text = "".join(texts)
        except (TypeError, ValueError):
            return None
        self._tries = _TRIES
        return self._field, text

    def _read_any(self, events: bytes, of_choice: Any) -> tuple[str, str] | None:
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
            text = "".join(texts)
        except (AttributeError, LookupError, TypeError, ValueError):  # includes JSON's errors
            return None
        if field not in _TEXT_FIELDS:
            return None
        if self._tries:
            self._tries -= 1
            self._keep(events.rsplit(b"\n\n", 2)[-2] + b"\n\n", field, texts[-1], of_choice)
        return field, text

    def _keep(self, event: bytes, field: str, text: str, choice: Any) -> None:
        """Keep what stands before and after the text of an event, if its place is certain."""
        found = _TEXT_FIELDS[field].search(event)
        if found is None or event.count(b'"%b"' % field.encode()) != 1:
            return
        before, value, after = event[: found.start(1)], found[1], event[found.end(1) :]
        if b"\\" not in before + after and orjson.loads(value) == text:
            self._field, self._before, self._after, self._choice = field, before, after, choice
