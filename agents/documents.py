"""A file's media type, from its content, and its text. Both are read in processes that can be killed, so a hostile file harms nothing."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType

from agents.cancellation import CancelToken
from agents.sentence import Sentence
from agents.untrusted.pool import Pool, TooSlow, Unfinished

_readers = Pool(2, "agents.untrusted.documents")
#: The most that one file may take to detect and read, in seconds of CPU and of wall clock.
_DETECTION_CPU_S, _DETECTION_S = 3.0, 15.0
_READ_CPU_S, _READ_S = 20.0, 60.0
#: Bytes that suffice to detect most types.
_HEAD = 4_096
#: Pictures that browsers display and models accept. Not SVG: it may contain scripts.
PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_TEXT = "text/plain"
_OFFICE = "application/vnd.openxmlformats-officedocument."
_KINDS = MappingProxyType(
    {
        "application/pdf": "pdf",
        f"{_OFFICE}wordprocessingml.document": "docx",
        f"{_OFFICE}presentationml.presentation": "pptx",
        f"{_OFFICE}spreadsheetml.sheet": "xlsx",
        "application/vnd.ms-excel.sheet.binary.macroenabled.12": "xlsb",
    }
)
_TYPE_OF = MappingProxyType({kind: media_type for media_type, kind in _KINDS.items()})
#: Types of text that programs treat differently; all others are plain text.
_TEXTS = MappingProxyType(
    {".csv": "text/csv", ".json": "application/json", ".md": "text/markdown", ".markdown": "text/markdown"}
)
#: Endings that promise a kind.
_PROMISED = MappingProxyType(
    {
        **{f".{kind}": {media_type} for media_type, kind in _KINDS.items()},
        ".docm": {_TYPE_OF["docx"]},
        ".xlsm": {_TYPE_OF["xlsx"]},
        ".pptm": {_TYPE_OF["pptx"]},
        **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp"), PICTURES),
    }
)


class Unsupported(Exception):
    """A file of a type that can neither be read nor shown, or not the type of its name. The message is for people."""


class Unreadable(Exception):
    """A file that was not read, which may go well another time."""


@dataclass(frozen=True, slots=True)
class DocumentText:
    """A document's text by pages; or, if there is none, a sentence that says why."""

    pages: list[str]
    problem: str = ""


def detect_type(name: str, content: bytes) -> str:
    """A file's media type, from its content; the name only tells kinds of text apart. Raises `Unsupported`. Blocks."""
    found = _by_signature(content[:_HEAD]) or _by_looking(content)
    ending = PurePosixPath(name.lower()).suffix
    promised = _PROMISED.get(ending)
    if not found:
        raise Unsupported(
            Sentence(
                "“%(name)s” is of a kind that cannot be used here. Text, PDF, Office files and pictures can.", name=name
            )
        )
    if promised is not None and found not in promised:
        raise Unsupported(
            Sentence("“%(name)s” is not what its name says: what is in it is %(type)s.", name=name, type=found)
        )
    return _TEXTS.get(ending, _TEXT) if found == _TEXT else found


def _by_signature(head: bytes) -> str:
    for start, media_type in (
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
    ):
        if head.startswith(start):
            return media_type
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    # Some programs write a line before it.
    return "application/pdf" if b"%PDF-" in head[:1_024] else ""


def _by_looking(content: bytes) -> str:
    try:
        if content.startswith(b"PK\x03\x04"):
            kind = _readers.run("documents.office_kind", content, cpu_s=_DETECTION_CPU_S, timeout_s=_DETECTION_S)
            return _TYPE_OF.get(kind, "")
        is_text = _readers.run("documents.is_text", content, cpu_s=_DETECTION_CPU_S, timeout_s=_DETECTION_S)
    except TooSlow:
        return ""
    except Unfinished as error:
        raise Unsupported(Sentence("The file could not be looked at just now. Please try again.")) from error
    return _TEXT if is_text else ""


def has_text(media_type: str) -> bool:
    """Whether files of a type are read as text."""
    return media_type not in PICTURES and (
        media_type in _KINDS or media_type.startswith("text/") or media_type in _TEXTS.values()
    )


def read_text(media_type: str, content: bytes, stop: CancelToken | None = None) -> DocumentText:
    """A document's text. Blocks, for up to a minute; ends soon after ``stop`` is set. Raises `Unreadable` after any other failure."""
    kind = _KINDS.get(media_type, "text")
    try:
        pages, problem = _readers.run(
            "documents.extract_pages", kind, content, cpu_s=_READ_CPU_S, timeout_s=_READ_S, stop=stop
        )
    except TooSlow:
        return DocumentText([], "Reading it took longer than it may.")
    except Unfinished as error:
        raise Unreadable("The file could not be read just now.") from error
    return DocumentText(pages, problem)
