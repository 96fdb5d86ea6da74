"""The origins of pages that may open a socket."""

import pytest

from tests.faults.raw_socket import handshake
from tests.serving import Browser, Server

#: They share a product with others: in two processes of the tests it would be started twice.
pytestmark = pytest.mark.xdist_group("served")


async def test_origins_that_are_not_this_very_site(served: Server, bo: Browser) -> None:
    """Origin table: other ports, schemes, hosts, look-alikes, nonsense, none, two, and hosts that are not allowed."""
    path = f"/ws/chat/{await bo.new_session()}/"
    port = served.port
    own = f"http://127.0.0.1:{port}"
    host, cookie = f"Host: 127.0.0.1:{port}", f"Cookie: sessionid={bo.cookie('sessionid')}"
    assert await handshake(bo.url, path, host, cookie, f"Origin: {own}") == 101
    foreign: list[tuple[str, ...]] = [
        (host,),
        *[
            (host, f"Origin: {origin}")
            for origin in (
                "",
                "null",
                "file://",
                "*",
                f"http://127.0.0.1:{port + 1}",
                "http://127.0.0.1",
                f"https://127.0.0.1:{port}",
                f"ws://127.0.0.1:{port}",
                f"http://localhost:{port}",
                f"http://127.0.0.1.:{port}",
                f"http://127.0.0.1.evil.example:{port}",
                f"http://evil.example#{own}",
                f"http://evil.example/{own}",
                f"http://evil.example?{own}",
                f"{own}@evil.example",
                f"http://bo@127.0.0.1:{port}",
                f"{own}/path",
                f"{own},http://evil.example",
                f"{own} http://evil.example",
                f"http://2130706433:{port}",
                f"http://[::ffff:127.0.0.1]:{port}",
                "http://[::1",
                "http://]",
                "http://127.0.0.1:99999",
                "http://127.0.0.1:-1",
                "http://127.0.0.1:abc",
                "http://127.0.0.1:\xb2",
                "http://",
                "//",
                "x" * 4000,
            )
        ],
        (f"Host: evil.example:{port}", f"Origin: http://evil.example:{port}"),
        ("Host: evil.example", "Origin: http://evil.example"),
        (host, "X-Forwarded-Host: evil.example", "Origin: http://evil.example"),
        (host, "X-Forwarded-Proto: https", f"Origin: https://127.0.0.1:{port}"),
    ]
    refused = [(headers, await handshake(bo.url, path, cookie, *headers)) for headers in foreign]
    assert not [each for each in refused if each[1] != 403]
    # An invalid request may be refused as invalid, before its origin is checked.
    for origins in ((own, "http://evil.example"), (own, own), ("\x7f",)):
        lines = [f"Origin: {origin}" for origin in origins]
        assert await handshake(bo.url, path, host, cookie, *lines) in (403, 400), origins
