"""What tools may do with the files of the session that they work for."""

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
    """A file that a tool has returned, not kept yet. ``name`` is empty where it came without one."""

    name: str
    content: bytes = field(repr=False)


class SessionFiles(Protocol):
    """The files of the session that a run belongs to, for its tools: called in their threads. What cannot be done is a `ToolError`."""

    @property
    def are_any(self) -> bool:
        """Whether the session uses files; known without asking anybody."""
        ...

    def listed(self) -> Sequence[FileData]:
        """All of them, the first one first."""
        ...

    def pages(self, file_id: str, stop: CancelToken) -> int:
        """How many pages of text a file has."""
        ...

    def lines(self, file_id: str, page: int, first: int) -> Iterator[tuple[int, str]]:
        """The lines of a page from one on, each with its number."""
        ...

    def search(
        self, file_ids: Sequence[str], query: str, limit: int, stop: CancelToken
    ) -> tuple[list[FoundLine], list[str]]:
        """Lines out of passages in which all the words occur, and a sentence about each file that could not be searched."""
        ...

    def content(self, file_id: str) -> bytes:
        """All of a file."""
        ...

    def keep(self, returned: Sequence[ReturnedFile]) -> tuple[list[FileData], list[str]]:
        """Keep what a tool has returned, for the session; and a sentence about each file that could not be."""
        ...
