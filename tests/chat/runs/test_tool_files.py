"""The files of a run's tools, in the database: only its own session's, and how files in results are stored."""

import pytest
from django.test import override_settings

import agents
from chat.models import File, Run, Session
from chat.runs.tool_files import FilesOfSession
from tests import documents
from tests.chat import making

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run() -> Run:
    return making.run(making.session(making.user("ada")))


def kept(run: Run, *contents: tuple[str, bytes]) -> tuple[list[tuple[str, str]], list[str]]:
    returned = [agents.ReturnedFile(name, content) for name, content in contents]
    files, problems = FilesOfSession(run).keep(returned)
    return [(file["name"], file["media_type"]) for file in files], problems


def test_a_returned_file_is_stored_for_the_session_under_a_name(run: Run) -> None:
    png, odd = documents.picture(), bytes(range(256))
    assert kept(run, ("", png), ("../a/report.pdf", documents.pdf("x")), ("", odd), ("data.bin", odd)) == (
        [
            ("picture-1.png", "image/png"),
            ("report.pdf", "application/pdf"),
            ("file-3.bin", "application/octet-stream"),
            ("data.bin", "application/octet-stream"),
        ],
        [],
    )
    assert Session.objects.get(pk=run.session_id).has_files
    assert next(file["name"] for file in FilesOfSession(run).listed()) == "picture-1.png"
    assert set(File.objects.values_list("owner__username", "is_used")) == {("ada", True)}


@override_settings(MAX_FILE_MB=1, MAX_FILES_PER_USER_MB=1)
def test_a_file_that_cannot_be_stored_is_reported(run: Run) -> None:
    files, problems = kept(
        run, ("", b""), ("a.txt", b"x" * 1_000_001), ("b.txt", b"x" * 990_000), ("c.txt", b"x" * 20_000)
    )
    assert files == [("b.txt", "text/plain")]
    assert [words[:40] for words in problems] == [
        "A file was left out: it is empty, damage",
        "A file was left out: it is empty, damage",
        "A file was left out: the person's files ",
    ]
    many = kept(run, *[("a.txt", b"x")] * 30)
    assert "Further files were left out." in many[1]


def test_the_files_of_other_sessions_are_not_there(run: Run) -> None:
    elsewhere = making.file(making.user("bo"), "secret", making.session(run.session.owner))
    here = FilesOfSession(run)
    assert here.listed() == []
    assert here.content(str(elsewhere.pk)) == b""
    for ask in (here.pages, lambda key, stop: here.lines(key, 1, 1)):
        with pytest.raises(agents.ToolError, match="not there any more"):
            ask(str(elsewhere.pk), agents.CancelToken())


def test_a_file_without_text_is_told_of_beside_what_was_found(run: Run) -> None:
    owner, session = run.session.owner, run.session
    notes = making.file(owner, "Tea: 3", session)
    kept(run, ("a.png", documents.picture()))
    here = FilesOfSession(run)
    hits, problems = here.search([file["id"] for file in here.listed()], "tea", 5, agents.CancelToken())
    assert [(hit.file["id"], hit.page, hit.line, hit.text) for hit in hits] == [(str(notes.pk), 1, 1, "Tea: 3")]
    assert problems == ["“a.png” could not be searched: It is a picture."]
