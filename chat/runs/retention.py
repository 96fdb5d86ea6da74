"""Retention: deletes sessions without activity after a number of days, and audit entries after a time of their own.

A session is never deleted while one of its runs is unfinished or an enabled schedule uses it. One process at a time does it, in short
transactions, between which others write; if it dies, another one continues.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from chat.accounts.models import User
from chat.models import HAS_NOT_ENDED, NOBODY, Act, Door, Run, Schedule, Session
from chat.protocol import group_messages
from chat.runs import erasure, request_keys
from chat.runtime import clock, database, groups
from chat.security import audit
from chat.store import chores

SESSIONS, AUDIT, KEYS = "retention", "audit retention", "request keys"
#: How often all accounts are checked.
_EVERY = timedelta(hours=1)
#: How many accounts one query checks, and how many sessions are deleted before the next one.
_USERS = 200
_AT_ONCE = 50
#: How many audit entries, and how many keys, are deleted in one transaction.
_ENTRIES = 1_000


def days_kept(user: User) -> int:
    """After how many days without activity a session of this account is deleted; 0: never."""
    return settings.RETENTION_DAYS if user.retention_days is None else user.retention_days


def expires_at(session: Session, owner: User) -> datetime | None:
    """When this session is deleted if nothing happens in it; None: never, as things are."""
    days = days_kept(owner)
    if not days or Schedule.objects.filter(session=session, enabled=True).exists():
        return None
    return session.active_at + timedelta(days=days)


def untouched_sessions(user_ids: list[int], before: datetime) -> QuerySet[Session]:
    """Sessions of these accounts without activity since then, and without any to come."""
    unfinished = Run.objects.filter(HAS_NOT_ENDED, session=OuterRef("pk"))
    scheduled = Schedule.objects.filter(session=OuterRef("pk"), enabled=True)
    old = Session.objects.filter(owner__in=user_ids, active_at__lt=before)
    return old.filter(~Exists(unfinished), ~Exists(scheduled))


def expired_sessions(after_user: int, now: datetime) -> tuple[list[UUID], int | None]:
    """Some expired sessions of accounts after this one; and the last account that is done with, None if all are."""
    every = User.objects.filter(pk__gt=after_user, closed=None).order_by("pk")
    if not settings.RETENTION_DAYS:
        every = every.filter(retention_days__gt=0)
    people = list(every[:_USERS])
    found: list[UUID] = []
    for days, user_ids in _by_days(people):
        of_them = untouched_sessions(user_ids, now - timedelta(days=days)).order_by()
        found += of_them.values_list("pk", flat=True)[: _AT_ONCE - len(found)]
        if len(found) == _AT_ONCE:
            # The same accounts may have more.
            return found, after_user
    return found, people[-1].pk if len(people) == _USERS else None


def _by_days(people: list[User]) -> Iterator[tuple[int, list[int]]]:
    kept: dict[int, list[int]] = {}
    for user in people:
        kept.setdefault(days_kept(user), []).append(user.pk)
    return ((days, user_ids) for days, user_ids in kept.items() if days)


@transaction.atomic
def expire_session(session_id: UUID, now: datetime) -> bool:
    """Delete an expired session, unless it was used meanwhile or its row is locked. Returns whether it was deleted."""
    held = Session.objects.select_for_update(skip_locked=True, of=("self",)).select_related("owner")
    session = held.filter(pk=session_id).first()
    days = days_kept(session.owner) if session is not None else 0
    if session is None or not days:
        return False
    # Locked, so that no schedule is enabled before this is done.
    list(Schedule.objects.select_for_update().filter(session=session).values_list("pk"))
    if not untouched_sessions([session.owner_id], now - timedelta(days=days)).filter(pk=session_id).exists():
        return False
    audit.record_action(
        NOBODY, Act.EXPIRE, Door.SCHEDULE, session_id=session_id, subject_id=session.owner_id, days=days
    )
    erasure.hide_session(session_id)
    return True


async def expire_some() -> bool:
    """Delete expired sessions if it is this process's turn. Returns whether there may be more to delete at once."""
    now = clock.now()
    if not await database.read(chores.is_due, SESSIONS, now):
        return False
    place = await database.write(chores.claim, SESSIONS, now)
    if place is None:
        return False
    after_user = int(place or 0)
    found, upto = await database.read(expired_sessions, after_user, now)
    deleted = 0
    for session_id in found:
        if await database.write(expire_session, session_id, now):
            deleted += 1
            await groups.publish(groups.of_session(session_id), group_messages.SESSION_DELETED)
    if upto == after_user and not deleted:
        # All of them are locked: they are tried again in an hour.
        upto = await database.read(_after, after_user)
    next_at = clock.now() if upto is not None else clock.now() + _EVERY
    await database.write(chores.store_progress, SESSIONS, str(upto or ""), next_at)
    return upto is not None


def _after(user_id: int) -> int | None:
    """The account after this one."""
    return User.objects.filter(pk__gt=user_id).order_by("pk").values_list("pk", flat=True).first()


async def sweep_request_keys() -> bool:
    """Delete some expired idempotency keys, if it is this process's turn."""
    now = clock.now()
    if not await database.read(chores.is_due, KEYS, now) or await database.write(chores.claim, KEYS, now) is None:
        return False
    is_more = await database.write(request_keys.sweep_keys, _ENTRIES)
    await database.write(chores.store_progress, KEYS, "", clock.now() + (timedelta() if is_more else _EVERY))
    return is_more


async def purge_audit() -> bool:
    """Delete some of the audit's entries that are older than `AUDIT_DAYS`, if it is this process's turn."""
    now = clock.now()
    if not settings.AUDIT_DAYS or not await database.read(chores.is_due, AUDIT, now):
        return False
    if await database.write(chores.claim, AUDIT, now) is None:
        return False
    before = now - timedelta(days=settings.AUDIT_DAYS)
    is_more = await database.write(audit.remove_older, before, _ENTRIES)
    await database.write(chores.store_progress, AUDIT, "", clock.now() + (timedelta() if is_more else _EVERY))
    return is_more
