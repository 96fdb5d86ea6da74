"""Records an agent's events in the log: stores them, then publishes them. Waits for a database that does not answer for a moment.

Model calls are stored with the steps around them, in the same transactions.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple, TypeVar, cast
from uuid import UUID, uuid4

from django.db import Error as DatabaseError
from django.db import transaction
from django.db.models import Q

from agents import CallBegun, CallEnded, ModelSettings, Outcome, PartialStep, RunEvent, Step, Word, WordsWanted
from agents.steps import StepData
from chat.catalog import budgets, prices
from chat.catalog.budgets import BudgetState
from chat.models import IS_LIVE, Cost, Origin, Run, RunStatus, SteeringWord
from chat.runs import auto_continue
from chat.runs import events as run_events
from chat.runs import queue as run_queue
from chat.runs import state as run_state
from chat.runs.call_costs import CallPricing, count_call
from chat.runs.metering import RunMeter
from chat.runs.publisher import DraftPublisher, publish_events, publish_queue
from chat.runs.state import End
from chat.runtime import background, database, db_check, groups, metrics
from chat.store import drafts, sent_along, steering, step_log
from chat.store.calls import CallWriter, PricedCall
from chat.store.drafts import Draft
from chat.store.step_log import Entry, Fenced, Stored

logger = logging.getLogger(__name__)

T = TypeVar("T")
#: Pauses before a failed transaction is repeated; after the last one the run fails. They are long enough for a database to restart.
RETRY_AFTER_S = (0.1, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0)
#: Storing the end of a run is repeated with this pause until it succeeds: as long as this process lives, no other one does it.
_END_RETRY_AFTER_S = 5.0
#: Statuses after which a conversation continues.
_ANSWERED = (RunStatus.COMPLETED, RunStatus.MAX_ITERATIONS)
#: After so many seconds without an event to store, a first model call is stored alone.
_SLOW_S = 1.0
#: Calls of tools are stored so many seconds after they came.
_TOOLS_FIRST_S = 0.001


class Recorded(NamedTuple):
    """What is stored of a run in one transaction: steps, and model calls that began or ended around them."""

    entries: list[Entry]
    calls: list[CallBegun | PricedCall]
    writer: CallWriter
    meter: RunMeter | None


class RunRecorder:
    """Records the events of one run's agent in the log, and publishes them. Use it on the serving event loop."""

    def __init__(self, run: Run, on_call: Callable[[str], None], begun: Sequence[Stored] = ()) -> None:
        """``on_call`` is called with the id of each stored tool call. ``begun``: the events that are already stored."""
        self._run = run
        # Read with every update of a growing text; attributes of a model instance take several times as long.
        self._run_id, self._session_id, self._is_child = run.pk, run.session_id, run.parent_id is not None
        self._shows_steps = run.enable_reasoning
        self._after = begun[-1].seq if begun else 0
        self._on_call = on_call
        self._saving = False
        self._late: PartialStep | None = None
        self._publisher = DraftPublisher(run.session_id) if groups.reach_others() else None
        self._attempt = 0
        self._step = 0
        self._has_shown_text = False
        self.answer = ""
        """The finished part of the run's answer."""
        self._partial = False
        self._waiting: list[Entry] = []
        self._last: list[Entry] = []
        self._calls: list[CallBegun | PricedCall] = []
        self._open: dict[tuple[int, int], CallBegun] = {}
        self._writer = CallWriter(run, provider="demo")
        self._pricing = CallPricing(self._writer)
        self._costs: list[Cost | None] = []
        self._meter: RunMeter | None = None
        self._slow: asyncio.TimerHandle | None = None
        self._storing_begun: asyncio.Task[None] | None = None

    @property
    def cost(self) -> Cost | None:
        """The cost of its model calls so far; None if one of them is not known."""
        known = [cost for cost in self._costs if cost is not None]
        if not known or len(known) < len(self._costs) or len({cost.currency for cost in known}) > 1:
            return None
        return Cost(sum((cost.amount for cost in known), Decimal(0)), known[0].currency)

    def use_model(self, model: ModelSettings, version: int) -> None:
        """Store which model and which version of its agent the run uses, before the model is asked."""
        self._pricing.server = model.server
        prices.expect_server(model.server)
        self._writer.provider = self._run.provider or ("default" if model.server else "demo")
        self._writer.version = version if self._run.agent_version_id is not None else None

    def meter(
        self,
        budget_states: Sequence[BudgetState],
        own: Sequence[BudgetState] = (),
        around: Sequence[RunMeter] = (),
        earlier: End | None = None,
    ) -> RunMeter | None:
        """The meter of the budgets that apply to the run; None if there are none.

        ``own``: the budgets of its agent's version; ``around``: the meters of the runs around it; ``earlier``: what it used before it
        waited for people.
        """
        self._meter = (
            RunMeter(budget_states, self._pricing.cost_of, around, own) if budget_states or around or own else None
        )
        if self._meter is not None and earlier is not None and earlier.usage.input_tokens + earlier.usage.output_tokens:
            self._meter.add_earlier(earlier.usage, earlier.cost)
        return self._meter

    async def record(self, items: Sequence[RunEvent], ready: Callable[[], Sequence[RunEvent]]) -> None:
        """Store the pending steps in one transaction, and publish them; then show the draft.

        ``ready`` returns the events that have come since ``items``.
        """
        self._saving = True
        try:
            wanted = self._note_events(items)
            if any(entry.data.get("type") == "tool_use" for entry in self._waiting):
                # The tools go first, and results that come at once are stored together with their calls.
                await asyncio.sleep(_TOOLS_FIRST_S)
                items = [*items, *(more := ready())]
                wanted = self._note_events(more) or wanted
            if wanted is not None:
                await self._read_words(wanted)
            await self._store_waiting()
        finally:
            self._saving = False
        last, late, self._late = items[-1], self._late, None
        if late is not None or isinstance(last, PartialStep):
            self._publish_partial(late or cast(PartialStep, last))

    def _note_events(self, items: Sequence[RunEvent]) -> WordsWanted | None:
        """Note what is to be stored. Returns the demand for steering words, if there is one."""
        wanted: WordsWanted | None = None
        for item in items:
            if isinstance(item, WordsWanted):
                wanted = item
            elif isinstance(item, Step):
                self._finished(item)
                numbered = self._run.enable_reasoning
                entry = Entry("reasoning_step", item.data, item.full_content, numbered=numbered, origin=item.origin)
                # The end's own steps are stored together with the end.
                (self._last if item.type in ("complete", "error") else self._waiting).append(entry)
            elif not isinstance(item, PartialStep):
                self._note_call(item)
        return wanted

    async def _store_waiting(self) -> None:
        entries = self._waiting
        # After an answer the run ends at once, so everything that is left is stored in one transaction.
        if not entries or self._last or cast(StepData, entries[-1].data)["type"] == "final_answer":
            return
        await self._begun_stored()
        recorded = self._pop_pending()
        events = await _stored(
            self._run, lambda: _append(self._run, recorded), lambda: _append_again(self._run, recorded)
        )
        self._note_stored(recorded, events)
        await publish_events(self._run.session_id, events)

    async def _read_words(self, wanted: WordsWanted) -> None:
        """A model call begins with the pending steering words: store them with its first events, then hand them over."""
        await self._begun_stored()
        recorded, reading = self._pop_pending(), uuid4()
        read = await _stored(
            self._run,
            lambda: _append_words(self._run, recorded, wanted, reading),
            lambda: _append_words(self._run, recorded, wanted, reading, step_log.append_again),
        )
        self._note_stored(recorded, read.events)
        wanted.hand_over([Word(word.pk, word.message) for word in read.words])
        await publish_events(self._run.session_id, read.events)
        await publish_queue(self._run.session_id)

    def _note_stored(self, recorded: Recorded, events: Sequence[Stored]) -> None:
        for entry in recorded.entries:
            if entry.data.get("type") == "tool_use":
                self._on_call(str(entry.data.get("tool_call_id")))
        # These events also reach this process through the channel layer, perhaps later than the next draft.
        self._after = max([self._after, *(event.seq for event in events)])

    def _pop_pending(self) -> Recorded:
        """What is pending to be stored, which is removed from it."""
        recorded = Recorded(self._waiting, self._calls, self._writer, self._meter)
        self._waiting, self._calls = [], []
        return recorded

    def _note_call(self, call: CallBegun | CallEnded) -> None:
        """Note that a model call has begun or ended; that is stored with the next steps."""
        if isinstance(call, CallBegun):
            self._pricing.model = call.request.model
            self._calls.append(call)
            self._open[call.iteration, call.attempt] = call
            if (call.iteration, call.attempt) == (1, 1):
                # The step of its beginning was stored before the request was known.
                self._slow = asyncio.get_running_loop().call_later(_SLOW_S, self._store_begun)
            return
        self._open.pop((call.iteration, call.attempt), None)
        cost = self._pricing.cost_of(call)
        if call.usage.input_tokens + call.usage.output_tokens:
            self._costs.append(cost)
        self._calls.append(PricedCall(call, cost))
        count_call(self._run.agent_name, self._writer.provider, call, cost)

    def _store_begun(self) -> None:
        """Nothing else was stored for a while: store the beginning of the first call, with its request, alone."""
        if self._calls and not self._saving:
            self._storing_begun = background.spawn(self._write_begun(), "a call that has begun")

    async def _write_begun(self) -> None:
        recorded = Recorded([], self._calls, self._writer, self._meter)
        self._calls = []
        try:
            await database.write(_append, self._run, recorded)
        except (DatabaseError, Fenced):
            # Stored with the next steps instead.
            self._calls = [*recorded.calls, *self._calls]

    async def _begun_stored(self) -> None:
        """Wait until nothing else of this run is being stored, or about to be."""
        if self._slow is not None:
            self._slow.cancel()
        if self._storing_begun is not None:
            await self._storing_begun
            self._storing_begun = None

    def on_partial(self, partial: PartialStep) -> None:
        """Show a step that is being written, once those before it are stored."""
        if self._saving:
            self._late = partial
        else:
            self._publish_partial(partial)

    def _publish_partial(self, partial: PartialStep) -> None:
        draft = self._draft(partial)
        if draft is not None:
            drafts.put(self._session_id, draft)
            if self._publisher is not None:
                self._publisher.publish(draft)
        if not self._has_shown_text:
            self._has_shown_text = True
            if self._run.begun_at is not None:
                metrics.first_token_seconds.observe(time.monotonic() - self._run.begun_at)

    def _draft(self, partial: PartialStep) -> Draft | None:
        if self._shows_steps:
            return Draft(
                self._run_id,
                partial.step,
                partial.type,
                partial.attempt,
                partial.text,
                partial.tool_name,
                self._is_child,
                after=self._after,
            )
        if self._is_child or partial.type != "final_answer":
            return None
        # One draft for the whole answer: text that turns out to be a thought is begun again with the next attempt.
        if partial.step != self._step:
            self._step = partial.step
            self._attempt += 1
        return Draft(self._run_id, 0, "response", self._attempt, partial.text, after=self._after)

    def _finished(self, step: Step) -> None:
        drafts.drop(self._run.session_id, self._run.pk)
        if step.type == "final_answer":
            self.answer = str(step.data["content"])
            self._partial = bool(step.data.get("partial"))

    async def last(self, outcome: Outcome) -> Recorded:
        """What is stored together with the run's end."""
        await self._begun_stored()
        for begun in self._open.values():
            # The run ended without waiting for this call.
            lasted = max(0, round((time.time() - begun.started_at) * 1000))
            self._calls.append(PricedCall(CallEnded(begun.iteration, begun.attempt, lasted, error="stopped"), None))
        waiting = self._pop_pending()
        entries = [*waiting.entries, *self._last]
        has_response = self._run.parent_id is None and not self._run.enable_reasoning
        if has_response and (self.answer or outcome.status == "completed"):
            entries.append(run_events.answered(self.answer, partial=self._partial))
        if outcome.status == "failed":
            if not self._last:
                entries.append(run_events.failed_step(outcome, numbered=self._run.enable_reasoning))
            entries.append(run_events.failed(outcome))
        return waiting._replace(entries=entries)


