"""Searching for steps."""

from typing import Annotated
from uuid import UUID

from django.http import HttpRequest
from ninja import Router
from pydantic import Field

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from chat.api.auth import READ
from chat.api.bodies import user_of
from chat.api.sessions import PAGE_LENGTH
from chat.runtime import database
from chat.store import search

router = Router()


class HitOut(TypedDict):
    """A step that was found. ``excerpt`` is a list of pieces, each with whether it is one of the words."""

    session_id: UUID
    session_title: str
    run_id: UUID
    seq: Annotated[int | None, Field(description="Empty for steps of a run without reasoning, which are never sent.")]
    step: int | None
    type: str
    tool_name: str
    timestamp: float
    excerpt: list[tuple[str, bool]]


class Hits(TypedDict):
    """Steps that were found, newest first."""

    items: list[HitOut]


@router.get("search/", auth=READ, response=Hits)
async def find_steps(
    request: HttpRequest, q: str = "", limit: Annotated[int, Field(ge=1, le=100)] = PAGE_LENGTH
) -> Hits:
    """Search messages, thoughts, tool arguments, results and answers in your own sessions."""
    hits = await database.read(search.find, user_of(request), q, limit)
    return {
        "items": [
            {
                "session_id": hit.session_id,
                "session_title": hit.session_title,
                "run_id": hit.run_id,
                "seq": hit.seq,
                "step": hit.step,
                "type": hit.type,
                "tool_name": hit.tool_name,
                "timestamp": hit.at.timestamp(),
                "excerpt": hit.excerpt,
            }
            for hit in hits
        ]
    }
