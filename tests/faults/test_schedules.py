"""Due times, with tickers killed and frozen at any statement, downtime and clock changes: each is handled once, none is lost."""

import asyncio
import os
import random
import signal
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests import programs, services
from tests.faults import ticker_process
from tests.faults.conftest import OpenWorld, Record
from tests.faults.world import SCALE, Database, make_ready, until
from tests.model_server import ModelServer
from tests.serving import Server

NOW = datetime(2027, 1, 4, 9, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
#: A frozen ticker's locks are released after this time, instead of the usual ten seconds.
FROZEN_FOR_S = 1
COLUMNS = (
    "id, owner_id, name, agent_name, message, keeps_session, session_id, at, every_minutes, cron, time_zone, since, missed, "
    "overlap, pause_after, enabled, paused_because, paused_words, failures, next_at, created_at"
)


class Tables:
    """Schedules that are inserted into the product's database, and their occurrences, without any code of the product."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._owner = int(database.rows("SELECT id FROM auth_user WHERE username = 'bo'")[0][0])

    def add(self, next_at: datetime, number: int = 1, **fields: Any) -> list[str]:
        """Insert schedules that are due at a time; returns their identifiers."""
        usual = {
            "owner_id": self._owner,
            "name": "Prices",
            "agent_name": "researcher",
            "message": "Add it up [tokens=3]",
            "keeps_session": False,
            "session_id": None,
            "at": None,
            "every_minutes": None,
            "cron": "",
            "time_zone": "UTC",
            "since": next_at,
            "missed": "once",
            "overlap": "queue",
            "pause_after": 5,
            "enabled": True,
            "paused_because": "",
            "paused_words": "",
            "failures": 0,
            "next_at": next_at,
            "created_at": next_at,
            **fields,
        }
        if not (usual["at"] or usual["every_minutes"] or usual["cron"]):
            usual["every_minutes"] = 1
        added = [uuid.uuid4() for _ in range(number)]
        values = [self._kept(usual[name]) for name in COLUMNS.split(", ")[1:]]
        places = ", ".join("?" * (len(values) + 1))
        for start in range(0, number, 100):
            some = added[start : start + 100]
            rows = ", ".join([f"({places})"] * len(some))
            flat = [value for one in some for value in (one, *values)]
            self._database.rows(f"INSERT INTO chat_schedule ({COLUMNS}) VALUES {rows}", *flat)
        return [str(one) for one in added]

    def _kept(self, value: Any) -> Any:
        return value.replace(tzinfo=None) if isinstance(value, datetime) and not self._is_postgres else value

    @property
    def _is_postgres(self) -> bool:
        return self._database.address.startswith("postgres")

    def occurrences(self, schedule: str | None = None) -> list[tuple[datetime, str, int, bool]]:
        """For each occurrence: when it was due, its outcome, how many due times it stands for, and whether it has a run."""
        rows = self._database.rows(
            "SELECT schedule_id, due_at, outcome, times, run_id FROM chat_occurrence ORDER BY due_at"
        )
        return [
            (_moment(due_at), outcome, times, run_id is not None)
            for schedule_id, due_at, outcome, times, run_id in rows
            if schedule is None or uuid.UUID(str(schedule_id)) == uuid.UUID(schedule)
        ]

    def runs(self, status: str = "%") -> int:
        """How many runs there are, or how many of a status."""
        return int(self._database.rows("SELECT COUNT(*) FROM chat_run WHERE status LIKE ?", status)[0][0])

    def open(self) -> int:
        """How many occurrences have not ended."""
        counted = "SELECT COUNT(*) FROM chat_occurrence WHERE outcome IN ('waiting', 'started')"
        return int(self._database.rows(counted)[0][0])

    def next_at(self) -> list[datetime]:
        """When each enabled schedule is due next."""
        return [_moment(row[0]) for row in self._database.rows("SELECT next_at FROM chat_schedule WHERE enabled")]


def _moment(value: Any) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgres"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of processes on a database of their own, with tables and users."""
    if request.param == "sqlite":
        server = Server(tmp_path)
        server.prepare("ada", "bo", "cy")
        yield server.environment
        return
    postgres = request.getfixturevalue("postgres_server")
    with services.database(postgres, f"test_{uuid.uuid4().hex}", template=request.getfixturevalue("ready")) as address:
        yield Server(tmp_path, DATABASE_URL=_impatient(address)).environment


def _impatient(address: str) -> str:
    """A PostgreSQL URL whose connections release their locks soon after their process is frozen."""
    return f"{address}?options=-c%20lock_timeout=5s%20-c%20idle_in_transaction_session_timeout={FROZEN_FOR_S}s"


def tables_of(environment: dict[str, str]) -> Tables:
    address = environment["DATABASE_URL"].partition("?")[0]
    return Tables(Database(address or str(Path(environment["DATA_DIR"]) / "thinkaloud.sqlite3")))


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    file = tmp_path / "clock"
    ticker_process.set_clock(file, NOW)
    return file


# Killed and frozen at every statement


def test_a_ticker_killed_at_any_statement_loses_and_doubles_nothing(environment: dict[str, str], clock: Path) -> None:
    """Killed before its first statement, its second …, until one survives: the next ticker handles what is due, once."""
    tables = tables_of(environment)
    with ticker_process.breakable(environment) as ticker:
        statement, answer = 0, ""
        while answer != "survived":
            statement += 1
            now = NOW + statement * 10 * MINUTE
            ticker_process.set_clock(clock, now)
            schedule, *_ = tables.add(now, at=now)
            answer = ticker.ask("kill", statement, clock)
            found = tables.occurrences(schedule)
            assert len(found) <= 1
            assert all(has_run for *_, has_run in found), "claimed, but without its run"
            assert tables.runs() == len(tables.occurrences())
            # A second ticker, which is not killed.
            assert ticker.ask("kill", 10_000, clock) == "survived"
            assert tables.occurrences(schedule) == [(now, "started", 1, True)]
    assert statement > 10
    assert tables.runs() == statement


@pytest.mark.parametrize("environment", ["postgres"], indirect=True)
@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.long)])
def test_a_ticker_frozen_at_any_statement_loses_and_doubles_nothing(
    environment: dict[str, str], clock: Path, every: int
) -> None:
    """Frozen while it may hold locks: others handle what is due meanwhile, and what it does when it is resumed changes nothing."""
    tables = tables_of(environment)
    statement, is_over = 1, False
    with ticker_process.breakable(environment) as frozen, ticker_process.breakable(environment) as other:
        while not is_over:
            now = NOW + statement * 10 * MINUTE
            ticker_process.set_clock(clock, now)
            schedule, *_ = tables.add(now, at=now)
            answer, _, child = frozen.ask("stop", statement, clock).partition(" ")
            is_over = answer == "survived"
            # The others do not wait for the frozen one: another schedule is handled at once.
            second, *_ = tables.add(now, at=now)
            began = time.monotonic()
            assert other.ask("kill", 10_000, clock) == "survived"
            assert time.monotonic() - began < 3
            assert tables.occurrences(second) == [(now, "started", 1, True)]
            if not is_over:
                ends_at = time.monotonic() + FROZEN_FOR_S + 5
                while not tables.occurrences(schedule) and time.monotonic() < ends_at:
                    other.ask("kill", 10_000, clock)
                assert tables.occurrences(schedule) == [(now, "started", 1, True)]
                os.kill(int(child), signal.SIGCONT)
                assert frozen.answer() == "ended"
            assert other.ask("kill", 10_000, clock) == "survived"
            assert tables.occurrences(schedule) == [(now, "started", 1, True)]
            assert tables.runs() == len(tables.occurrences())
            statement += every


