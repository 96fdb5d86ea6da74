"""A web site on loopback for `fetch_page`, and ways to fetch it."""

import ipaddress
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from agents.tools import CancelToken, ToolError
from agents.tools.fetch_page import FetchPageTool

Answer = Callable[[BaseHTTPRequestHandler], None]


def is_loopback(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_loopback


def any_port(_port: int) -> bool:
    return True


class Site:
    """A web site on loopback.

    ``pages`` answer by path; ``asked`` has the requested paths, ``headers`` their headers.
    """

    def __init__(self) -> None:
        self.pages: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.closed = threading.Event()
        self.ending = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def setup(self) -> None:
                site.connections += 1
                super().setup()

            def do_GET(self) -> None:
                site.asked.append(self.path)
                site.headers.append(dict(self.headers))
                site.pages[self.path](self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=[0.05], daemon=True).start()

    def page(
        self,
        path: str,
        body: bytes | str,
        kind: str | None = "text/html; charset=utf-8",
        status: int = 200,
        **headers: str,
    ) -> None:
        data = body.encode() if isinstance(body, str) else body

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            if kind:
                handler.send_header("Content-Type", kind)
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            if "Content_Length" not in headers:
                handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data)

        self.pages[path] = answer

    def endless(self, path: str, piece: bytes, every_s: float, headers: bool = True, status: bool = False) -> None:
        """Send ``piece`` again and again until the client closes; record that it has."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            if headers:
                handler.send_response(200)
                handler.send_header("Content-Type", "text/plain")
                handler.end_headers()
            if status:
                handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
            try:
                while not self.ending.wait(every_s):
                    handler.wfile.write(piece)
                    handler.wfile.flush()
            except OSError:
                self.closed.set()

        self.pages[path] = answer

    def redirect(self, path: str, to: str, status: int = 302) -> None:
        self.page(path, "", status=status, Location=to)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.ending.set()
    site.server.shutdown()
    site.server.server_close()


def local(**options: Any) -> FetchPageTool:
    return FetchPageTool(**{"allow_address": is_loopback, "allow_port": any_port} | options)


def fetch(url: str, tool: FetchPageTool | None = None, stop: CancelToken | None = None) -> str:
    return (tool or local()).call({"url": url}, stop or CancelToken())


def failure(url: str, tool: FetchPageTool | None = None, stop: CancelToken | None = None) -> str:
    with pytest.raises(ToolError) as caught:
        fetch(url, tool, stop)
    return str(caught.value)
