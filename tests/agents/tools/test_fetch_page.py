"""The `fetch_page` tool against real sites on loopback, and its strict default against what would abuse it."""

import gzip
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agents.tools import CancelToken, ToolError, fetch_page
from agents.tools.fetch_page import FetchPageTool, web_ports_only
from agents.tools.special_addresses import is_public
from agents.untrusted.pool import Pool

Answer = Callable[[BaseHTTPRequestHandler], None]


def is_loopback(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_loopback


def any_port(_port: int) -> bool:
    return True


class Site:
    """A web site on loopback. ``pages`` answer by path; ``asked`` is what was asked for, ``headers`` with what."""

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
        """Send ``piece`` again and again until the other side closes; note that it has."""

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


# -- reading --------------------------------------------------------------------------------------


def test_a_page_reads_well(site: Site) -> None:
    site.page(
        "/a",
        "<title>News</title><nav>menu</nav><h1>Hello</h1><p>See <a href='/b?x=1'>more</a>.</p><script>evil()</script>",
    )
    assert fetch(f"{site.url}/a") == f"Title: News\nAddress: {site.url}/a\n\n# Hello\n\nSee more ({site.url}/b?x=1)."


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/json",
        "application/problem+json",
        "text/csv",
        "application/xml",
        "text/markdown",
        None,
    ],
)
def test_other_text_comes_as_it_is(site: Site, kind: str | None) -> None:
    site.page("/t", '{"a": "天氣",\n "b": 1}', kind)
    assert fetch(f"{site.url}/t") == f'Address: {site.url}/t\n\n{{"a": "天氣",\n "b": 1}}'


def test_an_untyped_page_that_looks_like_html_is_read_as_html(site: Site) -> None:
    site.page("/t", " <html><p>Hello</html>", None)
    assert fetch(f"{site.url}/t").endswith("\n\nHello")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<p>天氣</p>".encode("big5"), "text/html; charset=big5"),
        ('<meta charset="big5"><p>天氣</p>'.encode("big5"), "text/html"),
        ("\ufeff<p>天氣</p>".encode(), "text/html; charset=nonsense"),
        ("<p>天氣</p>".encode("utf-16"), "text/html; charset=utf-16"),
    ],
)
def test_encodings(site: Site, body: bytes, kind: str) -> None:
    site.page("/e", body, kind)
    assert fetch(f"{site.url}/e").endswith("\n\n天氣")


@pytest.mark.parametrize(
    "kind", ["image/png", "application/pdf", "application/octet-stream", "video/mp4", "application/zip"]
)
def test_what_is_not_text_is_refused_by_its_type(site: Site, kind: str) -> None:
    site.page("/b", b"whatever", kind)
    assert failure(f"{site.url}/b") == f"This address holds {kind}, which is not text, so it can't be read."


def test_binary_data_that_claims_to_be_text_is_refused(site: Site) -> None:
    site.page("/b", b"abc\0\0\1\2", "text/plain")
    assert failure(f"{site.url}/b") == "This address holds binary data, not text, so it can't be read."


def test_packed_pages_are_unpacked(site: Site) -> None:
    site.page("/z", gzip.compress(b"<p>Hello</p>"), Content_Encoding="gzip")
    assert fetch(f"{site.url}/z").endswith("\n\nHello")


@pytest.mark.parametrize("charset", ["punycode", "idna", "utf-7", "unicode_escape", "base64", "mbcs"])
def test_an_encoding_that_the_web_has_not_is_read_as_utf_8(site: Site, charset: str) -> None:
    site.page("/a", "天-" * 300_000, f"text/plain; charset={charset}")
    assert "天-天-" in fetch(f"{site.url}/a")


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """Pages take for ever to read, once they have arrived."""
    pool = Pool(1, "tests.agents.untrusted.slow.page_text")
    pool.warm()
    monkeypatch.setattr(fetch_page, "_readers", pool)
    yield pool
    pool.close()


