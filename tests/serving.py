"""The product as a process of its own, as ``make run`` starts it, and clients that speak its protocol."""

import asyncio
import contextlib
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import aiohttp
import websockets
from yarl import URL

from tests import prepared, programs, wire_types

ROOT = Path(__file__).resolve().parent.parent
USERNAME, PASSWORD = "ada", "correct horse 17"
START_S = 120.0
WAIT_S = 20.0
#: The last line that a process prints at its start: of one that executes runs, and of one that leaves them to workers.
LOADED = ("The agents are loaded", "The broker's client is loaded")
ACK_EVERY = 50


#: Makes the tables, and users with one password, which is hashed only once, because that takes longer than everything else.
_MAKE = """
from django.contrib.auth.hashers import make_password
from chat.accounts.models import User
from django.core.management import call_command

call_command("migrate", verbosity=0)
password = make_password({password!r})
User.objects.bulk_create(
    User(username=name, password=password, is_staff=i == 0, is_superuser=i == 0) for i, name in enumerate({names!r})
)
"""
#: One more user with the first one's password.
_ADD_USER = """INSERT INTO auth_user
    (username, password, is_superuser, is_staff, is_active, date_joined, first_name, last_name, email)
    SELECT ?, password, false, false, true, date_joined, '', '', '' FROM auth_user ORDER BY id LIMIT 1"""


