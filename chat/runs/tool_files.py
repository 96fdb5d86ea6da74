"""What a run's tools may do with files: read and search the session's files, and store files in it."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import ParamSpec, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseError

import agents
from agents import FileData, FoundLine, ReturnedFile
from chat.models import File, Run, Session
from chat.runtime.database import ask_patiently
from chat.store import file_texts, files

P = ParamSpec("P")
T = TypeVar("T")

#: How many files of one result are stored.
_MOST_RETURNED = 20
_MB = 1_000_000
_UNKNOWN = "application/octet-stream"


def _in_a_tools_thread(method: Callable[P, T]) -> Callable[P, T]:
    """Wait for a database that does not answer for a moment; if it stays so, or a text cannot be read, the model gets that as an error."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return ask_patiently(method, *args, **kwargs)
        except DatabaseError as error:
            raise agents.ToolError("The files could not be looked at now.") from error
        except (file_texts.NoText, agents.Unreadable) as error:
            raise agents.ToolError(f"The file has no text that can be read. {error}") from error

    return call


class FilesOfSession:
    """The session's files, and no others, as `agents.SessionFiles`."""

    def __init__(self, run: Run) -> None:
        self._session_id = run.session_id
        self._user_id = run.user_id
        self.are_any = run.session_has_files

    @_in_a_tools_thread
    def listed(self) -> list[FileData]:
        """All files, the oldest first."""
        return [files.describe(file) for file in files.of_session(self._session_id)]

    @_in_a_tools_thread
    def pages(self, file_id: str, stop: agents.CancelToken) -> int:
        """How many pages of text a file has."""
        return file_texts.prepare(self._file(file_id), stop)

    @_in_a_tools_thread
    def lines(self, file_id: str, page: int, first: int) -> Iterator[tuple[int, str]]:
        """The lines of a page from line ``first`` on, each with its number."""
        return iter(list(file_texts.lines(self._file(file_id), page, first)))

    @_in_a_tools_thread
    def search(
        self, file_ids: Sequence[str], query: str, limit: int, stop: agents.CancelToken
    ) -> tuple[list[FoundLine], list[str]]:
        """Lines with the words, and a sentence about each file that could not be searched."""
        found: list[File] = []
        problems: list[str] = []
        for file_id in file_ids:
            file = self._file(file_id)
            try:
                file_texts.prepare(file, stop)
            except (file_texts.NoText, agents.Unreadable) as why:
                problems.append(f"“{file.name}” could not be searched: {why}")
            else:
                found.append(file)
        hits = file_texts.search(found, query, limit)
        return [FoundLine(files.describe(hit.file), hit.page, hit.line, hit.text) for hit in hits], problems

    @_in_a_tools_thread
    def content(self, file_id: str) -> bytes:
        """A file's whole content; empty if the file was deleted."""
        file = self._find(file_id)
        return b"" if file is None else files.content(file.pk)

    @_in_a_tools_thread
    def keep(self, returned: Sequence[ReturnedFile]) -> tuple[list[FileData], list[str]]:
        """Store files that a tool has returned, in the session."""
        owner = self._user_id or Session.objects.values_list("owner", flat=True).get(pk=self._session_id)
        kept: list[File] = []
        problems = ["Further files were left out."] if len(returned) > _MOST_RETURNED else []
        for number, each in enumerate(returned[:_MOST_RETURNED], 1):
            if not 0 < len(each.content) <= (settings.MAX_FILE_MB * _MB or len(each.content)):
                problems.append("A file was left out: it is empty, damaged or too large.")
                continue
            try:
                kept.append(_kept(owner, each, number))
            except files.StorageFull:
                problems.append("A file was left out: the person's files would be more than may be kept.")
        files.attach_known(self._session_id, [file.pk for file in kept])
        return [files.describe(file) for file in kept], problems

    def _find(self, file_id: str) -> File | None:
        return files.complete_files().filter(pk=UUID(file_id), uses__session=self._session_id).first()

    def _file(self, file_id: str) -> File:
        file = self._find(file_id)
        if file is None:
            raise agents.ToolError("The file is not there any more.")
        return file


def _kept(owner_id: int, returned: ReturnedFile, number: int) -> File:
    name = files.plain_name(returned.name) if returned.name else ""
    try:
        media_type = agents.detect_type("", returned.content)
    except agents.Unsupported:
        media_type = _UNKNOWN
    if not name:
        kind = media_type.rpartition("/")[2]
        name = f"{'picture' if media_type in agents.PICTURES else 'file'}-{number}.{'bin' if media_type == _UNKNOWN else kind}"
    sha256 = hashlib.sha256(returned.content).hexdigest()
    return files.store_file(owner_id, name=name, media_type=media_type, content=returned.content, sha256=sha256)
