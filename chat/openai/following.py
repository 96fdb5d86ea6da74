"""Follows a run to its end, by its session's frames as a socket gets them, from the run's first frame on."""

from collections.abc import Awaitable, Callable

import orjson
from django.conf import settings

from chat.accounts.models import User
from chat.api.following import Follower
from chat.live import connections
from chat.live.handshake import Login
from chat.openai.failures import Failure
from chat.openai.pieces import Frame
from chat.protocol import Close
from chat.runs import registry as run_registry
from chat.runs.client_turns import Asked
from chat.runtime import database

#: Handles a frame, and returns whether it was the last one needed.
OnFrame = Callable[[Frame], Awaitable[bool]]

_WORDS = {
    Close.NOT_LOGGED_IN: "The token holds no longer. The run goes on in its session.",
    Close.NO_SUCH_SESSION: "The session was deleted.",
    Close.RESTARTING: "The server restarts. The run goes on in its session, or can be continued there.",
}
_TOO_MANY = "Too many connections of this account are open. Please close some."


def check_connections(user: User) -> None:
    """Refuse a user who has the most open connections that are allowed, before the run is started. Raises `Failure`."""
    most = settings.MAX_SOCKETS_PER_USER
    if most and sum(here == user.pk for here in connections.open_here.values()) >= most:
        raise Failure(429, _TOO_MANY, "rate_limited", is_final=False)


async def follow_run(login: Login, asked: Asked, on_frame: OnFrame) -> None:
    """Pass the frames of a run's session to ``on_frame`` until it has the last one it needs. Raises `Failure` if they end before."""
    grant = await database.read(connections.find_grant, login.user, asked.session_id, run_registry.PROCESS)
    if grant is None:
        raise _lost(Close.NO_SUCH_SESSION)
    follower = Follower(login, asked.session_id, grant)

    async def send(text: str) -> None:
        if await on_frame(orjson.loads(text)):
            follower.stop()

    code = await follower.follow(send, asked.after)
    if code:
        raise _lost(code)


def _lost(code: int) -> Failure:
    if code == Close.TOO_MANY:
        return Failure(429, _TOO_MANY, "rate_limited")
    return Failure(503, _WORDS.get(code, "The connection was lost. The run goes on in its session."), "interrupted")
