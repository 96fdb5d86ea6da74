"""Where this process listens: what operators write for it, the socket, and the address that browsers on this machine find it at."""

import re
import socket

from agents.addresses import host_and_port, plain_ipv6

#: What stands for all of this machine's addresses.
EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to
_NAME = re.compile(r"[\w-]{1,63}(\.[\w-]{1,63})*\.?", re.ASCII)


class NoHost(ValueError):
    """Nothing to listen on. The message continues after the variable's name: "must be …"."""


def read_host(text: str) -> str:
    """An address or a name to listen on, in its one spelling; an IPv6 address may stand in brackets. Raises `NoHost`."""
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
    """The origin by which browsers on this machine reach what listens there."""
    return f"http://{host_and_port('', 'localhost' if host in EVERY_ADDRESS else host, port)}"


def listen_on(host: str, port: int, backlog: int) -> socket.socket:
    """A socket that listens on a host as `read_host` returns it; of a name's addresses, on the first of IPv4. Raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if host == "::":
            # Whatever the system's own choice is: all addresses are those of IPv4, too.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener
