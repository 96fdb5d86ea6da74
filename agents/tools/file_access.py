"""What tools may do with the files of their session."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agents.cancellation import CancelToken
from agents.steps import FileData


@dataclass(frozen=True, slots=True)
class FoundLine:
    """A line of a file. Pages and lines count from 1."""

    file: FileData
    page: int
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class ReturnedFile:
    """A file that a tool has returned, not stored yet. ``name`` is empty if it has none."""

    name: str
    content: bytes = field(repr=False)


class SessionFiles(Protocol):
    """The files of a run's session, for its tools. Called in the tools' threads; errors are raised as `ToolError`."""

    @property
    def are_any(self) -> bool:
        """Whether the session uses files. Needs no database query."""
        ...

    def listed(self) -> Sequence[FileData]:
        """All files, the oldest first."""
        ...

    def pages(self, file_id: str, stop: CancelToken) -> int:
        """How many pages of text a file has."""
        ...

    def lines(self, file_id: str, page: int, first: int) -> Iterator[tuple[int, str]]:
        """The lines of a page from line ``first`` on, as ``(number, text)``."""
        ...

    def search(
        self, file_ids: Sequence[str], query: str, limit: int, stop: CancelToken
    ) -> tuple[list[FoundLine], list[str]]:
        """Lines from passages that contain all the words, and a sentence about each file that could not be searched."""
        ...

    def content(self, file_id: str) -> bytes:
        """The whole content of a file."""
        ...

    def keep(self, returned: Sequence[ReturnedFile]) -> tuple[list[FileData], list[str]]:
        """Store files that a tool has returned, in the session. Also returns a sentence about each that could not be stored."""
        ...
