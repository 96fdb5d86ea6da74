"""Sharing sets of cases: shared, changed, withdrawn, left."""

from typing import Annotated, Any, Literal

from django.http import HttpRequest
from ninja import Router, Status
from pydantic import BaseModel, Field, StrictStr

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from agents.sentence import Sentence
from chat.access import Role
from chat.api.auth import MANAGE, READ
from chat.api.bodies import Expiry, read_body, read_expiry, takes_body, user_of
from chat.api.cases import set_key
from chat.api.errors import error_response
from chat.api.shares import SetShareOut, ShareChanges, notify_sockets, share_out
from chat.cases import sharing
from chat.models import Door
from chat.protocol import BadFrame
from chat.runs.admission import Refused
from chat.runs.sharing import ShareTarget, UnknownName
from chat.runtime import database

router = Router()


class NewSetShare(BaseModel):
    """With whom to share: `user` or `group`. A watcher sees the set and its results; a driver also changes its cases and asks it."""

    user: Annotated[StrictStr, Field(max_length=150)] | None = None
    group: Annotated[StrictStr, Field(max_length=150)] | None = Field(None, description="A group that you belong to.")
    role: Literal["watcher", "driver"] = "watcher"
    expires_at: Expiry = None


class SetShareList(TypedDict):
    """The shares of a set, oldest first."""

    items: list[SetShareOut]


_NO_SHARE = Refused("not_found", Sentence("There is no such share."))


@router.get("sets/{set_id}/shares/", auth=READ, response=SetShareList)
async def list_set_shares(request: HttpRequest, set_id: str) -> SetShareList:
    """List with whom your set is shared."""
    shares = await database.write(sharing.list_shares, user_of(request), set_key(set_id))
    return {"items": [share_out(share) for share in shares]}


@router.post(
    "sets/{set_id}/shares/",
    auth=MANAGE,
    response={201: SetShareOut},
    openapi_extra=takes_body(NewSetShare),
)
async def make_set_share(request: HttpRequest, set_id: str) -> Any:
    """Share your set with a user, or with a group that you are in."""
    key, new = set_key(set_id), read_body(request, NewSetShare)
    if (new.user is None) == (new.group is None):
        raise BadFrame("bad_frame", Sentence("Share with exactly one: a person or a group."))
    target, ends = ShareTarget(new.user or "", new.group or ""), read_expiry(new.expires_at)
    try:
        share = await database.write(sharing.make_share, user_of(request), key, target, Role(new.role), ends, Door.API)
    except UnknownName as unknown:
        return error_response(unknown.code, unknown.message, 400)
    await notify_sockets()
    return Status(201, share_out(share))


@router.patch(
    "sets/{set_id}/shares/{share_id}/",
    auth=MANAGE,
    response=SetShareOut,
    openapi_extra=takes_body(ShareChanges),
)
async def change_set_share(request: HttpRequest, set_id: str, share_id: str) -> SetShareOut:
    """Change the role or the expiry of a share of your set."""
    changes = read_body(request, ShareChanges).given()
    keys = set_key(set_id), set_key(share_id, _NO_SHARE)
    share = await database.write(sharing.change_share, user_of(request), *keys, changes, Door.API)
    await notify_sockets()
    return share_out(share)


@router.delete("sets/{set_id}/shares/{share_id}/", auth=MANAGE, response={204: None})
async def withdraw_set_share(request: HttpRequest, set_id: str, share_id: str) -> Status[None]:
    """Withdraw a share of your set; the user also loses the sessions in which its cases were asked."""
    keys = set_key(set_id), set_key(share_id, _NO_SHARE)
    await database.write(sharing.withdraw_share, user_of(request), *keys, Door.API)
    await notify_sockets()
    return Status(204, None)


@router.post("sets/{set_id}/leave/", auth=MANAGE, response={204: None})
async def leave_set(request: HttpRequest, set_id: str) -> Status[None]:
    """Leave a set that was shared with you."""
    await database.write(sharing.leave_set, user_of(request), set_key(set_id), Door.API)
    await notify_sockets()
    return Status(204, None)
