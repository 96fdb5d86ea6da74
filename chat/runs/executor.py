"""Executes runs in this process, from their claim to their end: each event of an agent is first stored, then published.

A run belongs to the process, never to a socket. Partial steps are passed to `drafts`, and published at once.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import ParamSpec, TypeVar
from uuid import UUID

import orjson
from django.conf import settings
from django.db import Error as DatabaseError

import agents
from agents import AgentError, Outcome, Sentence
from agents.history import ChatMessage
from chat.catalog import budgets, prices, tool_servers
from chat.catalog.setups import AgentSetup, most_iterations
from chat.models import Origin, Run, RunStatus
from chat.runs import events as run_events
from chat.runs import resuming, toolbox, waiting
from chat.runs.children import ClaimedRun, Delegation, Finished, Tree, Within, end_of, with_child
from chat.runs.metering import RunMeter
from chat.runs.publisher import publish_events
from chat.runs.recorder import Recorded, RunRecorder, store_end, with_retries
from chat.runs.registry import RunHandle, running
from chat.runs.state import End
from chat.runs.waiting import Wait
from chat.runtime import background, clock, database, db_check, malloc
from chat.store import drafts, history, sent_along, steering
from chat.store.step_log import Fenced

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
_NO_LIMIT = 1_000_000


def preload_agents() -> None:
    """Import what the first run needs, and exclude those objects from garbage collection. Takes seconds: call it in a thread."""
    agents.preload(tool_servers.connect_all())
    prices.warm_prices(settings.AGENT_MODEL.server)
    malloc.freeze_gc()
    logger.info("The agents are loaded")


async def execute_run(claim: ClaimedRun, handle: RunHandle) -> list[UUID]:
    """Execute a claimed run to its end, whatever happens. Returns the sessions in which that allows another run to start."""
    _, unblocked = await _execute(claim, handle, Tree(begun=claim.begun_within))
    return unblocked


async def _execute_within(claim: ClaimedRun, handle: RunHandle, tree: Tree) -> Finished | None:
    """Execute a run within another one, to its end or until it waits. None if another process has taken it over."""
    return (await _execute(claim, handle, tree))[0]


async def _execute(claim: ClaimedRun, handle: RunHandle, tree: Tree) -> tuple[Finished | None, list[UUID]]:
    run = claim.run
    finished: Finished | None = None
    unblocked: list[UUID] = []
    # At the same time as the agent begins, so that its first request to the model is not delayed.
    publishing = background.spawn(publish_events(run.session_id, claim.events), "publish a run's start")
    try:
        ended, held = await _work(claim, handle, tree, publishing)
        if ended.end.status is RunStatus.WAITING:
            tree.has_asked = tree.has_asked or bool(ended.held)
            wait = Wait(ended.held, tuple(handle.waiting.values()), ended.end, is_news=tree.has_asked)
            begun = await waiting.begin(run, held, wait)
            await publish_events(run.session_id, begun.events)
            await waiting.notify_people(begun)
            return begun.ended or ended, begun.unblocked
        events, unblocked = await store_end(run, held, ended.end, ended.answer)
        await publish_events(run.session_id, events)
        finished = ended
    except Fenced:
        logger.warning("Run %s is no longer executed here: it was taken over, ended or deleted elsewhere", run.pk)
    finally:
        # A run that has waited may already be running again.
        if running.get(run.pk) is handle:
            drafts.drop(run.session_id, run.pk)
            del running[run.pk]
        handle.ended.set()
    return finished, unblocked


async def _work(
    claim: ClaimedRun, handle: RunHandle, tree: Tree, publishing: "asyncio.Task[None]"
) -> tuple[Finished, Recorded]:
    """Run the agent, and record its events. Returns the end and what is stored together with it.

    Nothing of it is published before ``publishing`` is done, which publishes the run's beginning.
    """
    run = claim.run
    delegation = Delegation(claim, tree, _execute_within, resuming.keeper)
    handle.waiting = delegation.waiting
    recorder = RunRecorder(run, delegation.mark_stored, claim.events)
    try:
        setup = _usable(claim)
        delegation.unfinished = await _unfinished(claim)
        tools = toolbox.toolbox_for(run, delegation.tools(claim.helpers), setup.mcp_servers)
        agent = agents.Agent(claim.instruct(setup.spec), setup.model, tools)
        recorder.use_model(agent.model, agent.spec.version)
        meter = recorder.meter(claim.budgets, budgets.of_version(setup.spec.limits), claim.around, claim.earlier)
        delegation.within = _within(claim, setup, meter)
        await _find_words(claim, handle)
        stream = await _start_agent(claim, handle, delegation, agent, meter)
        handle.begun(stream)
        with _time_limit(stream, setup.spec.limits.time_s, _worked_s(claim)):
            await _follow(stream, recorder, delegation, handle, publishing)
        outcome = stream.outcome or Outcome("failed", 0, code="internal", error="The agent ended without a result.")
    except Fenced:
        raise
    except AgentError as failure:
        # This failed before the agent began; later failures are part of its outcome.
        outcome = Outcome("failed", 0, code=failure.code, error=failure.message)
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
    await publishing
    status = RunStatus(outcome.status)
    if status is RunStatus.CANCELLED and handle.pausing:
        status = RunStatus.INTERRUPTED
    if status is not RunStatus.WAITING:
        await delegation.give_up(handle.stopped_because or "The run that asked has ended.")
    recorded = await recorder.last(outcome)
    end = delegation.added_to(End(status, outcome.iterations, outcome.usage, outcome.code, recorder.cost))
    if claim.resumed is not None:
        end = with_child(replace(end, iterations=max(end.iterations, run.iterations)), end_of(run))
    return Finished(end, recorder.answer, outcome.error or handle.stopped_because, outcome.held), recorded


async def _start_agent(
    claim: ClaimedRun, handle: RunHandle, delegation: Delegation, agent: agents.Agent, meter: RunMeter | None
) -> agents.AgentRun:
    run = claim.run
    return agent.start(
        None if run.continues_id or claim.resumed else run.message,
        history=await _history(claim),
        session_id=str(run.session_id),
        max_iterations=most_iterations(agent.spec.limits) or _NO_LIMIT,
        skip_initial_steps=True,
        files=orjson.loads(run.files) if run.files else (),
        meter=meter,
        calls=[(call.tool_name, call.arguments) for call in delegation.unfinished],
        gate=waiting.gate_for(claim, delegation.within),
        resumed=claim.resumed,
        newest_word=handle.newest_word,
        wait_stored=delegation.wait_stored,
    )


async def _follow(
    stream: agents.AgentRun,
    recorder: RunRecorder,
    delegation: Delegation,
    handle: RunHandle,
    publishing: "asyncio.Task[None]",
) -> None:
    """Record the agent's events to its end. Runs that it has started and no longer waits for end before it."""
    try:
        await publishing
        stream.watch_partials(recorder.on_partial)
        async for first in stream:
            await recorder.record([first, *stream.ready()], stream.ready)
    finally:
        reason = handle.stopped_because or "The run that asked has ended."
        delegation.refuse(reason)
        await stream.aclose()
        await delegation.close(reason)


