"""The setup of a run: its agent's version, and that version's model."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.conf import settings

from agents import AgentError, AgentSpec, Limits, ModelSettings
from chat.catalog import agents, mcp_servers, model_servers
from chat.models import Run


@dataclass(frozen=True, slots=True)
class AgentSetup:
    """An agent, its model's settings, and its tool servers; ``problem``: why the run cannot be executed, else empty."""

    spec: AgentSpec
    model: ModelSettings
    problem: AgentError | None = None
    mcp_servers: Mapping[str, Any] = field(default_factory=dict)


def find_setup(run: Run) -> AgentSetup | None:
    """The setup of a run, from its agent's version; None if it has none, because the user may use none."""
    if run.agent_version_id is None:
        return None
    version = agents.load_version(run.agent_version_id)
    try:
        model = replace(model_servers.settings_for(version), sees_images=model_servers.sees_images(version))
        return AgentSetup(version.spec, model, mcp_servers=mcp_servers.configured_for(version.spec.mcp))
    except AgentError as problem:
        return AgentSetup(version.spec, ModelSettings(), problem)


def most_iterations(limits: Limits) -> int:
    """Model calls that a run may make: as many as its agent and the installation allow; 0 for any number."""
    return min((each for each in (limits.iterations, settings.MAX_ITERATIONS) if each), default=0)


def most_of(run: Run) -> int:
    """`most_iterations` for a run; 0 also if it has no version."""
    if run.agent_version_id is None:
        return 0
    return most_iterations(agents.load_version(run.agent_version_id).spec.limits)


def name_model(run: Run) -> None:
    """Store a run's model, and the model's server."""
    if run.agent_version_id is not None:
        run.model, run.provider = model_servers.names_of(agents.load_version(run.agent_version_id))
