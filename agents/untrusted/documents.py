"""Extracts the text of documents, page by page. Runs in a worker, which is killed if it takes long: see ``agents.untrusted.pool``.

Each library is imported for the first document that needs it. Archives that decompress to more than a document needs are refused.
"""

import io
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

#: Limits: characters of a document's text, pages, and bytes after decompression.
MOST_CHARACTERS = 4_000_000
_MOST_PAGES = 5_000
_MOST_UNPACKED = 200_000_000
_MOST_PARTS = 20_000
_LEFT_OUT = "[… the rest of this file is left out]"
_OFFICE = {
    "word/document.xml": "docx",
    "xl/workbook.xml": "xlsx",
    "xl/workbook.bin": "xlsb",
    "ppt/presentation.xml": "pptx",
}


def office_kind(content: bytes) -> str:
    """The kind of an archive: ``docx``, ``xlsx``, ``xlsb``, ``pptx``, or empty for any other."""
    parts = _parts(content)
    if parts is None:
        return ""
    names = {part.filename for part in parts[:_MOST_PARTS]}
    found = [kind for part, kind in _OFFICE.items() if part in names]
    return found[0] if found and "[Content_Types].xml" in names else ""


def _parts(content: bytes) -> list[zipfile.ZipInfo] | None:
    """The entries of an archive, by its index; None if it is not an archive that can be read."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        # zipfile raises each of these for an invalid index; the caller decides what that means.
        return None


def extract_pages(kind: str, content: bytes) -> list[Any]:
    """The text of a document's pages, or a sentence that says why it cannot be read."""
    if kind in ("docx", "xlsx", "xlsb", "pptx") and (problem := _packed_problem(content)):
        return [[], problem]
    try:
        pages = list(_bounded(_READERS[kind](content)))
    except MemoryError:
        return [[], "It needs more memory than reading a file may take."]
    except _Locked:
        return [[], "It is protected by a password."]
    except Exception as error:  # noqa: BLE001 - these libraries fail in any way on what is damaged
        return [[], f"It is damaged, or not quite what it says it is ({type(error).__name__})."]
    if not any(page.strip() for page in pages):
        return [[], "There is no text in it: perhaps its pages are pictures."]
    return [pages, ""]


class _Locked(Exception):
    """The document needs a password."""


def _packed_problem(content: bytes) -> str:
    """What is wrong with an archive, from its index. What the index does not show is stopped by the limits of memory and time."""
    parts = _parts(content)
    if parts is None:
        return "It is damaged."
    if len(parts) > _MOST_PARTS or sum(part.file_size for part in parts) > _MOST_UNPACKED:
        return "Unpacked it would be larger than a file may be."
    return ""


def _bounded(pages: Iterator[str]) -> Iterator[str]:
    left = MOST_CHARACTERS
    for number, page in enumerate(pages, 1):
        if number > _MOST_PAGES or len(page) > left:
            yield f"{page[:left]}\n{_LEFT_OUT}" if number <= _MOST_PAGES else _LEFT_OUT
            return
        left -= len(page)
        yield page


def _pdf(content: bytes) -> Iterator[str]:
    import pypdf  # noqa: PLC0415

    reader = pypdf.PdfReader(io.BytesIO(content))
    if reader.is_encrypted and not reader.decrypt(""):
        raise _Locked
    for page in reader.pages:
        yield page.extract_text() or ""


def _docx(content: bytes) -> Iterator[str]:
    import docx  # noqa: PLC0415
    from docx.table import Table  # noqa: PLC0415

    lines: list[str] = []
    for block in docx.Document(io.BytesIO(content)).iter_inner_content():
        if isinstance(block, Table):
            lines += ["\t".join(" ".join(cell.text.split()) for cell in row.cells) for row in block.rows]
        else:
            lines.append(block.text)
    yield "\n".join(lines)


def _pptx(content: bytes) -> Iterator[str]:
    import pptx  # noqa: PLC0415

    for slide in pptx.Presentation(io.BytesIO(content)).slides:
        lines = [line for shape in slide.shapes for line in _shape_lines(shape)]
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            lines += ["Notes:", slide.notes_slide.notes_text_frame.text]
        yield "\n".join(lines)


def _shape_lines(shape: Any) -> Iterator[str]:
    if shape.has_text_frame:
        yield shape.text_frame.text
    if getattr(shape, "has_table", False):
        yield from ("\t".join(" ".join(cell.text.split()) for cell in row.cells) for row in shape.table.rows)
    for inner in getattr(shape, "shapes", ()):
        yield from _shape_lines(inner)


def _sheets(content: bytes) -> Iterator[str]:
    from python_calamine import CalamineWorkbook  # noqa: PLC0415

    workbook = CalamineWorkbook.from_filelike(io.BytesIO(content))
    for name in workbook.sheet_names:
        rows = workbook.get_sheet_by_name(name).iter_rows()
        yield "\n".join([f"Sheet “{name}”", *("\t".join(_cell(value) for value in row) for row in rows)])


def _cell(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return " ".join(str(value).split())


def _text(content: bytes) -> Iterator[str]:
    yield decode_text(content) or ""


def decode_text(content: bytes) -> str | None:
    """Decode text in any of the usual encodings; None if it is in none of them."""
    for encoding, marks in (("utf-8-sig", b""), ("utf-16", b"\xff\xfe"), ("utf-16", b"\xfe\xff")):
        if marks and not content.startswith(marks):
            continue
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    if b"\0" in content:
        return None
    from charset_normalizer import from_bytes  # noqa: PLC0415

    best = from_bytes(content[:_LOOKED_AT], cp_isolation=_ENCODINGS).best()
    return content.decode(best.encoding, "replace") if best is not None else None


def is_text(content: bytes) -> bool:
    """Whether bytes are text that people wrote, rather than data that can be decoded by chance."""
    text = decode_text(content)
    if text is None:
        return False
    odd = sum(text.count(mark) for mark in _ODD)
    return odd * 100 <= len(text)


#: Control characters that are rare in text.
_ODD = [chr(code) for code in range(32) if chr(code) not in "\t\n\r\f\x1b"]
#: How many bytes an encoding is guessed from, and the encodings that are still in use.
_LOOKED_AT = 64 * 1024
_ENCODINGS = ["big5", "big5hkscs", "gb18030", "shift_jis", "euc_jp", "euc_kr", "cp1251", "cp1252"]

_READERS: dict[str, Callable[[bytes], Iterator[str]]] = {
    "pdf": _pdf,
    "docx": _docx,
    "pptx": _pptx,
    "xlsx": _sheets,
    "xlsb": _sheets,
    "text": _text,
}
