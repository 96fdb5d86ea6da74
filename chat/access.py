"""Who may see, drive, stop and inspect a session: the one place for pages, sockets, API and admin."""

from enum import StrEnum

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.db.models import QuerySet

from chat.models import Session

AnyUser = User | AbstractBaseUser | AnonymousUser


class Role(StrEnum):
    """What someone is to a session."""

    OWNER = "owner"
    DRIVER = "driver"
    WATCHER = "watcher"
    STAFF = "staff"


def role_in(user: AnyUser, session: Session) -> Role | None:
    """The user's role in the session; None means that its very existence is not told."""
    if not user.is_active or user.is_anonymous:
        return None
    if session.owner_id == user.pk:
        return Role.OWNER
    if isinstance(user, User) and user.is_staff:
        return Role.STAFF
    return None


def visible_sessions(user: AnyUser) -> QuerySet[Session]:
    """The sessions that the user may open."""
    if isinstance(user, User) and user.is_active:
        return Session.objects.all() if user.is_staff else Session.objects.filter(owner=user)
    return Session.objects.none()


def may_drive(role: Role) -> bool:
    """Whether this role asks, continues, renames."""
    return role in (Role.OWNER, Role.DRIVER)


def may_stop(role: Role) -> bool:
    """Whether this role stops runs."""
    return role in (Role.OWNER, Role.DRIVER, Role.STAFF)


def may_manage(role: Role) -> bool:
    """Whether this role renames, archives and deletes the session."""
    return role is Role.OWNER
