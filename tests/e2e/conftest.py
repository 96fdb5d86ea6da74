"""The product as a process, a scripted model server, and users with browsers.

All modules without settings of their own share one server, on which each test has new users. A server is started on a copy of a data
folder that is made once for the whole run of the tests.
"""

import contextlib
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
from tests.e2e import firefox, webkit
from tests.e2e.conversation import Conversation
from tests.e2e.other_browsers import Page
from tests.e2e.watch import Watch
from tests.faults.world import until
from tests.logins import write_logins
from tests.model_server import ModelServer
from tests.serving import Browser, Server

STAFF, READER, OTHER = "ada", "mei", "omar"
#: Long, because the machine may be busy.
PATIENCE_MS = 20_000

OTHER_BROWSERS = {"Firefox": firefox, "WebKit": webkit}

#: Cookies by their names, by the names of users.
Logins = dict[str, dict[str, str]]
Enter = Callable[..., Awaitable[Conversation]]
OpenOther = Callable[[str], Awaitable[Page]]
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
            server.prepare("keeper")
            server.manage("collectstatic", "--no-input", "--verbosity", "0")
    return folder


@pytest.fixture(scope="session")
def model_server() -> Iterator[ModelServer]:
    """The model server of this process of the tests."""
    with ModelServer() as server:
        yield server


@pytest.fixture(autouse=True)
def model(model_server: ModelServer) -> ModelServer:
    """The model server, without the requests and answers of earlier tests, also for tests that do not name it."""
    model_server.reset()
    return model_server


@pytest.fixture(scope="session")
def shared_server(
    prepared: Path, tmp_path_factory: pytest.TempPathFactory, model_server: ModelServer
) -> Iterator[Server]:
    """`server`, when the first test wants it: a start takes longer than most tests."""
    with _started(_copied(prepared, tmp_path_factory), model_server) as process:
        yield process


@pytest.fixture(scope="module")
def data_dir(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a module with its own server."""
    return _copied(prepared, tmp_path_factory)


@pytest.fixture(scope="module")
def settings_of_server() -> dict[str, str] | None:
    """Further environment of a module's own server; None: the module uses the shared one."""
    return None


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, model_server: ModelServer, settings_of_server: dict[str, str] | None
) -> Iterator[Server]:
    """The product as a process. What earlier tests have left there belongs to other users, and none of it is running."""
    if settings_of_server is None:
        yield request.getfixturevalue("shared_server")
        return
    with _started(request.getfixturevalue("data_dir"), model_server, **settings_of_server) as process:
        yield process


def _copied(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for path in prepared.iterdir():
        if path.name == "static":
            (folder / "static").symlink_to(path)
        else:
            shutil.copy2(path, folder)
    return folder


@contextlib.contextmanager
def _started(data_dir: Path, model_server: ModelServer, **environment: str) -> Iterator[Server]:
    usual = {"LLM_MODEL_SERVER": model_server.url, "LLM_MODEL": "scripted", "MAX_MESSAGES_PER_MINUTE": "0"}
    # Optional parts that have pages. No mail is sent: no user has an address.
    usual |= {"EMAIL_URL": "smtp://127.0.0.1:9/?from=chat@example.org", "ALLOW_SIGNUP": "1", "WEBHOOKS": "1"}
    process = Server(data_dir, **{**usual, **environment}).start()
    try:
        yield process
    finally:
        process.stop()


def log_in_newly(server: Server) -> Logins:
    """Make new users, who have no data yet and are logged in; returns the cookies of their browsers."""
    names = (STAFF, READER, OTHER)
    server.replace_users(*names)
    with server.open_database() as file:
        return write_logins(file, names)


@pytest.fixture
def logins(server: Server) -> Logins:
    """The cookies of the users' browsers. The users are new in each test; a module that overrides this fixture may share them."""
    return log_in_newly(server)


@pytest.fixture
async def accounts(server: Server, logins: Logins) -> AsyncIterator[dict[str, Browser]]:
    """All users, logged in: for the cookies of their browsers, and for calls of the API. At the end their runs are stopped."""
    async with contextlib.AsyncExitStack() as until_done:
        clients = {
            name: await until_done.enter_async_context(Browser.logged_in(server.url, name, cookies))
            for name, cookies in logins.items()
        }
        yield clients
        for run_id in server.runs_at_work():
            await clients[STAFF].call("POST", f"runs/{run_id}/cancel/", {"all": True})
        await until(lambda: not server.runs_at_work(), wanted="the test's runs to end")


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
    browser: Chromium,
    server: Server,
    accounts: dict[str, Browser],
    watch: Watch,
    browser_context_args: dict[str, Any],
) -> AsyncIterator[NewBrowser]:
    """Opens a browser in which nobody is logged in. It is closed before the test's runs are stopped."""
    contexts: list[BrowserContext] = []

    async def open_one(**options: Any) -> BrowserContext:
        options = {"base_url": server.url, "viewport": {"width": 1280, "height": 800}, **options}
        context = await browser.new_context(**{**browser_context_args, **options})
        context.set_default_timeout(PATIENCE_MS)
        watch.observe(context)
        contexts.append(context)
        return context

    yield open_one
    for context in contexts:
        await context.close()


@pytest.fixture(scope="module")
async def open_other(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OpenOther]:
    """Opens one of `OTHER_BROWSERS`, the same one for all tests of a module; skips the test where it is not installed."""
    async with contextlib.AsyncExitStack() as until_done:
        pages: dict[str, Page] = {}

        async def open_one(name: str) -> Page:
            kind = OTHER_BROWSERS[name]
            if not kind.installed():
                pytest.skip(f"{name} is not installed.")
            if name not in pages:
                pages[name] = await until_done.enter_async_context(kind.opened(tmp_path_factory.mktemp(name)))
            return pages[name]

        yield open_one


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
