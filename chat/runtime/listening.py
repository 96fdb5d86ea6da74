"""The address on which this process listens: parsed from the operator's setting, bound, and shown to browsers on this machine."""

import re
import socket

from agents.addresses import host_and_port, plain_ipv6

#: The addresses that mean all addresses of this machine.
EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to
_NAME = re.compile(r"[\w-]{1,63}(\.[\w-]{1,63})*\.?", re.ASCII)


class NoHost(ValueError):
    """Not an address to listen on. The message continues after the variable's name: "must be …"."""


def read_host(text: str) -> str:
    """The normal form of an address or a name to listen on; an IPv6 address may be in brackets. Raises `NoHost`."""
    if six := plain_ipv6(text):
        return six
    if not _NAME.fullmatch(text):
        raise NoHost(
            "must be an address or a name of this machine, without scheme and port, such as 127.0.0.1, ::1 or localhost; "
            "0.0.0.0 is all of its addresses"
        )
    try:
        return socket.inet_ntoa(socket.inet_aton(text))  # 0 and 127.1 are addresses, too
    except OSError:
        return text.lower()


def own_address(host: str, port: int) -> str:
    """The origin by which browsers on this machine reach a server that listens on a host and port."""
    return f"http://{host_and_port('', 'localhost' if host in EVERY_ADDRESS else host, port)}"


def listen_on(host: str, port: int, backlog: int) -> socket.socket:
    """A socket that listens on a host from `read_host`; for a name, on its first IPv4 address if it has one. Raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if host == "::":
            # Not left to the system's default: all addresses include those of IPv4.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener
