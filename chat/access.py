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
    if user.pk is None or user.is_anonymous or session.deleted_at is not None:
        return None
    is_staff = isinstance(user, User) and user.is_staff
    return role_of(user.pk, session.owner_id, is_active=user.is_active, is_staff=is_staff)


def role_of(user_id: int, owner_id: int, *, is_active: bool, is_staff: bool) -> Role | None:
    """`role_in`, for who has not the rows at hand."""
    if not is_active:
        return None
    if user_id == owner_id:
        return Role.OWNER
    return Role.STAFF if is_staff else None


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
