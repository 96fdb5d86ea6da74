"""Who may see, drive, stop and inspect a session; used by pages, sockets, API and admin alike."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from enum import StrEnum
from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now

from chat.accounts.models import User
from chat.models import CaseSet, Session, SetShare, Share, ShareJoin

#: Permissions that staff need to see sessions of others, to stop runs there, and to delete such a session. Staff alone have none of them.
VIEW_SESSIONS, STOP_RUNS, DELETE_SESSIONS = "chat.view_session", "chat.stop_run", "chat.delete_session"

AnyUser = User | AbstractBaseUser | AnonymousUser


class Role(StrEnum):
    """A user's role in a session."""

    OWNER = "owner"
    DRIVER = "driver"
    WATCHER = "watcher"
    STAFF = "staff"


def role_in(user: AnyUser, session: Session) -> Role | None:
    """The user's role in the session; None means that its very existence must not be revealed."""
    if user.pk is None or user.is_anonymous or session.deleted_at is not None:
        return None
    return role_of(
        user.pk,
        session.pk,
        session.owner_id,
        is_active=user.is_active,
        sees_others=lambda: has_right(user, VIEW_SESSIONS),
    )


def role_of(
    user_id: int, session_id: UUID, owner_id: int, *, is_active: bool, sees_others: Callable[[], bool]
) -> Role | None:
    """`role_in` for a caller without the rows; ``sees_others`` is called only if the session is not shared with the user."""
    if not is_active:
        return None
    if user_id == owner_id:
        return Role.OWNER
    return shared_roles(user_id, [session_id]).get(session_id) or (Role.STAFF if sees_others() else None)


def shares_with(user_id: int) -> Q:
    """The condition of those shares that count for a user now: with themselves, with a group of theirs, by a link that they joined by."""
    joined = ShareJoin.objects.filter(user_id=user_id).values("share_id")
    return not_expired() & (_with_person(user_id) | Q(pk__in=joined))


def not_expired() -> Q:
    """The condition for shares, of sessions and of sets, that are valid now."""
    return Q(expires_at=None) | Q(expires_at__gt=Now())


def _with_person(user_id: int) -> Q:
    groups = User.groups.through.objects.filter(user_id=user_id).values("group_id")
    return Q(user_id=user_id) | Q(group_id__in=groups)


def set_shares_with(user_id: int) -> QuerySet[SetShare]:
    """The shares of sets that count for a user now: with themselves, and with a group of theirs."""
    return SetShare.objects.filter(not_expired() & _with_person(user_id))


def _highest(user_id: int, set_id: OuterRef) -> Subquery:
    # By their names a driver comes first.
    return Subquery(set_shares_with(user_id).filter(case_set=set_id).order_by("role").values("role")[:1])


def shared_roles(user_id: int, session_ids: Iterable[UUID]) -> dict[UUID, Role]:
    """The user's role in those of the sessions that are shared with them: the highest, where several shares count.

    A user's role in a set is also their role in the sessions in which its cases were asked. One query.
    """
    keys = list(session_ids)
    roles: dict[UUID, Role] = {}
    shared = Share.objects.filter(shares_with(user_id), session_id__in=keys).order_by()
    of_sets = Session.everything.filter(pk__in=keys, for_set__isnull=False).order_by()
    of_sets = of_sets.annotate(set_role=_highest(user_id, OuterRef("for_set")))
    found = shared.values_list("session_id", "role").union(of_sets.values_list("pk", "set_role"))
    for session_id, role in found:
        # If its set is not shared with the user, there is none.
        if role and roles.get(session_id) is not Role.DRIVER:
            roles[session_id] = Role(role)
    return roles