# An hour of the clock


async def an_hour(
    environment: dict[str, str], clock: Path, tables: Tables, *, minutes: int, tickers: int, seed: int = 7
) -> None:
    """Let tickers run through this many minutes of the clock, each killed or frozen at random and restarted."""
    draw = random.Random(seed)
    crowd = [ticker_process.Loop(environment, clock) for _ in range(tickers)]
    stop = asyncio.Event()

    async def live(ticker: ticker_process.Loop) -> None:
        await asyncio.to_thread(ticker.start)
        while not stop.is_set():
            await asyncio.sleep(draw.uniform(0, 1.5))
            if draw.random() < 0.2:
                ticker.signal(signal.SIGSTOP)
                await asyncio.sleep(draw.uniform(0, 2 * FROZEN_FOR_S))
                ticker.signal(signal.SIGCONT)
            else:
                await asyncio.to_thread(ticker.kill)
                await asyncio.to_thread(ticker.start)
        await asyncio.to_thread(ticker.kill)

    lives = [asyncio.create_task(live(ticker)) for ticker in crowd]
    try:
        for minute in range(1, minutes + 1):
            now = NOW + minute * MINUTE
            ticker_process.set_clock(clock, now)
            # The clock advances only once the minute has been handled; otherwise that minute would count as missed.
            await until(lambda now=now: min(tables.next_at()) > now, 60, f"minute {minute} to be seen to")  # type: ignore[misc]
    finally:
        stop.set()
        await asyncio.gather(*lives)
    assert sum(ticker.starts for ticker in crowd) > tickers


