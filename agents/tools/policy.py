"""The caller's rules about private things and hosts, which `agents.tools.egress` enforces."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Protocol

from agents.tools.special_addresses import embedded_ipv4


class SessionPrivacy(Protocol):
    """The part of egress checks that is stored beyond one run. Its methods are called in tools' threads."""

    def is_marked(self) -> bool:
        """Whether the session has read private things, in this run or an earlier one."""
        ...

    def mark(self) -> None:
        """Store, for good, that it has; the result is returned to the model only after this."""
        ...

    def person_texts(self) -> Iterable[str]:
        """What people wrote in the session."""
        ...

    def page_texts(self) -> Iterable[str]:
        """What `fetch_page` returned in the session, the newest first."""
        ...


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """The operator's lists of hosts: ``example.org`` is that host, ``*.example.org`` those below it.

    What is denied is denied; where anything is allowed, nothing else is.
    """

    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()

    def allows(self, host: str) -> bool:
        """Whether a host may be requested. It is as returned by `agents.addresses.split_address`."""
        if any(_matches(each, self.denied) for each in (host, *_inside(host))):
            return False
        return not self.allowed or _matches(host, self.allowed)


def _inside(host: str) -> Iterator[str]:
    """The IPv4 address that an IPv6 one leads to."""
    if ":" in host and (inside := embedded_ipv4(IPv6Address(host))) is not None:
        yield str(inside)


def _matches(host: str, patterns: Sequence[str]) -> bool:
    host = host.lower()
    return any(host.endswith(each[1:]) if each.startswith("*.") else host == each for each in patterns)
