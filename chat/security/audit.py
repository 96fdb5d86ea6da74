"""The audit: records when staff view other users' data, and actions that others may have to know about.

A view is recorded and committed before it is shown; an action in its own transaction. `open_session` is the only way in which pages, API
and sockets open a session. If an entry cannot be written, the database's error is raised, and nothing is shown or done.
"""

import secrets
import time
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from chat import access
from chat.access import AnyUser, Role
from chat.models import MANY_SESSIONS, Act, AuditEntry, AuditPurge, Door, Session
from chat.runtime import database

#: Views of one session by one user through one door within so many seconds are one entry.
WINDOW_S = 600
#: Committed entries of the current window, which need not be written again.
_noted: set[tuple[object, ...]] = set()
_noted_in = 0
_ABOUT = 80


def record_view(actor_id: int, session_id: UUID, door: Door) -> None:
    """Record that a member of staff views another user's session; `MANY_SESSIONS` for a list."""
    _note(actor_id, session_id, door, Act.VIEW)


def record_search(actor_id: int, door: Door) -> None:
    """Record that a member of staff searches others' texts."""
    _note(actor_id, MANY_SESSIONS, door, Act.SEARCH)


def record_action(
    actor_id: int,
    action: Act,
    door: Door,
    *,
    session_id: UUID = MANY_SESSIONS,
    run_id: UUID | None = None,
    subject_id: int | None = None,
    about: str = "",
    **details: Any,
) -> None:
    """Record an action: each time, on this thread, in the action's transaction.

    ``actor_id``: the id of the user who acts, or `NOBODY`. ``subject_id``: the object's owner, or the affected user; for a
    session it is looked up. ``about``: the object's kind and id, as in ``token 12`` or ``agent poet 3``. ``details``: JSON
    values, only ids and words of closed lists, never texts of people. On the event loop: ``await database.write(audit.record_action, …)``.
    """
    if subject_id is None:
        subject_id = _owner_of(session_id)
    AuditEntry.objects.create(
        actor_id=actor_id,
        action=action,
        door=door,
        session_id=session_id,
        run_id=run_id,
        subject_id=subject_id,
        about=about[:_ABOUT],
        details=details,
        window=time.time_ns() // 1000,
    )


def new_pseudonym() -> int:
    """A number for a deleted account, which says nothing about whose account it was."""
    return -1 - secrets.randbelow(2**62)


def use_pseudonym(user_id: int, pseudonym: int, limit: int) -> bool:
    """Replace an account's id by its pseudonym in up to ``limit`` entries. Returns whether there were any."""
    every: QuerySet[AuditEntry] = QuerySet(AuditEntry)
    for person in ("actor_id", "subject_id"):
        keys = list(every.filter(**{person: user_id}).values_list("pk", flat=True)[:limit])
        every.filter(pk__in=keys).update(**{person: pseudonym})
        if keys:
            return True
    return False


@transaction.atomic
def remove_older(before: datetime, limit: int) -> bool:
    """Delete this many entries from before a time; returns whether there may be more. The only function that deletes entries."""
    every: QuerySet[AuditEntry] = QuerySet(AuditEntry)
    keys = list(every.filter(at__lt=before).order_by("at", "id").values_list("pk", flat=True)[:limit])
    permit = AuditPurge.objects.create(before=before)
    old = every.filter(pk__in=keys)
    old._raw_delete(old.db)  # noqa: SLF001 - nothing refers to entries
    permit.delete()
    return len(keys) == limit


def _note(actor_id: int, session_id: UUID, door: Door, action: Act) -> None:
    global _noted_in
    window = int(time.time() // WINDOW_S)
    if window != _noted_in:
        _noted_in = window
        _noted.clear()
    entry = (actor_id, session_id, door, action)
    if entry in _noted:
        return
    noted = AuditEntry(
        actor_id=actor_id,
        session_id=session_id,
        subject_id=_owner_of(session_id),
        door=door,
        action=action,
        window=window,
    )
    # If another process has recorded it first, nothing more is needed.
    AuditEntry.objects.bulk_create([noted], ignore_conflicts=True)
    transaction.on_commit(lambda: _noted.add(entry) if window == _noted_in else None)


def _owner_of(session_id: UUID) -> int | None:
    if session_id == MANY_SESSIONS:
        return None
    return Session.everything.filter(pk=session_id).values_list("owner_id", flat=True).first()


def find_session(user: AnyUser, session_id: UUID) -> tuple[Session, Role] | None:
    """A session and the user's role in it; None if the user may not know of it. Nothing is recorded yet, so nothing may be shown."""
    session = Session.objects.select_related("owner").filter(pk=session_id).first()
    role = None if session is None else access.role_in(user, session)
    return None if session is None or role is None else (session, role)


def open_session(user: AnyUser, session_id: UUID, door: Door) -> tuple[Session, Role] | None:
    """`find_session`, to show it: a view by staff is recorded and committed before this returns."""
    found = find_session(user, session_id)
    if found is not None and found[1] is Role.STAFF:
        record_view(cast(int, user.pk), session_id, door)
    return found


async def open_session_async(user: AnyUser, session_id: UUID, door: Door) -> tuple[Session, Role] | None:
    """`open_session` for the event loop: an owner's request does not wait for a writer."""
    found = await database.read(find_session, user, session_id)
    if found is not None and found[1] is Role.STAFF:
        await database.write(record_view, cast(int, user.pk), session_id, door)
    return found