@transaction.atomic
def _append(run: Run, recorded: Recorded) -> list[Stored]:
    events = step_log.append(run, recorded.entries)
    _write_calls(run, recorded)
    return events


@transaction.atomic
def _append_again(run: Run, recorded: Recorded) -> list[Stored]:
    events = step_log.append_again(run, recorded.entries)
    _write_calls(run, recorded)
    return events


class _Read(NamedTuple):
    """Steering words that were just read, and their events."""

    words: list[SteeringWord]
    events: list[Stored]


@transaction.atomic
def _append_words(
    run: Run,
    recorded: Recorded,
    wanted: WordsWanted,
    reading: UUID,
    append: Callable[[Run, Sequence[Entry]], list[Stored]] = step_log.append,
) -> _Read:
    # Locked before reading, so that no word is withdrawn while it is being read.
    step_log.hold(run)
    words = steering.read_by(run, reading)
    events = append(run, recorded.entries) if recorded.entries else []
    steered = [run_events.steered(word, wanted.iteration) for word in words]
    events += append(run, steered) if steered else []
    _write_calls(run, recorded)
    return _Read(words, events)


def _write_calls(run: Run, recorded: Recorded) -> None:
    recorded.writer.write(recorded.calls)
    meter, ended = recorded.meter, [call for call in recorded.calls if isinstance(call, PricedCall)]
    if meter is not None and ended:
        budget_states = budgets.budget_states_for(run.user_id, run.agent_name)
        transaction.on_commit(lambda: meter.refresh(ended, budget_states))


