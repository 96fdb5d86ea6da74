"""What `check_llm` finds out about the model server, shared with every process for a day."""

import contextlib
import time
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256

from django.conf import settings
from django.utils import timezone

from agents import AgentError, ModelSettings
from agents.models.probing import server_facts
from chat.catalog import agents, model_servers
from chat.models import ModelServerFacts
from chat.runtime import database

#: How long it is used: the server may have been changed since.
LASTS = timedelta(days=1)
#: How often a process reads what another one has found out, in seconds.
_LOOK_EVERY_S = 60.0


def _key(model: ModelSettings) -> str:
    return sha256(f"{model.server}\n{model.model}".encode()).hexdigest()


def save_facts(model: ModelSettings) -> None:
    """Store what this process knows of a server, as far as the model is concerned."""
    found = {"facts": server_facts(model).export(), "learned_at": timezone.now()}
    ModelServerFacts.objects.update_or_create(server=_key(model), defaults=found)


def load_facts() -> None:
    """Use what is stored about the agents' models, if it is not older than `LASTS`."""
    asked = {_key(model): model for model in _models_asked()}
    if not asked:
        return
    for found in ModelServerFacts.objects.filter(server__in=asked):
        left_s = (found.learned_at + LASTS - timezone.now()).total_seconds()
        if left_s > 0:
            server_facts(asked[found.server]).adopt(found.facts, left_s)


def _models_asked() -> Iterator[ModelSettings]:
    """The installation's model and those of the agents that there are."""
    models = [settings.AGENT_MODEL]
    for version in agents.all_current():
        with contextlib.suppress(AgentError):
            models.append(model_servers.settings_for(version))
    yield from (model for model in models if model.server)


class FactsLoader:
    """Loads them at the first poll, and every so often: other processes may learn."""

    def __init__(self) -> None:
        self._due_at = 0.0

    async def load_in_time(self) -> None:
        """Called every second."""
        if time.monotonic() >= self._due_at:
            self._due_at = time.monotonic() + _LOOK_EVERY_S
            await database.read(load_facts)
