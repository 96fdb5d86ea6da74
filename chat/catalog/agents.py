"""Agents: which versions runs take, who may use which agent, and the content of versions.

A version never changes, so each is read once. Which one is current is looked at again when a second has passed; what lets a message in
asks the database itself, in the statement that it asks anyway (`CURRENT_SQL`, `with_current`).
"""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from django.db.models import OuterRef, Q, QuerySet, Subquery

from agents import AGENTS, DEFAULT_AGENT, AgentSpec, Limits, McpChoice, Parameters, Policy, read_policy
from chat.accounts.models import User
from chat.models import Agent, AgentVersion

logger = logging.getLogger(__name__)

#: Seconds for which the current versions are cached.
_FRESH_S = 1.0
_MOST_VERSIONS = 500


@dataclass(frozen=True, slots=True)
class Version:
    """A version of an agent, and the model server that it uses; ``None``: the environment's."""

    pk: int
    spec: AgentSpec
    server_id: int | None


@dataclass(frozen=True, slots=True)
class _AgentState:
    """An agent; ``current`` is its published version, ``groups`` are those who may use it."""

    name: str
    title: str
    current: int
    groups: frozenset[int]
    is_archived: bool


@dataclass(slots=True)
class _Known:
    """What this process has read, and until when it is used."""

    agents: Mapping[str, _AgentState]
    until: float = 0.0


_known = _Known({})


def load_version(pk: int) -> Version:
    """A version by its key: one that this process has met costs nothing."""
    return _load(pk)


@lru_cache(maxsize=_MOST_VERSIONS)
def _load(pk: int) -> Version:
    row = AgentVersion.objects.select_related("agent").get(pk=pk)
    return Version(pk, spec_of(row), row.model_server_id)


def spec_of(row: AgentVersion) -> AgentSpec:
    """A version's content, as agents are built from it."""
    name = row.agent.name
    return AgentSpec(
        name=name,
        title=_own_words(name, row.title),
        description=_own_words(name, row.description),
        instructions=row.instructions,
        tools=tuple(row.tools),
        version=row.number,
        mcp=None if row.mcp is None else tuple(_choice(chosen) for chosen in row.mcp),
        sub_agents=tuple(row.sub_agents),
        model=row.model,
        parameters=Parameters(**_known_fields(Parameters, row.parameters)),
        limits=Limits(**_known_fields(Limits, row.limits)),
        starters=tuple(row.starters),
        agent_class=row.agent_class,
        policy=_policy(row),
    )


def _policy(row: AgentVersion) -> Policy:
    """Which of its calls wait. An invalid policy, which no form saves, lets no call pass by itself."""
    try:
        return read_policy(row.policy)
    except ValueError:
        logger.exception("The policy of the agent “%s” can't be read: all its calls wait for people", row.agent.name)
        return read_policy([{"tool": "*", "decision": "ask"}])


