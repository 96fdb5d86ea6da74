"""The only writer of `ToolServer`: the state of each process's connections to its MCP servers, for operators."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection, transaction

import agents
from chat.catalog import mcp_servers
from chat.models import Process, ToolServer
from chat.protocol import group_messages
from chat.protocol.group_messages import RestartToolServer
from chat.runtime import database, groups

logger = logging.getLogger(__name__)

#: How many characters of a tool's description are stored: the first sentence is for people, the rest for models.
_LONGEST_WORDS = 300
_NONE: Mapping[str, Any] = {}


class Publisher:
    """Stores the state of this process's connections, whenever it has changed."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._published: tuple[Sequence[agents.ServerState], Mapping[str, Any]] = [], {}

    async def publish(self) -> None:
        """Store what has changed; no query if nothing has."""
        states = agents.server_states(), agents.server_tools()
        if states != self._published:
            await database.write(_store, self._process, *states)
            self._published = states


@transaction.atomic
def _store(
    process: str, states: Sequence[agents.ServerState], offered: Mapping[str, Mapping[str, str]] = _NONE
) -> None:
    alive = [process, *Process.objects.values_list("name", flat=True)]
    ToolServer.objects.exclude(process__in=alive).delete()
    ToolServer.objects.filter(process=process).exclude(name__in=[state.name for state in states]).delete()
    for state in states:
        row = {
            "transport": state.transport[:300],
            "state": state.state,
            "tools": state.tools,
            "offered": {
                name: description[:_LONGEST_WORDS] for name, description in offered.get(state.name, _NONE).items()
            }
            or None,
            "attempts": state.attempts,
            "last_error": state.last_error[:500],
            "since": datetime.fromtimestamp(state.since, UTC),
        }
        ToolServer.objects.update_or_create(process=process, name=state.name[:200], defaults=row)


async def forget(process: str) -> None:
    """A process ends, and its connections with it."""
    try:
        await database.write(ToolServer.objects.filter(process=process).delete)
    except DatabaseError:
        # The next process that publishes removes rows of processes that are gone.
        return


async def restart(name: str) -> None:
    """Have all processes connect to a server again."""
    message: RestartToolServer = {"version": group_messages.VERSION, "type": "restart_tool_server", "name": name}
    await groups.publish(groups.EVERYONE, message)


class _Here:
    """Whether this process executes runs, and so has connections of its own."""

    connects = False


def connect_all() -> Mapping[str, Any]:
    """Connect to all servers from now on. Returns those that are configured now. Blocks: call it in a thread of its own."""
    _Here.connects = True
    try:
        return mcp_servers.all_configured()
    except DatabaseError:
        logger.warning("The tool servers that staff have entered could not be read; runs that have them connect")
        return settings.MCP_SERVERS
    finally:
        connection.close()


async def connect_anew(name: str) -> None:
    """Connect this process to a server again, with its new configuration. A removed server is ignored."""
    if not _Here.connects:
        return
    mcp_servers.forget()
    configured = await database.read(mcp_servers.all_configured)
    if name in configured:
        await asyncio.to_thread(agents.renew_server, name, configured[name])
    else:
        agents.drop_server(name)
