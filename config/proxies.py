"""The client of a request: the one that a trusted proxy names, or the connected one. ``X-Forwarded-For`` is only read here."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from django.conf import settings

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]
Address = IPv4Address | IPv6Address

#: Headers by which proxies name their client. From any other sender they are ignored.
FORWARDED = frozenset(
    {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port", b"forwarded"}
)
#: The key in a scope that says that an untrusted client has sent such headers.
IGNORED = "thinkaloud.ignored_proxy"
#: The part of a client's address that identifies it: one household or machine has at least this much of IPv6.
_IPV6_NETWORK = 64


def parse_address(text: str) -> Address | None:
    """Parse an address as proxies write it, with or without a port; None if it is invalid."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


@cache
def _networks(names: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(name, strict=False) for name in names)


def is_trusted(address: Address | None) -> bool:
    """Whether this is one of the installation's own proxies. A peer without an address is on a Unix socket of this machine."""
    return address is None or any(address in network for network in _networks(tuple(settings.TRUSTED_PROXIES)))


def client_address(peer: str, forwarded_for: str) -> str:
    """The client's address.

    ``X-Forwarded-For`` is read from the right, as long as the hop that wrote an entry is trusted; entries further to the left, or that
    are no address, could be written by anybody.
    """
    client = parse_address(peer)
    if client is None:
        return peer
    for entry in reversed(forwarded_for.split(",")):
        named = parse_address(entry)
        if named is None or not is_trusted(client):
            break
        client = named
    return str(client)


def client_network(address: str) -> str:
    """What counts as one client: an IPv4 address, or the network of an IPv6 one, written as its first address."""
    client = parse_address(address)
    if not isinstance(client, IPv6Address):
        return str(client) if client else address
    return str(IPv6Network((client, _IPV6_NETWORK), strict=False).network_address)


def header_values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    """All values of a header, as one list."""
    return ",".join(value.decode("latin1") for key, value in headers if key == name)


class TrustedProxies:
    """Replaces a trusted proxy's address by the client's own, and removes such headers of other senders."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, scope: Scope, receive: Any, send: Any) -> Awaitable[None]:
        """Pass one request or socket on."""
        if scope["type"] in {"http", "websocket"} and any(name in FORWARDED for name, _ in scope["headers"]):
            peer = (scope.get("client") or ("", 0))[0]
            if is_trusted(parse_address(peer)):
                forwarded_for = header_values(scope["headers"], b"x-forwarded-for")
                # A tuple: uvicorn formats it with %, which accepts no list.
                scope["client"] = (client_address(peer or "127.0.0.1", forwarded_for), 0)
            else:
                kept = [(name, value) for name, value in scope["headers"] if name not in FORWARDED]
                scope = {**scope, "headers": kept, IGNORED: peer}
        return self._application(scope, receive, send)
