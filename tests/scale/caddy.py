"""The proxy in front of the product, with the configuration file of `compose.yaml`."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests import services
from tests.serving import ROOT

#: Installed with the tests' packages.
PROGRAM = Path(sys.executable).parent / "caddy"
_READY_WITHIN_S = 20.0


@contextmanager
def before(addresses: Sequence[str], folder: Path) -> Iterator[str]:
    """The URL of a proxy in front of some processes of the product, for the length of a block."""
    port = services.free_port()
    process = subprocess.Popen(
        [PROGRAM, "run", "--config", ROOT / "Caddyfile", "--adapter", "caddyfile"],
        env={
            **os.environ,
            "WEB": " ".join(address.removeprefix("http://") for address in addresses),
            "SITE_ADDRESS": f"http://:{port}",
            "CADDY_OPTIONS": "default_bind 127.0.0.1",
            "XDG_DATA_HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def _await(process: subprocess.Popen[bytes], port: int) -> None:
    ends_at = time.monotonic() + _READY_WITHIN_S
    while True:
        assert process.poll() is None, "The proxy has ended."
        assert time.monotonic() < ends_at, "The proxy does not listen."
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
