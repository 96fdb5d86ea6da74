"""What ``make run`` starts: prepared, served, stopped, and started again with its data."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests import prepared, services

PROJECT = Path(__file__).resolve().parents[2]


class Started:
    """One start on a data folder, from its first line to the address that it prints."""

    def __init__(self, data: Path, port: int, **environ: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "config.prepare", "serve"],
            cwd=PROJECT,
            env={**os.environ, "DATA_DIR": str(data), "PORT": str(port), **environ},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.output = ""
        for line in self.process.stdout:
            self.output += line
            if "http://" in line:
                break

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it; returns its exit status."""
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode


def log_in(port: int, username: str, password: str) -> httpx.Response:
    """Log in as a browser does; returns the first page."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", follow_redirects=True) as browser:
        page = browser.get("/accounts/login/")
        assert page.status_code == 200
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token is not None
        fields = {"csrfmiddlewaretoken": token[1], "username": username, "password": password}
        return browser.post("/accounts/login/", data=fields, headers={"Referer": str(page.url)})


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, *(pytest.param(other, marks=pytest.mark.long) for other in (signal.SIGINT, signal.SIGHUP))],
)
def test_the_first_start_tells_an_account_and_the_next_keeps_it(tmp_path: Path, number: signal.Signals) -> None:
    port = services.free_port()
    first = Started(tmp_path, port)
    found = re.search(r"Log in as (\w+) with the password (\S+) ", first.output)
    assert found is not None
    assert f"http://127.0.0.1:{port}/" in first.output
    inside = log_in(port, found[1], found[2])
    assert (inside.status_code, inside.url.path) == (200, "/")
    # Its style sheets carry their content's hash in their names, and are there.
    sheets = re.findall(r'href="(/static/[^"]+\.css)"', inside.text)
    assert sheets
    for sheet in sheets:
        assert re.search(r"\.[0-9a-f]{12}\.css$", sheet)
        assert httpx.get(f"http://127.0.0.1:{port}{sheet}").headers["Cache-Control"].endswith("immutable")
    assert first.stop(number) == 0

    again = Started(tmp_path, port)
    assert "password" not in again.output
    assert log_in(port, found[1], found[2]).url.path == "/"
    assert again.stop(number) == 0


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    prepared.copy_tables(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        started = subprocess.run(
            [sys.executable, "-m", "config.prepare", "serve"],
            cwd=PROJECT,
            env={
                **os.environ,
                "DATA_DIR": str(tmp_path),
                "PORT": str(port),
                "STATIC_ROOT": str(prepared.collect_static()),
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert started.returncode == 1
    assert started.stderr == f"Thinkaloud cannot start: Port {port} on 127.0.0.1 is in use. Set PORT to another one.\n"


def test_ctrl_c_ends_the_preparations_without_a_traceback(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "config.prepare", "serve"],
        cwd=PROJECT,
        env={**os.environ, "DATA_DIR": str(tmp_path), "PORT": str(services.free_port())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until = time.monotonic() + 60
    while not (tmp_path / "thinkaloud.sqlite3").exists() and process.poll() is None:
        assert time.monotonic() < until, "it makes no database"
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (-signal.SIGINT, "")


def serve_once(tmp_path: Path, before: str) -> tuple[int, str]:
    """Serve in a shell after this command, and end it once a page was answered; returns its exit code and output."""
    prepared.copy_tables(tmp_path)
    command = ["sh", "-c", f'{before}; exec "$@"', "sh", sys.executable, "-m", "config.prepare", "serve"]
    port = services.free_port()
    static = str(prepared.collect_static())
    environ = {**os.environ, "DATA_DIR": str(tmp_path), "PORT": str(port), "STATIC_ROOT": static}
    with subprocess.Popen(
        command, cwd=PROJECT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        output = ""
        for line in process.stdout:
            output += line
            if "http://" in line:
                assert httpx.get(f"http://127.0.0.1:{port}/accounts/login/").status_code == 200
                process.terminate()
    return process.returncode, output


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (
            "-n 30",
            "Thinkaloud cannot start: This process may have only 30 files open at once, and needs 64. Raise ulimit -n.\n",
        ),
        pytest.param(
            "-n 100", "may have only 100 files and connections open at once; raise ulimit -n", marks=pytest.mark.long
        ),
        ("-S -n 30", ""),
    ],
)
def test_how_many_files_may_be_open(tmp_path: Path, limit: str, expected: str) -> None:
    """The hard limit of the system is used, however low the soft limit is; one that is too low is one line of error."""
    code, output = serve_once(tmp_path, f"ulimit {limit}")
    assert expected in output
    assert (code == 0) is ("cannot start" not in expected)
    assert "Traceback" not in output


#: Odd environments of a process, which cause no message. A further one is one line.
SURROUNDINGS = ["umask 777", "unset PATH", "unset HOME XDG_CACHE_HOME", "ulimit -v 1000000", "exec 2>&-"]


@pytest.mark.long
@pytest.mark.parametrize("before", SURROUNDINGS)
def test_odd_surroundings_are_no_matter(tmp_path: Path, before: str) -> None:
    code, output = serve_once(tmp_path, before)
    assert code == 0, output
    assert "Traceback" not in output


def test_the_first_page_waits_for_no_agent(tmp_path: Path) -> None:
    """Qwen-Agent, which takes seconds to import, is imported beside the first requests."""
    program = """
import sys, django
django.setup(set_prefix=False)
import config.asgi, config.urls
assert not {"qwen_agent", "openai", "mcp"} & set(sys.modules), "slow imports"
"""
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", "DATA_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=PROJECT, env=environ, check=True)


#: Each takes a noticeable part of a start, and nothing before the first page needs it.
LATER = ("chat.api.routes", "jsonschema", "kombu", "ninja", "numpy", "openai", "qwen_agent", "redis")


def test_a_start_imports_no_more_than_the_first_page_needs() -> None:
    script = "import config.asgi, config.urls, chat.management.commands.serve, sys; print(*sys.modules)"
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", "REDIS_URL": "", "BROKER_URL": ""}
    imported = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, env=environ, check=True, capture_output=True, text=True
    )
    modules = set(imported.stdout.split())
    assert "config.asgi" in modules
    assert modules.isdisjoint(LATER)