@pytest.mark.parametrize(
    ("environment", "minutes", "tickers"),
    [
        ("postgres", 6, 3),
        pytest.param("postgres", 60, 3, marks=pytest.mark.long),
        ("sqlite", 20, 1),
    ],
    indirect=["environment"],
)
async def test_tickers_killed_at_random_see_to_every_minute_once(
    environment: dict[str, str], clock: Path, minutes: int, tickers: int
) -> None:
    """Every minute of the hour, and every fifth, has exactly one occurrence, and every occurrence exactly one run."""
    tables = tables_of(environment)
    begin = NOW.replace(second=0) + MINUTE
    # Without a limit on queued runs, because nothing here executes them: all but the first of each schedule stay queued.
    environment["MAX_QUEUED_RUNS"] = "0"
    each = tables.add(begin, 5, every_minutes=1, since=NOW.replace(second=0))
    fifth = tables.add(begin + 4 * MINUTE, 3, cron="*/5 * * * *")
    single = [tables.add(begin + number * MINUTE, at=begin + number * MINUTE)[0] for number in range(minutes)]
    await an_hour(environment, clock, tables, minutes=minutes, tickers=tickers)
    expected = [begin + number * MINUTE for number in range(minutes)]
    for schedule in each:
        assert [due for due, *_ in tables.occurrences(schedule)] == expected
    for schedule in fifth:
        assert [due for due, *_ in tables.occurrences(schedule)] == [due for due in expected if due.minute % 5 == 0]
    for schedule, due in zip(single, expected, strict=True):
        assert tables.occurrences(schedule) == [(due, "started", 1, True)]
    assert {outcome for _, outcome, *_ in tables.occurrences()} <= {"started", "waiting"}
    assert tables.runs() == sum(has_run for *_, has_run in tables.occurrences())


# The product as it is deployed


@pytest.mark.parametrize("topology", ["sqlite", pytest.param("postgres", marks=pytest.mark.long), SCALE])
@pytest.mark.parametrize("number", [60, pytest.param(1000, marks=pytest.mark.long)])
async def test_all_that_is_due_in_one_minute_starts_within_it(
    open_world: OpenWorld, model: ModelServer, topology: str, number: int, record_property: Record
) -> None:
    """One process on SQLite, two on PostgreSQL, and workers: each schedule has one run, and each run has begun within a minute."""
    world = open_world(topology)
    tables = Tables(world.database)
    due_at = datetime.now(UTC) + timedelta(seconds=2)
    tables.add(due_at, number, at=due_at)
    await until(lambda: len(tables.occurrences()) == number and not tables.open(), 240, "all to end")
    started = [_moment(row[0]) for row in world.database.rows("SELECT started_at FROM chat_run")]
    assert len(started) == number
    assert [outcome for _, outcome, *_ in tables.occurrences()] == ["completed"] * number
    took = (max(started) - due_at).total_seconds()
    record_property(f"{number} due at once on {topology}", f"the last began after {took:.0f} s")
    assert took < 60


async def test_times_due_while_nothing_ran_are_made_up_for_once(open_world: OpenWorld) -> None:
    """After three hours of downtime: one run or none, depending on the setting, and never a burst."""
    world = open_world("sqlite")
    server = world.servers[0]
    await asyncio.to_thread(server.stop)
    tables = Tables(world.database)
    since = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=3)
    once, *_ = tables.add(since + 30 * MINUTE, every_minutes=30, since=since, missed="once")
    skipping, *_ = tables.add(since + 50 * MINUTE, every_minutes=50, since=since, missed="skip")
    single, *_ = tables.add(since, at=since, missed="once")
    await world.start(server)
    await until(lambda: len(tables.occurrences()) == 4 and not tables.open(), 60, "what was missed to be seen to")
    made_up = tables.occurrences(once)
    assert [(outcome, times) for _, outcome, times, _ in made_up] == [("missed", 5), ("completed", 1)]
    assert [outcome for _, outcome, *_ in tables.occurrences(single)] == ["completed"]
    assert [(outcome, times) for _, outcome, times, _ in tables.occurrences(skipping)] == [("missed", 3)]
    assert all(next_at > datetime.now(UTC) for next_at in tables.next_at())


