"""Outgoing connections through the proxies of the environment: to model servers, sites and MCP servers, with TLS and without."""

import asyncio
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from agents.models import http
from agents.models.http import ProxyRefused, Unreachable
from agents.proxies import UnusableProxy, proxy_for
from agents.tools import CancelToken, Toolbox, ToolError, build_tools, mcp
from agents.tools.fetch_page import FetchPageTool
from agents.tools.posting import Poster
from tests.agents.tools.site import Site, any_port, is_loopback, site  # noqa: F401 - fixtures
from tests.agents.tools.test_fetch_page_addresses import certificate, secure_site  # noqa: F401 - fixtures
from tests.agents.tools.test_mcp import Server, eventually, serving
from tests.http_proxy import VARIABLES, forget_proxies, proxying


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this machine's own proxies."""
    forget_proxies(monkeypatch)


@pytest.mark.parametrize(
    ("given", "place", "proxy"),
    [
        ({}, "http://a.test", None),
        ({"HTTP_PROXY": "http://p:3128"}, "http://a.test", ("p", 3128)),
        ({"HTTP_PROXY": "http://p:3128"}, "https://a.test", None),
        ({"HTTPS_PROXY": "http://p:3128"}, "https://a.test", ("p", 3128)),
        ({"https_proxy": "http://q:1", "HTTPS_PROXY": "http://p:3128"}, "https://a.test", ("q", 1)),
        ({"ALL_PROXY": "http://p:3128"}, "https://a.test", ("p", 3128)),
        ({"HTTP_PROXY": "p:3128"}, "http://a.test", ("p", 3128)),
        ({"HTTP_PROXY": "http://p"}, "http://a.test", ("p", 80)),
        ({"HTTP_PROXY": "http://[::1]:3128/"}, "http://a.test", ("::1", 3128)),
        *(
            ({"HTTP_PROXY": "http://p:3128", "NO_PROXY": exempt}, "http://a.b.test", found)
            for exempt, found in [
                ("*", None),
                ("a.b.test", None),
                ("b.test", None),
                (".b.test", None),
                ("*.b.test", None),
                ("x, B.Test ,y", None),
                ("b.test:80", None),
                ("b.test:81", ("p", 3128)),
                ("test.b", ("p", 3128)),
                ("xb.test", ("p", 3128)),
                ("", ("p", 3128)),
                (",", ("p", 3128)),
            ]
        ),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "10.0.0.0/8"}, "http://10.1.2.3", None),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "10.0.0.0/8"}, "http://11.1.2.3", ("p", 1)),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "10.1.2.3:80"}, "http://10.1.2.3", None),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "fd00::/8"}, "http://[fd00::1]", None),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "[fd00::1]:80"}, "http://[fd00::1]", None),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "localhost"}, "http://localhost", None),
    ],
)
def test_which_proxy_leads_where(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], place: str, proxy: tuple[str, int] | None
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    parts = urlsplit(place)
    found = proxy_for(parts.scheme, parts.hostname or "", {"http": 80, "https": 443}[parts.scheme])
    assert (found and (found.host, found.port)) == proxy


