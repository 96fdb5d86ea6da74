"""How a process stands with an MCP server; apart from the rest, which takes a second to import."""

from dataclasses import dataclass
from typing import Literal

State = Literal["connecting", "connected", "waiting", "unusable", "closed"]


@dataclass(frozen=True, slots=True)
class ServerState:
    """How this process stands with a server, for operators."""

    name: str
    transport: str
    state: State
    tools: int
    attempts: int
    """Tries in a row that failed."""
    last_error: str
    since: float
    """Unix time of the last change."""
