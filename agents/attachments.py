"""Files in a conversation: the text that tells a model about them, and the pictures that it gets."""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agents.documents import PICTURES
from agents.steps import FileData

#: Separates a message from the words about its files.
BEFORE_FILES = "\n\nFiles with this message: "
#: Bytes of one picture, and how many of a conversation, the newest, a model is sent: each costs it again at every call.
_LARGEST_PICTURE = 8_000_000
_MOST_PICTURES = 8


def with_files(
    history: Sequence[Mapping[str, Any]], sees_images: bool, content_of: Callable[[str], bytes] | None
) -> list[Mapping[str, Any]]:
    """The conversation with each message's files in words and, for a model that sees pictures, ``images``: their data addresses."""
    left = _MOST_PICTURES if sees_images and content_of is not None else 0
    messages: list[Mapping[str, Any]] = []
    for message in reversed(history):
        files: Sequence[FileData] = message.get("files") or ()
        if not files:
            messages.append(message)
            continue
        images: list[str] = []
        descriptions: list[str] = []
        for file in files:
            # One that was deleted meanwhile has no content any more.
            wanted = content_of is not None and _is_picture(file) and len(images) < left
            picture = content_of(file["id"]) if wanted and content_of is not None else b""
            if picture:
                images.append(_as_address(file, picture))
            descriptions.append(_in_words(file, is_shown=bool(picture)))
        left -= len(images)
        # A tool's result names the files that it returns itself.
        is_message = message["role"] == "user"
        content = f"{message['content']}{BEFORE_FILES}{'; '.join(descriptions)}." if is_message else message["content"]
        kept = {key: value for key, value in message.items() if key != "files"}
        messages.append({**kept, "content": content, **({"images": images} if images else {})})
    return messages[::-1]


def pictures_of(files: Sequence[FileData], content_of: Callable[[str], bytes]) -> list[str]:
    """The pictures among files that a tool has returned, for a model that sees."""
    shown = [file for file in files if _is_picture(file)][:_MOST_PICTURES]
    return [_as_address(file, content) for file in shown if (content := content_of(file["id"]))]


def _is_picture(file: FileData) -> bool:
    return file["media_type"] in PICTURES and file["size"] <= _LARGEST_PICTURE


def _as_address(file: FileData, content: bytes) -> str:
    return f"data:{file['media_type']};base64,{base64.b64encode(content).decode()}"


def _in_words(file: FileData, *, is_shown: bool) -> str:
    about = f"“{file['name']}”, {file['media_type']}, {file['size'] / 1000:,.1f} kB"
    if file["media_type"] not in PICTURES:
        return f"{about}, to be read with read_file"
    return f"{about}, shown here" if is_shown else f"{about}, a picture that you cannot see"
