"""Runs executed in the test's own process, on its own database: so a test can interfere at any point of a run."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from asgiref.sync import sync_to_async
from channels.layers import InMemoryChannelLayer, channel_layers
from django.db import Error
from django.http import HttpRequest
from django.test import RequestFactory

from agents.models.demo import model
from chat.accounts.models import User
from chat.live import connections
from chat.live import registry as feed_registry
from chat.models import UNFINISHED, Run, RunStatus, Session, Step
from chat.runs import registry as run_registry
from chat.runtime import background, database
from chat.store import drafts
from tests.chat import making

ENDS_WITHIN_S = 20.0


@dataclass
class Here:
    """A user and their session."""

    user: User
    session: Session

    def request(self, **body: Any) -> HttpRequest:
        """A request of that user, as the API's functions take it."""
        request = RequestFactory().post("/", orjson.dumps(body), content_type="application/json")
        request.user = request.auth = self.user  # type: ignore[attr-defined]
        return request

    async def earlier_run(self, events: int = 1, status: RunStatus = RunStatus.FAILED) -> Run:
        """Store a run that has ended, with this many steps of reasoning."""

        def make() -> Run:
            run = making.run(self.session)
            making.append(run, *(making.thought(f"thought {n}", n) for n in range(1, events + 1)))
            making.end(run, status)
            return run

        return await sync_to_async(make)()

    async def statuses(self) -> list[str]:
        """The statuses of the session's runs, in order."""
        runs = Run.objects.filter(session__owner=self.user).order_by("created_at")
        return await sync_to_async(lambda: list(runs.values_list("status", flat=True)))()

    async def all_ended(self, within_s: float = ENDS_WITHIN_S) -> bool:
        """Wait until the threads have done their work and no run is unfinished; returns False if that takes too long."""
        await sync_to_async(lambda: None)()
        with contextlib.suppress(Error):
            await database.write(lambda: None)
        try:
            async with asyncio.timeout(within_s):
                while True:
                    if not set(await self.statuses()) & set(UNFINISHED) and not run_registry.running_ids():
                        return True
                    await asyncio.sleep(0.01)
        except TimeoutError:
            return False

    async def events(self, run: Run) -> list[str]:
        """The names of a run's events in their order."""
        steps = Step.objects.filter(run=run).order_by("position")
        return await sync_to_async(lambda: [step.type or step.event for step in steps])()


def _forget_others() -> None:
    """Reset what earlier tests have left in this process's memory: sockets, runs, and the request to stop."""
    feed_registry.open_feeds.clear()
    drafts.cells.clear()
    run_registry.running.clear()
    run_registry.starting_writes.clear()
    connections.open_here.clear()
    run_registry.start_accepting()


@pytest.fixture
async def here(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Here]:
    """A user, a session and the demo model without its pauses; the periodic tasks do not run."""
    monkeypatch.setattr(model, "INTERVAL_S", 0.0)
    _forget_others()
    old = channel_layers.set("default", InMemoryChannelLayer(capacity=2000))
    user = await sync_to_async(making.user)()
    yield Here(user, await sync_to_async(making.session)(user))
    await run_registry.wait_ended(ENDS_WITHIN_S)
    await background.drain(5)
    _forget_others()
    database.close()
    channel_layers.backends.pop("default", None)
    if old is not None:
        channel_layers.set("default", old)
