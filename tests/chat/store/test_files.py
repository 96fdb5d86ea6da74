"""Files in the database: complete or not there, counted for their owner, found by session, read and searched by page and line."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import override_settings
from django.utils import timezone

from agents import Sentence
from chat.accounts.models import User
from chat.models import File, FileText, Session
from chat.runs import erasure
from chat.store import file_texts, files
from tests import documents
from tests.chat import making

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("on_each_database")]
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@pytest.fixture
def ada() -> User:
    return making.user("ada")


def test_a_file_is_there_when_it_is_whole(ada: User) -> None:
    file = files.begin(ada.pk, name="a.txt", media_type="text/plain", size=2, sha256="")
    files.add_chunk(file, 0, b"hi")
    assert not files.complete_files().exists()
    files.finish(file)
    assert files.content(files.complete_files().get().pk) == b"hi"


NAMES = {
    "plain.txt": "plain.txt",
    "../../etc/passwd": "passwd",
    "C:\\Users\\bo\\a.txt": "a.txt",
    " two  words .txt": "two words .txt",
    "gpj.\u202eexe": "gpj.exe",
    "line\nbreak\0.txt": "line break\ufffd.txt",
    "": "file",
    "..": "file",
    "報告.docx": "報告.docx",
    "x" * 300 + ".pdf": "x" * 196 + ".pdf",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_made_plain(name: str) -> None:
    assert files.plain_name(name) == NAMES[name]


@override_settings(MAX_FILES_PER_USER_MB=1)
def test_a_user_has_so_much_and_no_more(ada: User) -> None:
    def begin(owner: User, size: int) -> File:
        return files.begin(owner.pk, name="a", media_type="text/plain", size=size, sha256="")

    begin(ada, 990_000)
    with pytest.raises(files.StorageFull):
        begin(ada, 10_001)
    begin(making.user("bo"), 10_001)
    begin(ada, 1)
    begin(ada, 1)
    with pytest.raises(files.StorageFull):
        begin(ada, 1)
    assert File.objects.count() == 4, "the smallest count for a page of the database"


def test_only_what_is_at_hand_can_be_tied(ada: User) -> None:
    bo, session = making.user("bo"), making.session(ada)
    own, another, of_the_session = making.file(ada), making.file(bo), making.file(bo)
    files.finish(of_the_session, session.pk)
    assert files.attach(session.pk, ada.pk, [own.pk, of_the_session.pk])
    for bad in (another.pk, uuid4()):
        with pytest.raises(files.Missing):
            files.attach(session.pk, ada.pk, [own.pk, bad])
    assert [file.pk for file in files.of_session(session.pk)] == [of_the_session.pk, own.pk]


def test_an_unused_file_goes_after_a_day(ada: User) -> None:
    old, used, new = making.file(ada), making.file(ada, "b", making.session(ada)), making.file(ada)
    unfinished = files.begin(ada.pk, name="a", media_type="text/plain", size=1, sha256="")
    day_before = timezone.now() - files.UNUSED_FOR - timedelta(seconds=1)
    File.objects.filter(pk__in=[old.pk, used.pk, unfinished.pk]).update(created_at=day_before)
    assert erasure.is_any()
    erasure.erase_batch(erasure.Pace())
    assert set(File.objects.values_list("pk", flat=True)) == {used.pk, new.pk}
    assert not erasure.is_any()


def test_a_file_goes_with_its_last_session_and_with_its_owner(ada: User) -> None:
    one, two = making.session(ada), making.session(ada)
    shared, single = making.file(ada, "a", one, two), making.file(ada, "b", one)
    erasure.hide_session(one.pk)
    assert list(File.objects.all()) == [shared]
    assert not FileText.objects.filter(file=single).exists()
    theirs = making.session(making.user("bo"))
    files.finish(shared, theirs.pk)
    erasure.close_account(ada.pk)
    while erasure.erase_batch(erasure.Pace()) is not None:
        pass
    assert not User.objects.filter(username="ada").exists()
    assert not File.objects.exists()
    assert Session.objects.get() == theirs


def long_text() -> str:
    return "\n".join(f"line {number}" + (" okapi" if number % 500 == 0 else "") for number in range(1, 2_001))


def test_lines_are_found_again_by_their_numbers(ada: User) -> None:
    file = making.file(ada, long_text())
    assert file_texts.prepare(file) == 1
    assert FileText.objects.filter(file=file).count() > 4
    for first in (1, 2, 777, 2_000):
        assert next(file_texts.lines(file, 1, first)) == (first, long_text().split("\n")[first - 1])
    assert list(file_texts.lines(file, 1, 2_001)) == []
    assert "".join(file_texts.whole_text(file)) == long_text()


SEARCHES: list[tuple[str, list[int]]] = [
    ("okapi", [500, 1_000, 1_500, 2_000]),
    ("OKAPI 1500", [1_500]),
    ("oka", []),
    ("okap", [500, 1_000, 1_500, 2_000]),
    ("zebra", []),
    ("...", []),
    ("okapi zebra", []),
]


@pytest.mark.parametrize(("query", "found"), SEARCHES)
def test_words_are_found_by_line(ada: User, query: str, found: list[int]) -> None:
    file = making.file(ada, long_text())
    file_texts.prepare(file)
    hits = [hit for hit in file_texts.search([file], query, 50) if "okapi" in hit.text]
    assert [hit.line for hit in hits if query != "OKAPI 1500" or "1500" in hit.text] == found


def test_chinese_is_found_by_its_characters(ada: User) -> None:
    file = making.file(ada, "天氣很好\n茶葉在櫃子裡")
    file_texts.prepare(file)
    assert [hit.line for hit in file_texts.search([file], "櫃子", 5)] == [2]


def test_a_very_long_line_is_broken(ada: User) -> None:
    file = making.file(ada, "x" * 10_000)
    file_texts.prepare(file)
    assert [len(line) for _, line in file_texts.lines(file, 1)] == [1_000] * 10


#: Files without text: their type, what makes their content, and the reason. Each reason can be translated for pages.
WITHOUT_TEXT = {
    "damaged": (
        "application/pdf",
        lambda: b"%PDF-1.4 nothing",
        r"It is damaged, or not quite what it says it is \(\w+\)\.",
    ),
    "a picture": ("image/png", documents.picture, r"It is a picture\."),
    "a bomb": (WORD, documents.bomb, r"Unpacked it would be larger than a file may be\."),
    "empty pages": (
        "application/pdf",
        lambda: documents.pdf(""),
        r"There is no text in it: perhaps its pages are pictures\.",
    ),
}


@pytest.mark.parametrize("case", WITHOUT_TEXT)
def test_why_there_is_no_text_is_kept(case: str, ada: User) -> None:
    kind, make, words = WITHOUT_TEXT[case]
    file = files.store_file(ada.pk, name="a", media_type=kind, content=make(), sha256="")
    for _ in range(2):
        with pytest.raises(file_texts.NoText, match=words) as found:
            file_texts.prepare(File.objects.get(pk=file.pk))
        assert isinstance(found.value.args[0], Sentence)
