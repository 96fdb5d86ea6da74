"""The only writer of `ToolServer`: how processes that execute runs stand with their MCP servers, for operators to see."""

from collections.abc import Sequence
from datetime import UTC, datetime

from django.db import Error as DatabaseError
from django.db import transaction

import agents
from chat.models import Process, ToolServer
from chat.protocol import group_messages
from chat.protocol.group_messages import RestartToolServer
from chat.runtime import database, groups


class Publisher:
    """Writes down how this process stands with its servers, whenever that has changed."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._published: Sequence[agents.ServerState] = []

    async def publish(self) -> None:
        """Look, and write what is new; nothing is asked of the database where nothing is."""
        states = agents.server_states()
        if states != self._published:
            await database.write(_store, self._process, states)
            self._published = states


@transaction.atomic
def _store(process: str, states: Sequence[agents.ServerState]) -> None:
    alive = [process, *Process.objects.values_list("name", flat=True)]
    ToolServer.objects.exclude(process__in=alive).delete()
    ToolServer.objects.filter(process=process).exclude(name__in=[state.name for state in states]).delete()
    for state in states:
        row = {
            "transport": state.transport[:300],
            "state": state.state,
            "tools": state.tools,
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
        # Whoever publishes next removes what belongs to no process.
        return


async def restart(name: str) -> None:
    """Have all processes connect to a server anew."""
    message: RestartToolServer = {"version": group_messages.VERSION, "type": "restart_tool_server", "name": name}
    await groups.publish(groups.EVERYONE, message)
