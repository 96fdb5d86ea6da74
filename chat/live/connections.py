"""Who stands behind a WebSocket's handshake: its origin, its login, and whether that login still holds."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from chat.access import VIEW_SESSIONS, Role, has_right, role_of
from chat.accounts.models import User
from chat.models import Connection, Door, Process
from chat.runtime import clock
from chat.runtime.db_values import uuid_param
from chat.security import audit
from chat.security.origins import told_causes


@dataclass(frozen=True, slots=True)
class Entrance:
    """A socket let in: its session, the user's role there, and the row that says it is open."""

    session_id: UUID
    role: Role
    connection_id: UUID


#: The rows of the sockets that are open in this process.
open_here: set[UUID] = set()


class TooMany(Exception):
    """The user has as many sockets open as one may have."""


_OWNER = "SELECT owner_id FROM chat_session WHERE id = %s AND deleted_at IS NULL"
_COUNT = "SELECT COUNT(*) FROM chat_connection WHERE user_id = %s"
_ENTER = (
    "INSERT INTO chat_connection (id, process, session_id, user_id, role, opened_at) VALUES (%s, %s, %s, %s, %s, {now})"
)


@transaction.atomic
def enter(user: User, session_id: UUID, process: str) -> Entrance | None:
    """Let a user's socket into a session and note that it is open; None where nothing may be told of the session."""
    with connection.cursor() as cursor:
        cursor.execute(_OWNER, [uuid_param(session_id)])
        owner = cursor.fetchone()
        role = owner and role_of(
            user.pk, owner[0], is_active=user.is_active, sees_others=lambda: has_right(user, VIEW_SESSIONS)
        )
        if role is None:
            return None
        most = settings.MAX_SOCKETS_PER_USER
        if most:
            cursor.execute(_COUNT, [user.pk])
            if cursor.fetchone()[0] >= most:
                raise TooMany
        entrance = Entrance(session_id, role, uuid4())
        row = [uuid_param(entrance.connection_id), process, uuid_param(session_id), user.pk, role]
        cursor.execute(_ENTER.format(now=clock.now_expression()), row)
        if role is Role.STAFF:
            audit.note_view(user.pk, session_id, Door.SOCKET)
    open_here.add(entrance.connection_id)
    return entrance


def leave(connection_id: UUID) -> None:
    """A socket is gone."""
    open_here.discard(connection_id)
    Connection.objects.filter(pk=connection_id).delete()


def beat(process: str) -> None:
    """A process that serves is alive, and so are its sockets; note what it has told the log meanwhile."""
    Process.objects.update_or_create(name=process, defaults={"seen_at": Now(), "noticed": told_causes()})


def forget_process(process: str) -> None:
    """All sockets of a process are gone."""
    Connection.objects.filter(process=process).delete()
    Process.objects.filter(name=process).delete()


@transaction.atomic
def forget_silent(process: str, since: datetime) -> set[UUID]:
    """Forget the sockets of processes without a sign of life since then, and those this process has no more; returns their sessions.

    The moment is by the database's clock. A socket whose row could not be removed when it closed is one of the latter.
    """
    Process.objects.filter(seen_at__lt=since).delete()
    lost = Q(process=process) & ~Q(pk__in=list(open_here)) | ~Q(process__in=Process.objects.values("name"))
    gone = Connection.objects.filter(lost, opened_at__lt=since)
    sessions = set(gone.values_list("session_id", flat=True))
    gone.delete()
    return sessions


def forget_all() -> None:
    """No socket is open: called where one process owns all, before it serves."""
    Connection.objects.all().delete()
    Process.objects.all().delete()
