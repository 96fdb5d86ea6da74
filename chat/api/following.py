"""Following a session without a socket: the same frames in the same order, as long as the client's login and role last."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from uuid import UUID

from django.http import HttpRequest

from agents.sentence import Sentence
from chat.access import Role
from chat.api.bodies import login_of, user_of
from chat.live import connections, subscriptions
from chat.live.handshake import Login
from chat.models import Door
from chat.protocol import Close
from chat.runs import registry as run_registry
from chat.runs.admission import Refused
from chat.runtime import database
from chat.security import audit

logger = logging.getLogger(__name__)


class Follower:
    """A client that may follow a session, and has not begun to."""

    def __init__(self, login: Login, session_id: UUID, grant: connections.Grant) -> None:
        self.session_id = session_id
        self._login = login
        self._grant = grant
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def follow(
        self, send: Callable[[str], Awaitable[None]], last_seq: int = 0, last_id: str | None = None
    ) -> int:
        """Hand every frame after the last one that the client has to ``send``, first of all `session`; returns a close code at the end.

        ``send`` is given a frame's text, the same object for every reader, and returns when the network has taken it: meanwhile what
        comes waits in the log. Counts as a socket as long as it lasts.
        """
        if not run_registry.is_open():
            return Close.RESTARTING
        try:
            subscription, view = await subscriptions.open_subscription(
                run_registry.PROCESS, self.session_id, self._login, self._grant, send, self._end, acknowledges=False
            )
        except connections.TooMany:
            return Close.TOO_MANY
        except Exception:
            logger.exception("A session could not be followed")
            return Close.INTERNAL
        try:
            if not run_registry.is_open():
                # It connected just before the process began to stop.
                return Close.RESTARTING
            await subscription.begin(last_seq, last_id, view)
            return await self._ended
        except Exception:
            logger.exception("A session could not be followed any further")
            return Close.INTERNAL
        finally:
            await subscription.leave()

    def stop(self) -> None:
        """Follow no further: the client has all that it wanted."""
        if not self._ended.done():
            self._ended.set_result(0)

    async def _end(self, code: int) -> None:
        if not self._ended.done():
            self._ended.set_result(code)


async def open_session(request: HttpRequest, session_id: UUID | None, door: Door) -> Follower:
    """The requesting user as a follower of a session. Raises `Refused` if they may not see it, or follow too many."""
    user = user_of(request)
    process = run_registry.PROCESS
    grant = await database.read(connections.find_grant, user, session_id, process) if session_id else None
    if session_id is None or grant is None:
        raise Refused("not_found", Sentence("There is no such session."))
    if not connections.may_enter(user, grant):
        raise Refused("rate_limited", Sentence("You have too many connections open. Please close some."))
    if grant.role is Role.STAFF:
        await database.write(audit.record_view, user.pk, session_id, door)
    return Follower(login_of(request), session_id, grant)