def _within(claim: ClaimedRun, setup: AgentSetup, meter: RunMeter | None) -> Within:
    """The settings for runs within this one."""
    return Within(
        claim.around if meter is None else (*claim.around, meter),
        (*claim.policies, setup.spec.policy),
        # A loop of an extension cannot be continued from the log.
        claim.may_wait and not setup.spec.agent_class,
        claim.by_clock or claim.run.origin == Origin.SCHEDULE,
    )


async def _find_words(claim: ClaimedRun, handle: RunHandle) -> None:
    """Find steering words that were sent while the run waited for people; its first model call reads them."""
    if claim.resumed is not None and (newest := await database.read(steering.newest_for, claim.run.pk)):
        handle.steer(newest, "")


async def _unfinished(claim: ClaimedRun) -> list[history.UnfinishedCall]:
    """The questions to other agents that the run before, which this one continues, has left unanswered."""
    run = claim.run
    if run.continues_id is None or claim.resumed is not None:
        return []
    return await _read(run, history.unfinished_calls, run.continues_id, run_events.NO_RESULT)


def _usable(claim: ClaimedRun) -> AgentSetup:
    """The agent that answers. Raises `AgentError` if there is none."""
    if claim.setup is None:
        words = Sentence(
            "The agent “%(name)s” is no longer available to you. Choose another one.", name=claim.run.agent_name
        )
        raise AgentError("unknown_agent", words)
    if claim.setup.problem is not None:
        raise claim.setup.problem
    return claim.setup


@contextlib.contextmanager
def _time_limit(stream: agents.AgentRun, time_s: float | None, worked_s: float) -> Iterator[None]:
    """Fail the run when its agent's time is over; ``worked_s`` of it is used up already."""
    if not time_s:
        yield
        return
    words = Sentence("The agent's time limit of %(n)s s was reached.", n=f"{time_s:g}")
    timer = asyncio.get_running_loop().call_later(
        max(0.0, time_s - worked_s), stream.fail, AgentError("budget_exceeded", words)
    )
    try:
        yield
    finally:
        timer.cancel()


def _worked_s(claim: ClaimedRun) -> float:
    """How many seconds a run that has waited was running before."""
    run = claim.run
    if claim.resumed is None or run.started_at is None:
        return 0.0
    return max(0.0, (clock.now() - run.started_at).total_seconds() - run.waited_ms / 1000)


def load_history(run: Run, *, has_begun: bool = False) -> list[ChatMessage]:
    """The session's turns before a run; empty before its first one. For a run within another one, what it continues from.

    ``has_begun``: the run has waited, so its own turn is the last.
    """
    if run.parent_id is not None:
        return history.conversation_within(run, has_begun=has_begun)
    if has_begun:
        return history.conversation_history(run.session_id, run.number + 1, unfinished_run=run.continues_id)
    along = sent_along.messages_of(run)
    if run.number == 1:
        return along
    return [*history.conversation_history(run.session_id, run.number, unfinished_run=run.continues_id), *along]


class _NoHistory(Exception):
    """The history before a run cannot be read; ``code`` is the protocol's, ``message`` is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


async def _history(claim: ClaimedRun) -> list[ChatMessage]:
    """The session's turns before a run. Waits for a database that does not answer. Raises `_NoHistory`."""
    if claim.history is not None:
        return claim.history
    return await _read(claim.run, load_history, claim.run, has_begun=claim.resumed is not None)


async def _read(run: Run, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that reads the history before a run. Waits for a database that does not answer. Raises `_NoHistory`."""
    try:
        return await with_retries(run, "read", lambda: database.read(function, *args, **kwargs))
    except Exception as error:
        if isinstance(error, DatabaseError) and not db_check.is_unreadable(error):
            words = "The database did not answer when what was said before was to be read, so the run was stopped."
            raise _NoHistory("storage", words) from error
        words = "Something that was said before in this session is stored so that it cannot be read any more."
        raise _NoHistory("internal", words) from error