@pytest.mark.parametrize("address", ["socks5://u:SECRET@p:1080", "http://", "http://p:SECRET", "ftp://p?SECRET"])
def test_a_proxy_that_cannot_be_used_is_said(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", address)
    with pytest.raises(UnusableProxy, match="none that can be used") as caught:
        proxy_for("http", "a.test", 80)
    assert "SECRET" not in str(caught.value)
    with pytest.raises(ToolError, match="none that can be used"):
        FetchPageTool().call({"url": "http://a.test/"}, CancelToken())


class Answering(BaseHTTPRequestHandler):
    """A model server with a fixed answer."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, self.headers["Host"], self.headers.get("Proxy-Authorization"), body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"yes")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def model(certificate: Path) -> Iterator[Callable[[str], ThreadingHTTPServer]]:  # noqa: F811 - the fixture
    """Starts a model server with plain HTTP or TLS."""
    running: list[ThreadingHTTPServer] = []

    def start(scheme: str) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        server.asked = []  # type: ignore[attr-defined]
        if scheme == "https":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_model_servers_are_reached_by_it(
    monkeypatch: pytest.MonkeyPatch,
    model: Callable[[str], ThreadingHTTPServer],
    certificate: Path,  # noqa: F811 - the fixture
    scheme: str,
) -> None:
    """Twice over one connection; with TLS the proxy's password is sent only to the proxy."""
    monkeypatch.setattr(http, "tls_context", lambda: ssl.create_default_context(cafile=certificate))
    server = model(scheme)
    with proxying(server.server_address[1]) as proxy:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://me:pass%20word@{proxy.address}")
        for _ in range(2):
            connection = await http.post(f"{scheme}://secure.test/v1/chat", {}, b"?", connect_s=5)
            assert connection.status == 200
            assert await connection.read() == b"yes"
            assert await connection.read() == b""
            connection.close()
        connection.abort()
        await asyncio.sleep(0.01)  # until the loop has closed it
    first = "CONNECT secure.test:443 HTTP/1.1" if scheme == "https" else "POST http://secure.test/v1/chat HTTP/1.1"
    assert proxy.asked == [first], "the connection was used again"
    assert proxy.proofs == ["Basic bWU6cGFzcyB3b3Jk"]
    path = "/v1/chat" if scheme == "https" else "http://secure.test/v1/chat"
    assert [asked[:2] for asked in server.asked] == [("/v1/chat", "secure.test"), (path, "secure.test")]  # type: ignore[attr-defined]
    assert server.asked[0][2] is None  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            " does not lead to the model server (407 Proxy Authentication Required).",
        ),
        (
            b"HTTP/1.1 503 Service Unavailable\r\n\r\nhello",
            " does not lead to the model server (503 Service Unavailable).",
        ),
        (b"SSH-2.0-hello\r\n\r\n", " does not lead to the model server."),
        (b"HTTP/1.1 200 OK\r\n", " does not lead to the model server (200 OK)."),
    ],
)
async def test_a_proxy_that_refuses_is_said(monkeypatch: pytest.MonkeyPatch, refusal: bytes, words: str) -> None:
    with proxying(9, refusal=refusal) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:SECRET@{proxy.address}/SECRET")
        with pytest.raises(ProxyRefused) as caught:
            await http.post("https://secure.test/v1/chat", {}, b"?", connect_s=5)
        assert str(caught.value) == f"The proxy at http://{proxy.address}{words}"
    with pytest.raises(Unreachable, match="does not answer"):
        await http.post("https://secure.test/v1/chat", {}, b"?", connect_s=5)


# -- pages ----------------------------------------------------------------------------------------


def reader(resolve: Callable[[str, int], list[str]], **options: Any) -> FetchPageTool:
    return FetchPageTool(**{"allow_port": any_port, "resolve": resolve} | options)


def known(**names: list[str]) -> Callable[[str, int], list[str]]:
    """A resolver that knows the proxy's address and these names, with underscores for their dots."""

    def resolve(host: str, port: int) -> list[str]:
        if host == "127.0.0.1":
            return [host]
        found = names.get(host.replace(".", "_"))
        if found is None:
            raise OSError("unknown")
        return found

    return resolve


