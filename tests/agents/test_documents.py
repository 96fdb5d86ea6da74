"""The text of files of every type, and files that are not what their names say."""

import io
import zipfile
from collections.abc import Callable

import pytest

import agents
from agents.documents import detect_type, has_text, read_text
from tests import documents

OFFICE = "application/vnd.openxmlformats-officedocument."
BIG5 = "這是一個繁體中文的檔案，裡面有很多字。今天天氣很好。"
GB = "这是一个简体中文的文件，里面有很多字。今天天气很好。"

#: A name, the content, the detected type, and the pages.
READ: dict[str, tuple[str, bytes, str, list[str]]] = {
    "text": ("notes.txt", "one\nzwei é".encode(), "text/plain", ["one\nzwei é"]),
    "code is text": ("page.html", b"<b>hi</b>", "text/plain", ["<b>hi</b>"]),
    "a table": ("costs.CSV", b"a,b\n1,2\n", "text/csv", ["a,b\n1,2\n"]),
    "a mark of the order of bytes": ("u.txt", "hi ä".encode("utf-16"), "text/plain", ["hi ä"]),
    "Big5": ("b.txt", BIG5.encode("big5"), "text/plain", [BIG5]),
    "GB 18030": ("g.txt", GB.encode("gb18030"), "text/plain", [GB]),
    "PDF": ("two.pdf", documents.pdf("the first", "the second"), "application/pdf", ["the first", "the second"]),
    "Word": (
        "letter.docx",
        documents.word("Dear Bo", table=[["a", "b"]]),
        f"{OFFICE}wordprocessingml.document",
        ["Dear Bo\na\tb"],
    ),
    "slides": ("talk.pptx", documents.slides("Hello", "Bye"), f"{OFFICE}presentationml.presentation", ["Hello", "Bye"]),
    "a workbook": (
        "costs.xlsx",
        documents.sheet([["tea", 3], ["milk", 1.5]]),
        f"{OFFICE}spreadsheetml.sheet",
        ["Sheet “Costs”\ntea\t3\nmilk\t1.5"],
    ),
    "a name without an ending": ("README", b"read me", "text/plain", ["read me"]),
    "a drawing with a script is text": (
        "a.svg",
        b'<svg onload="alert(1)"/>',
        "text/plain",
        ['<svg onload="alert(1)"/>'],
    ),
}


@pytest.mark.parametrize("case", READ)
def test_the_type_and_text_of_a_file(case: str) -> None:
    name, content, media_type, pages = READ[case]
    assert detect_type(name, content) == media_type
    assert has_text(media_type)
    assert read_text(media_type, content) == agents.DocumentText(pages)


def test_pictures_are_told_by_their_bytes_and_have_no_text() -> None:
    for name, behind in (("photo.jpg", b""), ("page.html", b"<script>alert(1)</script>")):
        assert detect_type(name, documents.picture() + behind) == "image/png"
    assert not has_text("image/png")


def archive() -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as made:
        made.writestr("word.txt", "hello")
    return written.getvalue()


REFUSED: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "a program": ("run.exe", lambda: b"MZ" + bytes(range(256)) * 8, "of a kind that cannot be used"),
    "an archive": ("all.zip", archive, "of a kind that cannot be used"),
    "an archive in Office's clothes": ("a.docx", archive, "of a kind that cannot be used"),
    "text that says it is a PDF": ("a.pdf", lambda: b"hello", "not what its name says"),
    "a PDF that says it is a picture": ("a.png", lambda: documents.pdf("x"), "not what its name says"),
    "a workbook that says it is Word's": ("a.docx", lambda: documents.sheet([["x"]]), "not what its name says"),
    "the beginning of an archive": ("a.docx", lambda: documents.word("x")[:200], "of a kind that cannot be used"),
    "control characters": ("a.txt", lambda: b"\x01\x02\x03 text" * 9, "of a kind that cannot be used"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_of_another_type_is_refused(case: str) -> None:
    name, make, words = REFUSED[case]
    with pytest.raises(agents.Unsupported, match=words):
        detect_type(name, make())


WORD = f"{OFFICE}wordprocessingml.document"
UNREADABLE: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "a bomb": (WORD, documents.bomb, "larger than a file may be"),
    "a damaged PDF": ("application/pdf", lambda: b"%PDF-1.4\n" + b"x" * 500, "damaged"),
    "a PDF of pictures": ("application/pdf", lambda: documents.pdf(""), "no text in it"),
    "a document whose text is no XML": (WORD, lambda: documents.bomb(1), "damaged"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_why_a_file_cannot_be_read(case: str) -> None:
    media_type, make, words = UNREADABLE[case]
    read = read_text(media_type, make())
    assert read.pages == []
    assert words in read.problem


def test_a_file_that_never_ends_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PDF whose pages refer to themselves as children; another file is read at the same time."""
    loop = documents.pdf("x").replace(b"/Kids [4 0 R]", b"/Kids [2 0 R]")
    monkeypatch.setattr("agents.documents._READ_CPU_S", 0.3)
    assert read_text("application/pdf", loop).pages == []
    assert read_text("text/plain", b"hello").pages == ["hello"]
