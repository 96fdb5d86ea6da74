"""Files: stored in the database in chunks, found by users who may read them, and attached to the sessions that use them.

Clients see them as `FileData`. Content is written in short transactions, so that nobody waits for a large file; a file counts for
its owner's limit from the first of them on, and can be used after the last.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import PurePosixPath
from typing import BinaryIO
from uuid import UUID

import orjson
from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet, Sum, Value
from django.db.models.functions import Greatest
from django.utils import timezone

from agents import FileData
from agents.text import clean_text
from chat.accounts.models import User
from chat.models import CaseFile, File, FileChunk, Session, SessionFile

#: Bytes of a chunk.
CHUNK = 512 * 1024
_MB = 1_000_000
#: A file counts for at least so many bytes, because even the smallest has rows.
_LEAST = 4_096
#: How long a file is kept that no session uses.
UNUSED_FOR = timedelta(days=1)
_LONGEST_NAME, _LONGEST_ENDING = 200, 20
#: How many files of a session an agent is told about.
MOST_LISTED = 200


class StorageFull(Exception):
    """The owner's files would exceed the storage limit."""


class Missing(Exception):
    """There is no such file, or the user may not use it."""


def plain_name(name: str) -> str:
    """A file's name as it is stored: without folders and invisible characters."""
    last = re.split(r"[/\\]", clean_text(name))[-1]
    shown = "".join(
        " " if char.isspace() else char for char in last if char.isspace() or unicodedata.category(char)[0] != "C"
    )
    shown = " ".join(shown.split()).strip(". ") or "file"
    if len(shown) <= _LONGEST_NAME:
        return shown
    ending = PurePosixPath(shown).suffix[:_LONGEST_ENDING]
    return shown[: _LONGEST_NAME - len(ending)] + ending


def describe(file: File) -> FileData:
    """A file as frames and the API have it."""
    return {"id": str(file.pk), "name": file.name, "media_type": file.media_type, "size": file.size}


@transaction.atomic
def begin(owner_id: int, *, name: str, media_type: str, size: int, sha256: str) -> File:
    """Begin to store a file; its content follows by `add_chunk`, and `finish` completes it. Raises `StorageFull`."""
    if most := settings.MAX_FILES_PER_USER_MB * _MB:
        # One after the other, so that no two use the same space.
        User.objects.select_for_update(no_key=True).filter(pk=owner_id).first()
        counted = Greatest("size", Value(_LEAST))
        kept = File.objects.filter(owner=owner_id).aggregate(sum=Sum(counted))["sum"] or 0
        if kept + max(size, _LEAST) > most:
            raise StorageFull
    return File.objects.create(owner_id=owner_id, name=name, media_type=media_type, size=size, sha256=sha256)


def add_chunk(file: File, number: int, data: bytes) -> None:
    """Write a chunk of its content, numbered from 0."""
    FileChunk.objects.create(file=file, number=number, data=data)


@transaction.atomic
def finish(file: File, session_id: UUID | None = None) -> None:
    """Mark a file as complete; the session, if one is named, uses it from now on."""
    File.objects.filter(pk=file.pk).update(is_whole=True)
    if session_id is not None:
        _attach(session_id, [file.pk])


def store_file(owner_id: int, *, name: str, media_type: str, content: bytes, sha256: str) -> File:
    """`begin`, `add_chunk` for each chunk, and `finish`, on the caller's thread; no session uses it yet. Raises `StorageFull`."""
    file = begin(owner_id, name=name, media_type=media_type, size=len(content), sha256=sha256)
    for number, at in enumerate(range(0, len(content), CHUNK)):
        add_chunk(file, number, content[at : at + CHUNK])
    finish(file)
    return file


def chunks_of(content: BinaryIO) -> Iterator[bytes]:
    """An uploaded file's content in the chunks that are stored."""
    content.seek(0)
    while piece := content.read(CHUNK):
        yield piece


def attach(session_id: UUID, user_id: int, file_ids: Sequence[UUID]) -> str:
    """Let a session, which the caller has locked, use files of the user or of its own. Returns them as `Run.files` stores them.

    Raises `Missing` if one is neither.
    """
    found = {file.pk: file for file in complete_files().filter(pk__in=file_ids).filter(_at_hand(session_id, user_id))}
    if len(found) < len(file_ids):
        raise Missing
    _attach(session_id, file_ids)
    return orjson.dumps([describe(found[file_id]) for file_id in file_ids]).decode()


