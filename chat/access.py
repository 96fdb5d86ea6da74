"""Who may see, drive, stop and inspect a session: the one place for pages, sockets, API and admin."""

from collections.abc import Callable
from enum import StrEnum

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

from chat.accounts.models import User
from chat.models import Session

#: What staff must be given to see sessions of others, to stop runs there, and to delete such a session. Being staff alone gives nothing.
VIEW_SESSIONS, STOP_RUNS, DELETE_SESSIONS = "chat.view_session", "chat.stop_run", "chat.delete_session"

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
    return role_of(
        user.pk, session.owner_id, is_active=user.is_active, sees_others=lambda: has_right(user, VIEW_SESSIONS)
    )


def role_of(user_id: int, owner_id: int, *, is_active: bool, sees_others: Callable[[], bool]) -> Role | None:
    """`role_in`, for who has not the rows at hand; ``sees_others`` is asked only about somebody else's session."""
    if not is_active:
        return None
    if user_id == owner_id:
        return Role.OWNER
    return Role.STAFF if sees_others() else None


def has_right(user: AnyUser, permission: str) -> bool:
    """Whether somebody may do this to what belongs to others, here as in the admin: staff, to whom it was permitted."""
    return isinstance(user, User) and user.is_active and user.is_staff and user.has_perm(permission)


def has_right_now(user_id: int, permission: str) -> bool:
    """`has_right`, as the database has it at this moment: who is on a socket may have lost it since."""
    user = User.objects.filter(pk=user_id).first()
    return user is not None and has_right(user, permission)


def holders_among(user_ids: set[int], permission: str) -> set[int]:
    """Which of these users have the right now."""
    if not user_ids:
        return set()
    backend = "django.contrib.auth.backends.ModelBackend"
    holders = User.objects.with_perm(permission, is_active=True, backend=backend)
    return set(holders.filter(pk__in=user_ids, is_staff=True).values_list("pk", flat=True))


def may_drive(role: Role) -> bool:
    """Whether this role asks, continues, renames."""
    return role in (Role.OWNER, Role.DRIVER)


def may_manage(role: Role) -> bool:
    """Whether this role renames, archives and deletes the session."""
    return role is Role.OWNER


def may_stop(user: AnyUser, session: Session) -> bool:
    """Whether the user stops runs of the session: whoever drives it, and staff who may stop runs, whether they see it or not."""
    role = role_in(user, session)
    return (role is not None and may_drive(role)) or has_right(user, STOP_RUNS)


def may_delete(user: AnyUser, session: Session) -> bool:
    """Whether the user deletes the session as an operator does."""
    return has_right(user, DELETE_SESSIONS)
