"""The operator's list of addresses of model servers that staff may enter."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult

from agents.addresses import DEFAULT_PORTS, BadAddress, split_address

#: A port that stands for any.
_ANY_PORT = "*"


@dataclass(frozen=True, slots=True)
class _Place:
    """One entry: ``host`` with ``*.`` before it means its subdomains, ``port`` 0 any port."""

    scheme: str
    host: str
    port: int
    path: str

    def holds(self, parts: SplitResult, host: str, port: int) -> bool:
        """Whether an address, split into its parts, matches."""
        return (
            parts.scheme == self.scheme
            and (host.endswith(self.host[1:]) if self.is_wide else host == self.host)
            and self.port in (0, port)
            and f"{parts.path.rstrip('/')}/".startswith(f"{self.path}/")
        )

    @property
    def is_wide(self) -> bool:
        """Whether it matches hosts that the operator has not named."""
        return self.host.startswith("*.")


class AddressList:
    """Addresses like ``https://api.example.org/v1``, ``https://*.example.org`` or ``http://10.0.0.5:*``, and everything below them.

    A star stands for all subdomains of a host, or for any port; it is not allowed elsewhere.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        """Raises `BadAddress` for an invalid pattern."""
        self._places = [_place(pattern) for pattern in patterns]

    def __bool__(self) -> bool:
        return bool(self._places)

    def allows(self, address: str) -> bool:
        """Whether a server may be at this address."""
        return bool(self._holding(address))

    def names_host(self, address: str) -> bool:
        """Whether the operator has named exactly this host, which may then be in a private network."""
        return any(not place.is_wide for place in self._holding(address))

    def _holding(self, address: str) -> list[_Place]:
        try:
            parts, host, port = split_address(address)
        except BadAddress:
            return []
        if parts.query or parts.fragment or "%" in parts.path or {".", ".."} & set(parts.path.split("/")):
            return []
        return [place for place in self._places if place.holds(parts, host.lower(), port)]


def _place(pattern: str) -> _Place:
    scheme, mark, rest = pattern.partition("://")
    stars = "*." if rest.startswith("*.") else ""
    authority, _, path = rest[len(stars) :].partition("/")
    host, colon, port = authority.rpartition(":")
    any_port = bool(colon) and port == _ANY_PORT
    plain = f"{scheme}{mark}{host if any_port else authority}/{path.rstrip('/*')}"
    parts, host, number = split_address(plain)
    if "*" in plain or parts.query or parts.fragment or scheme not in DEFAULT_PORTS:
        raise BadAddress("A star stands before a host's name or for its port.")
    return _Place(scheme, stars + host.lower(), 0 if any_port else number, parts.path.rstrip("/"))
