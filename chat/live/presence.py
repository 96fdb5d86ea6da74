"""Stores which sockets are open here, for other processes and pages: shortly after they were opened or closed, all of them together.

A socket that was closed by then is never stored. If storing fails, it is tried again as long as it is still true.
"""

import asyncio
import logging
from uuid import UUID

from django.db import Error as DatabaseError

from chat.live import connections
from chat.live.connections import OpenSocket
from chat.protocol import group_messages
from chat.runtime import background, database, groups

logger = logging.getLogger(__name__)

_PAUSE_S = 0.05
_RETRY_S = 1.0


class Presence:
    """Sockets of this process whose opening or closing is not stored yet. For use on one event loop at a time."""

    def __init__(self) -> None:
        self._opened: dict[UUID, OpenSocket] = {}
        self._closed: dict[UUID, OpenSocket] = {}
        #: Sockets that may be stored, although the write was not confirmed.
        self._unsure: set[UUID] = set()
        #: The task that stores, while there is something to store.
        self.writing: asyncio.Task[None] | None = None

    def add_connection(self, process: str, open_socket: OpenSocket) -> None:
        """Have it stored that a socket is open."""
        self._opened[open_socket.connection_id] = open_socket
        self._write_soon(process)

    def remove_connection(self, process: str, open_socket: OpenSocket) -> None:
        """Have it stored that a socket has closed."""
        key = open_socket.connection_id
        connections.open_here.pop(key, None)
        if self._opened.pop(key, None) is None or key in self._unsure:
            self._closed[key] = open_socket
            self._write_soon(process)

    def _write_soon(self, process: str) -> None:
        if self.writing is None or self.writing.get_loop().is_closed():
            self.writing = background.spawn(self._write(process), "note sockets")

    async def _write(self, process: str) -> None:
        try:
            while self._opened or self._closed:
                await asyncio.sleep(_PAUSE_S)
                opened, self._opened = self._opened, {}
                closed, self._closed = self._closed, {}
                try:
                    await database.write(connections.store_connections, process, list(opened.values()), list(closed))
                except DatabaseError:
                    logger.warning("Opened and closed sockets could not be stored; trying again", exc_info=True)
                    self._keep(opened, closed)
                    await asyncio.sleep(_RETRY_S)
                    continue
                self._unsure -= opened.keys() | closed.keys()
                for session_id in {each.session_id for each in (*opened.values(), *closed.values())}:
                    await groups.publish(groups.of_session(session_id), group_messages.PEOPLE_CHANGED)
        finally:
            self.writing = None

    def _keep(self, opened: dict[UUID, OpenSocket], closed: dict[UUID, OpenSocket]) -> None:
        """Store what is pending, including what has been added meanwhile."""
        self._unsure |= opened.keys()
        for key, open_socket in opened.items():
            if key in connections.open_here:
                self._opened[key] = open_socket
            else:
                self._closed[key] = open_socket
        self._closed |= closed


presence = Presence()
