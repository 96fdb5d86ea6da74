"""The texts of a stream's fields: most servers send the new text with each chunk, some send the whole text so far.

The first chunks show which: only with the second kind does each begin with the whole text of the one before.
"""

from collections.abc import Iterator

#: How many chunks in a row have to begin with the whole text of the one before, and how long the last must be, to show that a server sends
#: the whole text each time.
_ENOUGH_CHUNKS = 3
_ENOUGH_CHARACTERS = 8

FieldText = tuple[str, str]
"""A field, and the new part of its text."""


class FieldTexts:
    """Finds the new text of each chunk. One object for each reply."""

    def __init__(self) -> None:
        self.plain: set[str] = set()
        """The fields that are known to contain only new text in each chunk."""
        self.holding = ""
        """The field whose text is held back until the next chunk shows what its chunks contain."""
        self._first: dict[str, list[str]] = {}
        self._all: dict[str, str] = {}

    def add(self, field: str, text: str) -> Iterator[FieldText]:
        """Add a chunk's text; yields the texts to add to the reply now."""
        if self.holding not in ("", field):
            yield from self.flush()
        if field in self.plain:
            yield field, text
        elif field in self._all:
            yield field, self._rest(field, text)
        else:
            yield field, self._compare(field, text)

    def flush(self) -> Iterator[FieldText]:
        """Called when another field follows, or the stream ends: yields the text that was held back."""
        field, self.holding = self.holding, ""
        if not field:
            return
        chunks = self._first.pop(field)
        if len(chunks[0].strip()) >= _ENOUGH_CHARACTERS:
            self._all[field] = chunks[-1]
            yield field, chunks[-1][len(chunks[0]) :]
        else:
            self.plain.add(field)
            yield field, "".join(chunks[1:])

    def _compare(self, field: str, text: str) -> str:
        """The new text, while it is not known yet whether chunks repeat earlier text. The first chunk is always new."""
        chunks = self._first.setdefault(field, [])
        chunks.append(text)
        if len(chunks) == 1:
            return text
        if len(text) > len(chunks[-2]) and text.startswith(chunks[-2]):
            if len(chunks) < _ENOUGH_CHUNKS or len(text) < _ENOUGH_CHARACTERS:
                self.holding = field
                return ""
            self._all[field] = text
            new = text[len(chunks[0]) :]
        else:
            self.plain.add(field)
            new = "".join(chunks[1:])
        self.holding = ""
        del self._first[field]
        return new

    def _rest(self, field: str, text: str) -> str:
        before = self._all[field]
        if before.startswith(text):  # the same again
            return ""
        self._all[field] = text
        return text.removeprefix(before)
