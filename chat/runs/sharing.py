"""Sharing a session with a user, a group, or everyone who has a link. The only writer of these tables.

Each function is one transaction, on a thread of the database, and checks there that its caller owns the session. What a share allows is
defined in `access`. The caller has to notify open sockets of a change (`group_messages.LOGINS_CHANGED`).
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypedDict
from uuid import UUID

from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from agents.json_types import JsonObject
from agents.sentence import Sentence
from agents.text import clean_text
from chat.access import Role, may_manage, not_expired, role_in
from chat.accounts.models import User
from chat.models import Act, AuditEntry, Door, Session, Share, ShareJoin
from chat.runs.admission import Refused, lock_session
from chat.security import audit

#: The most shares of a session.
MOST_SHARES = 100
#: How many unknown names an account may try per hour: more attempts could find out who has an account here.
MOST_UNKNOWN = 20
_HOUR = timedelta(hours=1)
#: The prefix of a link's secret, by which logs recognise and hide it: see `agents.masking`.
_LINK, _LINK_BYTES = "lk_", 32


class ShareChanges(TypedDict, total=False):
    """Changes of a share; fields that are left out stay."""

    role: str
    expires_at: datetime | None


class UnknownName(Refused):
    """There is no user of that name, or the user is in no group of that name."""

    def __init__(self, name: str) -> None:
        super().__init__("not_found", Sentence("There is no “%(name)s” to share with.", name=clean_text(name[:80])))


@dataclass(frozen=True, slots=True)
class ShareTarget:
    """With whom to share: exactly one of the three."""

    user: str = ""
    group: str = ""
    link: bool = False


def _owns(user: User, session: Session) -> bool:
    role = role_in(user, session)
    return role is not None and may_manage(role)


def list_shares(user: User, session_id: UUID) -> list[Share]:
    """The shares of a session that have not expired, oldest first. Raises `Refused`."""
    with transaction.atomic():
        lock_session(session_id, user, _owns)
    return list(Share.objects.filter(not_expired(), session_id=session_id).select_related("user", "group"))


def make_share(
    user: User, session_id: UUID, target: ShareTarget, role: Role, expires_at: datetime | None, door: Door
) -> tuple[Share, str]:
    """Share a session; returns the share and, for a link, its secret, which is not stored. Raises `Refused`."""
    if not (target.link or target.group or target.user):
        raise Refused("bad_frame", Sentence("Say with whom."))
    with transaction.atomic():
        session = lock_session(session_id, user, _owns)
        check_share(role, expires_at)
        # Expired shares are not listed, and cannot be withdrawn.
        Share.objects.filter(session=session, expires_at__lte=Now()).delete()
        if Share.objects.filter(session=session).count() >= MOST_SHARES:
            raise Refused(
                "conflict", Sentence("A session may be shared %(n)d times. Withdraw one first.", n=MOST_SHARES)
            )
        share, secret = Share(session=session, role=role, expires_at=expires_at), ""
        if target.link:
            if role is not Role.WATCHER:
                raise Refused("bad_frame", Sentence("Whoever has a link may watch, and no more."))
            secret = f"{_LINK}{secrets.token_urlsafe(_LINK_BYTES)}"
            share.link_hash = _hashed(secret)
        else:
            share.user, share.group = find_target(user, target)
        if target.link or share.group or share.user:
            unknown = ""
            _save(session, share)
            _note(user, Act.SHARE, door, share)
        else:
            unknown = target.group or target.user
            count_unknown(user, door)
    if unknown:
        raise UnknownName(unknown)
    return share, secret


def find_target(user: User, target: ShareTarget) -> tuple[User | None, Group | None]:
    """The named user, or the named group if the user is in it; neither if there is none."""
    if target.group:
        return None, user.groups.filter(name=clean_text(target.group)).first()
    return find_person(target.user), None


def find_person(name: str) -> User | None:
    """The active user of that name."""
    # Cleaned, because a query for text that PostgreSQL cannot store fails.
    return User.objects.filter(username=clean_text(name), is_active=True, closed=None).first()


def check_share(role: Role, expires_at: datetime | None) -> None:
    """Check that a share may have this role and this expiry. Raises `Refused`."""
    if role not in (Role.WATCHER, Role.DRIVER):
        raise Refused("bad_frame", Sentence("role: watcher or driver."))
    if expires_at is not None and expires_at <= timezone.now():
        raise Refused("bad_frame", Sentence("expires_at: a moment that is still to come."))


def _save(session: Session, share: Share) -> None:
    if share.user_id == session.owner_id:
        raise Refused("bad_frame", Sentence("The session is yours; it need not be shared with you."))
    same = Share.objects.filter(session=session, user=share.user, group=share.group)
    if not share.link_hash and same.exists():
        raise Refused("conflict", Sentence("It is shared with them already; change that instead."))
    share.save(force_insert=True)


def count_unknown(user: User, door: Door) -> None:
    """Count an unknown name that a user has tried. Raises `Refused` after too many."""
    tried = AuditEntry.objects.filter(actor_id=user.pk, at__gt=timezone.now() - _HOUR, action=Act.SHARE_UNKNOWN)
    if tried.count() >= MOST_UNKNOWN:
        raise Refused("rate_limited", Sentence("Too many names that there are none of. Try again in an hour."), 3600)
    audit.record_action(user.pk, Act.SHARE_UNKNOWN, door)


def _note(user: User, act: Act, door: Door, share: Share) -> None:
    who: JsonObject = {"group": share.group_id} if share.group_id else {}
    subject = share.user_id or None
    audit.record_action(
        user.pk,
        act,
        door,
        session_id=share.session_id,
        subject_id=subject,
        about=f"share {share.pk}",
        role=str(share.role),
        link=share.link_hash is not None,
        **who,
    )


def _locked_share(user: User, share_id: UUID) -> Share:
    """A share of the user's own session, locked for the rest of the transaction."""
    share = Share.objects.select_related("user", "group").filter(pk=share_id).first()
    session_id = share.session_id if share is not None else None
    if share is None or session_id is None:
        raise Refused("not_found", Sentence("There is no such share."))
    try:
        lock_session(session_id, user, _owns)
    except Refused as refused:
        if refused.code == "not_found":
            raise Refused("not_found", Sentence("There is no such share.")) from None
        raise
    return share