async def test_a_run_whose_process_is_killed_is_interrupted_and_its_due_time_not_run_again(
    open_world: OpenWorld,
) -> None:
    world = open_world("postgres")
    tables = Tables(world.database)
    tables.add(datetime.now(UTC), at=datetime.now(UTC), message="Count [tokens=4000 every=20]")

    def owner() -> str:
        rows = world.database.rows("SELECT owner FROM chat_run WHERE status = 'running'")
        return str(rows[0][0]) if rows else ""

    await until(lambda: bool(owner()), 30, "the run to begin")
    executing = next(server for server in world.servers if f":{server.pid}:" in owner())
    await world.kill(executing)
    await until(lambda: not tables.open(), 30, "the run to end as interrupted")
    assert [outcome for _, outcome, *_ in tables.occurrences()] == ["interrupted"]
    assert tables.runs() == 1
    await world.start(executing)


def test_a_ticker_of_its_own_waits_for_its_database(tmp_path: Path) -> None:
    """Started while PostgreSQL is down it logs that, handles what is due once PostgreSQL is up, and ends on SIGTERM."""
    with services.own_postgres() as postgres:
        server = Server(tmp_path / "ready", DATABASE_URL=make_ready(postgres.url, tmp_path / "ready"))
        postgres.end(signal.SIGQUIT)
        ticker = programs.start_program(["manage.py", "tick"], server.environment)
        assert ticker.stdout is not None
        try:
            assert ticker.stdout.readline() == "Thinkaloud handles the schedules.\n"
            assert any("The database does not answer; schedules wait" in line for line in ticker.stdout)
            postgres.start()
            tables = tables_of(server.environment)
            schedule, *_ = tables.add(datetime.now(UTC), at=datetime.now(UTC))
            assert any("The database answers again; due schedules are started" in line for line in ticker.stdout)
            ends_at = time.monotonic() + 20
            while not tables.occurrences(schedule):
                assert time.monotonic() < ends_at
            assert [outcome for _, outcome, *_ in tables.occurrences(schedule)] == ["started"]
            # It is queued: this process executes no runs.
            assert tables.runs("queued") == 1
        finally:
            ticker.send_signal(signal.SIGTERM)
            with ticker.stdout:
                rest = ticker.stdout.read()
        assert ticker.wait(20) == 0, rest
        assert "Traceback" not in rest


# Clocks that are put forward and back


@pytest.mark.parametrize(
    ("environment", "day", "expected"),
    [
        ("sqlite", datetime(2027, 3, 28), ["03:00 +0200", "03:15 +0200"]),  # noqa: DTZ001 - by the clock on the wall
        ("sqlite", datetime(2027, 10, 31), ["02:30 +0200", "03:15 +0100"]),  # noqa: DTZ001 - likewise
    ],
    indirect=["environment"],
)
def test_the_nights_on_which_clocks_are_changed(
    environment: dict[str, str], clock: Path, day: datetime, expected: list[str]
) -> None:
    """From midnight to morning, a tick every ten minutes: schedules that are due at 02:30 and at 03:15 have one run each."""
    zone = ZoneInfo("Europe/Berlin")
    tables = tables_of(environment)
    begin = day.replace(tzinfo=zone).astimezone(UTC)
    ticker_process.set_clock(clock, begin)
    tables.add(begin, cron="30 2 * * *", time_zone=zone.key)
    tables.add(begin, cron="15 3 * * *", time_zone=zone.key)
    # The product calculates the first due time.
    with ticker_process.breakable(environment) as ticker:
        for tick in range(1, 36):
            ticker_process.set_clock(clock, begin + tick * 10 * MINUTE)
            assert ticker.ask("kill", 10_000, clock) == "survived"
    due = [moment.astimezone(zone).strftime("%H:%M %z") for moment, *_ in tables.occurrences() if moment > begin]
    assert due == expected
