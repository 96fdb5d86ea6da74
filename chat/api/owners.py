"""Changing a session's owner: offered, accepted, declined; and leaving a session that was shared."""

from typing import Annotated, Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Router, Status
from pydantic import BaseModel, Field, StrictStr

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from agents.sentence import Sentence
from chat.api.auth import MANAGE, READ
from chat.api.bodies import read_body, takes_body, user_of
from chat.api.errors import error_response
from chat.api.paths import visible_session
from chat.api.sessions import SessionOut, session_out
from chat.models import Door, OwnerOffer, Session
from chat.protocol import as_uuid, group_messages
from chat.runs import sharing
from chat.runs.admission import Refused
from chat.runtime import background, database, groups
from chat.schedules import handover

router = Router()


class NewOwner(BaseModel):
    """The user who is asked to take over the session."""

    user: Annotated[StrictStr, Field(max_length=150)]


class OfferOut(TypedDict):
    """An offer to take over a session."""

    session_id: UUID
    title: str
    owner: str
    user: str
    offered_at: float


class OfferList(TypedDict):
    """The sessions that you are asked to take over."""

    items: list[OfferOut]


def _offer_out(offer: OwnerOffer) -> OfferOut:
    return {
        "session_id": offer.session_id,
        "title": offer.session.title,
        "owner": offer.session.owner.get_username(),
        "user": offer.user.get_username(),
        "offered_at": offer.offered_at.timestamp(),
    }


@router.get("offers/", auth=READ, response=OfferList)
async def list_offers(request: HttpRequest) -> OfferList:
    """List the sessions that you are asked to take over."""
    return {"items": [_offer_out(offer) for offer in await database.read(handover.offers_to, user_of(request))]}


@router.post("sessions/{session_id}/owner/", auth=MANAGE, response={201: OfferOut}, openapi_extra=takes_body(NewOwner))
async def offer_session(request: HttpRequest, session_id: str) -> Any:
    """Ask a user to take over a session of your own; an earlier offer is withdrawn.

    The user accepts by `accept/`. An unknown name is 400 `not_found`, as for shares.
    """
    session = await visible_session(request, session_id)
    name = read_body(request, NewOwner).user
    try:
        offer = await database.write(handover.offer_session, user_of(request), session.pk, name, Door.API)
    except sharing.UnknownName as unknown:
        return error_response(unknown.code, unknown.message, 400)
    offer.session = session
    return Status(201, _offer_out(offer))


@router.delete("sessions/{session_id}/owner/", auth=MANAGE, response={204: None})
async def withdraw_offer(request: HttpRequest, session_id: str) -> Status[None]:
    """Withdraw the offer, as the owner; or decline it, as the user who was asked."""
    await database.write(handover.withdraw_offer, user_of(request), _key(session_id), Door.API)
    return Status(204, None)


@router.post("sessions/{session_id}/owner/accept/", auth=MANAGE, response=SessionOut)
async def accept_offer(request: HttpRequest, session_id: str) -> SessionOut:
    """Take over a session that was offered to you. The former owner becomes a driver; schedules into the session pause."""
    key = _key(session_id)
    await database.write(handover.accept_offer, user_of(request), key, Door.API)
    await groups.publish(groups.EVERYONE, group_messages.LOGINS_CHANGED)
    background.spawn(handover.move_index(), "move index")
    return session_out(await database.read(Session.objects.get, pk=key))


@router.post("sessions/{session_id}/leave/", auth=MANAGE, response={204: None})
async def leave_session(request: HttpRequest, session_id: str) -> Status[None]:
    """Leave a session that was shared with you, or that you have joined by a link."""
    session = await visible_session(request, session_id)
    await database.write(sharing.leave_session, user_of(request), session.pk, Door.API)
    await groups.publish(groups.EVERYONE, group_messages.LOGINS_CHANGED)
    return Status(204, None)


def _key(session_id: str) -> UUID:
    key = as_uuid(session_id)
    if key is None:
        raise Refused("not_found", Sentence("Nobody has asked you to take this session over, or not any more."))
    return key
