"""Agents, changed: each save is a new version, which runs take once it is published. Every change is in the audit."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from agents.sentence import Sentence
from chat.accounts.models import User
from chat.catalog import agents
from chat.models import Act, Agent, AgentVersion, Door, VersionState
from chat.security import audit

#: The fields of a version's content, by their columns.
CONTENT = (
    "title",
    "description",
    "instructions",
    "instructions_shown",
    "tools",
    "mcp",
    "sub_agents",
    "model_server",
    "model",
    "parameters",
    "limits",
    "starters",
    "policy",
    "agent_class",
)


class Unchangeable(Exception):
    """This can't be done to an agent now; ``message`` is a sentence for people."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class SavedMeanwhile(Unchangeable):
    """Another user has saved since the form was opened; ``newest`` is their version."""

    def __init__(self, newest: AgentVersion) -> None:
        by = newest.created_by.get_username() if newest.created_by else "–"
        super().__init__(
            Sentence(
                "Version %(n)d was saved by %(user)s while you were writing. What you wrote is still below. "
                "Look at the difference, then save again: it becomes the version after that one.",
                n=newest.number,
                user=by,
            )
        )
        self.newest = newest


def content_of(version: AgentVersion) -> dict[str, Any]:
    """A version's content."""
    return {name: getattr(version, name) for name in CONTENT}


@transaction.atomic
def make_agent(agent: Agent, by: User, content: Mapping[str, Any], *, note: str = "") -> AgentVersion:
    """A new agent with its first version, a draft: it is not offered before it is published."""
    agent.save(force_insert=True)
    return _add(agent, by, content, note)


@transaction.atomic
def save_version(agent_id: int, by: User, content: Mapping[str, Any], *, based_on: int, note: str = "") -> AgentVersion:
    """The next version, a draft. ``based_on`` is the number of the newest that the writer has seen. Raises `SavedMeanwhile`."""
    agent = _held(agent_id)
    newest = agent.versions.select_related("created_by").order_by("-number").first()
    if newest is not None and newest.number != based_on:
        raise SavedMeanwhile(newest)
    return _add(agent, by, content, note)


@transaction.atomic
def restore_version(version: AgentVersion, by: User) -> AgentVersion:
    """A new draft with the content of an earlier version."""
    agent = _held(version.agent_id)
    return _add(agent, by, content_of(version), f"↺ {version.number}", act=Act.RESTORE)


@transaction.atomic
def publish_version(version: AgentVersion, by: User) -> None:
    """Have runs that begin from now on take this version. Raises `Unchangeable`."""
    agent = _held(version.agent_id)
    if agent.archived_at is not None:
        raise Unchangeable(Sentence("The agent is archived. Bring it back first."))
    if version.model_server is not None and version.model_server.archived_at is not None:
        raise Unchangeable(
            Sentence("Its model server “%(name)s” was closed. Choose another one.", name=version.model_server.name)
        )
    if circle := _circle(agent.name, version.sub_agents):
        raise Unchangeable(
            Sentence("These agents would ask one another in a circle: %(names)s.", names=" → ".join(circle))
        )
    AgentVersion.objects.filter(pk=version.pk).update(state=VersionState.PUBLISHED, published_at=timezone.now())
    Agent.objects.filter(pk=agent.pk).update(current=version)
    _changed(by, Act.PUBLISH, version)


@transaction.atomic
def archive_agent(agent_id: int, by: User, *, archived: bool) -> None:
    """Archive an agent, or offer it again. Runs keep their version; queued ones are refused when their turn comes."""
    agent = _held(agent_id)
    Agent.objects.filter(pk=agent.pk).update(archived_at=timezone.now() if archived else None)
    _changed(by, Act.ARCHIVE if archived else Act.RESTORE, agent)


@transaction.atomic
def set_groups(agent_id: int, by: User, groups: Iterable[Group]) -> None:
    """Set which groups may use an agent from now on; none: everyone."""
    agent = _held(agent_id)
    wanted = set(groups)
    if set(agent.groups.all()) != wanted:
        agent.groups.set(wanted)
        _changed(by, Act.SAVE, agent)


def _held(agent_id: int) -> Agent:
    return Agent.objects.select_for_update(of=("self",)).get(pk=agent_id)


def _add(agent: Agent, by: User, content: Mapping[str, Any], note: str, act: Act = Act.SAVE) -> AgentVersion:
    last = agent.versions.aggregate(last=Max("number"))["last"] or 0
    made = AgentVersion.objects.create(agent=agent, number=last + 1, created_by=by, note=note, **content)
    _changed(by, act, made)
    return made


def _circle(name: str, sub_agents: Sequence[str]) -> list[str]:
    """The path by which an agent with these sub-agents would ask itself; empty if there is none."""
    asks = dict(Agent.objects.exclude(current=None).values_list("name", "current__sub_agents")) | {name: sub_agents}
    ways = [[name]]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        for asked in asks.get(way[-1], ()):
            if asked == name:
                return [*way, asked]
            if asked not in seen:
                seen.add(asked)
                ways.append([*way, asked])
    return []


def _changed(by: User, act: Act, what: Agent | AgentVersion) -> None:
    name = what.name if isinstance(what, Agent) else f"{what.agent.name} {what.number}"
    audit.record_action(by.pk, act, Door.ADMIN, about=f"agent {name}")
    transaction.on_commit(agents.forget)