def attach_known(session_id: UUID, file_ids: Sequence[UUID]) -> None:
    """Let a session use files that were already checked: returned by its tools, or those of the case that is asked in it."""
    with transaction.atomic():
        _attach(session_id, file_ids)


def attach_copied(session_id: UUID, source_id: UUID, file_ids: Iterable[UUID]) -> None:
    """Let a copy of a session, or its first message, use those of these files that the session itself uses."""
    used = SessionFile.objects.filter(session=source_id, file__in=list(file_ids))
    if found := list(used.values_list("file_id", flat=True)):
        _attach(session_id, found)


def _attach(session_id: UUID, file_ids: Sequence[UUID]) -> None:
    uses = [SessionFile(session_id=session_id, file_id=file_id) for file_id in file_ids]
    SessionFile.objects.bulk_create(uses, ignore_conflicts=True)
    File.objects.filter(pk__in=file_ids, is_used=False).update(is_used=True)
    # Including a session that is still hidden, because it is being copied.
    Session.everything.filter(pk=session_id, has_files=False).update(has_files=True)


def attach_to_case(case_id: UUID, owner_id: int, file_ids: Sequence[UUID]) -> str:
    """Let a case use files of its set's owner. Returns them as `Run.files` stores them. Raises `Missing` if one is not theirs."""
    found = {file.pk: file for file in complete_files().filter(pk__in=file_ids, owner=owner_id)}
    if len(found) < len(file_ids):
        raise Missing
    CaseFile.objects.bulk_create([CaseFile(case_id=case_id, file_id=file_id) for file_id in file_ids])
    File.objects.filter(pk__in=file_ids, is_used=False).update(is_used=True)
    return orjson.dumps([describe(found[file_id]) for file_id in file_ids]).decode()


def detach_from_cases(case_ids: Sequence[UUID]) -> None:
    """Detach the files of these cases; files that nothing else uses are deleted later."""
    uses = CaseFile.objects.filter(case__in=case_ids)
    file_ids = set(uses.values_list("file_id", flat=True))
    uses.delete()
    loose = File.objects.filter(pk__in=file_ids, uses=None, used_by_cases=None)
    File.objects.filter(pk__in=list(loose.values_list("pk", flat=True))).update(is_used=False)


def copy_for(owner_id: int, file: File) -> File:
    """Copy a file's content into a new file of another user, in short transactions. Raises `StorageFull`."""
    copied = begin(owner_id, name=file.name, media_type=file.media_type, size=file.size, sha256=file.sha256)
    number = 0
    while (data := chunk(file.pk, number)) is not None:
        add_chunk(copied, number, data)
        number += 1
    finish(copied)
    return copied


def _at_hand(session_id: UUID, user_id: int) -> Q:
    used_here = SessionFile.objects.filter(session=session_id).values("file")
    return Q(owner=user_id) | Q(pk__in=used_here)


def complete_files() -> QuerySet[File]:
    """The files that are stored completely."""
    return File.objects.filter(is_whole=True)


def of_session(session_id: UUID) -> list[File]:
    """The files that a session uses, the oldest first; if there are very many, the newest of them."""
    newest = complete_files().filter(uses__session=session_id).order_by("-uses__id")[:MOST_LISTED]
    return list(newest)[::-1]


def sessions_using(file_id: UUID) -> list[UUID]:
    """Some of the sessions that use a file, through which other users than its owner may see it."""
    uses = SessionFile.objects.filter(file=file_id, session__deleted_at=None).order_by("-pk")
    return list(uses.values_list("session_id", flat=True)[:MOST_LISTED])


def chunk(file_id: UUID, number: int) -> bytes | None:
    """A chunk of a file's content; None after the last."""
    found = FileChunk.objects.filter(file=file_id, number=number).values_list("data", flat=True).first()
    return None if found is None else bytes(found)


def content(file_id: UUID) -> bytes:
    """A file's whole content."""
    pieces = FileChunk.objects.filter(file=file_id).order_by("number").values_list("data", flat=True)
    return b"".join(bytes(piece) for piece in pieces)


def unused() -> QuerySet[File]:
    """Files that no session has used in time."""
    return File.objects.filter(is_used=False, created_at__lt=timezone.now() - UNUSED_FOR)
