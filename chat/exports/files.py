"""The formats of exported files, their names, and their pieces."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from chat.exports.as_atif import write_atif
from chat.exports.as_html import write_html
from chat.exports.as_json import write_json
from chat.exports.as_markdown import write_markdown
from chat.exports.source import Source
from chat.store.files import plain_name


@dataclass(frozen=True, slots=True)
class Format:
    """A file format: its writer, its file extension, and its media type."""

    write: Callable[[Source], Iterator[str]]
    ending: str
    media_type: str


FORMATS = {
    "markdown": Format(write_markdown, ".md", "text/markdown; charset=utf-8"),
    "html": Format(write_html, ".html", "text/html; charset=utf-8"),
    "json": Format(write_json, ".json", "application/json"),
    "atif": Format(write_atif, ".atif.json", "application/json"),
}
#: The fewest characters of a piece.
_PIECE = 64 * 1024
#: Characters that some file systems do not accept; and the longest name, in bytes, that all accept together with an extension.
_UNSAFE = re.compile(r'[<>:"/\\|?*%\x00-\x1f\x7f]+')
_DEVICES = re.compile(r"(?i)(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?")
_LONGEST = 180


def file_name(source: Source, chosen: Format) -> str:
    """A file name that every file system accepts, from the title and, for a run, its number."""
    title = plain_name(_UNSAFE.sub(" ", source.title)) if source.title.strip() else "session"
    title = title.encode()[:_LONGEST].decode(errors="ignore").strip(" .") or "session"
    if _DEVICES.fullmatch(title):
        title = f"session {title}"
    run = f" {source.run.number}" if source.run is not None else ""
    return f"{title}{run}{chosen.ending}"


def content_disposition(name: str) -> str:
    """The header that makes browsers save a file under this name."""
    plain = re.sub(r"[^A-Za-z0-9 ._()-]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def next_piece(texts: Iterator[str]) -> bytes:
    """The next piece of a file; empty at the end."""
    parts: list[str] = []
    length = 0
    for text in texts:
        parts.append(text)
        length += len(text)
        if length >= _PIECE:
            break
    return "".join(parts).encode(errors="replace")


def scan_source(source: Source) -> None:
    """Read everything once, so that the source's masker counts what it hides."""
    _ = source.title
    for _event in source.events():
        pass
