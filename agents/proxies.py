"""The proxies named by the environment (``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``), for all outgoing connections.

Read as curl and Go's library read them: lower-case names are read too, and first. ``NO_PROXY`` is a list of hosts (each with its
subdomains), addresses and networks, with or without a port; or ``*``.
"""

import functools
import ipaddress
import os
import re
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from agents.addresses import DEFAULT_PORTS, host_and_port, mask_address
from agents.sentence import Sentence


class UnusableProxy(OSError):
    """The environment names a proxy that can't be used. The message says why, without secret parts."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy: it forwards requests, and opens tunnels (``CONNECT``) for TLS."""

    host: str
    port: int
    #: The value of the ``Proxy-Authorization`` header; empty if the proxy asks for none.
    authorization: str = ""
    #: As written in the environment.
    url: str = ""

    def connect_request(self, host: str, port: int) -> bytes:
        """The request that asks the proxy for a tunnel to a host and port."""
        place = host_and_port("", host, port)
        proof = f"Proxy-Authorization: {self.authorization}\r\n" if self.authorization else ""
        return f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{proof}\r\n".encode()


def accepts_passage(answer: bytes) -> bool:
    """Whether a proxy's answer to `Proxy.connect_request` opens the tunnel."""
    return re.match(rb"HTTP/1\.[01] 2\d\d[ \r]", answer) is not None and b"\r\n\r\n" in answer


def refusal_of(answer: bytes) -> str:
    """The status of a proxy's refusal, to be put in brackets after a sentence; empty if it can't be parsed."""
    found = re.match(rb"HTTP/1\.[01] (\d\d\d[ \w]*)", answer[:100])
    return f" ({found[1].decode().strip()})" if found else ""


def proxy_for(scheme: str, host: str, port: int) -> Proxy | None:
    """The proxy to use for a host and port; None to connect directly. Raises `UnusableProxy`."""
    return _proxy_for(scheme, host, port, _environment())


def _environment() -> tuple[str, ...]:
    """The variables as they are now: reading them is cheap, and they may change."""
    found = os.environ.get
    return tuple(
        found(name) or found(name.upper()) or "" for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    )


@functools.lru_cache(1_000)
def _proxy_for(scheme: str, host: str, port: int, environment: tuple[str, ...]) -> Proxy | None:
    http, https, everything, exempt = environment
    address = (https if scheme == "https" else http) or everything
    if not address.strip() or any(_is_exempt(host, port, each.strip()) for each in exempt.split(",")):
        return None
    return _parsed(address.strip())


def _parsed(address: str) -> Proxy:
    address = address if "://" in address else f"http://{address}"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host or parts.scheme != "http":
        raise UnusableProxy(
            Sentence(
                "The proxy of this machine's environment (%(address)s) is none that can be used: http://HOST:PORT.",
                address=mask_address(address),
            )
        )
    proof = ""
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        proof = f"Basic {b64encode(user.encode()).decode()}"
    return Proxy(host, port or DEFAULT_PORTS["http"], proof, address)


def _is_exempt(host: str, port: int, pattern: str) -> bool:
    """Whether an entry of ``NO_PROXY`` matches this host and port."""
    if pattern == "*":
        return True
    host, pattern = host.lower().rstrip("."), pattern.lower()
    name, colon, number = pattern.rpartition(":")
    if colon and number.isdigit() and (":" not in name or name.endswith("]")):
        if int(number) != port:
            return False
        pattern = name
    pattern = pattern.strip("[]").removeprefix("*").lstrip(".").rstrip(".")
    if not pattern:
        return False
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return host == pattern or host.endswith(f".{pattern}")
