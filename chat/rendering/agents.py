"""Agents as pages and programs are told of them: what each is for, and what it can do."""

from collections.abc import Iterable
from typing import Any

from chat.catalog import model_servers
from chat.catalog.agents import Version
from chat.rendering.sentences import translate_sentence


def agent_rows(versions: Iterable[Version]) -> list[dict[str, Any]]:
    """The agents as the composer offers them."""
    return [_row(version) for version in versions]


def _row(version: Version) -> dict[str, Any]:
    spec = version.spec
    return {
        "name": spec.name,
        "title": translate_sentence(spec.title),
        "description": translate_sentence(spec.description),
        "tools": spec.tools,
        "starters": spec.starters,
        "sees_images": model_servers.sees_images(version),
    }
