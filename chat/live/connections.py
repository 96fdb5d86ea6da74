"""Open WebSockets: how many a user may have, and their rows, by which other processes know them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from chat.access import VIEW_SESSIONS, Role, has_right, role_of
from chat.accounts.models import User
from chat.models import SUPPORTS_WAITING, Connection, Process
from chat.runtime import clock
from chat.runtime.db_values import uuid_param
from chat.security.origins import describe_causes


@dataclass(frozen=True, slots=True)
class Grant:
    """A user's role in a session that they want to open a socket on."""

    role: Role
    #: How many sockets they have open in other processes.
    elsewhere: int


@dataclass(frozen=True, slots=True)
class OpenSocket:
    """An accepted socket: its session, the user and their role there, and its row in the table."""

    session_id: UUID
    user_id: int
    role: Role
    connection_id: UUID


#: The open sockets of this process, each with its user.
open_here: dict[UUID, int] = {}


class TooMany(Exception):
    """The user has the most open sockets that are allowed."""


_GRANT = """SELECT owner_id, (SELECT COUNT(*) FROM chat_connection WHERE user_id = %s AND process <> %s)
    FROM chat_session WHERE id = %s AND deleted_at IS NULL"""


def find_grant(user: User, session_id: UUID, process: str) -> Grant | None:
    """A user's role in a session; None if they may not see it. Reads the database."""
    with connection.cursor() as cursor:
        cursor.execute(_GRANT, [user.pk, process, uuid_param(session_id)])
        row = cursor.fetchone()
    role = row and role_of(
        user.pk, session_id, row[0], is_active=user.is_active, sees_others=lambda: has_right(user, VIEW_SESSIONS)
    )
    return Grant(role, row[1]) if role else None


def may_enter(user: User, grant: Grant) -> bool:
    """Whether a user may open another socket."""
    most = settings.MAX_SOCKETS_PER_USER
    return not most or grant.elsewhere + sum(here == user.pk for here in open_here.values()) < most


def admit_socket(user: User, session_id: UUID, grant: Grant) -> OpenSocket:
    """Count a user's socket on a session as open. On the event loop, so that nothing comes between check and count. Raises `TooMany`."""
    if not may_enter(user, grant):
        raise TooMany
    open_socket = OpenSocket(session_id, user.pk, grant.role, uuid4())
    open_here[open_socket.connection_id] = user.pk
    return open_socket


_ENTER = """INSERT INTO chat_connection (id, process, session_id, user_id, role, opened_at)
    SELECT %s, %s, session.id, person.id, %s, {now} FROM chat_session session, {people} person
    WHERE session.id = %s AND session.deleted_at IS NULL AND person.id = %s ON CONFLICT DO NOTHING"""


@transaction.atomic
def store_connections(process: str, opened: Sequence[OpenSocket], closed: Collection[UUID]) -> None:
    """Store which sockets of a process are open and which are closed. May be repeated with the same sockets."""
    if opened:
        statement = _ENTER.format(now=clock.now_expression(), people=User._meta.db_table)
        rows = [
            (uuid_param(each.connection_id), process, each.role, uuid_param(each.session_id), each.user_id)
            for each in opened
        ]
        with connection.cursor() as cursor:
            cursor.executemany(statement, rows)
    if closed:
        Connection.objects.filter(pk__in=closed).delete()


def change_role(open_socket: OpenSocket) -> None:
    """Store the role that the user of an open socket has in the session now."""
    Connection.objects.filter(pk=open_socket.connection_id).update(role=open_socket.role)


def store_heartbeat(process: str) -> None:
    """Store that a serving process, and so its sockets, is alive; and why it has refused origins."""
    values = {"seen_at": Now(), "noticed": describe_causes(), "knows": SUPPORTS_WAITING}
    Process.objects.update_or_create(name=process, defaults=values)


def forget_process(process: str) -> None:
    """Delete the rows of all sockets of a process."""
    Connection.objects.filter(process=process).delete()
    Process.objects.filter(name=process).delete()


@transaction.atomic
def forget_silent(process: str, since: datetime) -> set[UUID]:
    """Delete the rows of sockets whose process has sent no heartbeat since a time, and of sockets that this process no longer has.

    Returns their sessions.

    ``since`` is by the database's clock. The latter are sockets whose row could not be deleted when they were closed.
    """
    Process.objects.filter(seen_at__lt=since).delete()
    lost = Q(process=process) & ~Q(pk__in=list(open_here)) | ~Q(process__in=Process.objects.values("name"))
    lost_rows = Connection.objects.filter(lost, opened_at__lt=since)
    sessions = set(lost_rows.values_list("session_id", flat=True))
    lost_rows.delete()
    return sessions


def forget_all() -> None:
    """Delete the rows of all sockets. For a process that serves alone, before it accepts connections."""
    Connection.objects.all().delete()
    Process.objects.all().delete()