@pytest.mark.parametrize("kind", ["text/html", "text/plain"])
def test_a_page_that_takes_for_ever_to_read_is_given_up_and_its_reader_ended(
    site: Site, endless: Pool, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    site.page("/a", "words", kind)
    reader = psutil.Process(next(iter(endless._workers))._process.pid)
    assert failure(f"{site.url}/a", local(total_s=1.0)) == "The page did not arrive within 1 seconds."
    assert not reader.is_running()
    monkeypatch.setattr(fetch_page, "_READ_CPU_S", 0.3)
    assert failure(f"{site.url}/a", local(total_s=60.0)) == "The page arrived, but takes too long to read."


def test_a_stop_ends_the_reading_too(site: Site, endless: Pool) -> None:
    site.page("/a", "words")
    stop = CancelToken()
    threading.Timer(0.3, stop.set, ["Stopped by mei."]).start()
    assert failure(f"{site.url}/a", local(total_s=60.0), stop) == "Stopped by mei."
    assert [worker for worker in endless._workers if not worker.is_alive] == []


@pytest.mark.parametrize(("encoding", "words"), [("br", "packed as br"), ("gzip", "could not be understood")])
def test_pages_that_cannot_be_unpacked_are_refused(site: Site, encoding: str, words: str) -> None:
    site.page("/z", b"this is not packed at all", Content_Encoding=encoding)
    assert words in failure(f"{site.url}/z")


def test_a_status_that_says_no_is_a_failure(site: Site) -> None:
    site.page("/gone", "<title>Not here</title>", status=404)
    assert failure(f"{site.url}/gone") == "The page answered with status 404. Not here"


def test_a_long_page_is_cut_near_the_limit(site: Site) -> None:
    site.page("/long", "<p>word word word</p>" * 50_000)
    text = fetch(f"{site.url}/long")
    assert FetchPageTool.output_limit < len(text) < FetchPageTool.output_limit + 1_000


def test_the_request_carries_nothing_of_ours(site: Site) -> None:
    site.page("/h", "ok", Set_Cookie="a=b")
    site.redirect("/again", f"{site.url}/h")
    fetch(f"{site.url}/again#fragment")
    assert site.asked == ["/again", "/h"]
    for headers in site.headers:
        assert set(headers) == {"Host", "User-Agent", "Accept", "Accept-Encoding", "Connection"}
        assert headers["Host"] == f"127.0.0.1:{site.port}"


def test_paths_and_queries_are_sent_as_they_are_meant(site: Site) -> None:
    path = "/%E5%A4%A9/a%20b?q=%E6%B0%A3&x=%26"
    site.page(path, "ok", "text/plain")
    assert fetch(f"{site.url}/天/a%20b?q=氣&x=%26").endswith("\n\nok")


# -- redirects ------------------------------------------------------------------------------------


def test_three_redirects_are_followed_and_a_fourth_is_not(site: Site) -> None:
    site.page("/3", "<p>here</p>")
    site.redirect("/2", "3", 307)
    site.redirect("/1", f"//127.0.0.1:{site.port}/2", 301)
    site.redirect("/0", "/1")
    site.redirect("/more", "/0")
    assert fetch(f"{site.url}/0") == f"Address: {site.url}/3\n\nhere"
    assert failure(f"{site.url}/more") == "The page redirects more than 3 times."


def test_a_redirect_that_leads_nowhere(site: Site) -> None:
    site.page("/r", "", status=302)
    assert "leads nowhere" in failure(f"{site.url}/r")


@pytest.mark.parametrize(
    "target",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost.test/",
        "file:///etc/passwd",
        "gopher://x/",
        "//[::1]/",
        "http://user:pass@127.0.0.1/",
    ],
)
def test_a_redirect_is_vetted_like_any_address(site: Site, target: str) -> None:
    site.redirect("/r", target)
    # Only this very site is allowed here, by its one address.
    tool = local(
        allow_address=lambda address: str(address) == "127.0.0.1",
        resolve=lambda host, port: {"127.0.0.1": ["127.0.0.1"], "localhost.test": ["127.0.0.2"]}.get(host, [host]),
    )
    failure(f"{site.url}/r", tool)
    assert site.asked == ["/r"]


