"""Carries runs in this process, from their claim to their end: what the agent yields is saved first and told then.

A run belongs to the process, never to a socket. Growth of a step in progress goes to `drafts` and is told at once.
"""

import asyncio
import logging
import os
import secrets
import socket
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection, transaction

import agents
from agents import Growth, Outcome, Step
from chat.models import LIVE, Run, RunStatus, Session
from chat.runs import auto_continue, quarantine, toolbox
from chat.runs import events as run_events
from chat.runs import state as run_state
from chat.runs.state import End
from chat.runtime import background, broker, database, groups, malloc
from chat.store import drafts, selectors, step_log
from chat.store.drafts import Draft
from chat.store.step_log import Entry, Fenced, Stored

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

#: This process, as the owner of runs and connections.
PROCESS = f"{socket.gethostname()[:80]}:{os.getpid()}:{secrets.token_hex(3)}"
#: Whole texts of growth are sent again this often, for whoever missed a piece.
WHOLE_EVERY_S = 1.5
#: Pauses before what the database did not do is tried again; after the last the run has failed. A database is started again in this time.
_RETRY_AFTER_S = (0.1, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0)
#: A run that has ended is stored as ended whenever the database is back: until then it is this process that tries.
_END_RETRY_AFTER_S = 5.0
_MOST_EARLY_STOPS = 1_000
_NO_LIMIT = 1_000_000
#: Why runs are interrupted here, for people and for the model.
RESTARTING = "The server is restarting."
#: Up to so many events a session's turns are read in the transaction that claims its next run, which saves the way to another thread.
#: More would keep other writers waiting.
_SHORT_LOG = 300


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that this process carries, and its first events, which are stored but not told yet."""

    run: Run
    events: list[Stored]
    #: The session's turns before it, where they were read along.
    memory: list[dict[str, Any]] | None = None
    #: Set when it has ended.
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class _Carried:
    """A run at work in this process."""

    def __init__(self, ended: asyncio.Event) -> None:
        self.stream: agents.AgentRun | None = None
        self.stopped_because = ""
        self.pausing = False
        self.ended = ended

    def begun(self, stream: agents.AgentRun) -> None:
        self.stream = stream
        if self.pausing:
            stream.pause(RESTARTING)
        if self.stopped_because:
            stream.cancel(self.stopped_because)

    def stop(self, because: str) -> None:
        if self.stopped_because:
            return
        self.stopped_because = because
        if self.stream is not None:
            self.stream.cancel(because)

    def pause(self) -> None:
        self.pausing = True
        if self.stream is not None:
            self.stream.pause(RESTARTING)


_carried: dict[UUID, _Carried] = {}
#: Writes under way that may give this process a run; each is set when it is over and the run is among those above.
_starting: set[asyncio.Event] = set()
#: Stops that arrived before their run was taken up here.
_early_stops: OrderedDict[UUID, str] = OrderedDict()
#: Set while this process takes up runs; cleared before it stops.
_open = threading.Event()
_open.set()


# From the line to the end


async def dispatch(session_id: UUID) -> None:
    """After a session's line has changed: have its next run started, here or by a worker, if one waits and may start; tell the line."""
    if settings.BROKER_URL:
        broker.ring(session_id)
    elif await take_next(session_id) is not None:
        return
    await _tell_line(session_id)


