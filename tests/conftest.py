"""What the tests of all packages share.

- A test that stays on one thread and touches the database is marked ``django_db``; it is rolled back.
- A test whose rows are seen by other threads or by the loop (a run is executed, a socket is open) is marked
  ``django_db(transaction=True)``; the database is a file, and its tables are emptied afterwards.
- ``async def`` tests and fixtures share one event loop for the whole session.
"""

import gc
import json
import os
import re
import sys
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pytest
import redis
from django.db import connections
from psycopg import sql

from chat.catalog import agents as catalog
from chat.catalog import budgets, mcp_servers, model_servers, prices
from chat.runtime import malloc
from chat.security import audit
from chat.store import search
from config.passwords import Argon2PasswordHasher
from scripts import machine
from tests import model_server, prepared, services, wire_types
from tests.chat import databases

# Random examples are the same each time: otherwise a failure could be no fault of the change; the thorough profile tries more.
hypothesis.settings.register_profile("quick", max_examples=100, deadline=None, derandomize=True)
hypothesis.settings.register_profile("thorough", max_examples=3_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# Argon2 too, but with its lowest cost: tests make many users, whose passwords need no protection.
Argon2PasswordHasher.time_cost = 1
Argon2PasswordHasher.memory_cost = 8
Argon2PasswordHasher.parallelism = 1

# A view by staff is recorded once in so many seconds: the period must not end during a test, which would count an additional statement.
audit.WINDOW_S = 10**9

#: A browser that makes no requests of its own and may run as root.
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Another machine's name, so that pages under it are no secure context.
    "--host-resolver-rules=MAP name.lan 127.0.0.1",
]


@pytest.fixture(autouse=True)
def requests_are_valid() -> Iterator[None]:
    """Fail the test in which a model server was sent a request that a strict one would refuse."""
    model_server.FAULTS.clear()
    yield
    faults = list(model_server.FAULTS)
    model_server.FAULTS.clear()
    assert not faults, f"a strict model server would refuse what it was sent: {faults[0]}"


@pytest.fixture(autouse=True)
def tables_are_read_anew() -> None:
    """Clear caches of tables that were emptied since; `tests.leftovers` clears those that need no function."""
    catalog.forget()
    model_servers.forget()
    mcp_servers.forget()
    budgets.forget_budgets()
    prices.forget_prices()


@pytest.fixture(autouse=True)
def frames_have_their_types(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail the test in which a frame was sent, or an event stored, that does not match its type in `chat.protocol`."""
    wire_types.FAULTS.clear()
    if request.node.get_closest_marker("odd_events") is None:
        monkeypatch.setattr(search, "index", _index_what_has_its_type)
    yield
    faults = list(wire_types.FAULTS)
    wire_types.FAULTS.clear()
    assert not faults, f"{len(faults)} frames are not as their types say; the first: {faults[0]}"


_index = search.index


def _index_what_has_its_type(session_id: uuid.UUID, steps: Iterable[search.Indexed]) -> None:
    """Check each event that is stored in this process, numbered or not, as it is in the log."""
    looked_at = list(steps)
    for step in looked_at:
        # For an event without a number, any number will do.
        wire_types.checked({"type": step.event, "seq": 1, "id": "", "run_id": "", "data": json.loads(step.body)})
    _index(session_id, looked_at)


UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Give a test the same id in every process of a parallel run, also if its parameter is a new object in each."""
    return UUID.sub("uuid", val) if isinstance(val, str) and UUID.search(val) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In a parallel run, start each module's server only once, and begin with the longest tests."""
    for item in items:
        assert isinstance(item, pytest.Function)
        has_server = "product" in item.fixturenames or ("e2e" in item.path.parts and "server" in item.fixturenames)
        if has_server and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.module.__name__))
    # Groups come first, the largest before the others; then single tests in this order.
    items.sort(key=lambda item: item.path.name != "test_check.py")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Disable the garbage collector during collection: it would scan the collected tests again and again, and free nothing."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Exclude the collected tests from garbage collection, which then runs as rarely as in the product: they stay until the end."""
    gc.collect()
    malloc.freeze_gc()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Use a database file (in this process's own folder), because one in memory cannot be shared by threads."""
    database = connections["default"].settings_dict
    database["TEST"]["NAME"] = str(Path(os.environ["DATA_DIR"]) / "tests.sqlite3")
    # These tests need no durability after a power cut; other tests check that of the product.
    begun = database["OPTIONS"]["init_command"]
    database["OPTIONS"]["init_command"] = begun.replace("synchronous=FULL", "synchronous=OFF")
    prepared.copy_tables(Path(os.environ["DATA_DIR"])).rename(database["TEST"]["NAME"])


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """Keep that file, which has its tables."""
    return True


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Make the tables; those of the audit can be emptied between tests, which the product's own database does not allow."""
    with django_db_blocker.unblock():
        databases.let_audit_be_emptied()


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium or Chrome that starts."""
    found = machine.find_chromium(Path(sys.executable))
    if found is None:
        pytest.fail("No browser: install Chromium or Chrome, or start the tests with make test, which brings one.")
    return found


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any], chromium: str) -> dict[str, Any]:
    """Let Playwright start that browser."""
    return {**browser_type_launch_args, "executable_path": chromium, "args": BROWSER_FLAGS}


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """The address of a Redis server that the whole session shares."""
    with services.redis() as address:
        yield address


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The address of a Redis that is empty."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a PostgreSQL server that the whole session shares."""
    with services.postgres() as address:
        yield address


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str, django_db_setup: None, django_db_blocker: Any) -> str:
    """The name of a database with all tables on that server, to copy: a copy takes a tenth of the time of making them."""
    name = f"template_{uuid.uuid4().hex}"
    address = f"{postgres_server.rpartition('/')[0]}/{name}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    prepared.restore_tables(address)

    def make() -> None:
        with django_db_blocker.unblock(), databases.postgresql(address, has_tables=True):
            databases.let_audit_be_emptied()

    # The test may be on an event loop.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(make).result()
    return name


@pytest.fixture
def postgres_with_tables(postgres_server: str, postgres_template: str) -> Iterator[str]:
    """The address of a PostgreSQL database of the test's own, with all tables."""
    with services.database(postgres_server, f"test_{uuid.uuid4().hex}", template=postgres_template) as address:
        yield address


@pytest.fixture(scope="module")
def tables(postgres_server: str, postgres_template: str) -> Iterator[str]:
    """The address of a PostgreSQL database with all tables, which a module's tests share and empty."""
    with services.database(postgres_server, f"tables_{uuid.uuid4().hex}", template=postgres_template) as address:
        yield address


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The address of an empty PostgreSQL database of the test's own."""
    with services.database(postgres_server, f"test_{uuid.uuid4().hex}") as address:
        yield address
