"""The client of a request, through trusted and untrusted proxies."""

from typing import Any

import pytest
from uvicorn.protocols.utils import get_client_addr

from config import proxies
from config.proxies import IGNORED, TrustedProxies

PRIVATE = ["127.0.0.0/8", "::1/128", "10.0.0.0/8"]


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        # Direct requests: the headers are the client's own.
        ("203.0.113.9", "198.51.100.7", "203.0.113.9"),
        ("203.0.113.9", "127.0.0.1", "203.0.113.9"),
        ("203.0.113.9", "", "203.0.113.9"),
        # Through one proxy, and through two.
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("127.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("::1", "2001:db8::7", "2001:db8::7"),
        ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
        # A client behind a proxy can only write what is to the left of the proxy's entry.
        ("10.0.0.1", "192.0.2.1, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "10.0.0.9, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "192.0.2.1, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        # All of them are trusted: the farthest.
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        # As some proxies write them.
        ("10.0.0.1", "198.51.100.7:4711", "198.51.100.7"),
        ("10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("10.0.0.1", " 198.51.100.7 ", "198.51.100.7"),
        # An entry that is no address, however it is written, names no client.
        ("10.0.0.1", "198.51.100.7, unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7, ", "10.0.0.1"),
        ("10.0.0.1", ",", "10.0.0.1"),
        ("10.0.0.1", "0x7f.1", "10.0.0.1"),
        ("10.0.0.1", "2130706433", "10.0.0.1"),
        ("10.0.0.1", "127.000.000.001", "10.0.0.1"),
        ("10.0.0.1", "\u0661\u0662\u0663.1.1.1", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7\x00", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7/8", "10.0.0.1"),
        ("10.0.0.1", "for=198.51.100.7", "10.0.0.1"),
        ("10.0.0.1", "<script>", "10.0.0.1"),
        ("10.0.0.1", "1" * 100_000, "10.0.0.1"),
        ("10.0.0.1", "1," * 50_000, "10.0.0.1"),
        ("10.0.0.1", "[" * 50_000, "10.0.0.1"),
        ("10.0.0.1", "fe80::7%eth0", "fe80::7"),
        ("10.0.0.1", "::ffff:198.51.100.7", "198.51.100.7"),
        # An entry that is no address ends the search: the last address before it counts.
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7, <script>", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7, junk, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", ",,,", "10.0.0.1"),
        ("10.0.0.1", "999.1.1.1", "10.0.0.1"),
    ],
)
def test_the_client_is_whom_a_trusted_proxy_names(settings: Any, peer: str, forwarded_for: str, client: str) -> None:
    settings.TRUSTED_PROXIES = PRIVATE
    assert proxies.client_address(peer, forwarded_for) == client


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ("2001:db8:1:3::1", "2001:db8:1:3::"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("fe80::1%eth0", "fe80::"),
        ("unknown", "unknown"),
    ],
)
def test_a_client_is_an_address_or_a_network_of_ipv6(address: str, network: str) -> None:
    assert proxies.client_network(address) == network


async def passed_on(peer: list[Any] | None, *headers: tuple[bytes, bytes], kind: str = "http") -> dict[str, Any]:
    """The scope that arrives behind `TrustedProxies`."""
    seen: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    scope = {"type": kind, "client": peer, "headers": [(b"host", b"x"), *headers]}
    await TrustedProxies(application)(scope, None, None)
    return dict(seen[0])


HEADERS = [(b"x-forwarded-for", b"198.51.100.7"), (b"x-forwarded-proto", b"https")]


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_headers_of_a_trusted_proxy_are_passed_on(settings: Any, kind: str) -> None:
    settings.TRUSTED_PROXIES = PRIVATE
    for peer in (["10.0.0.1", 4711], ["::1", 4711], None):
        scope = await passed_on(peer, *HEADERS, kind=kind)
        assert scope["client"][0] == "198.51.100.7"
        # As a server reads it that writes it into its own log.
        assert get_client_addr(scope) == "198.51.100.7:0"  # type: ignore[arg-type]
        assert HEADERS[1] in scope["headers"]
        assert IGNORED not in scope


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("name", sorted(proxies.FORWARDED))
async def test_headers_of_an_untrusted_client_are_left_out(settings: Any, kind: str, name: bytes) -> None:
    settings.TRUSTED_PROXIES = PRIVATE
    scope = await passed_on(["203.0.113.9", 4711], (name, b"https"), kind=kind)
    assert scope["client"][0] == "203.0.113.9"
    assert scope["headers"] == [(b"host", b"x")]
    assert scope[IGNORED] == "203.0.113.9"


async def test_two_headers_are_one_list(settings: Any) -> None:
    settings.TRUSTED_PROXIES = PRIVATE
    one, other = (b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-for", b"198.51.100.7")
    assert (await passed_on(["10.0.0.1", 1], one, other))["client"][0] == "198.51.100.7"
