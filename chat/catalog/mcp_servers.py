"""Which MCP servers an agent's version has, and how they are reached: the environment's, and those that staff have entered.

Of the latter a version has those alone that it chooses. Programs come from the environment, and so does each name that stands there.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from django.conf import settings

from agents import McpChoice, mask_text
from agents.tools.mcp_config import ServerConfig, Transport, Withheld
from chat.catalog.sealed import BadSecret, unseal_secret
from chat.catalog.server_addresses import addresses_for
from chat.models import McpServer, Process, ToolServer

#: For how many seconds what was read is cached.
_FRESH_S = 1.0
_BEARER = "authorization"


@dataclass(slots=True)
class _Read:
    entries: Mapping[str, ServerConfig | Withheld] = field(default_factory=dict)
    until: float = 0.0


_read = _Read()


def forget() -> None:
    """Read the servers again."""
    _read.until = 0.0


def configured_for(choices: Sequence[McpChoice] | None) -> Mapping[str, Any]:
    """The servers, by name, among which a version chooses. At most one query per second, and none if there is no entered server."""
    of_environment: Mapping[str, Any] = settings.MCP_SERVERS
    chosen = {choice.server for choice in choices or ()} - of_environment.keys()
    if not chosen:
        return of_environment
    entered = entered_servers()
    return {**of_environment, **{name: entered[name] for name in chosen if name in entered}}


def all_configured() -> Mapping[str, Any]:
    """All servers that a process which executes runs keeps connected."""
    return {**entered_servers(), **settings.MCP_SERVERS}


def entered_servers() -> Mapping[str, ServerConfig | Withheld]:
    """The servers that staff have entered, with how they are reached; for one that may not be used, why."""
    if time.monotonic() >= _read.until:
        _read.entries = {server.name: entry_of(server) for server in McpServer.objects.all()}
        _read.until = time.monotonic() + _FRESH_S
    return _read.entries


def entry_of(server: McpServer) -> ServerConfig | Withheld:
    """How a server is reached, unless it may not be used. Its address is taken literally: no variable is expanded."""
    allowed = addresses_for(McpServer)
    if server.archived_at is not None:
        return Withheld("was closed by staff")
    if not allowed.allows(server.address):
        return Withheld("names an address that is not allowed any more")
    try:
        key = unseal_secret(server.key)
    except BadSecret as bad:
        return Withheld(f"has a key that can't be read: {mask_text(str(bad.message)).rstrip('.')}")
    shown = f"Bearer {key}" if server.key_header.lower() == _BEARER else key
    return ServerConfig(
        transport=cast(Transport, server.transport),
        url=server.address,
        headers={server.key_header: shown} if key else {},
        follows_redirects=False,
        public_only=not allowed.names_host(server.address),
    )


def known_tools() -> dict[str, dict[str, str]]:
    """The tools of each server by name, with what each does: as the processes that are connected have them, and as trials found them."""
    found: dict[str, dict[str, str]] = {
        name: dict(offered)
        for name, offered in McpServer.objects.filter(archived_at=None).values_list("name", "offered")
    }
    living = ToolServer.objects.filter(process__in=Process.objects.values("name"), offered__isnull=False)
    for name, offered in living.values_list("name", "offered"):
        found[name] = {**found.get(name, {}), **(offered or {})}
    return found


def count_tools(mcp: Sequence[Mapping[str, Any]] | None) -> int:
    """How many tools of servers a version with these choices has, as far as they are known."""
    known = known_tools()
    chosen = [{"server": name} for name in settings.MCP_SERVERS] if mcp is None else mcp
    return sum(len(known.get(each["server"], {}) if each.get("tools") is None else each["tools"]) for each in chosen)


def names_to_choose() -> list[str]:
    """The servers that an agent may be given."""
    entered = McpServer.objects.filter(archived_at=None).values_list("name", flat=True)
    return list(dict.fromkeys([*settings.MCP_SERVERS, *entered]))
