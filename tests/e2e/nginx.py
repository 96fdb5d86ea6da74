"""A real nginx in front of the product, configured as the README says."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests import services

_READY_WITHIN_S = 20.0
_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
    server {{
        listen 127.0.0.1:{port}{tls};
        location {path} {{
            proxy_pass {target};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_buffering off;
            proxy_read_timeout 120s;
        }}
    }}
}}
"""


@contextlib.contextmanager
def in_front_of(
    address: str,
    path: str,
    *,
    takes_off: bool,
    instead: tuple[str, str] = ("", ""),
    secure: tuple[int, Path] | None = None,
) -> Iterator[str]:
    """Start an nginx that forwards a path, which it strips or keeps; returns its URL. ``instead`` replaces a line.

    ``secure``: it accepts TLS at this port, with the certificate in this file.
    """
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "make test-scale brings it"
    port, certificate = secure or (services.free_port(), None)
    tls = f" ssl; ssl_certificate {certificate}; ssl_certificate_key {certificate}" if certificate else ""
    with tempfile.TemporaryDirectory(prefix="thinkaloud-nginx-") as made:
        folder = Path(made)
        target = f"{address}/" if takes_off else address
        file = folder / "nginx.conf"
        configuration = _CONFIGURATION.format(folder=folder, port=port, path=path, target=target, tls=tls)
        assert instead[0] in configuration
        file.write_text(configuration.replace(*instead) if instead[0] else configuration)
        process = subprocess.Popen([program, "-e", str(folder / "error.log"), "-c", str(file), "-p", str(folder)])
        try:
            _await(process, port)
            yield f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def _await(process: "subprocess.Popen[bytes]", port: int) -> None:
    ends_at = time.monotonic() + _READY_WITHIN_S
    while True:
        assert process.poll() is None, "nginx has ended."
        assert time.monotonic() < ends_at, "nginx does not listen."
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
