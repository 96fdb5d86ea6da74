"""Files: uploaded, downloaded, and read as text."""

from collections.abc import AsyncIterator
from typing import BinaryIO, cast
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from ninja import Router, Status

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

import agents
from agents.sentence import Sentence
from chat.api.auth import MANAGE, READ
from chat.api.bodies import user_of
from chat.api.paths import visible_session
from chat.cases import selectors as case_selectors
from chat.models import Door, File
from chat.protocol import BadFrame, as_uuid
from chat.runs import uploads
from chat.runs.admission import Refused
from chat.runtime import database
from chat.runtime.database import ask_patiently
from chat.security import audit
from chat.store import file_texts, files

router = Router()

#: The content security policy of a file that a browser opens as a page: it may do nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "session_id": {
                            "type": "string",
                            "format": "uuid",
                            "description": "A session that uses it from now on.",
                        },
                    },
                }
            }
        },
    }
}


class FileOut(TypedDict):
    """A file."""

    id: str
    name: str
    media_type: str
    size: int
    sha256: str


@router.post("files/", auth=MANAGE, response={201: FileOut}, openapi_extra=_FORM)
async def send_file(request: HttpRequest) -> Status[FileOut]:
    """Upload a file, as a form with the field `file`.

    Its type is detected from its content: text, PDF, Office files and pictures are accepted. Unused files are deleted after a day.
    """
    sent = request.FILES.getlist("file") if request.content_type == "multipart/form-data" else []
    if len(sent) != 1:
        raise BadFrame("bad_frame", Sentence("Send one file, as a form with the field “file”."))
    session_id = request.POST.get("session_id", "")
    session = await visible_session(request, str(session_id)) if session_id else None
    (content,) = sent
    file = await uploads.store_file(
        user_of(request), cast(BinaryIO, content.file), content.size or 0, name=content.name or "", session=session
    )
    return Status(201, {**files.describe(file), "sha256": file.sha256})


@router.get(
    "files/{file_id}/",
    auth=READ,
    openapi_extra={"responses": {200: {"description": "Its content", "content": {"*/*": {}}}}},
)
async def get_file(request: HttpRequest, file_id: str) -> StreamingHttpResponse:
    """Read a file of your own, or of a session or set that you may see. Pictures are displayed, other files are downloaded."""
    file = await _visible_file(request, file_id)
    kind = "inline" if file.media_type in agents.PICTURES else "attachment"
    headers = {
        "Content-Disposition": f"{kind}; filename*=UTF-8''{quote(file.name, safe='')}",
        "Content-Length": str(file.size),
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        # The content never changes, but who may see it does.
        "Cache-Control": "private, no-cache",
    }
    return StreamingHttpResponse(_content(file), content_type=_content_type(file.media_type), headers=headers)


@router.get(
    "files/{file_id}/text/",
    auth=READ,
    openapi_extra={"responses": {200: {"description": "The text", "content": {"text/plain": {}}}}},
)
async def get_text(request: HttpRequest, file_id: str) -> HttpResponse:
    """Read a file's text, as the agents read it, with a form feed between pages."""
    file = await _visible_file(request, file_id)
    try:
        text = await uploads.in_file_thread(ask_patiently, _whole_text, file)
    except file_texts.NoText as why:
        message = Sentence("“%(name)s” has no text that can be read. %(why)s", name=file.name, why=why.args[0])
        raise Refused("unsupported_media", message) from None
    except agents.Unreadable as why:
        raise Refused("storage", str(why)) from None
    headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": _POLICY}
    return HttpResponse(text, content_type="text/plain; charset=utf-8", headers=headers)


async def _visible_file(request: HttpRequest, file_id: str) -> File:
    """The file of a path, for its owner, and for users who may see a session or set that uses it."""
    key, user = as_uuid(file_id), user_of(request)
    file = await database.read(files.complete_files().filter(pk=key).first) if key else None
    if file is not None and file.owner_id == user.pk:
        return file
    for session_id in await database.read(files.sessions_using, file.pk) if file is not None else ():
        if file is not None and await audit.open_session_async(user, session_id, Door.API):
            return file
    if file is not None and await database.read(case_selectors.is_in_a_set, user, file.pk):
        return file
    raise Refused("not_found", Sentence("There is no such file."))


async def _content(file: File) -> AsyncIterator[bytes]:
    number = 0
    while (piece := await database.read(files.chunk, file.pk, number)) is not None:
        yield piece
        number += 1


def _content_type(media_type: str) -> str:
    return f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type


def _whole_text(file: File) -> str:
    file_texts.prepare(file)
    return "".join(file_texts.whole_text(file))
