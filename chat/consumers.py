"""One socket on one session: checks login and role, passes commands to the use cases, and is sent the session's feed.

Nothing slow is awaited in a handler but the short transaction of a command, and no run belongs to a socket.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable
from typing import Any, cast
from urllib.parse import parse_qs
from uuid import UUID, uuid4

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import Error as DatabaseError

from agents.sentence import Sentence
from chat import protocol
from chat.access import Role
from chat.catalog import agents as catalog
from chat.live import activity as live_activity
from chat.live import connections, handshake, subscriptions
from chat.models import Door, Scope
from chat.protocol import (
    Ack,
    Activity,
    Answer,
    Approve,
    BadFrame,
    Cancel,
    Chat,
    Close,
    Continue,
    ErrorCode,
    Ping,
    Resume,
    Steer,
    Unsteer,
    as_uuid,
    encode_frame,
    error_data,
)
from chat.protocol.frame_data import AcceptedData, PongData
from chat.runs import commands as run_commands
from chat.runs import deciding, steering
from chat.runs import registry as run_registry
from chat.runs.admission import Refused
from chat.runtime import background, database
from chat.security import audit, tokens
from chat.serving import supervisor
from chat.serving.network_producer import SEND_NOW
from chat.store import selectors

logger = logging.getLogger(__name__)

#: Commands that are handled of one socket at once, and a second after that; more wait in the network. A large one counts as several.
_AT_ONCE = 200
_PER_S = 200
_SIZE_OF_ONE = 4096
#: A user's activity is passed on once in so many seconds; more is dropped.
_ACTIVITY_PAUSE_S = 1.0
#: A socket whose session could not be read by then is accepted before it is sent anything; servers give up a handshake after five seconds.
_ACCEPT_AFTER_S = 1.0
#: A number of an event that is above the head of every log.
_ABOVE_ALL = 10**18
#: How many seconds after its run was started a message is answered.
_RUN_FIRST_S = 0.001

#: The scope that a token needs for each command.
NEEDED: dict[type, Scope] = {
    Ack: Scope.READ,
    Ping: Scope.READ,
    Activity: Scope.READ,
    Resume: Scope.READ,
    Chat: Scope.ASK,
    Continue: Scope.ASK,
    Cancel: Scope.ASK,
    Steer: Scope.ASK,
    Unsteer: Scope.ASK,
    Approve: Scope.ASK,
    Answer: Scope.ASK,
}


class RefuseConsumer(AsyncWebsocketConsumer):
    """Any other socket path: refused in the handshake."""

    async def connect(self) -> None:
        """Refuse."""
        await self.close()


class SessionConsumer(AsyncWebsocketConsumer):
    """A client's socket on a session."""

    def __init__(self) -> None:
        super().__init__()
        self.login: handshake.Login | None = None
        self._subscription: subscriptions.SessionSubscription | None = None
        self._fallback_agent: str | None = None
        self._accepted = False
        self._ended = False
        self._turns: float = _AT_ONCE
        self._turn_at = time.monotonic()
        self._active_at = -_ACTIVITY_PAUSE_S

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Receive the socket's events one by one. The session's feed is the member of the group, so a socket needs no channel."""
        self.scope = scope
        self.base_send = send
        try:
            while True:
                await self.dispatch(await receive())
        except StopConsumer:
            pass
        finally:
            await self._leave()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Handle one event, without the stock hop through the thread that all synchronous code shares."""
        match message["type"]:
            case "websocket.connect":
                await self.connect()
            case "websocket.receive":
                await self.receive(message.get("text"), message.get("bytes"))
            case "websocket.disconnect":
                raise StopConsumer

    async def connect(self) -> None:
        """Check origin, login and role; then join, replay and go live. With a token the origin is not checked: no page sends one."""
        if handshake.bearer_of(self.scope) is None and not handshake.is_own_origin(self.scope):
            await self.close()
            return
        if supervisor.is_draining():
            await self._end(Close.RESTARTING)
            return
        supervisor.start_clockwork()
        # Accepted together with its first frame: the network sends both at once. If that takes long, the client need not wait for it.
        waiting = asyncio.get_running_loop().call_later(_ACCEPT_AFTER_S, self._accept_soon)
        try:
            await self._enter()
        except Exception:
            logger.exception("A socket could not be opened")
            await self._end(Close.INTERNAL)
        finally:
            waiting.cancel()

    async def _enter(self) -> None:
        session_id = as_uuid(self.scope["url_route"]["kwargs"]["session_id"])
        self.login, grant = await database.read(find_access, self.scope, session_id)
        # Cookies and all: they are not read again, however long the socket stays open.
        cast(list[Any], self.scope["headers"]).clear()
        if self.login is None:
            await self._end(Close.NOT_LOGGED_IN)
            return
        if self.login.token is not None:
            tokens.record_use(self.login.token, Door.SOCKET)
        if session_id is None or grant is None:
            await self._end(Close.NO_SUCH_SESSION)
            return
        if grant.role is Role.STAFF:
            await database.write(audit.record_view, self.login.user.pk, session_id, Door.SOCKET)
        try:
            self._subscription, view = await subscriptions.open_subscription(
                run_registry.PROCESS,
                session_id,
                self.login,
                grant,
                self._send_text,
                self._end,
                # Our server's own; it refuses what comes before the socket is accepted, or after it was closed.
                send_now=cast(dict[str, Any], self.scope).pop("extensions", {}).get(SEND_NOW),
            )
        except connections.TooMany:
            await self._end(Close.TOO_MANY)
            return
        if supervisor.is_draining():
            # It connected just before the process began to stop.
            await self._end(Close.RESTARTING)
            return
        query = parse_qs(self.scope["query_string"].decode("latin1"), keep_blank_values=True)
        problems: list[tuple[ErrorCode, str]] = []
        agent = query.get("agent_name", [None])[-1]
        if agent and await self._may_use(agent):
            self._fallback_agent = agent
        elif agent:
            problems.append(
                ("unknown_agent", Sentence("There is no agent “%(name)s”; the session's own is used.", name=agent[:64]))
            )
        problem = await self._begin(query.get("last_seq", ["0"])[-1], query.get("last_id", [None])[-1], view)
        for code, message in [*problems, *problem]:
            self._error(code, message)

    async def _may_use(self, agent: str) -> bool:
        """Whether there is such an agent for this user; for most users, the process knows without a query."""
        known = catalog.is_open(agent)
        return await database.read(catalog.may_use, agent, self._user().pk) if known is None else known

    async def _begin(
        self, last_seq: Any, last_id: Any, view: selectors.SessionView | None = None
    ) -> list[tuple[ErrorCode, str]]:
        """Send the session's frame, then everything after the client's place in the log; ``view`` is the session, if it was just read."""
        seq = _count(last_seq)
        await self._subscribed().begin(seq or 0, str(last_id) if last_id else None, view)
        if seq is None:
            return [("bad_last_seq", "last_seq must be a whole number from 0 on; the whole log is sent.")]
        return []

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Take a client's frame."""
        if self._subscription is None or self._ended:
            return
        self._subscription.subscriber.touch()
        await self._turn(len(text_data or bytes_data or ""))
        if len(text_data or bytes_data or "") > protocol.FRAME_LIMIT:
            self._subscription.subscriber.request_close(Close.TOO_LARGE)
            return
        own_id: str | None = None
        try:
            command = protocol.parse_command(text_data)
            own_id = command.client_message_id if isinstance(command, Chat | Continue | Steer | Unsteer) else None
            await self._handle(command)
        except BadFrame as bad:
            self._error(bad.code, bad.message, bad.client_message_id)
        except DatabaseError:
            logger.exception("A command could not be executed, because the database failed")
            words = Sentence("The database did not answer. Please try again; a message is not taken twice.")
            self._error("storage", words, own_id)
        except Exception:
            logger.exception("A command failed")
            self._error("internal", Sentence("Something in this program went wrong; it has been noted."), own_id)

    async def _turn(self, size: int) -> None:
        """Wait until the next command may be handled: when the client has read its answers, and others have had their time."""
        await self._subscribed().subscriber.wait_drained()
        now = time.monotonic()
        self._turns = min(_AT_ONCE, self._turns + (now - self._turn_at) * _PER_S) - 1 - size / _SIZE_OF_ONE
        self._turn_at = now
        if self._turns < 0:
            await asyncio.sleep(-self._turns / _PER_S)

    async def _handle(self, command: protocol.Command) -> None:
        subscriber = self._subscribed().subscriber
        if not cast(handshake.Login, self.login).may(NEEDED[type(command)]):
            words = Sentence("This token may watch, but not ask, stop or change anything.")
            self._error("not_allowed", words, getattr(command, "client_message_id", None))
            return
        match command:
            case Ack(seq=seq):
                subscriber.acknowledge(seq)
            case Ping():
                pong: PongData = {"last_seq": subscriber.feed.head, "timestamp": time.time()}
                subscriber.send_control(encode_frame({"type": "pong", "data": pong}))
            case Resume():
                await self._resume(command)
            case Chat() | Continue() | Steer():
                await self._enqueue_command(self._asked(command), command.client_message_id)
            case Unsteer():
                await self._unsteer(command)
            case Cancel():
                await self._cancel(command)
            case Activity():
                await self._publish_activity(command)
            case Approve() | Answer():
                await self._decide(command)

    def _asked(self, command: Chat | Continue | Steer) -> Awaitable[run_commands.Accepted]:
        """Answer a command that asks something."""
        session_id, own_id = self._subscribed().open_socket.session_id, command.client_message_id
        match command:
            case Chat():
                return run_commands.ask(
                    self._user(),
                    session_id,
                    message=command.message,
                    agent_name=command.agent_name,
                    fallback_agent=self._fallback_agent,
                    enable_reasoning=command.enable_reasoning,
                    client_message_id=own_id,
                    files=command.files,
                )
            case Continue():
                return run_commands.continue_run(self._user(), session_id, as_uuid(command.run_id), own_id)
            case Steer():
                return steering.steer(
                    self._user(),
                    session_id,
                    message=command.message,
                    client_message_id=own_id,
                    interrupt=command.interrupt,
                    fallback_agent=self._fallback_agent,
                    door=Door.SOCKET,
                )

    async def _enqueue_command(self, asked: Awaitable[run_commands.Accepted], client_message_id: str | None) -> None:
        """Answer with `accepted` before anything of the run is sent."""
        subscriber = self._subscribed().subscriber
        subscriber.cork()
        try:
            accepted = await asked
            if accepted.claim is not None:
                # The run's request to the model goes first.
                await asyncio.sleep(_RUN_FIRST_S)
            answer: AcceptedData = {
                "client_message_id": accepted.client_message_id,
                "run_id": str(accepted.run_id),
                "queued": accepted.queued,
            }
            if accepted.is_word:
                answer["steer"] = True
            # Before the log is released: the run's first events are in it already, and others may have read them.
            subscriber.send_control(encode_frame({"type": "accepted", "data": answer}))
        except Refused as refused:
            self._error(refused.code, refused.message, client_message_id)
            return
        finally:
            subscriber.uncork()

    async def _unsteer(self, command: Unsteer) -> None:
        own_id = command.client_message_id
        try:
            await steering.unsteer(self._user(), self._subscribed().open_socket.session_id, own_id, Door.SOCKET)
        except Refused as refused:
            self._error(refused.code, refused.message, own_id)

    async def _resume(self, command: Resume) -> None:
        subscriber = self._subscribed().subscriber
        subscriber.cork()
        try:
            problems = await self._begin(command.last_seq, command.last_id)
        finally:
            subscriber.uncork()
        for code, message in problems:
            self._error(code, message)

    async def _cancel(self, command: Cancel) -> None:
        open_socket = self._subscribed().open_socket
        try:
            # What cannot be a run's identifier names none.
            run_id = None if command.run_id is None else as_uuid(command.run_id) or uuid4()
            await run_commands.cancel(
                self._user(), open_socket.session_id, run_id, everything=command.all, door=Door.SOCKET
            )
        except Refused as refused:
            self._error(refused.code, refused.message)

    async def _decide(self, command: Approve | Answer) -> None:
        # What cannot be a run's identifier names none.
        session_id, run_id = self._subscribed().open_socket.session_id, as_uuid(command.run_id) or uuid4()
        try:
            if isinstance(command, Answer):
                call_id, answers = command.tool_call_id, command.answers
                await deciding.answer(self._user(), session_id, run_id, call_id, answers, Door.SOCKET)
            else:
                await deciding.approve(self._user(), session_id, run_id, deciding.approval_of(command), Door.SOCKET)
        except Refused as refused:
            self._error(refused.code, refused.message)

    async def _publish_activity(self, activity: Activity) -> None:
        if (activity.seq or 0) > self._subscribed().subscriber.feed.head:
            self._error("bad_seq", Sentence("There is no step %(n)s in this session.", n=str(activity.seq)[:20]))
            return
        now = time.monotonic()
        if now - self._active_at >= _ACTIVITY_PAUSE_S:
            self._active_at = now
            await live_activity.publish(
                self._user(), self._subscribed().open_socket, activity.seq, typing=activity.typing
            )

    def _error(self, code: ErrorCode, message: str, client_message_id: str | None = None) -> None:
        subscriber, open_socket = self._subscribed().subscriber, self._subscribed().open_socket
        error_id = secrets.token_hex(4)
        logger.info("Refused a command: %s %s (session %s)", code, error_id, open_socket.session_id)
        data = error_data(code, message, error_id, client_message_id)
        subscriber.send_control(encode_frame({"type": "error", "data": data}))

    def _subscribed(self) -> subscriptions.SessionSubscription:
        return cast(subscriptions.SessionSubscription, self._subscription)

    def _user(self) -> Any:
        return cast(handshake.Login, self.login).user

    async def _send_text(self, frame: str) -> None:
        if not self._ended:
            await self._pass_on({"type": "websocket.send", "text": frame})

    async def _end(self, code: int) -> None:
        if not self._ended:
            self._ended = True
            await self._pass_on({"type": "websocket.close", "code": code})

    def _accept_soon(self) -> None:
        background.spawn(self._pass_on(None), "accept a socket")

    async def _pass_on(self, message: dict[str, Any] | None) -> None:
        """Send an event; the first one accepts the socket before it."""
        # Some servers raise if the client has disconnected, others only send the disconnect.
        with contextlib.suppress(OSError):
            if not self._accepted:
                self._accepted = True
                await self.accept()
            if message is None:
                return
            await self.base_send(cast(Any, message))

    async def _leave(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await subscription.leave()


def find_access(
    scope: handshake.Scope, session_id: UUID | None
) -> tuple[handshake.Login | None, connections.Grant | None]:
    """The login of the handshake, and its role in the session; reads only."""
    login = handshake.login_of(scope)
    if login is None or session_id is None:
        return login, None
    return login, connections.find_grant(login.user, session_id, run_registry.PROCESS)


def _count(value: Any) -> int | None:
    """A client's last_seq, from a query string or a frame: a whole number from 0 on; one above any head there can be stays above."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return min(value, _ABOVE_ALL) if value >= 0 else None
    if isinstance(value, str) and value.isascii() and value.isdigit():
        digits = value.lstrip("0")
        return int(digits or 0) if len(digits) < len(str(_ABOVE_ALL)) else _ABOVE_ALL
    return None
