"""A very large account is deleted, and expired sessions are, while others write: no write has to wait for that."""

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from django.db import connections

from chat.accounts.models import User
from chat.models import LIVE, Run, Session, Step
from chat.runs import erasure, retention
from chat.runtime import database as runtime_database
from chat.store import step_log
from tests import prepared, services
from tests.chat import large, making
from tests.chat.databases import postgresql
from tests.faults.conftest import Record

#: The account's runs, with five steps each, and how many seconds a write may take: other tests on the machine slow it down, too.
SIZES = [
    pytest.param(4_000, 5.0, id="20,000 steps"),
    pytest.param(200_000, 1.0, id="1,000,000 steps", marks=pytest.mark.long),
]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: Any) -> Iterator[str]:
    """An empty database with tables, which this thread and those it starts are connected to."""
    with contextlib.ExitStack() as until_done:
        address = f"sqlite:///{prepared.copy_tables(tmp_path)}"
        if request.param == "postgresql":
            server = request.getfixturevalue("postgres_server")
            template = request.getfixturevalue("postgres_template")
            address = until_done.enter_context(services.database(server, f"erasing_{uuid4().hex}", template=template))
        until_done.enter_context(django_db_blocker.unblock())
        until_done.enter_context(postgresql(address, has_tables=True))
        yield request.param


class _Writer(threading.Thread):
    """Another user's run, which stores a step every few milliseconds, and records how long the slowest one took."""

    def __init__(self, run: Run) -> None:
        super().__init__(daemon=True)
        self._run = run
        self._over = threading.Event()
        self.slowest_s = 0.0
        self.stored = 0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            # A pause as between the steps of a run; it is not used to wait for anything.
            while not self._over.wait(0.01):
                began = time.monotonic()
                step_log.append(self._run, [making.thought("apples", self.stored + 1)])
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                self.stored += 1
        except Exception as error:  # noqa: BLE001 - for the test
            self.error = error
        finally:
            connections.close_all()

    def end(self) -> None:
        self._over.set()
        self.join()


@pytest.mark.parametrize(("runs", "longest_s"), SIZES)
def test_others_do_not_wait_while_an_account_is_removed(
    database: str, runs: int, longest_s: float, record_property: Record
) -> None:
    """From the closing of the account until its last row is deleted, each step of another user's run is stored within a second."""
    gone = large.fill(runs, 5, users_in_all=1)
    large.index()
    bob = making.user("bob")
    writers = [_Writer(making.run(making.session(bob))) for _ in range(2)]
    for writer in writers:
        writer.start()
    began = time.monotonic()
    slowest = closed_s = 0.0
    try:
        erasure.close_account(gone.user_id)
        closed_s = time.monotonic() - began
        pace = erasure.Pace()
        while (took_s := erasure.erase_batch(pace)) is not None:
            slowest = max(slowest, took_s)
            time.sleep(took_s)
    finally:
        for writer in writers:
            writer.end()
    record_property("closed within, s", round(closed_s, 3))
    record_property("removed within, s", round(time.monotonic() - began, 1))
    record_property("slowest batch, s", round(slowest, 3))
    record_property("longest wait of others, s", round(max(writer.slowest_s for writer in writers), 3))
    assert [writer.error for writer in writers] == [None, None]
    assert min(writer.stored for writer in writers) > 3
    assert max(writer.slowest_s for writer in writers) < longest_s, "somebody waited for a deletion"
    assert not User.objects.filter(pk=gone.user_id).exists()
    assert set(Session.everything.values_list("owner", flat=True)) == {bob.pk}
    assert Step.objects.count() == sum(writer.stored for writer in writers)


async def _expire_beside(runs: list[Run]) -> tuple[float, int]:
    """Delete expired sessions as a serving process does; returns the time of the slowest step meanwhile, and the number of steps."""
    slowest_s, stored = 0.0, 0

    async def store_steps(run: Run) -> None:
        nonlocal slowest_s, stored
        for number in itertools.count(1):
            began = time.monotonic()
            await runtime_database.write(step_log.append, run, [making.thought("apples", number)])
            slowest_s, stored = max(slowest_s, time.monotonic() - began), stored + 1
            # A pause as between the steps of a run; it is not used to wait for anything.
            await asyncio.sleep(0.01)

    at_work = [asyncio.ensure_future(store_steps(run)) for run in runs]
    while await retention.expire_some():
        assert not any(task.done() for task in at_work)
    for task in at_work:
        task.cancel()
    await asyncio.wait(at_work)
    return slowest_s, stored


@pytest.mark.long
def test_others_do_not_wait_while_what_is_kept_no_longer_goes(
    database: str, settings: Any, record_property: Record
) -> None:
    """All sessions of a month ago, 20,000 steps in 200 of them, except those that are still in use."""
    large.fill(4_000, 5)
    large.index()
    settings.RETENTION_DAYS = 7
    live = set(Run.objects.filter(status__in=LIVE).values_list("session", flat=True))
    runs = [making.run(making.session(making.user(name))) for name in ("bob", "cy")]
    try:
        slowest_s, stored = async_to_sync(_expire_beside)(runs)
    finally:
        runtime_database.close()
    record_property("longest wait of others, s", round(slowest_s, 3))
    assert stored > 100
    assert slowest_s < 1.0, "somebody waited for a deletion"
    left = set(Session.everything.values_list("pk", flat=True))
    assert left == live | {run.session_id for run in runs}
