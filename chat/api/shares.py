"""Sharing sessions: shared, changed, withdrawn."""

from typing import Annotated, Any, Literal, NotRequired
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Router, Status
from pydantic import BaseModel, Field, StrictBool, StrictStr

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from agents.sentence import Sentence
from chat.access import Role
from chat.api.auth import MANAGE, READ
from chat.api.bodies import Expiry, read_body, read_expiry, takes_body, user_of
from chat.api.errors import error_response
from chat.api.links import link_address
from chat.api.paths import visible_session
from chat.models import Door, SetShare, Share
from chat.protocol import BadFrame, as_uuid, group_messages
from chat.runs import sharing
from chat.runs.admission import Refused
from chat.runtime import database, groups

router = Router()


class NewShare(BaseModel):
    """With whom to share: one of `user`, `group` and `link`."""

    user: Annotated[StrictStr, Field(max_length=150)] | None = None
    group: Annotated[StrictStr, Field(max_length=150)] | None = Field(None, description="A group that you belong to.")
    link: StrictBool = Field(False, description="Any user who has the link may join as a watcher.")
    role: Literal["watcher", "driver"] = "watcher"
    expires_at: Expiry = None


class ShareChanges(BaseModel):
    """Changes of a share; fields that are left out stay."""

    role: Literal["watcher", "driver"] = "watcher"
    expires_at: Expiry = None

    def given(self) -> sharing.ShareChanges:
        """The given fields, as the use cases take them. Raises `BadFrame`."""
        changes: sharing.ShareChanges = {}
        if "role" in self.model_fields_set:
            changes["role"] = self.role
        if "expires_at" in self.model_fields_set:
            changes["expires_at"] = read_expiry(self.expires_at)
        return changes


class SetShareOut(TypedDict):
    """A share of a set."""

    id: UUID
    user: NotRequired[str | None]
    group: NotRequired[str | None]
    role: str
    expires_at: float | None
    created_at: float


class ShareOut(SetShareOut):
    """A share."""

    link: bool
    url: NotRequired[Annotated[str | None, Field(description="The link's address; sent once, when it is created.")]]


class ShareList(TypedDict):
    """The shares of a session, oldest first."""

    items: list[ShareOut]


def share_out(share: Share | SetShare) -> SetShareOut:
    """A share of a session or a set, as the API returns it."""
    out: SetShareOut = {
        "id": share.pk,
        "role": share.role,
        "expires_at": share.expires_at.timestamp() if share.expires_at else None,
        "created_at": share.created_at.timestamp(),
    }
    if share.user is not None:
        out["user"] = share.user.get_username()
    if share.group is not None:
        out["group"] = share.group.name
    return out


def _share_out(share: Share, url: str = "") -> ShareOut:
    out: ShareOut = {**share_out(share), "link": share.link_hash is not None, "url": url}
    if not url:
        del out["url"]
    return out


@router.get("sessions/{session_id}/shares/", auth=READ, response=ShareList)
async def list_shares(request: HttpRequest, session_id: str) -> ShareList:
    """List with whom your session is shared."""
    session = await visible_session(request, session_id)
    shares = await database.write(sharing.list_shares, user_of(request), session.pk)
    return {"items": [_share_out(share) for share in shares]}


@router.post(
    "sessions/{session_id}/shares/",
    auth=MANAGE,
    response={201: ShareOut},
    openapi_extra=takes_body(NewShare),
)
async def make_share(request: HttpRequest, session_id: str) -> Any:
    """Share your session with a user, with a group that you are in, or with everybody who has a link."""
    session = await visible_session(request, session_id)
    new = read_body(request, NewShare)
    if sum((new.user is not None, new.group is not None, new.link)) != 1:
        raise BadFrame("bad_frame", Sentence("Share with exactly one: a person, a group or a link."))
    target = sharing.ShareTarget(new.user or "", new.group or "", link=new.link)
    try:
        share, secret = await database.write(
            sharing.make_share,
            user_of(request),
            session.pk,
            target,
            Role(new.role),
            read_expiry(new.expires_at),
            Door.API,
        )
    except sharing.UnknownName as unknown:
        return error_response(unknown.code, unknown.message, 400)
    await notify_sockets()
    return Status(201, _share_out(share, link_address(request, secret)))


@router.patch("shares/{share_id}/", auth=MANAGE, response=ShareOut, openapi_extra=takes_body(ShareChanges))
async def change_share(request: HttpRequest, share_id: str) -> ShareOut:
    """Change the role or the expiry of a share of your session; open sockets are notified at once."""
    changes = read_body(request, ShareChanges).given()
    share = await database.write(sharing.change_share, user_of(request), _key(share_id), changes, Door.API)
    await notify_sockets()
    return _share_out(share)


@router.delete("shares/{share_id}/", auth=MANAGE, response={204: None})
async def withdraw_share(request: HttpRequest, share_id: str) -> HttpResponse | Status[None]:
    """Withdraw a share of your session; sockets of users who have no other right are closed at once."""
    await database.write(sharing.withdraw_share, user_of(request), _key(share_id), Door.API)
    await notify_sockets()
    return Status(204, None)


async def notify_sockets() -> None:
    """Have every process check at once whether its open sockets may stay."""
    await groups.publish(groups.EVERYONE, group_messages.LOGINS_CHANGED)


def _key(share_id: str) -> UUID:
    key = as_uuid(share_id)
    if key is None:
        raise Refused("not_found", Sentence("There is no such share."))
    return key
