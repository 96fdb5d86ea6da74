"""`fetch_page` ends in time, whatever a site does, and at once when it is stopped."""

import gzip
import socket
import threading
import time

import pytest

from agents.tools import CancelToken
from agents.tools.fetch_page import FetchPageTool
from tests.agents.tools.site import Site, failure, local, site

__all__ = ["site"]


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


def test_a_refused_connection_is_an_error() -> None:
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
        # The backlog of a server that accepts nothing: further connections get no answer.
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
