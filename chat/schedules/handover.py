"""Changing a session's owner: the owner offers it to another user, who accepts. The only writer of these tables.

Each function is one transaction, on a thread of the database, and checks its caller there. The caller then has to notify open sockets
(`group_messages.LOGINS_CHANGED`), and to call `move_index`; if its process dies, another one does that.
"""

import asyncio
import time
from uuid import UUID

from django.db import transaction

from agents.sentence import Sentence
from chat.access import may_manage, role_in
from chat.accounts.models import User
from chat.models import Act, Door, IndexMove, OwnerOffer, Session, Step
from chat.runs import sharing
from chat.runs.admission import Refused, lock_session
from chat.runs.erasure import Pace
from chat.runs.sharing import UnknownName
from chat.runtime import database
from chat.schedules import commands
from chat.security import audit
from chat.store import search


def _owns(user: User, session: Session) -> bool:
    role = role_in(user, session)
    return role is not None and may_manage(role)


def offer_session(user: User, session_id: UUID, name: str, door: Door) -> OwnerOffer:
    """Offer the user's own session to another user; an earlier offer is withdrawn. Raises `Refused`."""
    with transaction.atomic():
        session = lock_session(session_id, user, _owns)
        person = sharing.find_person(name)
        if person == user:
            raise Refused("bad_frame", Sentence("The session is yours already."))
        if person is not None:
            OwnerOffer.objects.filter(session=session).delete()
            offer = OwnerOffer.objects.create(session=session, user=person)
            audit.record_action(user.pk, Act.OFFER, door, session_id=session_id, subject_id=person.pk)
            return offer
        sharing.count_unknown(user, door)
    raise UnknownName(name)


@transaction.atomic
def withdraw_offer(user: User, session_id: UUID, door: Door) -> None:
    """Withdraw an offer, as the owner; or decline it, as the offered user. Raises `Refused`."""
    offer = _locked_offer(session_id)
    if offer is None or user.pk not in (offer.user_id, offer.session.owner_id):
        raise _no_offer()
    subject = offer.user_id if user.pk == offer.session.owner_id else offer.session.owner_id
    audit.record_action(user.pk, Act.DECLINE, door, session_id=session_id, subject_id=subject)
    offer.delete()


@transaction.atomic
def accept_offer(user: User, session_id: UUID, door: Door) -> None:
    """Take over a session: its former owner becomes a driver, and schedules in it pause. Raises `Refused`."""
    offer = _locked_offer(session_id)
    if offer is None or offer.user_id != user.pk:
        raise _no_offer()
    session = offer.session
    before_id = session.owner_id
    if User.objects.filter(pk__in=(user.pk, before_id), is_active=True).count() < 2:
        raise _no_offer()
    offer.delete()
    Session.objects.filter(pk=session_id).update(owner=user, creation_key=None, creation_digest=None, archived=False)
    sharing.swap_owner(session, user, before_id)
    commands.pause_into(session_id)
    IndexMove.objects.update_or_create(session=session, defaults={"after": 0})
    audit.record_action(user.pk, Act.HAND_OVER, door, session_id=session_id, subject_id=before_id)


def _locked_offer(session_id: UUID) -> OwnerOffer | None:
    """The offer of a session, locked for the rest of the transaction."""
    if Session.objects.select_for_update().filter(pk=session_id).first() is None:
        return None
    return OwnerOffer.objects.select_related("session", "user").filter(session=session_id).first()


def _no_offer() -> Refused:
    return Refused("not_found", Sentence("Nobody has asked you to take this session over, or not any more."))


def offer_of(session_id: UUID) -> OwnerOffer | None:
    """The open offer of a session, if there is one."""
    return OwnerOffer.objects.select_related("user").filter(session=session_id).first()


def offers_to(user: User) -> list[OwnerOffer]:
    """The open offers to a user, the oldest first."""
    asked = OwnerOffer.objects.filter(user=user, session__deleted_at=None, session__owner__is_active=True)
    return list(asked.select_related("session__owner", "user").order_by("offered_at"))


async def move_index() -> None:
    """Update the search index of sessions that were handed over, in batches, between which others write."""
    pace = Pace()
    while await database.read(IndexMove.objects.exists):
        took_s = await database.write(move_some, pace)
        await asyncio.sleep(took_s)


@transaction.atomic
def move_some(pace: Pace) -> float:
    """Move a batch. Returns how many seconds that took."""
    began = time.monotonic()
    moving = IndexMove.objects.select_for_update(skip_locked=True).order_by("pk").first()
    if moving is None:
        # Another process is doing it.
        return 1.0
    # Locked, so that the owner does not change meanwhile.
    Session.everything.select_for_update().filter(pk=moving.pk).first()
    steps = Step.objects.filter(session=moving.pk, pk__gt=moving.after).order_by("pk")
    step_ids = list(steps.values_list("pk", flat=True)[: pace.rows])
    search.move(moving.pk, step_ids)
    if len(step_ids) < pace.rows:
        moving.delete()
    else:
        IndexMove.objects.filter(pk=moving.pk).update(after=step_ids[-1])
    took = time.monotonic() - began
    pace.adapt(took)
    return took
