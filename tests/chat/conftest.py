"""The product as a process, which all modules share that do not change its settings."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.chat.databases import empty, postgresql
from tests.faults.world import until
from tests.model_server import ModelServer
from tests.serving import WAIT_S, Browser, Server, serving

#: The settings of every product of these tests, beside its model.
_ENVIRONMENT = {
    "MAX_MESSAGES_PER_MINUTE": "0",
    "MAX_ACTIVE_RUNS_PER_USER": "0",
    "LLM_MODEL": "stub",
    "LLM_API_KEY": "key",
    "LLM_TIMEOUT_S": "3",
}
#: The user that stops the runs which a module has left in the shared product.
_KEEPER = "keeper"


@pytest.fixture(scope="session")
def shared_model() -> Iterator[ModelServer]:
    """`model`, started by the first test that uses it."""
    with ModelServer() as server:
        yield server


@pytest.fixture(scope="module")
def model(shared_model: ModelServer) -> ModelServer:
    """The model server, which does what the words of a message say; see ``tests/model_server.py``."""
    shared_model.reset()
    return shared_model


@pytest.fixture(scope="session")
def shared_product(tmp_path_factory: pytest.TempPathFactory, shared_model: ModelServer) -> Iterator[Server]:
    """`product`, started by the first test that uses it: a start takes longer than most tests."""
    data = tmp_path_factory.mktemp("data")
    with serving(data, _KEEPER, LLM_MODEL_SERVER=shared_model.url, **_ENVIRONMENT) as server:
        yield server


@pytest.fixture(scope="session")
async def keeper(shared_product: Server) -> AsyncIterator[Browser]:
    """A member of staff of the shared product."""
    async with Browser.logged_in(shared_product.url, _KEEPER) as browser:
        yield browser


@pytest.fixture(scope="module")
async def product(shared_product: Server, keeper: Browser, model: ModelServer) -> AsyncIterator[Server]:
    """The product as a process, with the users ada (staff), bo and cy, who own nothing yet.

    All modules share the process: objects of earlier modules belong to other users, and none of their runs is at work.
    """
    shared_product.replace_users("ada", "bo", "cy")
    shared_product.output.clear()
    yield shared_product
    for run_id in shared_product.runs_at_work():
        await keeper.call("POST", f"runs/{run_id}/cancel/", {"all": True})
    await until(lambda: not shared_product.runs_at_work(), WAIT_S, "the module's runs to end")


@pytest.fixture(scope="module")
def own_product(tmp_path_factory: pytest.TempPathFactory, model: ModelServer) -> Iterator[Server]:
    """Like `product`, for a module that leaves more behind than other modules should see."""
    data = tmp_path_factory.mktemp("data")
    with serving(data, "ada", "bo", "cy", LLM_MODEL_SERVER=model.url, **_ENVIRONMENT) as server:
        yield server


@pytest.fixture(scope="module")
async def cookies_of_bo(product: Server) -> dict[str, str]:
    """The cookies of one login, for all tests of a module: checking a password takes long."""
    async with Browser.logged_in(product.url, "bo") as browser:
        return browser.cookies


@pytest.fixture
async def bo(product: Server, cookies_of_bo: dict[str, str]) -> AsyncIterator[Browser]:
    """A logged-in user."""
    async with Browser.logged_in(product.url, "bo", cookies_of_bo) as browser:
        yield browser


@pytest.fixture(params=["sqlite", "postgres"])
def on_each_database(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[None]:
    """Mark a test as one that runs on both databases."""
    if request.param == "sqlite":
        yield
        return
    with postgresql(request.getfixturevalue("tables"), has_tables=True):
        yield
        empty()
