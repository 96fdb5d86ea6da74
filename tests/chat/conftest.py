"""A whole product to talk to, shared by the tests of a module."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.chat.databases import empty, postgresql
from tests.model_server import ModelServer
from tests.serving import Browser, Server, serving


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    """The model's side, which does what the words of a message say; see ``tests/model_server.py``."""
    with ModelServer() as server:
        yield server


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, model: ModelServer) -> Iterator[Server]:
    """The product as a process, with the users ada (staff), bo and cy."""
    data = tmp_path_factory.mktemp("data")
    limits = {"MAX_MESSAGES_PER_MINUTE": "0", "MAX_ACTIVE_RUNS_PER_USER": "0"}
    llm = {"LLM_MODEL_SERVER": model.url, "LLM_MODEL": "stub", "LLM_API_KEY": "key", "LLM_TIMEOUT_S": "3"}
    with serving(data, "ada", "bo", "cy", **limits, **llm) as server:
        yield server


@pytest.fixture
async def bo(product: Server) -> AsyncIterator[Browser]:
    """A logged-in user."""
    async with Browser.logged_in(product.url, "bo") as browser:
        yield browser


@pytest.fixture(params=["sqlite", "postgres"])
def on_each_database(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[None]:
    """A test is one of both databases."""
    if request.param == "sqlite":
        yield
        return
    with postgresql(request.getfixturevalue("tables"), has_tables=True):
        yield
        empty()
