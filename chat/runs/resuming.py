"""Continues runs that have waited for people: a root is claimed by a process, a run within one is started again by its call."""

import logging
from collections.abc import Sequence
from functools import partial
from uuid import UUID

from django.db import transaction

import agents
from chat.catalog import budgets
from chat.catalog.setups import find_setup
from chat.models import Run, RunStatus
from chat.runs import state as run_state
from chat.runs import waiting
from chat.runs.children import ClaimedRun, Finished, Within, claim_within, end_of, helpers_of, with_child
from chat.runs.publisher import publish_events
from chat.runs.recorder import with_retries
from chat.runs.registry import PROCESS
from chat.runs.state import End
from chat.runtime import database
from chat.store import selectors, sent_along, step_log
from chat.store.step_log import Stored

logger = logging.getLogger(__name__)

#: Why a run within another one that was not stopped has no answer.
NOT_DECIDED = "Nobody decided in time, so it was stopped."


def claim_resumed(run: Run, events: list[Stored]) -> ClaimedRun | None:
    """Claim a run whose requests are all decided, in the caller's transaction, which has locked the session; None if there is none.

    ``events`` are stored but not published yet.
    """
    if not run_state.resume(run, PROCESS):
        return None
    return _spend_and_claim(run.pk, events)


def _spend_and_claim(run_id: UUID, events: list[Stored]) -> ClaimedRun:
    # With the requesting user, whom the agent's tools need on the event loop.
    run = Run.objects.select_related("user", "session").get(pk=run_id)
    return claim_continued(run, events, waiting.spend(run))


def claim_continued(run: Run, events: list[Stored], resumed: agents.Resumed) -> ClaimedRun:
    """The claim of a run that continues and already belongs to this process."""
    run.session_has_files = run.session.has_files
    setup = find_setup(run)
    within = selectors.runs_within(run)
    asked = {call.id for call in resumed.calls}
    earlier = end_of(run)
    for child in within:
        if child.status == RunStatus.WAITING:
            earlier = with_child(earlier, end_of(child))
    return ClaimedRun(
        run,
        events,
        setup,
        helpers=helpers_of(run, setup),
        budgets=budgets.budget_states_for(run.user_id, run.agent_name),
        instructions=sent_along.instructions_of(run) if run.parent_id is None else "",
        resumed=resumed,
        waiting={c.parent_call_id: c.pk for c in within if c.parent_id == run.pk and c.parent_call_id in asked},
        begun_within=len(within),
        earlier=earlier,
    )


class Keeper:
    """Stores and continues runs within others that wait. See `children.Keeper`."""

    @transaction.atomic
    def resume(self, run: Run, parent: Run, within: Within) -> ClaimedRun | Finished | None:
        """Continue a run under its parent's fence. Returns how it has ended if it has; None if it still waits."""
        step_log.hold(parent)
        run = Run.objects.select_related("cancelled_by").get(pk=run.pk)
        if run.is_finished:
            return Finished(end_of(run), error=_why_ended(run))
        if not run_state.resume_within(run, parent):
            return None
        return claim_within(_spend_and_claim(run.pk, []), within)

    async def give_up(self, run_ids: Sequence[UUID], reason: str) -> list[End]:
        """End those of the runs that still wait, for this reason. Returns how they ended."""
        ends = []
        for run_id in run_ids:
            ended = await with_retries(Run(pk=run_id), "ended", partial(database.write, _give_up, run_id, reason))
            if ended is not None:
                run, events = ended
                ends.append(end_of(run))
                await publish_events(run.session_id, events)
        return ends


keeper = Keeper()


@transaction.atomic
def _give_up(run_id: UUID, reason: str) -> tuple[Run, list[Stored]] | None:
    run = waiting.hold(run_id)
    if run is None:
        return None
    events = waiting.end(run, RunStatus.CANCELLED, reason)
    return Run.objects.get(pk=run_id), events


def _why_ended(run: Run) -> str:
    """Why a run that has waited has no answer, for the call that started it."""
    if run.code == "not_decided":
        return NOT_DECIDED
    return run_state.stopped_by(run.cancelled_by.get_username()) if run.cancelled_by is not None else ""