def _known_fields(kind: type[Parameters | Limits], content: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that this version of the program knows, of those that another one may have saved."""
    return {each.name: content[each.name] for each in fields(kind) if each.name in content}


def _own_words(name: str, text: str) -> str:
    """The text; for a built-in agent's unchanged text, the sentence that pages can translate."""
    built_in = AGENTS.get(name)
    own = (built_in.title, built_in.description) if built_in is not None else ()
    return next((sentence for sentence in own if sentence == text), text)


def _choice(chosen: Mapping[str, Any]) -> McpChoice:
    tools = chosen.get("tools")
    return McpChoice(chosen["server"], None if tools is None else tuple(tools))


def refresh() -> None:
    """Read which agents there are, unless that was done within the last second. One query."""
    if time.monotonic() < _known.until:
        return
    found = Agent.objects.exclude(current=None).order_by("pk")
    agents: dict[str, _AgentState] = {}
    for name, title, current, archived_at, group in found.values_list(
        "name", "current__title", "current_id", "archived_at", "groups"
    ):
        so_far = agents[name].groups if name in agents else frozenset()
        groups = so_far | ({group} - {None})
        agents[name] = _AgentState(name, _own_words(name, title), current, groups, archived_at is not None)
    _known.agents = agents
    _known.until = time.monotonic() + _FRESH_S


def forget() -> None:
    """Have the next question read the agents again: this process has changed something, or the tables were replaced."""
    _known.until = 0.0
    _known.agents = {}
    _offered.clear()
    _load.cache_clear()


def usable_by(user_id: int) -> list[Version]:
    """The agents that a user may use now, each in its current version, in the order in which they were created."""
    refresh()
    return [load_version(each.current) for each in _usable(_known.agents.values(), user_id)]


#: For how many seconds it is cached who may use which agent; by user, until when and which. So a run's start needs no query for it.
_OFFERED_S = 60.0
_MOST_OFFERED = 1_000
_offered: dict[int, tuple[float, dict[str, AgentSpec]]] = {}


def offered_to(user_id: int, names: Sequence[str]) -> tuple[AgentSpec, ...]:
    """Those of these agents that a user may use, as of up to a minute ago: the call itself checks again."""
    until, specs = _offered.get(user_id, (0.0, {}))
    if time.monotonic() >= until:
        specs = {version.spec.name: version.spec for version in usable_by(user_id)}
        if len(_offered) >= _MOST_OFFERED:
            _offered.clear()
        _offered[user_id] = (time.monotonic() + _OFFERED_S, specs)
    return tuple(specs[name] for name in names if name in specs)


def all_current() -> list[Version]:
    """The current versions of all agents that are offered to anyone."""
    refresh()
    return [load_version(each.current) for each in _known.agents.values() if not each.is_archived]


def may_use(name: str, user_id: int) -> bool:
    """Whether there is an agent of that name for this user now."""
    refresh()
    agent = _known.agents.get(name)
    return agent is not None and bool(_usable([agent], user_id))


def is_open(name: str) -> bool | None:
    """`may_use` from the cache, for agents that all users may use; None if the database has to be asked. For the event loop."""
    if time.monotonic() >= _known.until:
        return None
    agent = _known.agents.get(name)
    if agent is None or agent.is_archived:
        return False
    return None if agent.groups else True


def _usable(agents: Iterable[_AgentState], user_id: int) -> list[_AgentState]:
    offered = [agent for agent in agents if not agent.is_archived]
    if not any(agent.groups for agent in offered):
        return offered
    own = set(User.groups.through.objects.filter(user_id=user_id).values_list("group_id", flat=True))
    return [agent for agent in offered if not agent.groups or agent.groups & own]


def default_for(usable: Iterable[Version]) -> str:
    """The agent that answers if none is named: the installation's default, else the first; empty if there is none."""
    names = [version.spec.name for version in usable]
    return DEFAULT_AGENT if DEFAULT_AGENT in names else next(iter(names), "")


def title_of(name: str) -> str:
    """An agent's title, from the cache, without a query. Its name if the cache does not have it."""
    known = _known.agents.get(name) or AGENTS.get(name)
    return known.title if known is not None else name


def all_titles() -> tuple[tuple[str, str], ...]:
    """The titles of all agents, from the cache: a part of the key of cached HTML that contains titles."""
    return tuple((each.name, each.title) for each in _known.agents.values())


def all_names() -> list[str]:
    """The names of all agents, archived ones too: what stored runs may have been answered by."""
    refresh()
    return list(_known.agents)


#: The current version of an agent, for a user who may use it: for statements that are written out. The places are for the agent's name
#: and the user's key, as SQL.
CURRENT_SQL = f"""(SELECT agent.current_id FROM {Agent._meta.db_table} agent WHERE agent.name = {{name}} AND agent.archived_at IS NULL
    AND (NOT EXISTS (SELECT 1 FROM {Agent.groups.through._meta.db_table} opened WHERE opened.agent_id = agent.id)
        OR EXISTS (SELECT 1 FROM {Agent.groups.through._meta.db_table} opened
            JOIN {User.groups.through._meta.db_table} member ON member.group_id = opened.group_id
            WHERE opened.agent_id = agent.id AND member.user_id = {{user}})))"""  # noqa: S608 - our own names


def with_current(runs: QuerySet[Any]) -> QuerySet[Any]:
    """Runs with ``current_version``: that of their agent, if the requesting user may use it."""
    usable = Agent.objects.filter(
        Q(groups=None) | Q(groups__user=OuterRef("user_id")), name=OuterRef("agent_name"), archived_at=None
    )
    annotated: QuerySet[Any] = runs.annotate(current_version=Subquery(usable.values("current_id")[:1]))
    return annotated


def current_of(name: str, user_id: int) -> int | None:
    """The current version of an agent that the user may use, as the database has it now."""
    usable = Agent.objects.filter(Q(groups=None) | Q(groups__user=user_id), name=name, archived_at=None)
    return usable.values_list("current_id", flat=True).first()