def shared_roles_of(pairs: Collection[tuple[UUID, int]]) -> dict[tuple[UUID, int], Role]:
    """`shared_roles` of many users at once, by session and user: a few statements, however many there are."""
    sessions, users = {session for session, _ in pairs}, {user for _, user in pairs}
    shares = [*_shares_of(sessions), *_set_shares_of(sessions)]
    if not shares:
        return {}
    members: dict[int | None, set[int | None]] = defaultdict(set)
    joined: dict[UUID, set[int | None]] = defaultdict(set)
    of_groups = User.groups.through.objects.filter(group_id__in={each[3] for each in shares}, user_id__in=users)
    for group, member in of_groups.values_list("group_id", "user_id"):
        members[group].add(member)
    by_links = ShareJoin.objects.filter(share_id__in=[each[0] for each in shares], user_id__in=users)
    for share_id, member in by_links.values_list("share_id", "user_id"):
        joined[share_id].add(member)
    roles: dict[tuple[UUID, int], Role] = {}
    for share_id, session_id, user_id, group_id, role in shares:
        for person in {user_id} | members[group_id] | joined[share_id]:
            if person is None or (session_id, person) not in pairs:
                continue
            if roles.get((session_id, person)) is not Role.DRIVER:
                roles[session_id, person] = Role(role)
    return roles


#: A share's key, its session, user or group, and role.
_ShareRow = tuple[UUID, UUID, int | None, int | None, str]


def _shares_of(sessions: set[UUID]) -> list[_ShareRow]:
    found = Share.objects.filter(not_expired(), session_id__in=sessions).order_by()
    return list(found.values_list("pk", "session_id", "user_id", "group_id", "role"))


def _set_shares_of(sessions: set[UUID]) -> Iterator[_ShareRow]:
    """The shares of the sets that these sessions were opened for, once for each session."""
    opened: dict[UUID | None, list[UUID]] = defaultdict(list)
    for session_id, set_id in Session.objects.filter(pk__in=sessions, for_set__isnull=False).values_list(
        "pk", "for_set"
    ):
        opened[set_id].append(session_id)
    for share in SetShare.objects.filter(not_expired(), case_set__in=list(opened)).order_by() if opened else ():
        for session_id in opened[share.case_set_id]:
            yield share.pk, session_id, share.user_id, share.group_id, share.role


def sets_seen_by(user_id: int) -> QuerySet[CaseSet]:
    """The user's own sets and those that are shared with them, each with ``shared_role``, empty for an own set."""
    found = CaseSet.objects.annotate(shared_role=_highest(user_id, OuterRef("pk")))
    return found.filter(Q(owner=user_id) | Q(shared_role__isnull=False))


def role_in_set(user_id: int, case_set: CaseSet) -> Role | None:
    """An active user's role in a set; None means that its very existence must not be revealed. Staff have none in others' sets."""
    if case_set.owner_id == user_id:
        return Role.OWNER
    roles = set_shares_with(user_id).filter(case_set=case_set).order_by("role").values_list("role", flat=True)
    role = roles.first()
    return None if role is None else Role(role)


def is_shared(session_id: UUID) -> bool:
    """Whether a session is shared with anyone now, by itself or with the set that it was opened for."""
    sets = Session.everything.filter(pk=session_id, for_set__isnull=False).values("for_set")
    return (
        Share.objects.filter(not_expired(), session=session_id).exists()
        or SetShare.objects.filter(not_expired(), case_set__in=sets).exists()
    )


def has_right(user: AnyUser, permission: str) -> bool:
    """Whether a user may do this to what belongs to others, here as in the admin: staff with that permission."""
    return isinstance(user, User) and user.is_active and user.is_staff and user.has_perm(permission)


def has_right_now(user_id: int, permission: str) -> bool:
    """`has_right`, as the database has it now: a user with an open socket may have lost it since."""
    user = User.objects.filter(pk=user_id).first()
    return user is not None and has_right(user, permission)


def holders_among(user_ids: set[int], permission: str) -> set[int]:
    """Which of these users have the permission now."""
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


def may_copy(role: Role) -> bool:
    """Whether this role copies the session, and continues from its events in sessions of its own."""
    return role in (Role.OWNER, Role.DRIVER, Role.WATCHER)


def may_note(user: AnyUser, session: Session) -> bool:
    """Whether the user judges runs and comments on steps: everyone who sees the session other than as staff."""
    return role_in(user, session) in (Role.OWNER, Role.DRIVER, Role.WATCHER)


def may_stop(user: AnyUser, session: Session) -> bool:
    """Whether the user stops runs of the session: its drivers, and staff with that permission, whether they see it or not."""
    role = role_in(user, session)
    return (role is not None and may_drive(role)) or has_right(user, STOP_RUNS)


def may_delete(user: AnyUser, session: Session) -> bool:
    """Whether the user deletes the session as an operator does."""
    return has_right(user, DELETE_SESSIONS)