@transaction.atomic
def change_share(user: User, share_id: UUID, changes: ShareChanges, door: Door) -> Share:
    """Change a share's ``role`` or ``expires_at``, whichever is given. Raises `Refused`."""
    share = _locked_share(user, share_id)
    role = Role(changes.get("role", share.role))
    if share.link_hash and role is not Role.WATCHER:
        raise Refused("bad_frame", Sentence("Whoever has a link may watch, and no more."))
    check_share(role, changes.get("expires_at"))
    share.role = role
    share.expires_at = changes.get("expires_at", share.expires_at)
    share.save(update_fields=("role", "expires_at"))
    _note(user, Act.SHARE, door, share)
    return share


@transaction.atomic
def withdraw_share(user: User, share_id: UUID, door: Door) -> None:
    """Withdraw a share; a user without another one loses access to the session. Raises `Refused`."""
    share = _locked_share(user, share_id)
    _note(user, Act.UNSHARE, door, share)
    share.delete()


@transaction.atomic
def leave_session(user: User, session_id: UUID, door: Door) -> None:
    """Leave a session that was shared with the user directly, or joined by a link; shares of groups stay. Raises `Refused`."""
    session = lock_session(session_id, user, lambda who, session: role_in(who, session) is not None)
    if session.owner_id == user.pk:
        raise Refused("not_allowed", Sentence("The session is yours. Hand it over, or delete it."))
    mine = Share.objects.filter(session=session, user=user)
    joined = ShareJoin.objects.filter(share__session=session, user=user)
    if not mine.exists() and not joined.exists():
        raise Refused(
            "not_allowed", Sentence("It is shared with a group of yours, or shown to staff: it cannot be left.")
        )
    audit.record_action(user.pk, Act.LEAVE, door, session_id=session_id, subject_id=session.owner_id)
    joined.delete()
    mine.delete()


def swap_owner(session: Session, owner: User, before_id: int) -> None:
    """After a change of owner: make the former one a driver, and delete the new one's shares. The caller has locked the session's row."""
    Share.objects.filter(session=session, user=owner).delete()
    ShareJoin.objects.filter(share__session=session, user=owner).delete()
    Share.objects.create(session=session, user_id=before_id, role=Role.DRIVER)


def find_link(secret: str) -> Share | None:
    """The share of a link's secret, if it is still valid. While its owner's account is not active, it is not."""
    found = Share.objects.filter(not_expired(), link_hash=_hashed(secret))
    found = found.filter(session__deleted_at=None, session__owner__is_active=True)
    return found.select_related("session", "session__owner").first()


@transaction.atomic
def join_session(user: User, secret: str, door: Door) -> UUID | None:
    """Join a session as a watcher by a link. Returns the session, or None if the link is invalid. Owners and members keep their role."""
    share = find_link(secret)
    if share is None:
        return None
    session = Session.objects.select_for_update().filter(pk=share.session_id).first()
    if session is None or not Share.objects.filter(pk=share.pk).exists():
        return None
    if session.owner_id != user.pk:
        _, is_new = ShareJoin.objects.get_or_create(share=share, user=user)
        if is_new:
            audit.record_action(
                user.pk, Act.JOIN, door, session_id=session.pk, subject_id=session.owner_id, about=f"share {share.pk}"
            )
    return session.pk


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
