"""What staff look at that belongs to others, and what they do to it, noted before they see it or it is done.

The one way by which pages, API and sockets open a session. Where it cannot be noted, the database's error goes to whoever asked, and
nothing is shown or done.
"""

import time
from typing import cast
from uuid import UUID

from django.db import transaction

from chat import access
from chat.access import AnyUser, Role
from chat.models import MANY_SESSIONS, Act, AuditEntry, Door, Session
from chat.runtime import database

#: Looks of one person at one session through one door make one entry in this time.
WINDOW_S = 600
#: What is noted already, in the window of this number: entries that are committed.
_noted: set[tuple[object, ...]] = set()
_noted_in = 0


def note_view(actor_id: int, session_id: UUID, door: Door) -> None:
    """Note that one of the staff looks at a session of somebody else; `MANY_SESSIONS` for a list of them."""
    _note(actor_id, session_id, door, Act.VIEW)


def note_search(actor_id: int, door: Door) -> None:
    """Note that one of the staff searches what others said."""
    _note(actor_id, MANY_SESSIONS, door, Act.SEARCH)


def note_act(actor_id: int, session_id: UUID, door: Door, action: Act) -> None:
    """Note that one of the staff does something to what is somebody else's: each time, in the transaction in which it is done."""
    AuditEntry.objects.create(
        actor_id=actor_id, session_id=session_id, door=door, action=action, window=time.time_ns() // 1000
    )


def note_change(actor_id: int, action: Act, about: str) -> None:
    """Note that one of the staff changes what is everybody's, named by ``about``: in the transaction in which it is done."""
    AuditEntry.objects.create(
        actor_id=actor_id, door=Door.ADMIN, action=action, about=about, window=time.time_ns() // 1000
    )


def _note(actor_id: int, session_id: UUID, door: Door, action: Act) -> None:
    global _noted_in
    window = int(time.time() // WINDOW_S)
    if window != _noted_in:
        _noted_in = window
        _noted.clear()
    entry = (actor_id, session_id, door, action)
    if entry in _noted:
        return
    # Whoever noted it in another process was first; both are well.
    AuditEntry.objects.bulk_create(
        [AuditEntry(actor_id=actor_id, session_id=session_id, door=door, action=action, window=window)],
        ignore_conflicts=True,
    )
    transaction.on_commit(lambda: _noted.add(entry) if window == _noted_in else None)


def find_session(user: AnyUser, session_id: UUID) -> tuple[Session, Role] | None:
    """A session and the user's role in it; None where nothing may be told of it. Nothing is noted yet, and so nothing may be shown."""
    session = Session.objects.select_related("owner").filter(pk=session_id).first()
    role = None if session is None else access.role_in(user, session)
    return None if session is None or role is None else (session, role)


def open_session(user: AnyUser, session_id: UUID, door: Door) -> tuple[Session, Role] | None:
    """`find_session`, to show it: a look of staff is noted, and committed, before this returns."""
    found = find_session(user, session_id)
    if found is not None and found[1] is Role.STAFF:
        note_view(cast(int, user.pk), session_id, door)
    return found


async def open_session_async(user: AnyUser, session_id: UUID, door: Door) -> tuple[Session, Role] | None:
    """`open_session`, from the loop: who owns a session waits for no writer."""
    found = await database.read(find_session, user, session_id)
    if found is not None and found[1] is Role.STAFF:
        await database.write(note_view, cast(int, user.pk), session_id, door)
    return found