class Server:
    """One ``manage.py serve`` on a data folder, on a port of the system's choice."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        self.data_dir = data_dir
        #: All that it has printed, over all its starts.
        self.output: list[str] = []
        self.url = ""
        self.process: programs.Program | None = None
        #: Set once all that runs need has been loaded, which happens in parallel with the first requests.
        self.loaded = threading.Event()
        self._at_rest = 0
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("LLM_", "DJANGO_"))},
            "DJANGO_SETTINGS_MODULE": os.environ.get("DJANGO_SETTINGS_MODULE", "config.settings"),
            "DATA_DIR": str(data_dir),
            "DATABASE_URL": "",
            "PYTHONUNBUFFERED": "1",
            # Few tests are about runs that are at work when their server is stopped.
            "SHUTDOWN_S": "0.5",
            **environment,
        }

    def manage(self, *arguments: str, **environment: str) -> str:
        """Run a management command on the same data; returns what it printed."""
        done = programs.run_program(["manage.py", *arguments], {**self.environment, **environment})
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def prepare(self, *users: str) -> None:
        """Make the tables and the users, all with the same password; the first one is staff."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        names = users or (USERNAME,)
        address, is_of_tests = self.environment["DATABASE_URL"], "TESTS_SHARED" in os.environ
        if address or not is_of_tests:
            # Options in the address's query are for the product only.
            is_plain = address.startswith("postgres") and "?" not in address
            if is_of_tests and is_plain and not prepared.has_tables(address):
                prepared.restore_tables(address)
            self._make(names)
            return
        shutil.copyfile(prepared.made_once("prepared.sqlite3", _make_prepared), self.data_dir / "thinkaloud.sqlite3")
        with self.open_database() as file:
            file.execute("UPDATE auth_user SET username = ?", names[:1])
            file.executemany(_ADD_USER, [(name,) for name in names[1:]])

    def replace_users(self, *names: str) -> None:
        """Make new users with these names, who own nothing yet, the first one staff; the former ones can no longer log in.

        For a database file that `prepare` has made; the process may be running. The very first user stays unchanged.
        """
        with self.open_database() as file:
            file.execute(
                "UPDATE auth_user SET username = username || '-' || id, is_active = false"
                " WHERE id > (SELECT min(id) FROM auth_user) AND NOT instr(username, '-' || id)"
            )
            file.executemany(_ADD_USER, [(name,) for name in names])
            file.execute("UPDATE auth_user SET is_staff = true, is_superuser = true WHERE username = ?", names[:1])

    def runs_at_work(self) -> list[UUID]:
        """The runs that have not ended, by the database file."""
        with self.open_database() as file:
            return [UUID(run_id) for (run_id,) in file.execute("SELECT id FROM chat_run WHERE ended_at IS NULL")]

    @contextlib.contextmanager
    def open_database(self) -> Iterator[sqlite3.Connection]:
        """Its database file; what was changed in a block is stored at its end."""
        with contextlib.closing(sqlite3.connect(self.data_dir / "thinkaloud.sqlite3", timeout=WAIT_S)) as file, file:
            yield file

    def _make(self, names: Sequence[str]) -> None:
        self.manage("shell", "--no-imports", "--command", _MAKE.format(password=PASSWORD, names=names))

    def start(self, port: int = 0) -> Self:
        """Start the process and wait until it prints its address."""
        self.loaded = threading.Event()
        self.process = programs.start_program(self._command(port), self.environment)
        is_announced = threading.Event()
        threading.Thread(target=self._read, args=(self.process, is_announced, self.loaded), daemon=True).start()
        if not is_announced.wait(START_S) or not self.url:
            raise AssertionError("The server did not start:\n" + "".join(self.output))
        return self

    def _command(self, port: int) -> list[str]:
        return ["manage.py", "serve", "--port", str(port)]

    #: The line with its address, which it prints when it is ready.
    _READY = re.compile(r"http://\S+?(?=/\s*$)")

    def _read(self, process: programs.Program, is_announced: threading.Event, loaded: threading.Event) -> None:
        assert process.stdout is not None
        with process.stdout as output:
            for line in output:
                self.output.append(line)
                found = self._READY.search(line)
                if found and not is_announced.is_set():
                    self.url = found.group()
                    is_announced.set()
                if any(words in line for words in LOADED):
                    self.rest()
                    loaded.set()
        is_announced.set()

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return int(self.url.rsplit(":", 1)[1])

    @property
    def pid(self) -> int:
        """The process's own id."""
        assert self.process is not None
        return self.process.pid

    def rest(self) -> None:
        """Measure the process's memory from now on."""
        # It may be killed at this very moment.
        with contextlib.suppress(OSError):
            self.forget_most()
            self._at_rest = self._memory("VmRSS")

    def forget_most(self) -> None:
        """Forget the highest memory so far."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    @property
    def most_taken(self) -> int:
        """The most memory in bytes that the process has used, beyond what it used at `rest`."""
        return self._memory("VmHWM") - self._at_rest

    @property
    def heaps_of_threads(self) -> int:
        """How many malloc arenas it has beside the main one: glibc reserves 64 MiB of addresses for each, most of it without access."""
        reserved = re.findall(
            r"^\w+-(\w+) ---p 0+ 00:00 0 *$", Path(f"/proc/{self.pid}/maps").read_text(), re.MULTILINE
        )
        return sum(int(end, 16) % 2**26 == 0 for end in reserved)

    def _memory(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise ProcessLookupError(self.pid)

    def kill(self) -> None:
        """End it with SIGKILL."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Send it SIGTERM; returns its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def _make_prepared(path: Path) -> None:
    """A database file with all tables and one user."""
    made = prepared.copy_tables(path.parent)
    Server(path.parent)._make((USERNAME,))
    with contextlib.closing(sqlite3.connect(made)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    made.rename(path)


class Worker(Server):
    """A Celery worker of the product's application; it connects to the broker, and listens on no port."""

    _READY = re.compile(r"This worker executes up to \d+ runs")

    def _command(self, port: int) -> list[str]:
        return ["-m", "celery", "-A", "config", "worker", "--without-mingle", "--without-gossip"]

    @property
    def port(self) -> int:
        """It has none."""
        return 0


@contextlib.contextmanager
def serving(data_dir: Path, *users: str, **environment: str) -> Iterator[Server]:
    """A prepared server for the length of a block."""
    process = Server(data_dir, **environment)
    process.prepare(*users)
    process.start()
    try:
        yield process
    finally:
        process.stop()


class Browser:
    """A logged-in client over HTTP; opens sockets and calls the API."""

    def __init__(self, url: str) -> None:
        self.url = url
        #: The name of the user.
        self.username = ""
        self.http = aiohttp.ClientSession(base_url=url, cookie_jar=aiohttp.CookieJar(unsafe=True))

    @classmethod
    @contextlib.asynccontextmanager
    async def logged_in(
        cls, url: str, username: str = USERNAME, cookies: Mapping[str, str] | None = None
    ) -> AsyncIterator["Browser"]:
        """Log in through the login page, as people do; or use the cookies of an earlier login."""
        browser = cls(url)
        try:
            if cookies:
                browser.username = username
                browser.http.cookie_jar.update_cookies(cookies, URL(url))
            else:
                await browser.log_in(username)
            yield browser
        finally:
            await browser.http.close()

    async def log_in(self, username: str) -> None:
        """Fill in the login form, and check that it worked."""
        status, text = await self.try_to_log_in(username)
        assert status == 302, text

    async def try_to_log_in(self, username: str) -> tuple[int, str]:
        """Fill in the login form; returns the answer's status and page."""
        self.username = username
        async with self.http.get("/accounts/login/") as page:
            assert page.status == 200, await page.text()
        form = {"username": username, "password": PASSWORD, "csrfmiddlewaretoken": self.cookie("csrftoken")}
        headers = {"Referer": f"{self.url}/accounts/login/"}
        async with self.http.post("/accounts/login/", data=form, headers=headers, allow_redirects=False) as answer:
            return answer.status, await answer.text()

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies' values by their names."""
        return {cookie.key: cookie.value for cookie in self.http.cookie_jar}

    def cookie(self, name: str) -> str:
        """A cookie's value."""
        return self.cookies.get(name, "")

    async def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Call the API; returns the status and the JSON of the answer."""
        headers = {"X-CSRFToken": self.cookie("csrftoken"), "Referer": f"{self.url}/", **(headers or {})}
        async with self.http.request(method, f"/api/{path}", json=body, headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None

    async def send_file(self, name: str, content: bytes, **fields: str) -> tuple[int, Any]:
        """Upload a file in a form, with a media type that does not tell what it is; returns the status and the JSON."""
        form = aiohttp.FormData(quote_fields=False)
        form.add_field("file", io.BytesIO(content), filename=name, content_type="application/x-lie")
        for key, value in fields.items():
            form.add_field(key, value)
        headers = {"X-CSRFToken": self.cookie("csrftoken"), "Referer": f"{self.url}/"}
        async with self.http.post("/api/files/", data=form, headers=headers) as answer:
            return answer.status, await answer.json()

    async def new_session(self, **body: Any) -> str:
        """Open a session; returns its id."""
        status, session = await self.call("POST", "sessions/", body)
        assert status == 201, session
        return str(session["id"])

    @contextlib.asynccontextmanager
    async def socket(self, session_id: str, query: str = "", **options: Any) -> AsyncIterator["Socket"]:
        """Open a socket on a session."""
        cookies = "; ".join(f"{key}={value}" for key, value in self.cookies.items())
        address = f"{self.url.replace('http', 'ws', 1)}/ws/chat/{session_id}/{query}"
        headers = {"Cookie": cookies}
        options = {"origin": self.url, "max_size": None, "compression": None, **options}
        # Frames that are not read are kept here and not in the network, because otherwise closing would wait for their reader.
        options = {"max_queue": None, **options}
        async with websockets.connect(address, additional_headers=headers, **options) as connection:
            yield Socket(connection)


class Socket:
    """A client's side of one socket: keeps every frame."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.frames: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.acknowledges = True

    async def send(self, kind: str, **payload: Any) -> None:
        """Send a command."""
        await self.connection.send(json.dumps({"type": kind, "payload": payload}))

    async def receive(self, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """The next frame."""
        text = await asyncio.wait_for(self.connection.recv(), timeout_s)
        frame: dict[str, Any] = wire_types.checked(json.loads(text))
        self.frames.append(frame)
        self.times.append(time.time())
        seq = frame.get("seq", 0)
        if self.acknowledges and seq and seq % ACK_EVERY == 0:
            await self.send("ack", seq=seq)
        return frame

    async def until(self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float = WAIT_S) -> dict[str, Any]:
        """Receive frames up to and including one for which this holds."""
        async with asyncio.timeout(timeout_s):
            while True:
                frame = await self.receive(timeout_s)
                if wanted(frame):
                    return frame

    async def until_type(self, kind: str, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """Receive frames up to and including one of this type."""
        return await self.until(lambda frame: frame["type"] == kind, timeout_s)

    async def until_step(self, kind: str, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """Receive frames up to and including a stored step of this type."""
        return await self.until(lambda f: f["type"] == "reasoning_step" and f["data"]["type"] == kind, timeout_s)

    async def closed(self, timeout_s: float = WAIT_S) -> int:
        """Receive until the server closes; returns its code."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    await self.receive(timeout_s)
        except websockets.ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else 1006

    def stored(self) -> list[dict[str, Any]]:
        """The numbered frames received so far."""
        return [frame for frame in self.frames if "seq" in frame]

    def steps(self, kind: str) -> list[dict[str, Any]]:
        """The data of the reasoning steps of a type received so far."""
        return [f["data"] for f in self.frames if f["type"] == "reasoning_step" and f["data"]["type"] == kind]
