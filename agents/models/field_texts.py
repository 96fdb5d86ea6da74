"""The texts of a stream's fields: most servers send what is new with each chunk, some send all that there is so far.

Which it is, the first chunks show: only one of the two makes each begin with all of the one before.
"""

from collections.abc import Iterator

#: Chunks in a row, each beginning with all of the one before, and characters of the last, that show that a server sends all.
_ENOUGH_CHUNKS = 3
_ENOUGH_CHARACTERS = 8

Said = tuple[str, str]
"""A field, and what is new of its text."""


class FieldTexts:
    """What of each chunk's text is new. One for each reply."""

    def __init__(self) -> None:
        self.plain: set[str] = set()
        """Fields of which each chunk holds what is new, as is known by now."""
        self.holding = ""
        """The field of which something is held back, for the next chunk to show what it is."""
        self._first: dict[str, list[str]] = {}
        self._all: dict[str, str] = {}

    def add(self, field: str, text: str) -> Iterator[Said]:
        """Take a chunk's text, and tell what is to be added now."""
        if self.holding not in ("", field):
            yield from self.flush()
        if field in self.plain:
            yield field, text
        elif field in self._all:
            yield field, self._rest(field, text)
        else:
            yield field, self._compare(field, text)

    def flush(self) -> Iterator[Said]:
        """Something else comes, or nothing more: tell what was held back."""
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
        """What is new, where it isn't known yet what the field's chunks hold. The first one is new in any case."""
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
        if before.startswith(text):  # the same once more
            return ""
        self._all[field] = text
        return text.removeprefix(before)
