"""The state of a process's connection to an MCP server; a module of its own, because the others take a second to import."""

from dataclasses import dataclass
from typing import Literal

State = Literal["connecting", "connected", "waiting", "unusable", "closed"]


@dataclass(frozen=True, slots=True)
class ServerState:
    """The state of this process's connection to a server, for operators."""

    name: str
    transport: str
    state: State
    tools: int
    attempts: int
    """Tries in a row that failed."""
    last_error: str
    since: float
    """Unix time of the last change."""
