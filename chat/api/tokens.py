"""API tokens: created and revoked by their owner on the pages, listed also by the owner's programs."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Router, Status
from pydantic import BaseModel, Field, StrictStr

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from agents.sentence import Sentence
from chat.api.auth import PAGES_ALONE, READ
from chat.api.bodies import Expiry, read_body, read_expiry, takes_body, user_of
from chat.models import ApiToken, Door, Scope
from chat.protocol import BadFrame, as_uuid, group_messages, is_blank
from chat.runs.admission import Refused
from chat.runtime import database, groups
from chat.security import tokens

router = Router()


class NewToken(BaseModel):
    """A new token."""

    name: Annotated[StrictStr, Field(max_length=100)] = Field(
        description="What it is for, so that its owner recognises it."
    )
    scope: StrictStr = Field(description="read, ask or manage; each includes the one before.")
    expires_at: Expiry = None


class TokenOut(TypedDict):
    """A token; only its beginning is shown."""

    id: UUID
    name: str
    scope: str
    prefix: str
    expires_at: float | None
    created_at: float
    last_used_at: Annotated[float | None, Field(description="Accurate to the minute.")]
    last_used_door: Annotated[
        str | None, Field(description="What it was last used for: api, socket, stream, v1, agui, metrics.")
    ]


class MadeTokenOut(TokenOut):
    """A token that was just created."""

    token: Annotated[str, Field(description="The token itself. It is shown only here.")]


class TokenList(TypedDict):
    """Tokens that were not revoked, newest first."""

    items: list[TokenOut]


def _moment(at: datetime | None) -> float | None:
    return at.timestamp() if at else None


def _token_out(token: ApiToken) -> TokenOut:
    return {
        "id": token.pk,
        "name": token.name,
        "scope": token.scope,
        "prefix": token.prefix,
        "expires_at": _moment(token.expires_at),
        "created_at": token.created_at.timestamp(),
        "last_used_at": _moment(token.last_used_at),
        "last_used_door": token.last_used_door or None,
    }


@router.get("tokens/", auth=READ, response=TokenList)
async def list_tokens(request: HttpRequest) -> TokenList:
    """List your tokens, newest first, without revoked ones."""
    return {"items": [_token_out(token) for token in await database.read(tokens.tokens_of, user_of(request).pk)]}


@router.post("tokens/", auth=PAGES_ALONE, response={201: MadeTokenOut}, openapi_extra=takes_body(NewToken))
async def make_token(request: HttpRequest, response: HttpResponse) -> Status[MadeTokenOut]:
    """Create a token. It is shown only in this answer: only a digest of it is stored."""
    new = read_body(request, NewToken)
    if is_blank(new.name):
        raise BadFrame("bad_frame", Sentence("A name needs at least one letter, digit or sign that can be seen."))
    if new.scope not in Scope.values:
        raise BadFrame("bad_frame", Sentence("scope: one of %(known)s.", known=", ".join(Scope.values)))
    try:
        made, text = await database.write(
            tokens.make_token,
            user_of(request),
            new.name.strip(),
            Scope(new.scope),
            read_expiry(new.expires_at),
            Door.API,
        )
    except tokens.TooManyTokens:
        message = Sentence("You have %(n)d tokens, and more are not allowed. Revoke one first.", n=tokens.MOST_TOKENS)
        raise Refused("rate_limited", message) from None
    response["Cache-Control"] = "no-store"
    return Status(201, {**_token_out(made), "token": text})


@router.delete("tokens/{token_id}/", auth=PAGES_ALONE, response={204: None})
async def revoke_token(request: HttpRequest, token_id: str) -> Status[None]:
    """Revoke a token: it is not accepted any more, and connections that were opened with it are closed."""
    key = as_uuid(token_id)
    if key is None or not await database.write(tokens.revoke_token, user_of(request).pk, key, door=Door.API):
        raise Refused("not_found", Sentence("There is no such token."))
    await groups.publish(groups.EVERYONE, group_messages.LOGINS_CHANGED)
    return Status(204, None)
