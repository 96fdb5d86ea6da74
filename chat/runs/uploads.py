"""The use case of uploads: a user sends a file."""

import asyncio
import functools
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, ParamSpec, TypeVar
from uuid import UUID

from django.conf import settings

import agents
from agents.sentence import Sentence
from chat.access import may_drive, role_in
from chat.accounts.models import User
from chat.models import File, Session
from chat.runs.admission import Refused
from chat.runtime import database
from chat.store import files

_MB = 1_000_000
#: Reading files may take long, and the event loop's own threads are needed for other work, such as resolving host names.
_threads = ThreadPoolExecutor(4, thread_name_prefix="files")

P = ParamSpec("P")
T = TypeVar("T")


async def in_file_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that reads files in one of the few threads for that."""
    return await asyncio.get_running_loop().run_in_executor(_threads, functools.partial(function, *args, **kwargs))


async def store_file(user: User, content: BinaryIO, size: int, *, name: str, session: Session | None = None) -> File:
    """Store a file of the user; if a session is named, it uses the file from now on. Raises `Refused`."""
    if session is not None:
        role = await database.read(role_in, user, session)
        if role is None or not may_drive(role):
            raise Refused("not_allowed", Sentence("You may watch this session, but not steer it."))
    name = files.plain_name(name)
    if size > settings.MAX_FILE_MB * _MB > 0:
        message = Sentence(
            "“%(name)s” is too large: a file may have %(most)d MB.", name=name, most=settings.MAX_FILE_MB
        )
        raise Refused("too_large", message)
    if not size:
        raise Refused("unsupported_media", Sentence("“%(name)s” is empty.", name=name))
    try:
        media_type, sha256 = await in_file_thread(_look_at, name, content)
    except agents.Unsupported as unsupported:
        raise Refused("unsupported_media", unsupported.args[0]) from None
    return await _keep(user, content, size, name, media_type, sha256, session.pk if session else None)


def _look_at(name: str, content: BinaryIO) -> tuple[str, str]:
    content.seek(0)
    whole = content.read()
    return agents.detect_type(name, whole), hashlib.sha256(whole).hexdigest()


async def _keep(
    user: User, content: BinaryIO, size: int, name: str, media_type: str, sha256: str, session_id: UUID | None
) -> File:
    try:
        file = await database.write(files.begin, user.pk, name=name, media_type=media_type, size=size, sha256=sha256)
    except files.StorageFull:
        message = Sentence(
            "Your files would be more than %(most)d MB. Delete sessions whose files you no longer need.",
            most=settings.MAX_FILES_PER_USER_MB,
        )
        raise Refused("too_many_files", message) from None
    # Each in a transaction of its own, so that others can write in between.
    for number, piece in enumerate(files.chunks_of(content)):
        await database.write(files.add_chunk, file, number, piece)
    await database.write(files.finish, file, session_id)
    return file
