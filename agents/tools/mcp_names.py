"""The names under which models see the tools of MCP servers: valid, unique, and different from those of our tools."""

import re
from collections.abc import Collection, Iterable

LONGEST = 64
#: How many characters of a server's name are part of its tools' names.
_LONGEST_SERVER = 32


class ToolNames:
    """The names that were assigned. A tool keeps its name as long as the process lives, because models remember names."""

    def __init__(self, servers: Iterable[str], reserved: Collection[str]) -> None:
        self._reserved = reserved
        self._prefixes: dict[str, str] = {}
        self._names: dict[tuple[str, str], str] = {}
        self.add_servers(servers)

    def add_servers(self, servers: Iterable[str]) -> None:
        """Give each server a prefix for its tools' names, connected or not, so that they are the same in every process."""
        for server in servers:
            if server not in self._prefixes:
                prefix = _clean(server)[:_LONGEST_SERVER]
                self._prefixes[server] = _free(prefix, self._prefixes.values(), _LONGEST_SERVER)

    def name_of(self, server: str, tool: str) -> str:
        """The name of a server's tool."""
        key = (server, tool)
        if key not in self._names:
            used = {*self._reserved, *self._names.values()}
            name = _clean(f"{self._prefixes[server]}-{tool}")[:LONGEST]
            self._names[key] = _free(name, used)
        return self._names[key]


def _clean(name: str) -> str:
    """The name with only the characters that models accept."""
    cleaned = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return cleaned if re.match(r"[A-Za-z_]", cleaned) else f"_{cleaned}"


def _free(name: str, used: Collection[str], longest: int = LONGEST) -> str:
    """The name, with a number if it is already used."""
    found, number = name, 1
    while found in used:
        number += 1
        ending = f"_{number}"
        found = name[: longest - len(ending)] + ending
    return found
