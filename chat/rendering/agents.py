"""Agents as rows of the composer's menu."""

from collections.abc import Iterable
from typing import NamedTuple

from chat.catalog import model_servers
from chat.catalog.agents import Version
from chat.rendering.sentences import translate_sentence


class AgentRow(NamedTuple):
    """An agent in the composer's menu, in the reader's language."""

    name: str
    title: str
    description: str
    tools: tuple[str, ...]
    starters: tuple[str, ...]
    sees_images: bool


def agent_rows(versions: Iterable[Version]) -> tuple[AgentRow, ...]:
    """The agents of the composer's menu."""
    return tuple(_row(version) for version in versions)


def _row(version: Version) -> AgentRow:
    spec = version.spec
    return AgentRow(
        spec.name,
        translate_sentence(spec.title),
        translate_sentence(spec.description),
        tuple(spec.tools),
        tuple(spec.starters),
        model_servers.sees_images(version),
    )
