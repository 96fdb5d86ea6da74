"""What `check_llm` finds out about the model server is what every process knows from then on, for a day."""

import time
from datetime import timedelta
from hashlib import sha256

from django.conf import settings
from django.utils import timezone

from agents.models.probing import server_facts
from chat.models import ModelServerFacts
from chat.runtime import database

#: So long what was found out counts: the server may have been changed.
LASTS = timedelta(days=1)
#: How often a process looks for what another one has found out, in seconds.
_LOOK_EVERY_S = 60.0


def _server() -> str:
    model = settings.AGENT_MODEL
    return sha256(f"{model.server}\n{model.model}".encode()).hexdigest()


def save_facts() -> None:
    """Write down what this process knows of the configured server."""
    found = {"facts": server_facts(settings.AGENT_MODEL).export(), "learned_at": timezone.now()}
    ModelServerFacts.objects.update_or_create(server=_server(), defaults=found)


def load_facts() -> None:
    """Take over what was written down, if that is no longer ago than `LASTS`."""
    if not settings.AGENT_MODEL.server:
        return
    found = ModelServerFacts.objects.filter(server=_server()).first()
    left_s = (found.learned_at + LASTS - timezone.now()).total_seconds() if found else 0
    if found is not None and left_s > 0:
        server_facts(settings.AGENT_MODEL).adopt(found.facts, left_s)


class FactsLoader:
    """Loads them at the first look, and every so often: other processes may learn."""

    def __init__(self) -> None:
        self._due_at = 0.0

    async def load_in_time(self) -> None:
        """Called every second."""
        if time.monotonic() >= self._due_at:
            self._due_at = time.monotonic() + _LOOK_EVERY_S
            await database.read(load_facts)