# -- the strict default ---------------------------------------------------------------------------


def strict(*answers: str) -> FetchPageTool:
    """Addresses are policed as in production; ports are not, so that a refusal is the address's; names are invented."""
    return FetchPageTool(
        allow_port=any_port,
        resolve=lambda host, port: list(answers) or [str(info[4][0]) for info in socket.getaddrinfo(host, port)],
    )


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "１２７.０.０.１",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1%25lo]",
        "0x7f.1",
        "0177.1",
        "127.000.000.001",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "LOCALHOST",
        "localhost.",
        "ⓛocalhost",
        "0x7f.0.0.1.",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b:1::7f00:1]",
        "[2001:0:7f00:1::]",
        "[fe80::1%lo]",
    ],
)
def test_spellings_of_this_machine_are_refused_without_connecting(site: Site, host: str) -> None:
    site.page("/", "secret")
    failure(f"http://{host}:{site.port}/", strict())
    assert site.connections == 0


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.169.254",
        "100.64.0.1", "0.0.0.0", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250",
        "240.0.0.1", "255.255.255.255", "::1", "::", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::10.0.0.1", "fe80::1", "fc00::1",
        "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:a00:1::", "2001:0:1::1", "100::1",
        "100.100.100.200", "192.0.0.192", "5f00::1", "3fff::1", "168.63.129.16", "::ffff:168.63.129.16",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    assert (
        failure("http://innocent.test/", strict(address))
        == "“innocent.test” is not on the public internet, so it is not read."
    )


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "2001:4860:4860::8888", "::ffff:8.8.8.8"]
)
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "answers", [["93.184.216.34", "127.0.0.1"], ["10.0.0.1", "93.184.216.34"], ["2606:4700:4700::1111", "::1"]]
)
def test_one_private_address_among_public_ones_is_enough_to_refuse(answers: list[str]) -> None:
    assert "not on the public internet" in failure("http://mixed.test/", strict(*answers))


@pytest.mark.parametrize("answers", [[], ["not an address"], [""]])
def test_a_resolver_without_a_usable_answer(answers: list[str]) -> None:
    failure("http://odd.test/", FetchPageTool(resolve=lambda host, port: answers))


def test_the_defaults_are_strict(site: Site) -> None:
    assert [port for port in range(65_536) if web_ports_only(port)] == [80, 443]
    assert (
        failure(f"{site.url}/", FetchPageTool()) == f"Port {site.port} is not read: web pages are on ports 80 and 443."
    )
    assert "not on the public internet" in failure("http://localhost/", FetchPageTool())
    assert "not on the public internet" in failure("https://localhost/", FetchPageTool())
    assert site.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "/etc/passwd",
        "etc/passwd",
        "gopher://127.0.0.1:70/",
        "ftp://ftp.test/",
        "data:text/html,hello",
        "javascript:alert(1)",
        "dict://127.0.0.1:11211/",
        "ws://127.0.0.1/",
        "HTTPS",
        "",
    ],
)
def test_other_schemes_are_refused(url: str) -> None:
    assert failure(url) == "Only http:// and https:// addresses can be read."


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///path",
        "http://a b/",
        "http://host\\@127.0.0.1/",
        "http://host/\r\nX-Injected: 1",
        "http://host/\x00",
        "http://host:99999/",
        "http://host:port/",
        "http://[::1/",
        "http://..../",
        "http:host/",
        "http://127.0.0.1%2f.host.test/",
        "http://127.0.0.1\\.host.test/",
        "http://localhost%00.host.test/",
        "http://ho\tst.test/",
        "http://host:80:80/",
        "http://1.1.1.1 &@127.0.0.1# @8.8.8.8/",
        f"http://{'a' * 64}.test/",
        f"http://host/{'a' * 4_000}",
    ],
)
def test_invalid_addresses_are_refused(url: str) -> None:
    assert failure(url) == "This is not a valid web address."


