"""Pictures in stored messages of model calls. They are already files of the session, so the stored message names the file instead.

Such names are only in the table: readers of a message get it as it was sent.
"""

import base64
import binascii
from collections.abc import Iterator
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson

from agents.json_types import JsonObject
from chat.models import File
from chat.store import files

#: The prefix of an address for a picture that is a file of the session; the file's id and the original address's beginning follow.
_NAMED = "session-file:"
_HELD = "data:"


def name_pictures(session_id: UUID, body: str) -> str:
    """A message, as JSON, with the file's id in place of each picture that is a file of the session."""
    if f'"{_HELD}' not in body:
        return body
    message = orjson.loads(body)
    for address in _addresses(message):
        head, _, text = address["url"].partition(",")
        if head.startswith(_HELD) and (file_id := _file_of(session_id, text)) is not None:
            address["url"] = f"{_NAMED}{file_id},{head}"
    return orjson.dumps(message).decode()


def show_pictures(session_id: UUID, body: str) -> str:
    """The message as it was sent. If a picture's file was deleted, its name stays."""
    if f'"{_NAMED}' not in body:
        return body
    message = orjson.loads(body)
    for address in _addresses(message):
        named, _, head = address["url"].partition(",")
        if named.startswith(_NAMED) and (content := _content_of(session_id, named.removeprefix(_NAMED))):
            address["url"] = f"{head},{base64.b64encode(content).decode()}"
    return orjson.dumps(message).decode()


def _addresses(message: Any) -> Iterator[JsonObject]:
    """The parts of a message that are pictures: only their addresses are read and replaced, never the text."""
    content = message.get("content") if isinstance(message, dict) else None
    for part in content if isinstance(content, list) else ():
        if part.get("type") == "image_url":
            yield part["image_url"]


def _file_of(session_id: UUID, text: str) -> UUID | None:
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    if base64.b64encode(content).decode() != text:
        return None
    same = File.objects.filter(uses__session=session_id, is_whole=True, sha256=sha256(content).hexdigest())
    return same.values_list("pk", flat=True).first()


def _content_of(session_id: UUID, file_id: str) -> bytes:
    there = File.objects.filter(uses__session=session_id, is_whole=True, pk=UUID(file_id)).exists()
    return files.content(UUID(file_id)) if there else b""