async def write_and_start(
    start: Callable[[T], object], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Write what may give this process a run, and call ``start`` with what came of it, on the loop, as soon as it is committed.

    The two are one act: whatever becomes of the caller, no run is left that is claimed and not started.
    """
    under_way = asyncio.Event()
    _starting.add(under_way)

    def settled(result: T | None, error: BaseException | None) -> None:
        _starting.discard(under_way)
        try:
            if error is None:
                start(cast(T, result))
        finally:
            under_way.set()

    return await database.write_settled(settled, function, *args, **kwargs)


async def take_next(session_id: UUID) -> asyncio.Event | None:
    """Carry the session's next run here, if one waits and may start, and tell the line; returns what is set when the run has ended.

    One that cannot be read is set aside as failed, and the one after it is looked at. Never raises: a database that is away is asked
    again by the look of every second.
    """
    while _open.is_set():
        try:
            claim = await write_and_start(_take_up_if_any, _claim_next, session_id)
        except Exception as error:
            if isinstance(error, DatabaseError) and database.is_away(error):
                logger.warning("The line of session %s could not be moved on", session_id, exc_info=True)
                return None
            logger.exception("The next run of session %s could not be started", session_id)
            if not await _set_aside_next(session_id):
                return None
            continue
        if claim is None:
            return None
        await _tell_line(session_id)
        return claim.ended
    return None


async def _set_aside_next(session_id: UUID) -> bool:
    """Fail the session's next run, which cannot be started; whether that could be done."""
    try:
        failed = await database.write(quarantine.fail_next, session_id)
    except Exception:
        logger.exception("The next run of session %s could not be set aside", session_id)
        return False
    if failed is None:
        return False
    await tell_stored(session_id, failed)
    await _tell_line(session_id)
    return True


async def adopt(run_id: UUID) -> bool:
    """Start a run that the table gives to this process though none here has it: its claim was committed and nobody heard of it.

    False where it has ended, is carried after all, or had begun already: what has become of it then is not known.
    """
    return await write_and_start(_take_up_if_any, _claim_again, run_id) is not None


async def _tell_line(session_id: UUID) -> None:
    await groups.tell(groups.of_session(session_id), {"type": "queue"})


def warm() -> None:
    """Import what the first run would wait for; what is there then stays, so the garbage collector need not look at it again."""
    agents.warm(settings.MCP_SERVERS)
    malloc.keep_what_is_loaded()
    logger.info("The agents are loaded")


def at_work() -> list[UUID]:
    """The runs that this process carries. A live run of its that is not among them was begun by a commit nobody heard of."""
    return list(_carried)


def takes_runs() -> bool:
    """Whether this process takes up runs by itself now, without being told to."""
    return _open.is_set() and not settings.BROKER_URL


def is_starting() -> bool:
    """Whether runs may have been given to this process that are not yet among those `at_work`."""
    return bool(_starting)


def is_open() -> bool:
    """Whether this process has not begun to stop."""
    return _open.is_set()


def take_up(claim: Claim) -> None:
    """Carry a claimed run, from here on by itself."""
    carried = _carried[claim.run.pk] = _Carried(claim.ended)
    because = _early_stops.pop(claim.run.pk, None)
    if because is not None:
        carried.stop(because)
    if not _open.is_set():
        # It was let in just before.
        carried.pause()
    background.spawn(_carry(claim, carried), f"run {claim.run.pk}")


def _take_up_if_any(claim: Claim | None) -> None:
    if claim is not None:
        take_up(claim)


@transaction.atomic
def _claim_next(session_id: UUID) -> Claim | None:
    if not Session.objects.select_for_update().filter(pk=session_id).exists():
        return None
    run = run_state.next_in(session_id)
    if run is None or not run_state.claim(run, PROCESS):
        return None
    return claimed(run)


def claimed(run: Run) -> Claim:
    """Store the first events of a run that this process has just been given, in the same transaction."""
    events = step_log.append_unowned(run, run_events.opening(run))
    return Claim(run, events, _memory_along(run) if events[-1].seq <= _SHORT_LOG else None)


@transaction.atomic
def _claim_again(run_id: UUID) -> Claim | None:
    """The claim of a run that this process has in the table, from what was stored with it."""
    run = Run.objects.select_related("user").filter(pk=run_id, owner=PROCESS, status__in=LIVE).first()
    if run is None or run_id in _carried or run.steps.count() != len(run_events.opening(run)):
        return None
    return Claim(run, selectors.stored_of(run))


async def _carry(claim: Claim, carried: _Carried) -> None:
    """Carry a claimed run to its end, whatever happens."""
    run = claim.run
    waiting: list[UUID] = []
    try:
        await tell_stored(run.session_id, claim.events)
        end, held = await _work(claim, carried)
        events, waiting = await _end_stored(run, held, end)
        await tell_stored(run.session_id, events)
    except Fenced:
        logger.warning("Run %s was taken from this process", run.pk)
    finally:
        drafts.drop(run.session_id)
        _carried.pop(run.pk, None)
        carried.ended.set()
    for session_id in waiting:
        await dispatch(session_id)


async def _work(claim: Claim, carried: _Carried) -> tuple[End, list[Entry]]:
    """Let the agent work, and record it; returns the end and the entries that are stored together with it."""
    run = claim.run
    record = _Record(run)
    try:
        agent = agents.get_agent(run.agent_name, model=settings.AGENT_MODEL, toolbox=toolbox.toolbox_for(run))
        stream = agent.start(
            None if run.continues_id else run.message,
            history=await _history(claim),
            session_id=str(run.session_id),
            max_iterations=settings.MAX_ITERATIONS or _NO_LIMIT,
            opened=True,
        )
        stream.on_growth = record.grew
        carried.begun(stream)
        try:
            async for first in stream:
                await record.take([first, *stream.ready()])
        finally:
            await stream.aclose()
        outcome = stream.outcome or Outcome("failed", 0, code="internal", error="The agent ended without a result.")
    except Fenced:
        raise
    except _NoHistory as unread:
        logger.exception("Run %s could not begin", run.pk)
        outcome = Outcome("failed", 0, code=unread.code, error=unread.message)
    except DatabaseError:
        logger.exception("Run %s could not be stored", run.pk)
        words = "What the agent did could not be stored, so the run was stopped."
        outcome = Outcome("failed", 0, code="storage", error=words)
    except Exception:
        logger.exception("Run %s failed", run.pk)
        words = "Something in this program went wrong, and the run was stopped."
        outcome = Outcome("failed", 0, code="internal", error=words)
    status = RunStatus(outcome.status)
    if status is RunStatus.CANCELLED and carried.pausing:
        status = RunStatus.INTERRUPTED
    return End(status, outcome.iterations, outcome.usage, outcome.code), record.closing(outcome)


def _memory(run: Run) -> list[dict[str, Any]]:
    if run.number == 1:
        return []
    return selectors.memory(run.session_id, run.number, unfinished_run=run.continues_id)


def _memory_along(run: Run) -> list[dict[str, Any]] | None:
    """The session's turns, read in the transaction that claims the run. What cannot be read then is read by `_history`."""
    try:
        return _memory(run)
    except Exception as error:
        # After an error of its own PostgreSQL does nothing more in a transaction.
        if isinstance(error, DatabaseError) and connection.vendor != "sqlite":
            raise
        logger.warning("What was said before run %s could not be read along", run.pk, exc_info=True)
        return None


class _NoHistory(Exception):
    """What was said before a run can't be read; ``code`` is the wire's, ``message`` is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


async def _history(claim: Claim) -> list[dict[str, Any]]:
    """The session's turns before a run; a database that is away is waited for. Raises `_NoHistory`."""
    if claim.memory is not None:
        return claim.memory
    try:
        return await _waited(claim.run, "read", lambda: database.read(_memory, claim.run))
    except Exception as error:
        if isinstance(error, DatabaseError) and not database.is_unreadable(error):
            words = "The database did not answer when what was said before was to be read, so the run was stopped."
            raise _NoHistory("storage", words) from error
        words = "Something that was said before in this session is stored so that it cannot be read any more."
        raise _NoHistory("internal", words) from error


# Saving and telling


class _Record:
    """What one run's agent yields, on its way to the log and to those who watch."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._saving = False
        self._late: Growth | None = None
        self._abroad = _Abroad(run.session_id) if groups.reach_others() else None
        self._attempt = 0
        self._step = 0
        self._answer = ""
        self._partial = False
        self._waiting: list[Entry] = []
        self._last: list[Entry] = []

    async def take(self, items: Sequence[Step | Growth]) -> None:
        """Save the steps in one transaction, and tell them; then show the growth of what is being written now."""
        for item in items:
            if isinstance(item, Growth):
                continue
            self._finished(item)
            numbered = self._run.enable_reasoning
            entry = Entry("reasoning_step", item.data, item.full_content, numbered=numbered, origin=item.origin)
            # How it ended is stored together with the end itself.
            (self._last if item.type in ("complete", "error") else self._waiting).append(entry)
        entries = self._waiting
        # After an answer the run ends at once: one commit for all that is left.
        if entries and not self._last and entries[-1].data["type"] != "final_answer":
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
            await tell_stored(self._run.session_id, events)
        last, late, self._late = items[-1], self._late, None
        if late is not None or isinstance(last, Growth):
            self._grow(late or cast(Growth, last))

    def grew(self, growth: Growth) -> None:
        """Show the growth of a step, once those before it are stored."""
        if self._saving:
            self._late = growth
        else:
            self._grow(growth)

    def _grow(self, growth: Growth) -> None:
        draft = self._draft(growth)
        if draft is not None:
            drafts.put(self._run.session_id, draft)
            if self._abroad is not None:
                self._abroad.tell(draft)

    def _draft(self, growth: Growth) -> Draft | None:
        if self._run.enable_reasoning:
            return Draft(self._run.pk, growth.step, growth.type, growth.attempt, growth.text, growth.tool_name)
        if growth.type != "final_answer":
            return None
        # One text for the whole answer: what turns out to be a thought is started anew by the next attempt.
        if growth.step != self._step:
            self._step = growth.step
            self._attempt += 1
        return Draft(self._run.pk, 0, "response", self._attempt, growth.text)

    def _finished(self, step: Step) -> None:
        drafts.drop(self._run.session_id)
        if step.type == "final_answer":
            self._answer = str(step.data["content"])
            self._partial = bool(step.data.get("partial"))

    def closing(self, outcome: Outcome) -> list[Entry]:
        """What is stored together with the run's end."""
        entries = [*self._waiting, *self._last]
        if not self._run.enable_reasoning and (self._answer or outcome.status == "completed"):
            entries.append(run_events.answered(self._answer, partial=self._partial))
        if outcome.status == "failed":
            if not self._last:
                entries.append(run_events.failed_step(outcome, numbered=self._run.enable_reasoning))
            entries.append(run_events.failed(outcome))
        return entries


class _Abroad:
    """Tells other processes what grows here, in pieces; while one is on its way, what comes gives way to what is newer."""

    def __init__(self, session_id: UUID) -> None:
        self._group = groups.of_session(session_id)
        self._told: Draft | None = None
        self._whole_at = 0.0
        self._next: Draft | None = None
        self._telling = False

    def tell(self, draft: Draft) -> None:
        """Tell of a new state, at once or after the piece that is on its way."""
        self._next = draft
        if not self._telling:
            self._telling = True
            background.spawn(self._tell_all(), "growth")

    async def _tell_all(self) -> None:
        try:
            while (draft := self._next) is not None:
                self._next = None
                await groups.tell(self._group, self._piece(draft))
        finally:
            self._telling = False

    def _piece(self, draft: Draft) -> groups.Message:
        now = asyncio.get_running_loop().time()
        told = self._told
        offset = told.length if told is not None and draft.same_text(told) else 0
        if offset and now - self._whole_at > WHOLE_EVERY_S:
            offset = 0
        if not offset:
            self._whole_at = now
        self._told = draft
        text = draft.data(offset)["text"]
        growth = [draft.step, draft.type, draft.attempt, offset, text, draft.tool_name]
        return {"type": "growth", "run_id": str(draft.run_id), "growth": growth}


async def _waited(
    run: Run, done: str, first: Callable[[], Awaitable[T]], again: Callable[[], Awaitable[T]] | None = None
) -> T:
    """Ask the database, for a run; one that is away for a moment is waited for, and asked ``again``."""
    ask = first
    for pause in _RETRY_AFTER_S:
        try:
            return await ask()
        except DatabaseError as error:
            if database.is_unreadable(error):
                raise
            ask = again or first
            logger.warning("Run %s could not be %s; trying again in %s s", run.pk, done, pause, exc_info=True)
            await asyncio.sleep(pause)
    return await ask()


async def _stored(run: Run, store: Callable[[], T], again: Callable[[], T]) -> T:
    """Store. A database that is away for a moment is waited for, and asked ``again``."""
    return await _waited(run, "stored", lambda: database.write(store), lambda: database.write(again))


async def _end_stored(run: Run, entries: Sequence[Entry], end: End) -> tuple[list[Stored], list[UUID]]:
    """Store the end, however long the database is away: nobody else would, as long as this process is alive."""

    def store() -> tuple[list[Stored], list[UUID]]:
        return _end(run, entries, end)

    while True:
        try:
            # An end that was stored though nobody heard of it is found as a run that is not live any more.
            return await _stored(run, store, store)
        except DatabaseError as error:
            if not database.is_away(error):
                raise
            logger.warning("The end of run %s could not be stored; trying again and again", run.pk, exc_info=True)
            await asyncio.sleep(_END_RETRY_AFTER_S)


async def tell_stored(session_id: UUID, events: Sequence[Stored]) -> None:
    """Tell a session's group of events that are stored."""
    if events:
        told = [[e.seq, str(e.run_id), e.frame, e.event, e.number] for e in events]
        await groups.tell(groups.of_session(session_id), {"type": "stored", "events": told})


@transaction.atomic
def _end(run: Run, entries: Sequence[Entry], end: End) -> tuple[list[Stored], list[UUID]]:
    """End a run in the log and in its row; returns the events, and the sessions in which another one may start because of it."""
    if end.status in (RunStatus.CANCELLED, RunStatus.INTERRUPTED):
        now = Run.objects.filter(pk=run.pk).values_list("status", "cancelled_by").first()
        if now is not None and now[0] == RunStatus.CANCELLING:
            # Somebody had asked for it to be stopped: then that is what has happened, whatever else came meanwhile.
            run.cancelled_by_id = now[1]
            end = replace(end, status=RunStatus.CANCELLED)
    events = step_log.append(run, [*entries, run_events.completed(run, end)])
    if not run_state.finish(run.pk, run.session_id, end, fence=run.fence):
        raise Fenced(f"Run {run.pk} ended elsewhere.")
    auto_continue.after(run, end)
    return events, run_state.made_way(run)


# Stopping


async def stop(run_id: UUID, because: str) -> None:
    """Stop a run here, or tell the process that carries it."""
    carried = _carried.get(run_id)
    if carried is not None:
        carried.stop(because)
        return
    _early_stops[run_id] = because
    while len(_early_stops) > _MOST_EARLY_STOPS:
        _early_stops.popitem(last=False)
    await groups.tell(groups.EVERYONE, {"type": "stop", "run_id": str(run_id), "because": because})


def stop_here(run_id: UUID, because: str) -> None:
    """Stop a run if this process carries it."""
    carried = _carried.get(run_id)
    if carried is not None:
        carried.stop(because)


# Opening and closing


def begin() -> None:
    """Take up runs, also after `close`."""
    _open.set()


def close() -> None:
    """Take up no more runs; those at work finish the model call and the tools they are at, and are interrupted then."""
    _open.clear()
    for carried in _carried.values():
        carried.pause()


def interrupt_all() -> None:
    """After `close`: wait no longer for those at work."""
    for carried in list(_carried.values()):
        carried.stop(RESTARTING)


async def all_ended(timeout_s: float) -> bool:
    """Wait until every run at work here has said in the log how it ended; whether all have."""
    try:
        async with asyncio.timeout(timeout_s):
            while waited_for := [*_starting, *(carried.ended for carried in _carried.values())]:
                await waited_for[0].wait()
    except TimeoutError:
        return False
    return True
