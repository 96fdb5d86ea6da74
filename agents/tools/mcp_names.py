"""What models call the tools of MCP servers by: valid names, none of which stands for two tools or for one of ours."""

import re
from collections.abc import Collection, Iterable

LONGEST = 64
#: What of a server's name stands in those of its tools at most.
_LONGEST_SERVER = 32


class ToolNames:
    """The names that have been given out. A tool keeps its name as long as the process lives, for models remember names."""

    def __init__(self, servers: Iterable[str], reserved: Collection[str]) -> None:
        self._reserved = reserved
        self._prefixes = _apart(servers)
        self._names: dict[tuple[str, str], str] = {}

    def name_of(self, server: str, tool: str) -> str:
        """The name of a server's tool."""
        key = (server, tool)
        if key not in self._names:
            taken = {*self._reserved, *self._names.values()}
            name = _clean(f"{self._prefixes[server]}-{tool}")[:LONGEST]
            self._names[key] = _free(name, taken)
        return self._names[key]


def _apart(servers: Iterable[str]) -> dict[str, str]:
    """A beginning for each server's names, whichever of them is there at the moment: the same in every process."""
    prefixes: dict[str, str] = {}
    for server in dict.fromkeys(servers):
        prefixes[server] = _free(_clean(server)[:_LONGEST_SERVER], prefixes.values(), _LONGEST_SERVER)
    return prefixes


def _clean(name: str) -> str:
    """The name as models accept it."""
    cleaned = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return cleaned if re.match(r"[A-Za-z_]", cleaned) else f"_{cleaned}"


def _free(name: str, taken: Collection[str], longest: int = LONGEST) -> str:
    """The name, with a number where it is taken already."""
    found, number = name, 1
    while found in taken:
        number += 1
        ending = f"_{number}"
        found = name[: longest - len(ending)] + ending
    return found