def test_pages_are_read_by_it(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:  # noqa: F811 - the fixture
    site.page("/a?b=1", "<p>hello</p>")
    with proxying(site.port) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:word@{proxy.address}")
        assert reader(known()).call({"url": "http://public.test/a?b=1"}, CancelToken()).endswith("hello")
    assert proxy.asked == ["GET http://public.test/a?b=1 HTTP/1.1"]
    assert proxy.proofs == ["Basic bWU6d29yZA=="]
    assert site.headers[0]["Host"] == "public.test"


def test_secure_pages_are_read_by_it(
    monkeypatch: pytest.MonkeyPatch,
    secure_site: Site,  # noqa: F811 - the fixture
    certificate: Path,  # noqa: F811 - the fixture
) -> None:
    secure_site.page("/", "<p>secure</p>")
    tls = ssl.create_default_context(cafile=certificate)
    with proxying(secure_site.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        assert reader(known(), tls=tls).call({"url": "https://secure.test/"}, CancelToken()).endswith("secure")
    assert proxy.asked == ["CONNECT secure.test:443 HTTP/1.1"]
    with proxying(9, refusal=b"HTTP/1.1 403 Forbidden\r\n\r\n") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        with pytest.raises(ToolError, match=r"^The proxy does not lead to the site \(403 Forbidden\)\.$"):
            reader(known(), tls=tls).call({"url": "https://secure.test/"}, CancelToken())


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("http://127.0.0.1/", {}),
        ("http://10.0.0.1/", {}),
        ("http://[::1]/", {}),
        ("http://169.254.169.254/latest/meta-data/", {}),
        ("http://localhost/", {}),
        ("http://intranet/", {}),
        ("http://printer.local/", {}),
        ("http://metadata.google.internal/", {}),
        ("http://wiki.corp/", {}),
        ("http://router.lan./", {}),
        ("http://inside.test/", {"inside_test": ["10.0.0.1"]}),
        ("http://mixed.test/", {"mixed_test": ["93.184.216.34", "192.168.0.1"]}),
        ("http://sneaky.test/", {"sneaky_test": ["::ffff:127.0.0.1"]}),
    ],
)
def test_the_address_guard_holds_before_a_proxy_too(
    monkeypatch: pytest.MonkeyPatch,
    site: Site,  # noqa: F811 - the fixture
    url: str,
    names: dict[str, list[str]],
) -> None:
    with proxying(site.port) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        with pytest.raises(ToolError, match="is not on the public internet"):
            reader(known(**names)).call({"url": url}, CancelToken())
    assert proxy.asked == []


def test_a_redirect_into_the_house_is_refused_behind_a_proxy_too(
    monkeypatch: pytest.MonkeyPatch,
    site: Site,  # noqa: F811 - the fixture
) -> None:
    site.redirect("/", "http://intranet/secret")
    with proxying(site.port) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        with pytest.raises(ToolError, match="is not on the public internet"):
            reader(known()).call({"url": "http://public.test/"}, CancelToken())
    assert len(proxy.asked) == 1


def test_exempt_hosts_are_connected_to_directly(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:  # noqa: F811 - the fixture
    site.page("/", "<p>direct</p>")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
    tool = FetchPageTool(allow_address=is_loopback, allow_port=any_port)
    assert tool.call({"url": f"http://127.0.0.1:{site.port}/"}, CancelToken()).endswith("direct")


# -- webhooks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_webhooks_are_sent_by_it(
    monkeypatch: pytest.MonkeyPatch,
    model: Callable[[str], ThreadingHTTPServer],
    certificate: Path,  # noqa: F811 - the fixture
    scheme: str,
) -> None:
    server = model(scheme)
    poster = Poster(resolve=known(), allow_port=any_port, tls=ssl.create_default_context(cafile=certificate))
    with proxying(server.server_address[1]) as proxy:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://me:word@{proxy.address}")
        assert poster.post(f"{scheme}://secure.test/hook", b"{}", {}) == 200
    first = "CONNECT secure.test:443 HTTP/1.1" if scheme == "https" else "POST http://secure.test/hook HTTP/1.1"
    assert proxy.asked == [first]
    assert proxy.proofs == ["Basic bWU6d29yZA=="]
    assert server.asked == [("/hook", "secure.test", None, b"{}")]  # type: ignore[attr-defined]


# -- MCP ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sse", "streamable-http"])
def test_mcp_servers_are_reached_by_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    server = Server(tmp_path)
    environment = {name: os.environ.get(name, "") for name in VARIABLES}
    with serving(server, kind, **environment) as url, proxying(int(url.split(":")[2].split("/")[0])) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        config = {"far": {"url": url, "type": kind}}
        assert eventually(lambda: "far-add" in build_tools([], Toolbox(mcp_servers=config)), 20)
        tool = build_tools([], Toolbox(mcp_servers=config))["far-add"]
        assert tool.call({"a": 17, "b": 2340}, CancelToken()) == "2357"
        mcp.connected_servers.close()
    assert all(url.rpartition("/")[0] in line for line in proxy.asked)
    assert proxy.asked
