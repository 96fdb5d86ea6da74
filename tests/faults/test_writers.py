"""Processes that write to the same logs at the same time."""

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests import programs, services
from tests.faults.world import USERS, Database
from tests.serving import Server

PROCESSES = 8


@pytest.fixture(params=["sqlite", "postgres"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, Database]]:
    """Tables and users, without a server, and a reader."""
    if request.param == "sqlite":
        server = Server(tmp_path)
        server.prepare(*USERS)
        yield server, Database(str(tmp_path / "thinkaloud.sqlite3"))
        return
    postgres, template = request.getfixturevalue("postgres_server"), request.getfixturevalue("ready")
    with services.database(postgres, f"test_{uuid.uuid4().hex}", template=template) as address:
        yield Server(tmp_path, DATABASE_URL=address), Database(address)


def run(server: Server, *arguments: str) -> list[str]:
    """Run the writing program on the same data; returns the lines that it printed."""
    done = programs.run_program(["-m", "tests.faults.writing", *arguments], server.environment, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def follow(database: Database, session_id: UUID, head: int) -> list[int]:
    """Read a log by its cursor until it has this many events, as feeds do; returns the numbers."""
    seen: list[int] = []
    while not seen or seen[-1] < head:
        cursor = seen[-1] if seen else 0
        rows = database.rows(
            "SELECT seq FROM chat_step WHERE session_id = ? AND seq > ? ORDER BY seq", session_id, cursor
        )
        seen += [seq for (seq,) in rows]
    return seen


@pytest.mark.parametrize("sessions", [1, pytest.param(50, marks=pytest.mark.long)])
async def test_eight_processes_append_at_the_same_time(data: tuple[Server, Database], sessions: int) -> None:
    """Eight processes append to one session, or each to fifty: numbers have no gaps, and a reader by cursor misses nothing meanwhile."""
    server, database = data
    runs = await asyncio.to_thread(run, server, "make", str(sessions))
    session_ids = [UUID(str(found)) for (found,) in database.rows("SELECT session_id FROM chat_run ORDER BY id")]
    assert len(session_ids) == len(runs) == sessions
    each = 100 if sessions == 1 else 2 * sessions
    expected = PROCESSES * each // sessions
    failed, seen = await asyncio.gather(
        asyncio.to_thread(run, server, "race", str(PROCESSES), str(each), *runs),
        asyncio.wait_for(asyncio.to_thread(follow, database, session_ids[0], expected), 60),
    )
    assert failed == []
    assert seen == list(range(1, expected + 1)), "who read by a cursor has missed something"
    for session_id in session_ids:
        stored = database.rows("SELECT seq FROM chat_step WHERE session_id = ? ORDER BY seq", session_id)
        assert [seq for (seq,) in stored] == list(range(1, expected + 1))
        assert database.head(str(session_id)) == expected
