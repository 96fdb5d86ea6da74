"""Agents that the user may use, and what each can do."""

from typing import Annotated

from django.http import HttpRequest
from ninja import Router
from pydantic import Field

# Pydantic cannot validate typing's own TypedDict before Python 3.12.
from typing_extensions import TypedDict

from chat.api.auth import READ
from chat.api.bodies import user_of
from chat.catalog import agents as catalog
from chat.catalog import model_servers
from chat.runtime import database

router = Router()


class AgentOut(TypedDict):
    """An agent that you may use."""

    name: str
    title: str
    description: str
    version: int
    model: str
    provider: Annotated[str, Field(description="The name of the model's server.")]
    tools: list[str]
    mcp_servers: Annotated[list[str] | None, Field(description="Its tools; null: all that are configured.")]
    sub_agents: Annotated[list[str], Field(description="Agents that it may ask.")]
    starters: Annotated[list[str], Field(description="Suggested first questions.")]
    sees_images: bool
    is_default: Annotated[bool, Field(description="Whether it answers if no agent is named.")]


class AgentList(TypedDict):
    """Agents, in the order in which they were created."""

    items: list[AgentOut]


def _offered(user_id: int) -> list[AgentOut]:
    usable = catalog.usable_by(user_id)
    default = catalog.default_for(usable)
    return [_agent_out(version, default) for version in usable]


def _agent_out(version: catalog.Version, default: str) -> AgentOut:
    spec, (model, provider) = version.spec, model_servers.names_of(version)
    return {
        "name": spec.name,
        "title": spec.title,
        "description": spec.description,
        "version": spec.version,
        "model": model,
        "provider": provider,
        "tools": list(spec.tools),
        "mcp_servers": None if spec.mcp is None else [choice.server for choice in spec.mcp],
        "sub_agents": list(spec.sub_agents),
        "starters": list(spec.starters),
        "sees_images": model_servers.sees_images(version),
        "is_default": spec.name == default,
    }


@router.get("agents/", auth=READ, response=AgentList)
async def list_agents(request: HttpRequest) -> AgentList:
    """List the agents that you may use, with what each can do."""
    return {"items": await database.read(_offered, user_of(request).pk)}
