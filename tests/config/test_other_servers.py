"""The application in other servers: it starts, recovers and shuts down, or refuses with a clear error."""

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests import services
from tests.faults.world import until
from tests.model_server import ModelServer
from tests.serving import ROOT, Browser, Server

#: The command line of each server; {port} is where it listens.
SERVERS = {
    "uvicorn": ["uvicorn", "config.asgi:application", "--host", "127.0.0.1", "--port", "{port}"],
    "daphne": ["daphne", "--bind", "127.0.0.1", "--port", "{port}", "config.asgi:application"],
    "gunicorn": [
        "gunicorn", "config.asgi:application", "--worker-class", "uvicorn.workers.UvicornWorker", "--bind", "127.0.0.1:{port}",
    ],
}  # fmt: skip
IN_LONG = [pytest.param("uvicorn", marks=pytest.mark.long), "daphne", pytest.param("gunicorn", marks=pytest.mark.long)]


class Started:
    """Such a server on a data folder."""

    def __init__(self, name: str, data: Path, *, file: Path, **environment: str) -> None:
        self.port = services.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._file = file
        module, *arguments = [argument.format(port=self.port) for argument in SERVERS[name]]
        with file.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", "DATA_DIR": str(data), **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """All its output."""
        return self._file.read_text()

    def answers(self) -> bool:
        """Whether it answers at all."""
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5).status_code > 0
        except httpx.TransportError:
            return False

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it; returns its exit status. What cannot be caught is sent to its workers too."""
        if number == signal.SIGKILL:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def model() -> Iterator[ModelServer]:
    """The model server."""
    with ModelServer() as server:
        yield server


@contextmanager
def workers(count: int, data: Path, file: Path) -> Iterator[Started]:
    """Several processes of one server, which SIGTERM ends with it."""
    server = Started("uvicorn", data, file=file, WEB_CONCURRENCY=str(count))
    try:
        yield server
    finally:
        server.end()


@contextmanager
def started(name: str, data: Path, file: Path, **environment: str) -> Iterator[Started]:
    server = Started(name, data, file=file, **environment)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.end(signal.SIGKILL)


def run_of(data: Path) -> tuple[str, str]:
    """The status of the only run, and the session's last event."""
    with closing(sqlite3.connect(data / "thinkaloud.sqlite3", timeout=20)) as file:
        (status,) = file.execute("SELECT status FROM chat_run").fetchone() or ("",)
        (last,) = file.execute("SELECT event FROM chat_step ORDER BY seq DESC LIMIT 1").fetchone() or ("",)
    return status, last


@pytest.mark.parametrize("name", IN_LONG)
async def test_another_server_serves_ends_its_runs_and_recovers(name: str, model: ModelServer, tmp_path: Path) -> None:
    data = tmp_path / "data"
    Server(data).prepare("ada")
    llm = {"LLM_MODEL_SERVER": model.url, "LLM_MODEL": "stub", "LLM_API_KEY": "key", "SHUTDOWN_S": "0.5"}
    for number, sound in ((signal.SIGTERM, True), (signal.SIGKILL, False)):
        with started(name, data, tmp_path / "output", **llm) as server:
            await until(server.answers, 60, "an answer")
            async with Browser.logged_in(server.url, "ada") as browser:
                session = await browser.new_session()
                message = {"message": "Tell [tokens=4000 every=20]", "client_message_id": uuid.uuid4().hex}
                status, _ = await browser.call("POST", f"sessions/{session}/messages/", message)
                assert status == 202
                await until(lambda: run_of(data)[0] == "running", 20, "the run")
            server.end(number)
            # On SIGTERM it stores how its run ended before it exits; if it was killed, the next one does.
            assert run_of(data) == (("interrupted", "reasoning_complete") if sound else ("running", run_of(data)[1]))
        with started(name, data, tmp_path / "output", **llm) as server:
            await until(server.answers, 60, "an answer")
            assert run_of(data) == ("interrupted", "reasoning_complete")
            assert server.end() in (0, -signal.SIGTERM)
            assert "Traceback" not in server.output
        with closing(sqlite3.connect(data / "thinkaloud.sqlite3")) as file, file:
            file.execute("DELETE FROM chat_step")
            file.execute("DELETE FROM chat_run")


@pytest.mark.parametrize("name", ["uvicorn", "daphne", pytest.param("gunicorn", marks=pytest.mark.long)])
async def test_a_second_one_on_the_same_data_refuses(name: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    Server(data).prepare("ada")
    with started("uvicorn", data, tmp_path / "first") as first:
        await until(first.answers, 60, "an answer")
        with started(name, data, tmp_path / "second") as second:
            await until(lambda: second.process.poll() is not None or second.answers(), 60, "an answer, or an end")
            if second.process.poll() is None:
                answer = await asyncio.to_thread(httpx.get, f"{second.url}/")
                assert answer.status_code == 503
                assert answer.text.startswith("This process does not serve. Another Thinkaloud server uses the data")
        assert re.search("does not serve: Another Thinkaloud server uses the data folder", second.output)
        assert first.answers()


async def test_of_several_workers_on_one_file_the_others_refuse(tmp_path: Path) -> None:
    """What SQLite holds, one process serves: no other one seems to work beside it."""
    data = tmp_path / "data"
    Server(data).prepare("ada")
    with workers(2, data, tmp_path / "output") as server:
        words = "does not serve: Another Thinkaloud server uses the data folder"
        await until(lambda: words in server.output, 60, "the refusal")
        await until(server.answers, 60, "an answer")
