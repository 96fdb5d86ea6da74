"""The caller's rules about private things and hosts, which `agents.tools.egress` enforces."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


class SessionPrivacy(Protocol):
    """What is stored of a session beyond one run. Its methods are called in tools' threads."""

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
        return not _matches(host, self.denied) and (not self.allowed or _matches(host, self.allowed))


def _matches(host: str, patterns: Sequence[str]) -> bool:
    host = host.lower()
    return any(host.endswith(each[1:]) if each.startswith("*.") else host == each for each in patterns)
