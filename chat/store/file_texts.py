"""The text of files, by page and line: extracted when it is first needed, stored, and searched by words.

Words are those of the full-text search (`chat.store.search`): case and accents are ignored, Chinese is found by pairs of characters.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet, Value
from django.db.models.functions import StrIndex

import agents
from agents import Sentence
from chat.models import File, FileText
from chat.store import files
from chat.store.search.text import SearchQuery, index_terms

#: The most characters of a passage, and of a line: a longer line is split, because a program may have written a whole file as one.
_PASSAGE = 4_000
_LONGEST_LINE = 1_000
_ROWS_AT_ONCE = 100
#: The most passages that reading a page, or searching a file, goes through.
_MOST_PASSAGES = 100


class NoText(Exception):
    """A file has no readable text; the argument says why."""


@dataclass(frozen=True, slots=True)
class LineHit:
    """A line of a file that matches a search. Pages and lines count from 1."""

    file: File
    page: int
    line: int
    text: str


def prepare(file: File, stop: agents.CancelToken | None = None) -> int:
    """Extract a file's text unless it is stored. Blocks. Returns its number of pages. Raises `NoText`, `agents.Unreadable`."""
    if file.pages is None:
        _read(file, stop)
    if file.problem or not file.pages:
        raise NoText(_worded(file.problem or "It has no text."))
    return file.pages


#: The stored reasons why files have no text, in the words of `agents.read_text`, so that they can be translated.
_REASONS = (
    Sentence("It has no text."),
    Sentence("It is a picture."),
    Sentence("It is damaged."),
    Sentence("It is protected by a password."),
    Sentence("It needs more memory than reading a file may take."),
    Sentence("Reading it took longer than it may."),
    Sentence("There is no text in it: perhaps its pages are pictures."),
    Sentence("Unpacked it would be larger than a file may be."),
)
_DAMAGED = re.compile(r"It is damaged, or not quite what it says it is \((\w+)\)\.")


def _worded(reason: str) -> str:
    """The stored reason, as a sentence that can be translated if it is a known one."""
    if damaged := _DAMAGED.fullmatch(reason):
        return Sentence("It is damaged, or not quite what it says it is (%(error)s).", error=damaged[1])
    return next((known for known in _REASONS if known == reason), reason)


def _read(file: File, stop: agents.CancelToken | None) -> None:
    if not agents.has_text(file.media_type):
        read = agents.DocumentText([], "It is a picture.")
    else:
        read = agents.read_text(file.media_type, files.content(file.pk), stop)
    rows = [
        FileText(file=file, page=page, first_line=line, text=text, terms=f" {' '.join(index_terms(text))} ")
        for page, whole in enumerate(read.pages, 1)
        for line, text in _passages(whole)
    ]
    # Another process that reads it at the same time makes the same rows.
    for at in range(0, len(rows), _ROWS_AT_ONCE):
        with transaction.atomic():
            FileText.objects.bulk_create(rows[at : at + _ROWS_AT_ONCE], ignore_conflicts=True)
    file.pages, file.problem = len(read.pages), read.problem
    File.objects.filter(pk=file.pk).update(pages=file.pages, problem=file.problem)


def _passages(page: str) -> Iterator[tuple[int, str]]:
    """A page's lines in passages, each with the number of its first line."""
    first, kept, size = 1, list[str](), 0
    for number, line in enumerate(_lines(page), 1):
        if kept and size + len(line) > _PASSAGE:
            yield first, "\n".join(kept)
            first, kept, size = number, [], 0
        kept.append(line)
        size += len(line) + 1
    if kept:
        yield first, "\n".join(kept)


def _lines(page: str) -> Iterator[str]:
    for line in page.replace("\0", "\ufffd").splitlines() or [""]:
        for at in range(0, max(1, len(line)), _LONGEST_LINE):
            yield line[at : at + _LONGEST_LINE]


def lines(file: File, page: int, first: int = 1) -> Iterator[tuple[int, str]]:
    """The lines of a page from line ``first`` on, each with its number, as many as are read at once."""
    passages = FileText.objects.filter(file=file, page=page).order_by("first_line")
    starts = passages.filter(first_line__lte=first).order_by("-first_line").values_list("first_line", flat=True)
    start = starts.first() or 1
    for first_line, text in passages.filter(first_line__gte=start).values_list("first_line", "text")[:_MOST_PASSAGES]:
        for number, line in enumerate(text.split("\n"), first_line):
            if number >= first:
                yield number, line


def whole_text(file: File) -> Iterator[str]:
    """A file's text in pieces, with a form feed between pages."""
    last = 0
    rows = FileText.objects.filter(file=file).order_by("page", "first_line").values_list("page", "text")
    for page, text in rows:
        yield ("" if not last else "\n" if page == last else "\f" * (page - last)) + text
        last = page


def search(among: Sequence[File], text: str, limit: int) -> list[LineHit]:
    """Lines that match, in files whose text is stored, from passages with all the words; in the order of files, pages and lines."""
    query = SearchQuery(text)
    if not query:
        return []
    by_id: dict[UUID, File] = {file.pk: file for file in among}
    hits: list[LineHit] = []
    for file_id, file in by_id.items():
        for page, first_line, passage in _holding(query, file_id).values_list("page", "first_line", "text"):
            found = [
                LineHit(file, page, number, line)
                for number, line in enumerate(passage.split("\n"), first_line)
                if query.stands_in(line)
            ]
            hits += found
            if len(hits) >= limit:
                return hits[:limit]
    return hits


def _holding(query: SearchQuery, file_id: UUID) -> QuerySet[FileText]:
    rows = FileText.objects.filter(file=file_id)
    for number, word in enumerate([*(f" {word} " for word in query.whole), *(f" {word}" for word in query.beginnings)]):
        rows = rows.annotate(**{f"place_{number}": StrIndex(F("terms"), Value(word))}).filter(
            **{f"place_{number}__gt": 0}
        )
    return rows.order_by("page", "first_line")[:_MOST_PASSAGES]
