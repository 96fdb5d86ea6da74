"""SQLite is locked by another process, or the disk is full: nothing that was shown is missing, and no run is stuck."""

import asyncio
import contextlib
import errno
import resource
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import world as worlds
from tests.faults.conftest import OpenWorld
from tests.faults.invariants import check
from tests.faults.work import rounds
from tests.faults.world import World, until
from tests.model_server import ModelServer

#: What the log may contain about such a database.
EXPECTED_LOGS = "could not be|could not be renewed|disk I/O error|locked|full"


@pytest.mark.xdist_group("alone")
@pytest.mark.parametrize(
    "seconds", [3, pytest.param(8, marks=pytest.mark.long), pytest.param(14, marks=pytest.mark.long)]
)
async def test_the_database_is_locked_by_somebody_else(shared: World, seconds: int) -> None:
    """Another process holds SQLite's write lock: the run waits for it, people can read, and nothing fails."""
    world = shared
    world.model.respond = rounds(20, every_s=0.005)
    session = await world.new_session()
    async with world.browser() as reader, world.client(session, name="here") as here:
        run_id = await here.ask("Go on")
        await here.until(lambda: here.state.seq > 20)
        with contextlib.closing(sqlite3.connect(world.servers[0].data_dir / "thinkaloud.sqlite3")) as other:
            other.execute("BEGIN EXCLUSIVE")
            shown = here.state.seq
            await asyncio.sleep(seconds)
            # Nothing that the model writes meanwhile is shown before it is stored, except one batch that may have been on its way.
            assert here.state.seq - shown <= 10
            status, answer = await reader.call("GET", f"sessions/{session}/events/")
            assert (status, answer["last_seq"]) == (200, here.state.seq)
            other.execute("ROLLBACK")
        assert await here.ended(run_id) == "completed"
        await check(world, session, [here], logs_may=EXPECTED_LOGS)
        assert here.connections == 1


@pytest.mark.xdist_group("alone")
@pytest.mark.long
async def test_logging_in_while_the_database_is_locked(shared: World) -> None:
    """It waits for a while; then the page says what is wrong and to try again, and trying again works."""
    async with shared.browser("ada") as browser:
        with contextlib.closing(sqlite3.connect(shared.servers[0].data_dir / "thinkaloud.sqlite3")) as other:
            other.execute("BEGIN EXCLUSIVE")
            status, text = await browser.try_to_log_in("ada")
            assert status == 503
            assert "The database does not answer" in text
            assert 'href="/accounts/login/"' in text
            other.execute("ROLLBACK")
        await browser.log_in("ada")


async def fill(world: World) -> None:
    """Set the process's limit of file size, so that it cannot write, as on a full disk."""
    _, hard = resource.prlimit(world.servers[0].pid, resource.RLIMIT_FSIZE)
    resource.prlimit(world.servers[0].pid, resource.RLIMIT_FSIZE, (1, hard))


async def empty(world: World) -> None:
    """Remove that limit."""
    _, hard = resource.prlimit(world.servers[0].pid, resource.RLIMIT_FSIZE)
    resource.prlimit(world.servers[0].pid, resource.RLIMIT_FSIZE, (hard, hard))


@pytest.mark.xdist_group("alone")
async def test_the_disk_is_full_for_a_moment(shared: World) -> None:
    """The process cannot write to any file (by its own limit), and soon can again: the run goes on."""
    world = shared
    world.model.respond = rounds(20, every_s=0.005)
    session = await world.new_session()
    async with world.client(session, name="here") as here:
        run_id = await here.ask("Go on")
        await here.until(lambda: here.state.seq > 20)
        await fill(world)
        await asyncio.sleep(2)
        await empty(world)
        assert await here.ended(run_id) == "completed"
        await check(world, session, [here], logs_may=EXPECTED_LOGS)


@pytest.mark.long
async def test_the_disk_stays_full(open_world: OpenWorld, model: ModelServer) -> None:
    """The disk is full for longer than a run waits: messages are refused with an error, the run ends as failed, and the next one works."""
    model.respond = rounds(100, every_s=0.005)
    world = open_world("sqlite", RUN_LEASE_S="120")
    session = await world.new_session()
    async with world.client(session, name="here") as here:
        run_id = await here.ask("Go on")
        await here.until(lambda: here.state.seq > 20)
        await fill(world)
        await asyncio.sleep(18)
        asking = asyncio.create_task(here.ask("Are you there?"))
        await here.until(lambda: any(error["code"] == "storage" for error in here.errors))
        await empty(world)
        assert await here.ended(run_id) == "failed"
        model.respond = rounds(2)
        assert await here.ended(await asyncio.wait_for(asking, 20)) == "completed"
        await check(world, session, [here], logs_may=EXPECTED_LOGS)
    failed = next(run for run in world.database.runs(session) if run.id == run_id)
    assert failed.code == "storage"
    assert here.state.runs[run_id].entries[-2]["data"]["code"] == "storage"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, in memory, of 32 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"Only who may mount a disk can fill one: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def use_up(disk: Path) -> Path:
    """Fill a disk; returns the file that takes up the space."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as full:
            assert full.errno == errno.ENOSPC  # noqa: PT017 - the only way out
    return ballast


@pytest.mark.long
@pytest.mark.parametrize("stays", [False, True])
async def test_no_space_is_left_on_the_disk(small_disk: Path, model: ModelServer, stays: bool) -> None:
    """The disk itself is full (ENOSPC), for a moment or longer than a run waits: the run goes on, or ends as failed; the next works."""
    model.respond = rounds(100, every_s=0.005)
    with worlds.alone(small_disk / "data", model, RUN_LEASE_S="120") as world:
        session = await world.new_session()
        async with world.browser() as reader, world.client(session, name="here") as here:
            run_id = await here.ask("Go on")
            await here.until(lambda: here.state.seq > 20)
            ballast = use_up(small_disk)
            await until(lambda: any("disk is full" in line for line in world.output), wanted="it to notice")
            status, answer = await reader.call("GET", f"sessions/{session}/events/")
            assert (status, answer["last_seq"]) == (200, here.state.seq)
            asking = asyncio.create_task(here.ask("Are you there?"))
            # The error has the message's id, so that the client can send it again.
            await here.until(lambda: any(error["code"] == "storage" for error in here.errors))
            assert here.errors[-1]["client_message_id"]
            await asyncio.sleep(18 if stays else 1)
            ballast.unlink()
            assert await here.ended(run_id) == ("failed" if stays else "completed")
            assert await here.ended(await asking) == "completed"
            await check(world, session, [here], logs_may=EXPECTED_LOGS)
    assert here.connections == 1
