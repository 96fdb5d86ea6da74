"""What an agent yields, on its way into the log: stored first, then published; a database that is away for a moment is waited for."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar, cast
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import transaction
from django.db.models import Q

from agents import Outcome, PartialStep, Step
from agents.steps import StepData
from chat.models import IS_LIVE, Run, RunStatus
from chat.runs import auto_continue
from chat.runs import events as run_events
from chat.runs import state as run_state
from chat.runs.publisher import DraftPublisher, publish_events
from chat.runs.state import End
from chat.runtime import database, db_check, groups
from chat.store import drafts, step_log
from chat.store.drafts import Draft
from chat.store.step_log import Entry, Fenced, Stored

logger = logging.getLogger(__name__)

T = TypeVar("T")
#: Pauses before what the database did not do is tried again; after the last the run has failed. A database is started again in this time.
RETRY_AFTER_S = (0.1, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0)
#: A run that has ended is stored as ended whenever the database is back: until then it is this process that tries.
_END_RETRY_AFTER_S = 5.0


class RunRecorder:
    """What one run's agent yields, on its way to the log and to those who watch."""

    def __init__(self, run: Run, on_call: Callable[[str], None]) -> None:
        """``on_call`` is called with the id of each tool call that is stored."""
        self._run = run
        self._on_call = on_call
        self._saving = False
        self._late: PartialStep | None = None
        self._publisher = DraftPublisher(run.session_id) if groups.reach_others() else None
        self._attempt = 0
        self._step = 0
        self.answer = ""
        """The run's answer so far as it is finished."""
        self._partial = False
        self._waiting: list[Entry] = []
        self._last: list[Entry] = []

    async def record(self, items: Sequence[Step | PartialStep]) -> None:
        """Save the steps in one transaction, and tell them; then show what is being written now."""
        for item in items:
            if isinstance(item, PartialStep):
                continue
            self._finished(item)
            numbered = self._run.enable_reasoning
            entry = Entry("reasoning_step", item.data, item.full_content, numbered=numbered, origin=item.origin)
            # How it ended is stored together with the end itself.
            (self._last if item.type in ("complete", "error") else self._waiting).append(entry)
        entries = self._waiting
        # After an answer the run ends at once: one commit for all that is left.
        if entries and not self._last and cast(StepData, entries[-1].data)["type"] != "final_answer":
            self._waiting = []
            self._saving = True
            try:
                events = await _stored(
                    self._run,
                    lambda: step_log.append(self._run, entries),
                    lambda: step_log.append_again(self._run, entries),
                )
            finally:
                self._saving = False
            for entry in entries:
                if entry.data.get("type") == "tool_use":
                    self._on_call(str(entry.data.get("tool_call_id")))
            await publish_events(self._run.session_id, events)
        last, late, self._late = items[-1], self._late, None
        if late is not None or isinstance(last, PartialStep):
            self._publish_partial(late or cast(PartialStep, last))

    def on_partial(self, partial: PartialStep) -> None:
        """Show a step that is being written, once those before it are stored."""
        if self._saving:
            self._late = partial
        else:
            self._publish_partial(partial)

    def _publish_partial(self, partial: PartialStep) -> None:
        draft = self._draft(partial)
        if draft is not None:
            drafts.put(self._run.session_id, draft)
            if self._publisher is not None:
                self._publisher.publish(draft)

    def _draft(self, partial: PartialStep) -> Draft | None:
        run = self._run
        is_child = run.parent_id is not None
        if run.enable_reasoning:
            return Draft(run.pk, partial.step, partial.type, partial.attempt, partial.text, partial.tool_name, is_child)
        if is_child or partial.type != "final_answer":
            return None
        # One text for the whole answer: what turns out to be a thought is started anew by the next attempt.
        if partial.step != self._step:
            self._step = partial.step
            self._attempt += 1
        return Draft(run.pk, 0, "response", self._attempt, partial.text)

    def _finished(self, step: Step) -> None:
        drafts.drop(self._run.session_id, self._run.pk)
        if step.type == "final_answer":
            self.answer = str(step.data["content"])
            self._partial = bool(step.data.get("partial"))

    def final_entries(self, outcome: Outcome) -> list[Entry]:
        """What is stored together with the run's end."""
        entries = [*self._waiting, *self._last]
        is_told = self._run.parent_id is None and not self._run.enable_reasoning
        if is_told and (self.answer or outcome.status == "completed"):
            entries.append(run_events.answered(self.answer, partial=self._partial))
        if outcome.status == "failed":
            if not self._last:
                entries.append(run_events.failed_step(outcome, numbered=self._run.enable_reasoning))
            entries.append(run_events.failed(outcome))
        return entries


async def with_retries(
    run: Run, done: str, first: Callable[[], Awaitable[T]], again: Callable[[], Awaitable[T]] | None = None
) -> T:
    """Ask the database, for a run; one that is away for a moment is waited for, and asked ``again``."""
    ask = first
    for pause in RETRY_AFTER_S:
        try:
            return await ask()
        except DatabaseError as error:
            if db_check.is_unreadable(error):
                raise
            ask = again or first
            logger.warning("Run %s could not be %s; trying again in %s s", run.pk, done, pause, exc_info=True)
            await asyncio.sleep(pause)
    return await ask()


async def _stored(run: Run, store: Callable[[], T], again: Callable[[], T]) -> T:
    """Store. A database that is away for a moment is waited for, and asked ``again``."""
    return await with_retries(run, "stored", lambda: database.write(store), lambda: database.write(again))


async def store_end(run: Run, entries: Sequence[Entry], end: End) -> tuple[list[Stored], list[UUID]]:
    """Store the end, however long the database is away: nobody else would, as long as this process is alive."""

    def store() -> tuple[list[Stored], list[UUID]]:
        return end_run(run, entries, end)

    while True:
        try:
            # An end that was stored though nobody heard of it is found as a run that is not live any more.
            return await _stored(run, store, store)
        except DatabaseError as error:
            if not db_check.is_away(error):
                raise
            logger.warning("The end of run %s could not be stored; trying again and again", run.pk, exc_info=True)
            await asyncio.sleep(_END_RETRY_AFTER_S)


@transaction.atomic
def end_run(run: Run, entries: Sequence[Entry], end: End) -> tuple[list[Stored], list[UUID]]:
    """End a run in the log and in its row; returns the events, and the sessions in which another one may start because of it."""
    by = None
    if end.status in (RunStatus.CANCELLED, RunStatus.INTERRUPTED):
        stopping = Run.objects.filter(Q(pk=run.pk) | Q(IS_LIVE, session_id=run.session_id), status=RunStatus.CANCELLING)
        # Itself before its root.
        asked = stopping.select_related("cancelled_by").order_by("-depth").first()
        if asked is not None:
            # Somebody had asked for it to be stopped: then that is what has happened, whatever else came meanwhile.
            run.cancelled_by = by = asked.cancelled_by
            end = replace(end, status=RunStatus.CANCELLED)
    events = step_log.append(run, [*entries, run_events.completed(run, end)])
    if not run_state.finish(run.pk, run.session_id, end, fence=run.fence, by=by):
        raise Fenced(f"Run {run.pk} ended elsewhere.")
    if run.parent_id is not None:
        return events, []
    auto_continue.after(run, end)
    return events, run_state.sessions_unblocked_by(run)
