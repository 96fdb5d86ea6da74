"""An account with very much in it is deleted, and what is kept no longer, while others write: none of them waits for it."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections
from django.utils import timezone

from chat.accounts.models import User
from chat.models import LIVE, Run, Session, Step
from chat.runs import erasure, retention
from chat.store import step_log
from tests import services
from tests.chat import large, making
from tests.chat.databases import postgresql
from tests.faults.conftest import Record

#: Runs of the account, with five steps each, and how long nobody waits, in seconds: among other tests the machine itself makes wait.
SIZES = [
    pytest.param(4_000, 5.0, id="20,000 steps"),
    pytest.param(200_000, 1.0, id="1,000,000 steps", marks=pytest.mark.long),
]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: Any) -> Iterator[str]:
    """An empty database with tables, which this thread and those it starts are connected to."""
    with contextlib.ExitStack() as until_done:
        address = f"sqlite:///{tmp_path}/data.sqlite3"
        if request.param == "postgresql":
            server = request.getfixturevalue("postgres_server")
            template = request.getfixturevalue("postgres_template")
            address = until_done.enter_context(services.database(server, f"erasing_{uuid4().hex}", template=template))
        until_done.enter_context(django_db_blocker.unblock())
        until_done.enter_context(postgresql(address))
        yield request.param


class _Writer(threading.Thread):
    """Somebody else's run, which stores a step every few milliseconds; remembers how long the slowest one took."""

    def __init__(self, run: Run) -> None:
        super().__init__(daemon=True)
        self._run = run
        self.session_id = run.session_id
        self._over = threading.Event()
        self.slowest_s = 0.0
        self.stored = 0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            # A pause as between the steps of a run; nothing is waited for.
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


def erase(writers: list[_Writer], mark: Callable[[], object], record_property: Record, longest_s: float) -> None:
    """Mark what is to go, then remove it batch by batch, while others write; none of these may have waited longer than so."""
    for writer in writers:
        writer.start()
    began = time.monotonic()
    slowest = marked_s = 0.0
    try:
        mark()
        marked_s = time.monotonic() - began
        pace = erasure.Pace()
        while (took_s := erasure.erase_batch(pace)) is not None:
            slowest = max(slowest, took_s)
            time.sleep(took_s)
    finally:
        for writer in writers:
            writer.end()
    record_property("marked within, s", round(marked_s, 3))
    record_property("removed within, s", round(time.monotonic() - began, 1))
    record_property("slowest batch, s", round(slowest, 3))
    record_property("longest wait of others, s", round(max(writer.slowest_s for writer in writers), 3))
    assert [writer.error for writer in writers] == [None, None]
    assert min(writer.stored for writer in writers) > 3
    assert max(writer.slowest_s for writer in writers) < longest_s, "somebody waited for a deletion"


@pytest.mark.parametrize(("runs", "longest_s"), SIZES)
def test_others_do_not_wait_while_an_account_is_removed(
    database: str, runs: int, longest_s: float, record_property: Record
) -> None:
    """From the moment it is closed until the last row is gone, a step of somebody else's is stored within a second, every time."""
    gone = large.fill(runs, 5, users_in_all=1)
    large.index()
    bob = making.user("bob")
    writers = [_Writer(making.run(making.session(bob))) for _ in range(2)]
    erase(writers, lambda: erasure.close_account(gone.user_id), record_property, longest_s)
    assert not User.objects.filter(pk=gone.user_id).exists()
    assert set(Session.everything.values_list("owner", flat=True)) == {bob.pk}
    assert Step.objects.count() == sum(writer.stored for writer in writers)


@pytest.mark.long
def test_others_do_not_wait_while_what_is_kept_no_longer_goes(
    database: str, settings: Any, record_property: Record
) -> None:
    """All sessions of a month ago, 20,000 steps in 200 of them, but for those in which something is still to happen."""
    large.fill(4_000, 5)
    large.index()
    settings.RETENTION_DAYS = 7
    live = set(Run.objects.filter(status__in=LIVE).values_list("session", flat=True))
    now = timezone.now()

    def mark() -> None:
        gone = True
        while gone:
            found, _ = retention.expired_sessions(0, now)
            gone = sum(retention.expire_session(each, now) for each in found) > 0

    writers = [_Writer(making.run(making.session(making.user(name)))) for name in ("bob", "cy")]
    erase(writers, mark, record_property, 1.0)
    left = set(Session.everything.values_list("pk", flat=True))
    assert left == live | {writer.session_id for writer in writers}
