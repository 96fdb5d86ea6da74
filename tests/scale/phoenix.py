"""Arize Phoenix, a receiver of traces that others wrote, as a process.

It is large, and so not in the lock: `PHOENIX` names the Python of an environment that has it; without that, one is made for the test.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.services import free_port

_READY_WITHIN_S = 120


@contextlib.contextmanager
def phoenix(folder: Path) -> Iterator[str]:
    """Its URL, which also accepts traces."""
    port = free_port()
    own = {
        "PHOENIX_WORKING_DIR": str(folder / "data"),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    command = [_python(folder), "-m", "phoenix.server.main", "serve"]
    with (folder / "phoenix.log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **own}, cwd=folder, stdout=log, stderr=log)
    try:
        _await(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _python(folder: Path) -> str:
    named = os.environ.get("PHOENIX")
    if named:
        return named
    made = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(made)], check=True)
    python = str(made / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "arize-phoenix>=20.26,<21"], check=True)
    return python


def _await(address: str, process: "subprocess.Popen[bytes]") -> None:
    ends_at = time.monotonic() + _READY_WITHIN_S
    while True:
        assert process.poll() is None, "Phoenix has ended."
        assert time.monotonic() < ends_at, "Phoenix does not answer."
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(f"{address}/v1/projects").raise_for_status()
            return
        time.sleep(0.2)