async def with_retries(
    run: Run, done: str, first: Callable[[], Awaitable[T]], again: Callable[[], Awaitable[T]] | None = None
) -> T:
    """Call the database for a run. If it does not answer for a moment, wait, then call ``again``."""
    ask = first
    for pause in RETRY_AFTER_S:
        try:
            return await ask()
        except DatabaseError as error:
            if db_check.is_unreadable(error):
                raise
            ask = again or first
            metrics.database_retries.inc()
            logger.warning("Run %s could not be %s; trying again in %s s", run.pk, done, pause, exc_info=True)
            await asyncio.sleep(pause)
    return await ask()


async def _stored(run: Run, store: Callable[[], T], again: Callable[[], T]) -> T:
    """Store something. If the database does not answer for a moment, wait, then call ``again``."""
    return await with_retries(run, "stored", lambda: database.write(store), lambda: database.write(again))


async def store_end(run: Run, recorded: Recorded, end: End, answer: str = "") -> tuple[list[Stored], list[UUID]]:
    """Store the end and the answer, however long the database does not answer: no other process would do it while this one is alive."""

    def store() -> tuple[list[Stored], list[UUID]]:
        return end_run(run, recorded.entries, end, lambda: recorded.writer.write(recorded.calls), answer)

    while True:
        try:
            # If the first commit's result was lost, the run is found not to be live any more.
            return await _stored(run, store, store)
        except DatabaseError as error:
            if not db_check.is_away(error):
                raise
            logger.warning("The end of run %s could not be stored; trying again and again", run.pk, exc_info=True)
            await asyncio.sleep(_END_RETRY_AFTER_S)


