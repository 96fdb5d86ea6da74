"""A client's subscription to a session, however it is connected: counted, shown to others, sent the session, then replayed and live.

Each socket has one, and so has each API call that streams.
"""

from dataclasses import dataclass, replace
from typing import cast
from uuid import UUID

from chat import protocol
from chat.access import Role
from chat.catalog import budgets
from chat.live import connections, registry
from chat.live.handshake import Login
from chat.live.presence import presence
from chat.live.subscriber import End, Send, SendNow, Subscriber
from chat.protocol import Close, as_uuid, encode_frame, group_messages
from chat.protocol.frame_data import RoleName, SessionData
from chat.runtime import database, groups
from chat.store import branches, notes, selectors


@dataclass(slots=True)
class SessionSubscription:
    """A client's subscription to a session, in this process. Its methods are called on the event loop."""

    process: str
    open_socket: connections.OpenSocket
    subscriber: Subscriber

    async def begin(self, last_seq: int, last_id: str | None, view: selectors.SessionView | None = None) -> None:
        """Send the session's frame, then everything after the client's place in the log; ``view`` is the session, if it was just read.

        A number above the newest one, or another event with that number, means that the client has another log: then all is sent, after
        ``reset``.
        """
        subscriber, session_id = self.subscriber, self.open_socket.session_id
        view = view or await database.read(selectors.session_view, session_id)
        if view is None:
            subscriber.request_close(Close.NO_SUCH_SESSION)
            return
        if view.last_seq > subscriber.feed.head:
            # The group has not brought what this frame announces: without it, drafts would be sent before the replay has ended.
            await subscriber.feed.catch_up(view.last_seq)
        reset = last_seq > view.last_seq
        if last_id and not reset:
            # There is no event 0.
            stored = await database.read(selectors.event_id_at, session_id, last_seq) if last_seq else None
            reset = stored is None or as_uuid(last_id) != stored
        data = _session_data(self.open_socket, view)
        if view.notes_version:
            data["notes"] = await database.read(notes.summary, session_id, self.open_socket.user_id, view.notes_version)
        if reset:
            data["reset"] = True
        if budgets.is_any() and (budget := await database.read(budgets.tightest_for, view.owner_id, view.agent_name)):
            data["budget"] = budget
        if view.has_family:
            family = await database.read(branches.branches_of, subscriber.login.user, [session_id])
            if session_id in family:
                data["branch"] = family[session_id]
        subscriber.feed.mark_queue_sent(view.queue, view.steering)
        subscriber.start(encode_frame({"type": "session", "data": data}), 0 if reset else last_seq)

    async def change_role(self, role: Role) -> None:
        """Notify the client of its new role, and others who have the session open."""
        self.open_socket = replace(self.open_socket, role=role)
        await self.begin(self.subscriber.cursor, None)
        await database.write(connections.change_role, self.open_socket)
        await groups.publish(groups.of_session(self.open_socket.session_id), group_messages.PEOPLE_CHANGED)

    async def leave(self) -> None:
        """End the subscription."""
        presence.remove_connection(self.process, self.open_socket)
        try:
            await registry.leave_feed(self.subscriber)
        finally:
            # They refer to each other, and to the socket: only the garbage collector would free them, which runs rarely.
            self.subscriber.subscription = None


async def open_subscription(
    process: str,
    session_id: UUID,
    login: Login,
    grant: connections.Grant,
    send: Send,
    end: End,
    *,
    acknowledges: bool = True,
    send_now: SendNow | None = None,
) -> tuple[SessionSubscription, selectors.SessionView | None]:
    """Subscribe a client to a session that it may see. Also returns the session, if it was read for that.

    ``send`` gets each frame's text, the same object for all clients, and returns when the network has taken it; ``end`` gets a close code.
    ``send_now`` sends frames without waiting and returns true, or returns false if the network does not take them at once.
    Raises `connections.TooMany`. The caller has to end the subscription with `SessionSubscription.leave`.
    """
    open_socket = connections.admit_socket(login.user, session_id, grant)
    presence.add_connection(process, open_socket)
    try:
        subscriber, view = await registry.join_feed(
            session_id, login, send, end, acknowledges=acknowledges, send_now=send_now
        )
    except BaseException:
        presence.remove_connection(process, open_socket)
        raise
    subscriber.subscription = subscription = SessionSubscription(process, open_socket, subscriber)
    return subscription, view


def _session_data(open_socket: connections.OpenSocket, view: selectors.SessionView) -> SessionData:
    data: SessionData = {
        "session_id": str(open_socket.session_id),
        "title": view.title,
        "agent": view.agent_name,
        "last_seq": view.last_seq,
        "role": cast(RoleName, str(open_socket.role)),
        "window": protocol.WINDOW,
        "run": view.run,
        "queue": view.queue,
        "children": view.children,
        "steering": view.steering,
        "notes": notes.NO_NOTES,
    }
    if view.context is not None:
        data["context"] = view.context
    return data
