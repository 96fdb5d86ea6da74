"""Sharing a set with a user or a group. The only writer of its table.

Each function is one transaction, on a thread of the database, and checks there that its caller owns the set. What a share allows is
defined in `access`. The caller has to notify open sockets of a change (`group_messages.LOGINS_CHANGED`).
"""

from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from agents.json_types import JsonObject
from agents.sentence import Sentence
from chat.access import Role, may_manage, not_expired
from chat.accounts.models import User
from chat.cases import commands
from chat.models import Act, CaseSet, Door, SetShare
from chat.runs import sharing
from chat.runs.admission import Refused
from chat.runs.sharing import MOST_SHARES, ShareTarget, UnknownName
from chat.security import audit


@transaction.atomic
def list_shares(user: User, set_id: UUID) -> list[SetShare]:
    """The shares of the user's set that have not expired, oldest first. Raises `Refused`."""
    commands.hold_set(user, set_id, may_manage)
    return list(SetShare.objects.filter(not_expired(), case_set=set_id).select_related("user", "group"))


def make_share(
    user: User, set_id: UUID, target: ShareTarget, role: Role, expires_at: datetime | None, door: Door
) -> SetShare:
    """Share a set with a user, or with a group of the owner's. Raises `Refused`."""
    if not (target.group or target.user):
        raise Refused("bad_frame", Sentence("Say with whom."))
    with transaction.atomic():
        case_set = commands.hold_set(user, set_id, may_manage)
        sharing.check_share(role, expires_at)
        # Expired shares are not listed, and cannot be withdrawn.
        SetShare.objects.filter(case_set=case_set, expires_at__lte=Now()).delete()
        if SetShare.objects.filter(case_set=case_set).count() >= MOST_SHARES:
            raise Refused("conflict", Sentence("A set may be shared %(n)d times. Withdraw one first.", n=MOST_SHARES))
        set_share = SetShare(case_set=case_set, role=role, expires_at=expires_at)
        set_share.user, set_share.group = sharing.find_target(user, target)
        if is_known := set_share.user is not None or set_share.group is not None:
            _save(case_set, set_share)
            _note(user, Act.SHARE, door, set_share)
        else:
            sharing.count_unknown(user, door)
    # The attempt is counted, so it has to be committed although it is refused.
    if not is_known:
        raise UnknownName(target.group or target.user)
    return set_share


def _save(case_set: CaseSet, set_share: SetShare) -> None:
    if set_share.user_id == case_set.owner_id:
        raise Refused("bad_frame", Sentence("The set is yours; it need not be shared with you."))
    if SetShare.objects.filter(case_set=case_set, user=set_share.user, group=set_share.group).exists():
        raise Refused("conflict", Sentence("It is shared with them already; change that instead."))
    set_share.save(force_insert=True)


def _note(user: User, act: Act, door: Door, set_share: SetShare) -> None:
    who: JsonObject = {"group": set_share.group_id} if set_share.group_id else {}
    about = f"set {set_share.case_set_id} share {set_share.pk}"
    audit.record_action(
        user.pk, act, door, subject_id=set_share.user_id or user.pk, about=about, role=str(set_share.role), **who
    )


def _held_share(user: User, set_id: UUID, share_id: UUID) -> SetShare:
    commands.hold_set(user, set_id, may_manage)
    set_share = SetShare.objects.select_related("user", "group").filter(pk=share_id, case_set=set_id).first()
    if set_share is None:
        raise Refused("not_found", Sentence("There is no such share."))
    return set_share


@transaction.atomic
def change_share(user: User, set_id: UUID, share_id: UUID, changes: sharing.ShareChanges, door: Door) -> SetShare:
    """Change a share's ``role`` or ``expires_at``, whichever is given. Raises `Refused`."""
    set_share = _held_share(user, set_id, share_id)
    role = Role(changes.get("role", set_share.role))
    sharing.check_share(role, changes.get("expires_at"))
    set_share.role, set_share.expires_at = role, changes.get("expires_at", set_share.expires_at)
    set_share.save(update_fields=("role", "expires_at"))
    _note(user, Act.SHARE, door, set_share)
    return set_share


@transaction.atomic
def withdraw_share(user: User, set_id: UUID, share_id: UUID, door: Door) -> None:
    """Withdraw a share. A user without another one loses the set, and the sessions in which its cases were asked. Raises `Refused`."""
    set_share = _held_share(user, set_id, share_id)
    _note(user, Act.UNSHARE, door, set_share)
    set_share.delete()


@transaction.atomic
def leave_set(user: User, set_id: UUID, door: Door) -> None:
    """Leave a set that was shared with the user directly; shares of groups stay. Raises `Refused`."""
    case_set = commands.hold_set(user, set_id, lambda _role: True)
    if case_set.owner_id == user.pk:
        raise Refused("not_allowed", Sentence("The set is yours. Delete it, if you don't want it any more."))
    mine = SetShare.objects.filter(case_set=case_set, user=user)
    if not mine.exists():
        raise Refused("not_allowed", Sentence("It is shared with a group of yours: it cannot be left."))
    audit.record_action(user.pk, Act.LEAVE, door, subject_id=case_set.owner_id, about=f"set {set_id}")
    mine.delete()