@transaction.atomic
def end_run(
    run: Run,
    entries: Sequence[Entry],
    end: End,
    write_calls: Callable[[], None] = lambda: None,
    answer: str = "",
) -> tuple[list[Stored], list[UUID]]:
    """End a run in the log and in its row. Returns the events, and the sessions in which that allows another run to start.

    ``write_calls`` stores the rest of its model calls.
    """
    by = None
    if end.status in (RunStatus.CANCELLED, RunStatus.INTERRUPTED):
        stopping = Run.objects.filter(Q(pk=run.pk) | Q(IS_LIVE, session_id=run.session_id), status=RunStatus.CANCELLING)
        # Its own stop counts before that of its root.
        asked = stopping.select_related("cancelled_by").order_by("-depth").first()
        if asked is not None:
            # A stop was requested, so the run counts as cancelled, whatever else happened meanwhile.
            run.cancelled_by = by = asked.cancelled_by
            end = replace(end, status=RunStatus.CANCELLED)
    events = step_log.append(run, [*entries, run_events.completed(run, end)])
    write_calls()
    if not run_state.finish(run.pk, run.session_id, end, fence=run.fence, by=by):
        raise Fenced(f"Run {run.pk} was ended by another process.")
    if run.parent_id is not None:
        return events, []
    if run.origin == Origin.OPENAI and (end.status in _ANSWERED or end.code == "budget_exceeded"):
        along = sent_along.of_run(run)
        sent_along.record_answer(run.pk, answer, along.asked if along else None)
    auto_continue.enqueue_continuation(run, end)
    return events, run_queue.sessions_unblocked_by(run)
