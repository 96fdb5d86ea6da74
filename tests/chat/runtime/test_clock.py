"""Leases, sweeps and schedules use the database's clock, whatever a machine's own clock says; the difference is measured and reported."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import AsyncClient
from django.utils import timezone

from chat.access import Role
from chat.live import connections
from chat.models import Connection, Process, Run, RunStatus, Session
from chat.runs import events as run_events
from chat.runs import recovery
from chat.runs import registry as run_registry
from chat.runs import state as run_state
from chat.runs.state import End
from chat.runtime import clock, database
from chat.schedules import occurrences, ticker
from chat.serving import heartbeat, supervisor
from tests.chat import making
from tests.chat.databases import postgresql

pytestmark = pytest.mark.django_db(transaction=True)

#: How wrong this machine's clock may be.
SKEWS = [-86_400.0, -120.0, -1.0, 0.0, 1.0, 120.0, 86_400.0]
REALLY = timezone.now


@pytest.fixture(params=SKEWS)
def ahead_s(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """Let this machine's clock be ahead of the database's by this many seconds."""
    return _set(monkeypatch, request.param)


def _set(monkeypatch: pytest.MonkeyPatch, seconds: float) -> float:
    monkeypatch.setattr(timezone, "now", lambda: REALLY() + timedelta(seconds=seconds))
    return seconds


@pytest.fixture(autouse=True)
def skew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the measurements."""
    monkeypatch.setattr(clock, "_skew", clock._Skew())


@pytest.fixture(params=["sqlite", "postgres"])
def on_each_database(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[None]:
    """The same on both databases."""
    if request.param == "sqlite":
        yield
        return
    with postgresql(request.getfixturevalue("tables"), has_tables=True):
        yield
        database.close()


def _session() -> Session:
    return making.session(making.user(uuid.uuid4().hex))


def _claimed() -> Run:
    return making.run(_session(), owned_by="process-1")


def _begun() -> Run:
    session = _session()
    run = Run(
        session=session, number=1, user=session.owner, message="?", agent_name="researcher", client_message_id="m"
    )
    run_state.begin(run, "process-1", title="")
    return run


def _beaten() -> Run:
    run = _claimed()
    Run.objects.filter(pk=run.pk).update(heartbeat_at=REALLY() - timedelta(hours=1))
    run_state.beat("process-1", [run.pk])
    return run


#: Every way in which the process of a run writes a heartbeat.
SIGNS: dict[str, Callable[[], Run]] = {"claimed": _claimed, "begun": _begun, "beaten": _beaten}


def _off(moment: datetime | None) -> float:
    assert moment is not None
    return abs((moment - REALLY()).total_seconds())


@pytest.mark.usefixtures("on_each_database")
@pytest.mark.parametrize("sign", SIGNS)
def test_a_sign_of_life_is_written_by_the_databases_clock(sign: str, ahead_s: float) -> None:
    run = SIGNS[sign]()
    stored = Run.objects.get(pk=run.pk)
    assert _off(stored.heartbeat_at) < 30, "a lease goes by a machine's own clock"
    assert _off(stored.started_at) < 30
    making.end(run)
    assert _off(Run.objects.get(pk=run.pk).ended_at) < 30


@pytest.mark.usefixtures("on_each_database")
def test_sockets_and_processes_are_seen_by_the_databases_clock(ahead_s: float) -> None:
    session = _session()
    assert session.owner is not None
    process = f"process {uuid.uuid4().hex}"
    open_socket = connections.OpenSocket(session.pk, session.owner.pk, Role.OWNER, uuid.uuid4())
    connections.store_connections(process, [open_socket], [])
    connections.store_heartbeat(process)
    assert _off(Connection.objects.get(pk=open_socket.connection_id).opened_at) < 30
    assert _off(Process.objects.get(name=process).seen_at) < 30
    connections.store_connections(process, [], [open_socket.connection_id])


async def test_a_process_whose_clock_is_wrong_sweeps_nobody_who_lives_and_everybody_who_is_silent(
    monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    silent, alive = await database.write(lambda: (_claimed(), _claimed()))
    long_ago = REALLY() - timedelta(seconds=60)
    await database.write(lambda: Run.objects.filter(pk=silent.pk).update(heartbeat_at=long_ago))
    await supervisor.sweep()
    found = await database.read(lambda: dict(Run.objects.values_list("pk", "status")))
    database.close()
    assert found[alive.pk] == RunStatus.RUNNING, "a live run was ended by who takes it for a silent one"
    assert found[silent.pk] == RunStatus.INTERRUPTED


def test_how_long_a_run_took_is_measured_by_a_clock_that_nobody_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    run = _claimed()
    _set(monkeypatch, 3_600.0)
    assert run_events.completed(run, End(RunStatus.COMPLETED)).data["duration_ms"] < 30_000


def test_how_long_anothers_run_took_is_told_by_the_clock_in_common(ahead_s: float) -> None:
    run = Run.objects.get(pk=_claimed().pk)
    Run.objects.filter(pk=run.pk).update(started_at=REALLY() - timedelta(seconds=50))
    clock.measure()
    result = recovery.interrupt_atomically(run.pk)
    assert result is not None
    assert '"duration_ms":5' in result[1][-1].frame
    assert Run.objects.get(pk=run.pk).owner == run_registry.PROCESS


async def test_schedules_are_due_by_the_databases_clock(ahead_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[datetime] = []

    def due(now: datetime, _limit: int) -> list[Any]:
        asked.append(now)
        return []

    monkeypatch.setattr(occurrences, "due_schedules", due)
    await ticker.Ticker().tick()
    database.close()
    assert _off(asked[0]) < 30


async def test_a_clock_that_is_wrong_is_told_by_healthz_and_once_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: list[tuple[float, str, int]] = [
        (0.0, "", 0),
        (120.0, "120 s ahead of", 1),
        (120.3, "120 s ahead of", 0),
        (-90.0, "90 s behind", 1),
        (0.1, "", 1),
        (-0.5, "", 0),
    ]
    for ahead, words, lines in readings:
        _set(monkeypatch, ahead)
        caplog.clear()
        for _ in range(3):
            await database.read(clock.measure)
        body = (await AsyncClient().get("/healthz")).content.decode()
        assert body.startswith("ok\n")
        assert (words in body) if words else body == "ok\n"
        assert len([record for record in caplog.records if record.name == "chat.runtime.clock"]) == lines
    database.close()


async def test_an_answer_that_took_long_says_nothing_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 30.0])
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: next(times)))
    monkeypatch.setattr(clock, "read_database", lambda: REALLY() + timedelta(seconds=30))
    await asyncio.to_thread(clock.measure)
    assert clock.describe_skew() == ""


def test_a_gap_between_signs_of_life_gives_the_others_time() -> None:
    """Also where the database's clock is set, or the machine was suspended: no run is ended before a whole lease has passed."""
    heart, lease = heartbeat.Heartbeat(), 30.0
    for at in (1000.0, 1005.0):
        heart._has_beaten(at)
    assert heart.is_steady(1006.0)
    assert not heart.is_steady(1005.0 + lease)
    heart._has_beaten(1125.0)
    assert not heart.is_steady(1126.0)
    for at in range(1130, 1156, 5):
        heart._has_beaten(float(at))
    assert not heart.is_steady(1155.0)
    assert heart.is_steady(1156.0)
