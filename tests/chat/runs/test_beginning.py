"""How a run begins: its agent starts at once, and its events are published in order."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from chat.accounts.models import User
from chat.models import Run, RunStatus
from chat.runs import dispatch, executor, recorder
from chat.runs import registry as run_registry
from chat.runs.children import ClaimedRun
from chat.runtime import database
from chat.store import drafts
from chat.store.drafts import Draft
from chat.store.step_log import Stored
from tests.chat import making
from tests.faults.world import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]


def _claim(user: User) -> ClaimedRun | None:
    session = making.session(user)
    making.run(session, owned_by="", message="Hello")
    return dispatch.claim_next(session.pk)


async def test_events_of_an_agent_are_published_after_the_start_of_its_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Publishing of the first event hangs until the agent has ended: nothing else is published, shown or stored before it."""
    claim = await database.write(_claim, await database.write(making.user))
    assert claim is not None
    run, publish_events = claim.run, executor.publish_events
    published: list[str] = []
    written: list[Draft] = []
    goes_on = asyncio.Event()

    async def publish(session_id: UUID, events: Sequence[Stored]) -> None:
        if not published:
            await goes_on.wait()
        published.extend(event.event for event in events)
        await publish_events(session_id, events)

    for module in (executor, recorder):
        monkeypatch.setattr(module, "publish_events", publish)
    drafts.watch(run.session_id, written.append)
    dispatch.start_run(claim)
    handle = run_registry.running[run.pk]
    # Its agent is at work by now, before anything was published.
    assert handle.stream is not None
    await until(lambda: handle.stream is not None and handle.stream.outcome is not None)
    assert (published, written) == ([], [])
    assert await database.read(run.steps.count) == len(claim.events)
    goes_on.set()
    async with asyncio.timeout(20):
        await claim.ended.wait()
    drafts.unwatch(run.session_id, written.append)
    assert (published[0], published[-1]) == ("reasoning_start", "reasoning_complete")
    ended = await database.read(Run.objects.get, pk=run.pk)
    assert ended.status == RunStatus.COMPLETED
