"""Fixtures that start the product in its topologies, for tests to break."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import services
from tests.faults import world as worlds
from tests.faults.bystander import Bystander
from tests.faults.world import World
from tests.model_server import ModelServer
from tests.serving import Browser, Server, serving

OpenWorld = Callable[..., World]
#: The type of the fixture ``record_property``, which records a figure for the summary.
Record = Callable[[str, Any], None]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests of this folder, so that `make test-faults` selects them wherever it is started."""
    item.add_marker("faults")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests have recorded."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    figures = [
        f"{report.nodeid.rpartition('/')[2]}: {name}: {value}"
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
    ]
    if figures:
        terminalreporter.section("figures")
        for figure in figures:
            terminalreporter.write_line(figure)


@pytest.fixture
def model() -> Iterator[ModelServer]:
    """The model server, which does what the words of a message say; see ``tests/model_server.py``."""
    with ModelServer() as server:
        yield server


@pytest.fixture(scope="session")
def ready(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a database with tables and users on the PostgreSQL server that the whole session shares."""
    # With a name of its own, because other folders of tests have such a fixture too.
    name = f"ready_{uuid.uuid4().hex}"
    worlds.make_ready(postgres_server, tmp_path_factory.mktemp("ready"), name)
    return name


@pytest.fixture
def open_world(tmp_path: Path, model: ModelServer, request: pytest.FixtureRequest) -> Iterator[OpenWorld]:
    """Starts the product, in one of four topologies.

    ``open_world("sqlite")`` is one process on SQLite, ``open_world("postgres_alone")`` one on PostgreSQL, ``open_world("postgres")`` two on
    PostgreSQL and Redis, and ``open_world("workers")`` two that serve and two workers, which execute the runs.

    Further arguments are variables of its environment; addresses given win over those of the shared servers.
    """
    with contextlib.ExitStack() as until_done:

        def start(topology: str, **options: str) -> World:
            if topology == "sqlite":
                return until_done.enter_context(worlds.alone(tmp_path / "data", model, **options))
            if "database_url" not in options:
                postgres, template = request.getfixturevalue("postgres_server"), request.getfixturevalue("ready")
                options["database_url"] = until_done.enter_context(
                    services.database(postgres, f"test_{uuid.uuid4().hex}", template=template)
                )
            if topology == "postgres_alone":
                return until_done.enter_context(worlds.alone(tmp_path / "data", model, **options))
            if "redis_url" not in options:
                options["redis_url"] = request.getfixturevalue("redis_url")
            if topology == "workers":
                # In the same Redis as the channel layer.
                options.setdefault("broker_url", f"{options['redis_url'].rpartition('/')[0]}/1")
                return until_done.enter_context(worlds.workers(tmp_path / "data", model, **options))
            return until_done.enter_context(worlds.pair(tmp_path / "data", model, **options))

        yield start


@pytest.fixture(scope="session")
def shared_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """`shared`, started by the first test that uses it."""
    with ModelServer() as model, worlds.alone(tmp_path_factory.mktemp("alone"), model, MAX_QUEUED_RUNS="0") as opened:
        yield opened


@pytest.fixture
def shared(shared_alone: World) -> World:
    """One process on SQLite for tests that leave the product unchanged, in the group ``alone``: a start takes longer than most tests."""
    shared_alone.begin_anew()
    return shared_alone


@pytest.fixture(scope="session")
def shared_pair(
    postgres_server: str, redis_server: str, ready: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """`two`, started by the first test that uses it."""
    with contextlib.ExitStack() as until_done:
        model = until_done.enter_context(ModelServer())
        database = until_done.enter_context(services.database(postgres_server, "pair", template=ready))
        folder = tmp_path_factory.mktemp("pair")
        yield until_done.enter_context(
            worlds.pair(folder, model, database_url=database, redis_url=redis_server, MAX_QUEUED_RUNS="0")
        )


@pytest.fixture
def two(shared_pair: World) -> World:
    """Two processes on PostgreSQL and Redis for tests that leave them unchanged, in the group ``pair``."""
    shared_pair.begin_anew()
    return shared_pair


@pytest.fixture(scope="session")
def shared_workers(
    postgres_server: str, redis_server: str, ready: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Two processes that serve and two workers, for tests that leave them unchanged."""
    with contextlib.ExitStack() as until_done:
        model = until_done.enter_context(ModelServer())
        addresses = {
            "database_url": until_done.enter_context(services.database(postgres_server, "workers", template=ready)),
            "redis_url": redis_server,
            "broker_url": f"{redis_server.rpartition('/')[0]}/1",
        }
        folder = tmp_path_factory.mktemp("workers")
        yield until_done.enter_context(worlds.workers(folder, model, **addresses, MAX_QUEUED_RUNS="0"))


#: Each of the two topologies, for tests that need both; one is enough for the short selection.
ON_EACH_TOPOLOGY = [
    pytest.param("shared", marks=pytest.mark.xdist_group("alone"), id="sqlite"),
    pytest.param("two", marks=(pytest.mark.xdist_group("pair"), pytest.mark.long), id="postgres"),
]


@pytest.fixture(params=ON_EACH_TOPOLOGY)
def on_each_topology(request: pytest.FixtureRequest) -> World:
    """`shared`, and `two`."""
    opened: World = request.getfixturevalue(request.param)
    return opened


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The product, with the users ada (staff), bo and cy, for tests in the group ``served``. Fails if it logs anything unexpected."""
    with ModelServer() as model:
        llm = {"LLM_MODEL_SERVER": model.url, "LLM_MODEL": "stub", "LLM_API_KEY": "key"}
        limits = {"MAX_MESSAGES_PER_MINUTE": "0", "MAX_SOCKETS_PER_USER": "0"}
        with serving(tmp_path_factory.mktemp("served"), "ada", "bo", "cy", **limits, **llm) as server:
            yield server
            assert "Traceback" not in "".join(server.output), "".join(server.output)


@pytest.fixture(scope="session")
async def bystander(bo: Browser) -> AsyncIterator[Bystander]:
    """`others`, started by the first test that uses it."""
    async with Bystander.beside(bo) as other:
        yield other


@pytest.fixture
def others(bystander: Bystander) -> Bystander:
    """The bystander on that product, whose pings are timed from the beginning of the test."""
    bystander.begin_anew()
    return bystander


@pytest.fixture(scope="session")
async def bo(served: Server) -> AsyncIterator[Browser]:
    """A user who is logged in there."""
    async with Browser.logged_in(served.url, "bo") as browser:
        yield browser
