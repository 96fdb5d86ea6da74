"""A forward proxy on loopback, as companies have them: forwards requests, tunnels with CONNECT, and may ask for a password.

Whatever host it is asked for, it connects to one port of this machine, so that sites can have any name.
"""

import contextlib
import re
import socket
import threading
from collections.abc import Iterator

import pytest

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


class HttpProxy:
    """Connects to ``port``; ``asked`` has the first line of each request, ``proofs`` its authorization."""

    def __init__(self, port: int, *, refusal: bytes = b"") -> None:
        self.asked: list[str] = []
        self.proofs: list[str] = []
        self._to = port
        self._refusal = refusal
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # Closing alone would not wake the thread that waits for connections.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[near], daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head and (data := near.recv(65_536)):
                head += data
            if not head:
                return
            line = head.split(b"\r\n", 1)[0].decode()
            self.asked.append(line)
            proof = re.search(rb"(?im)^proxy-authorization: (.*?)\r$", head)
            self.proofs.append(proof[1].decode() if proof else "")
            if self._refusal:
                near.sendall(self._refusal)
                return
            with socket.create_connection(("127.0.0.1", self._to)) as far:
                if line.startswith("CONNECT "):
                    near.sendall(b"HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n")
                else:
                    head = re.sub(rb"^(\w+) http://[^/ ]+", rb"\1 ", head)
                    far.sendall(re.sub(rb"(?im)^proxy-[\w-]+: .*?\r\n", b"", head))
                other = threading.Thread(target=_pump, args=[far, near], daemon=True)
                other.start()
                _pump(near, far)
                other.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def forget_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out this machine's own proxies."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@contextlib.contextmanager
def proxying(port: int, **options: bytes) -> Iterator[HttpProxy]:
    """A proxy for the length of a block."""
    proxy = HttpProxy(port, **options)
    try:
        yield proxy
    finally:
        proxy.close()
