"""The text that `fetch_page` returns for pages of real sites on loopback."""

import gzip
import threading
from collections.abc import Iterator

import psutil
import pytest

from agents.tools import CancelToken, fetch_page
from agents.tools.fetch_page import FetchPageTool
from agents.untrusted.pool import Pool
from tests.agents.tools.site import Site, failure, fetch, local, site

__all__ = ["site"]


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
def test_a_page_that_is_no_text_is_refused_by_its_type(site: Site, kind: str) -> None:
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
    """Reading pages never ends, once they have arrived."""
    pool = Pool(1, "tests.agents.untrusted.slow.page_text")
    pool.preload()
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
        "http://[::1",
        "http://[::1]127.0.0.1/",
        "http://127.0.0.1:99999/",
        "\\\\10.0.0.1\\x",
        "/\\10.0.0.1/",
        "HTTP://10.0.0.1/",
        "http:\\\\10.0.0.1\\",
        "http://[64:ff9b::10.0.0.1]/",
        "http://[::ffff:10.0.0.1]/",
        "data:text/plain,x",
        "javascript:alert(1)",
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
