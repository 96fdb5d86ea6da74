"""The product as a process, a scripted model server, and users with browsers.

A module has one server, started on a copy of a data folder that is made once for the whole run of the tests.
"""

import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser as Chromium
from playwright.async_api import BrowserContext, expect

from scripts import bootstrap
from tests.e2e.conversation import Conversation
from tests.e2e.watch import Watch
from tests.model_server import ModelServer
from tests.serving import Browser, Server

STAFF, READER, OTHER = "ada", "mei", "omar"
#: Long, because the machine may be busy.
PATIENCE_MS = 20_000

Enter = Callable[..., Awaitable[Conversation]]
NewBrowser = Callable[..., Awaitable[BrowserContext]]


@pytest.fixture(scope="session", autouse=True)
def patience() -> None:
    """Let every expectation wait long enough for a slow machine."""
    expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with tables, users and collected static files, made by whichever process of the tests comes first."""
    if not all((bootstrap.VENDOR / name).exists() for name in bootstrap.BROWSER_LIBRARIES):
        pytest.fail("The browser's libraries are missing: make vendor brings them.")
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    folder = shared / "prepared"
    with (shared / "prepared.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "static" / "staticfiles.json").exists():
            server = Server(folder)
            server.prepare(STAFF, READER, OTHER)
            server.manage("collectstatic", "--no-input", "--verbosity", "0")
    return folder


@pytest.fixture(scope="module")
def data_dir(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module's own data folder."""
    folder = tmp_path_factory.mktemp("data")
    for path in prepared.iterdir():
        if path.name == "static":
            (folder / "static").symlink_to(path)
        else:
            shutil.copy2(path, folder)
    return folder


@pytest.fixture(scope="module")
def module_model() -> Iterator[ModelServer]:
    """The module's model server."""
    with ModelServer() as server:
        yield server


@pytest.fixture
def model(module_model: ModelServer) -> ModelServer:
    """The module's model server, without the requests of earlier tests."""
    module_model.reset()
    return module_model


@pytest.fixture(scope="module")
def settings_of_server() -> dict[str, str]:
    """Further environment of the module's server; a module may have its own."""
    return {}


@pytest.fixture(scope="module")
def server(data_dir: Path, module_model: ModelServer, settings_of_server: dict[str, str]) -> Iterator[Server]:
    """The product, started on the module's data."""
    environment = {
        "LLM_MODEL_SERVER": module_model.url,
        "LLM_MODEL": "scripted",
        "MAX_MESSAGES_PER_MINUTE": "0",
        **settings_of_server,
    }
    process = Server(data_dir, **environment).start()
    try:
        yield process
    finally:
        process.stop()


@pytest.fixture(scope="module")
async def accounts(server: Server) -> AsyncIterator[dict[str, Browser]]:
    """All users, logged in over HTTP: for the cookies of their browsers, and for calls of the API."""
    clients: dict[str, Browser] = {}
    try:
        for name in (STAFF, READER, OTHER):
            clients[name] = Browser(server.url)
            await clients[name].log_in(name)
        yield clients
    finally:
        for client in clients.values():
            await client.http.close()


@pytest.fixture
def api(accounts: dict[str, Browser]) -> Browser:
    """The API, called as the reader."""
    return accounts[READER]


@pytest.fixture
async def watch(server: Server) -> AsyncIterator[Watch]:
    """Checks every page of the test: nothing may be written to a console, and no request may go to another host."""
    watching = Watch(server.url)
    yield watching
    watching.assert_nothing_happened()


@pytest.fixture
async def new_browser(
    browser: Chromium, server: Server, watch: Watch, browser_context_args: dict[str, Any]
) -> AsyncIterator[NewBrowser]:
    """Opens a browser in which nobody is logged in."""
    contexts: list[BrowserContext] = []

    async def open_one(**options: Any) -> BrowserContext:
        options = {"base_url": server.url, "viewport": {"width": 1280, "height": 800}, **options}
        context = await browser.new_context(**{**browser_context_args, **options})
        context.set_default_timeout(PATIENCE_MS)
        watch.look_at(context)
        contexts.append(context)
        return context

    yield open_one
    for context in contexts:
        await context.close()


@pytest.fixture
async def enter(new_browser: NewBrowser, accounts: dict[str, Browser], server: Server) -> Enter:
    """Opens a browser in which somebody is logged in, and a page in it."""

    async def open_page(path: str = "/", *, user: str = READER, **options: Any) -> Conversation:
        context = await new_browser(**options)
        jar = accounts[user].http.cookie_jar
        await context.add_cookies(
            [{"name": cookie.key, "value": cookie.value, "url": options.get("base_url", server.url)} for cookie in jar]
        )
        page = await context.new_page()
        if path:
            await page.goto(path)
        return Conversation(page)

    return open_page


@pytest.fixture
async def talk(enter: Enter, api: Browser) -> Conversation:
    """The page of a new session of the reader's."""
    conversation = await enter(f"/sessions/{await api.new_session()}/")
    await conversation.is_live()
    return conversation
