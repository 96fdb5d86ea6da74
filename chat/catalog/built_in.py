"""Creates the agents of the program and its extensions in the tables, each with a first version."""

from dataclasses import fields
from typing import Any

from django.db import connections, transaction
from django.utils import timezone

from agents import AGENTS, Limits, Parameters
from chat.catalog import agents
from chat.models import Agent, AgentVersion, VersionState


def make_built_in(using: str = "default") -> None:
    """Create missing agents. Called after migrations, and after tables were emptied; agents that staff have changed stay as they are."""
    if Agent._meta.db_table not in connections[using].introspection.table_names():
        return  # an earlier state of the tables, during a migration
    with transaction.atomic(using):
        there = set(Agent.objects.using(using).values_list("name", flat=True))
        for name, spec in AGENTS.items():
            if name in there:
                continue
            agent = Agent.objects.using(using).create(name=name)
            agent.current = AgentVersion.objects.using(using).create(
                agent=agent,
                number=1,
                state=VersionState.PUBLISHED,
                published_at=timezone.now(),
                title=spec.title,
                description=spec.description,
                instructions=spec.instructions,
                tools=list(spec.tools),
                sub_agents=list(spec.sub_agents),
                mcp=None if spec.mcp is None else [{"server": each.server, "tools": each.tools} for each in spec.mcp],
                model=spec.model,
                parameters=_stated(spec.parameters),
                limits=_stated(spec.limits),
                starters=list(spec.starters),
                agent_class=spec.agent_class,
            )
            agent.save(update_fields=["current"], using=using)
    agents.forget()


def _stated(wishes: Parameters | Limits) -> dict[str, Any]:
    """The fields that are set, without those left at their default."""
    usual = type(wishes)()
    names = [each.name for each in fields(wishes)]
    return {name: getattr(wishes, name) for name in names if getattr(wishes, name) != getattr(usual, name)}
