"""The lists of this API: agents as models, and runs as responses."""

from typing import Literal, TypedDict
from uuid import UUID

import orjson

from chat.accounts.models import User
from chat.catalog import agents
from chat.models import AgentVersion, RunStatus
from chat.openai.pieces import Frame
from chat.openai.responses import Asked, Status
from chat.store import selectors, sent_along


class ModelData(TypedDict):
    """An agent as OpenAI lists models, with its name and description for people."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    name: str
    description: str


def models_for(user: User) -> list[ModelData]:
    """The agents that a user may use, as OpenAI lists models."""
    usable = agents.usable_by(user.pk)
    made = dict(AgentVersion.objects.filter(pk__in=[each.pk for each in usable]).values_list("pk", "created_at"))
    return [
        {
            "id": each.spec.name,
            "object": "model",
            "created": int(made[each.pk].timestamp()),
            "owned_by": "thinkaloud",
            "name": str(each.spec.title),
            "description": str(each.spec.description),
        }
        for each in usable
    ]


def stored_response(user: User, run_id: UUID) -> tuple[Asked, list[Frame], Status] | None:
    """The request, the frames so far, and the present state of one of the user's runs; None if there is no such run."""
    place = sent_along.find_run(user.pk, run_id)
    if place is None:
        return None
    run = place.run
    asked = Asked(
        str(run.pk),
        run.agent_name,
        int(run.created_at.timestamp()),
        sent_along.instructions_of(run) or None,
        metadata={"session_id": str(run.session_id)},
    )
    frames = [orjson.loads(stored.frame) for stored in selectors.stored_of(run)]
    return asked, frames, "queued" if run.status == RunStatus.QUEUED else "in_progress"