@pytest.mark.parametrize("url", ["http://user:pass@host.test/", "http://user@host.test/", "http://@host.test/"])
def test_credentials_are_refused(url: str) -> None:
    assert "user name or password" in failure(url)


# -- the vetted address is the one connected to ---------------------------------------------------


def test_a_name_that_answers_differently_the_second_time_gains_nothing(site: Site) -> None:
    site.page("/", "<p>the vetted one</p>")
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    asked: list[str] = []

    def rebind(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    tool = local(allow_address=lambda address: str(address) == "127.0.0.1", resolve=rebind)
    assert fetch(f"http://rebind.test:{site.port}/", tool).endswith("the vetted one")
    assert asked == ["rebind.test"]
    assert site.headers[0]["Host"] == f"rebind.test:{site.port}"
    assert "not on the public internet" in failure(f"http://rebind.test:{site.port}/", tool)
    assert site.connections == 1


def test_a_second_address_is_tried_when_the_first_refuses(site: Site) -> None:
    site.page("/", "<p>here</p>")
    assert fetch(
        f"http://two.test:{site.port}/", local(resolve=lambda host, port: ["127.0.0.3", "127.0.0.1"])
    ).endswith("here")


# -- limits ---------------------------------------------------------------------------------------


def test_a_page_that_is_too_large_is_refused_while_it_streams(site: Site) -> None:
    site.endless("/huge", b"x" * 65_536, 0)
    assert failure(f"{site.url}/huge") == "The page is larger than 5 MB, so it was not read."
    assert site.closed.wait(5)


def test_a_bomb_is_refused_before_it_unfolds(site: Site) -> None:
    bomb = gzip.compress(b"\x20" * 50_000_000, 9)
    assert len(bomb) < 100_000
    site.page("/bomb", bomb, "text/plain", Content_Encoding="gzip")
    assert failure(f"{site.url}/bomb") == "The page is larger than 5 MB, so it was not read."


@pytest.mark.parametrize("headers", [True, False])
def test_a_page_that_drips_ends_at_the_deadline(site: Site, headers: bool) -> None:
    site.endless("/drip", b"X-A: b\r\n", 0.02, headers, status=not headers)
    began = time.monotonic()
    assert failure(f"{site.url}/drip", local(total_s=0.5)) == "The page did not arrive within 0.5 seconds."
    assert time.monotonic() - began < 2
    assert site.closed.wait(5)


def test_a_silent_site_ends_at_the_deadline(site: Site) -> None:
    site.endless("/silent", b"", 60, headers=False)
    assert failure(f"{site.url}/silent", local(total_s=0.3)) == "The page did not arrive within 0.3 seconds."


def test_a_resolver_that_hangs_ends_at_the_deadline() -> None:
    answer = threading.Event()

    def hang(host: str, port: int) -> list[str]:
        answer.wait(10)
        return ["127.0.0.1"]

    assert (
        failure("http://slow.test/", local(total_s=0.3, resolve=hang)) == "The page did not arrive within 0.3 seconds."
    )
    answer.set()


def test_markup_that_takes_long_to_read_ends_at_the_deadline(site: Site) -> None:
    site.page("/tags", "<b><i>" * 800_000)
    began = time.monotonic()
    assert failure(f"{site.url}/tags", local(total_s=0.5)) == "The page did not arrive within 0.5 seconds."
    assert time.monotonic() - began < 3


def test_ten_seconds_is_the_default_and_within_the_tools_own_timeout() -> None:
    tool = FetchPageTool()
    assert tool._total_s == 10 < tool.timeout_s


# -- failures -------------------------------------------------------------------------------------


def test_nobody_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert failure(f"http://127.0.0.1:{port}/") == "The site refused the connection."


def test_no_such_name() -> None:
    assert failure("http://no-such-name.invalid/") == "There is no site named “no-such-name.invalid”."


def test_a_page_that_breaks_off(site: Site) -> None:
    site.page("/half", "<p>half", Content_Length="1000")
    assert failure(f"{site.url}/half") == "The connection broke off before the page was complete."


def test_an_answer_that_is_no_http(site: Site) -> None:
    site.pages["/odd"] = lambda handler: (handler.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n"), None)[1]
    assert failure(f"{site.url}/odd") == "The site's answer could not be understood."


# -- cancel ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "every_s"), [(True, 0.02), (False, 60.0)], ids=["while the body comes", "before the answer"]
)
def test_cancel_closes_the_connection_at_once(site: Site, headers: bool, every_s: float) -> None:
    site.endless("/slow", b"x", every_s, headers)
    stop, errors = CancelToken(), []
    calling = threading.Thread(target=lambda: errors.append(failure(f"{site.url}/slow", stop=stop)))
    calling.start()
    while not site.asked:
        assert calling.is_alive()
    began = time.monotonic()
    stop.set("Stopped by Mei.")
    calling.join(5)
    assert errors == ["Stopped by Mei."]
    assert time.monotonic() - began < 1
    if headers:
        assert site.closed.wait(5)


def test_cancel_while_connecting() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        # The queue of a server that accepts nobody: further connections stay without an answer.
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        stop, errors = CancelToken(), []
        url = f"http://127.0.0.1:{full.getsockname()[1]}/"
        calling = threading.Thread(target=lambda: errors.append(failure(url, stop=stop)))
        calling.start()
        calling.join(0.3)
        assert calling.is_alive()
        stop.set("Stopped by Mei.")
        calling.join(2)
        assert errors == ["Stopped by Mei."]
        for each in waiting:
            each.close()


def test_cancel_before_the_call_asks_nobody(site: Site) -> None:
    stop = CancelToken()
    stop.set("Stopped by Mei.")
    assert failure(f"{site.url}/", stop=stop) == "Stopped by Mei."
    assert site.connections == 0


# -- https ----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "secure.test")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("secure.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    plain_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(plain_key + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def secure_site(site: Site, certificate: Path) -> Site:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    site.server.socket = context.wrap_socket(site.server.socket, server_side=True)
    return site


def test_https_asks_for_the_name_at_the_vetted_address(secure_site: Site, certificate: Path) -> None:
    secure_site.page("/", "<p>secure</p>")
    tool = local(tls=ssl.create_default_context(cafile=certificate), resolve=lambda host, port: ["127.0.0.1"])
    assert fetch(f"https://secure.test:{secure_site.port}/", tool).endswith("secure")


def test_https_with_another_name_is_refused(secure_site: Site, certificate: Path) -> None:
    secure_site.page("/", "<p>secure</p>")
    tool = local(tls=ssl.create_default_context(cafile=certificate), resolve=lambda host, port: ["127.0.0.1"])
    assert failure(f"https://other.test:{secure_site.port}/", tool).startswith("The site's certificate is not valid: ")


def test_https_with_an_unknown_issuer_is_refused_by_default(secure_site: Site) -> None:
    secure_site.page("/", "<p>secure</p>")
    tool = local(resolve=lambda host, port: ["127.0.0.1"])
    assert (
        failure(f"https://secure.test:{secure_site.port}/", tool)
        == "The site's certificate is not valid: self-signed certificate."
    )
    assert secure_site.asked == []


def test_https_to_a_plain_site(site: Site) -> None:
    assert failure(f"https://127.0.0.1:{site.port}/") == "A secure connection to the site could not be made."


def test_cancel_during_the_handshake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        stop, errors = CancelToken(), []
        url = f"https://127.0.0.1:{mute.getsockname()[1]}/"
        calling = threading.Thread(target=lambda: errors.append(failure(url, stop=stop)))
        calling.start()
        connection, _ = mute.accept()
        with connection:
            assert connection.recv(1)
            stop.set("Stopped by Mei.")
            calling.join(2)
        assert errors == ["Stopped by Mei."]
