"""Runs within runs: questions of a run's agent to other agents, each a run of its own, in the same process and under the same fence.

A root has one `Tree`, which counts the runs within it; each running run has a `Delegation`, which its agent asks. A run ends after the
runs that it has started. If one of those waits for people, its call does, and so in the end does the run: when the run continues,
the same call starts the other run again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Protocol
from uuid import UUID, uuid4

from django.db import Error as DatabaseError
from django.db import transaction

import agents
from agents import CancelToken, ToolError, Usage, WaitsForPeople
from agents.text import clean_text
from chat.catalog import agents as catalog
from chat.catalog import budgets
from chat.catalog.budgets import BudgetState
from chat.catalog.setups import AgentSetup, find_setup
from chat.models import Cost, Run, RunStatus
from chat.protocol import is_blank
from chat.runs import events as run_events
from chat.runs import registry as run_registry
from chat.runs import state as run_state
from chat.runs.metering import RunMeter
from chat.runs.registry import RunHandle
from chat.runs.state import End
from chat.runtime import background
from chat.store import history, step_log
from chat.store.history import UnfinishedCall
from chat.store.step_log import Fenced, Stored

#: How many runs may be running within a root at the same time, how many there may be in all, and how deep.
AT_ONCE = 8
IN_ALL = 32
DEEPEST = 3


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A run that this process executes, and its first events, which are stored but not published yet."""

    run: Run
    events: list[Stored]
    #: The agent that answers; None if it was withdrawn before the run began.
    setup: AgentSetup | None
    #: The turns before it, if they were already read.
    history: list[dict[str, object]] | None = None
    #: The agents that its agent may ask.
    helpers: tuple[agents.AgentSpec, ...] = ()
    #: The budgets that apply to it, as they were when it was claimed.
    budgets: list[BudgetState] = field(default_factory=list)
    #: The meters of the runs around it.
    around: tuple[RunMeter, ...] = ()
    #: Set when it has ended.
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    #: Additional instructions from the client.
    instructions: str = ""
    #: The policies of the runs around it for tool calls.
    policies: tuple[agents.Policy, ...] = ()
    #: Its state, if it has waited for people.
    resumed: agents.Resumed | None = None
    #: The runs within it that wait or have ended meanwhile, by the calls that started them; and how many there were in total.
    waiting: Mapping[str, UUID] = field(default_factory=dict)
    begun_within: int = 0
    #: What it has used before, including waiting runs within it; the day's sums already include it.
    earlier: End | None = None
    #: Whether it may wait for people, which depends on the runs around it.
    may_wait: bool = True
    #: Whether a schedule has started its root.
    by_clock: bool = False

    def instruct(self, spec: agents.AgentSpec) -> agents.AgentSpec:
        """The agent with the client's instructions after its own."""
        if not self.instructions:
            return spec
        return replace(spec, instructions=f"{spec.instructions}\n\n{self.instructions}")


def helpers_of(run: Run, setup: AgentSetup | None) -> tuple[agents.AgentSpec, ...]:
    """The agents that a run's agent may ask, in its order, without those that do not exist or that the requesting user may not use."""
    if setup is None or not setup.spec.sub_agents or run.user_id is None:
        return ()
    return catalog.offered_to(run.user_id, setup.spec.sub_agents)


@dataclass(slots=True)
class Finished:
    """How a run ended, for the call that started it: its answer, or why there is none."""

    end: End
    answer: str = ""
    error: str = ""
    held: Sequence[agents.HeldCall] = ()
    """The calls that wait for people, if the run has not ended but waits."""


@dataclass(slots=True)
class Tree:
    """Counts the runs within a root."""

    at_work: int = 0
    begun: int = 0
    has_asked: bool = False
    """Whether one of the runs within it has asked people something since the root began or was continued."""

    def admit(self, depth: int) -> None:
        """Count a further run. Raises `ToolError` if a limit forbids it."""
        if depth > DEEPEST:
            raise ToolError(
                f"Agents may ask each other {DEEPEST} levels deep, and this is the last one. Answer with what you have."
            )
        if self.begun >= IN_ALL:
            raise ToolError(f"All {IN_ALL} questions to other agents that a run may ask are asked. Go on without them.")
        if self.at_work >= AT_ONCE:
            raise ToolError(
                f"{AT_ONCE} other agents are at work for this run, which is as many as may be at the same time."
                " Ask again when one of them has answered."
            )
        self.begun += 1
        self.at_work += 1


Execute = Callable[[ClaimedRun, RunHandle, Tree], Awaitable[Finished | None]]


class Keeper(Protocol):
    """Stores and continues runs that wait for people."""

    def resume(self, run: Run, parent: Run, within: "Within") -> ClaimedRun | Finished | None:
        """Start a run within another one again: it continues. Returns how it has ended if it has; None if it still waits.

        In a transaction of its own. Raises `Fenced` if the other run does not belong to this process any more.
        """
        ...

    async def give_up(self, run_ids: Sequence[UUID], reason: str) -> list[End]:
        """End those of the runs that still wait, for this reason. Returns how they ended."""
        ...


@dataclass(frozen=True, slots=True)
class Within:
    """What applies to the runs within one: the meters of its budgets and of those around it, and the policies for tool calls."""

    meters: tuple[RunMeter, ...] = ()
    policies: tuple[agents.Policy, ...] = ()
    may_wait: bool = False
    by_clock: bool = False


class Delegation:
    """Lets one run's agent ask other agents. Use it on the serving event loop, except `ask` and `wait_stored`."""

    def __init__(self, claim: ClaimedRun, tree: Tree, execute: Execute, keeper: Keeper) -> None:
        """``execute`` executes a run within this one to its end, or until it waits for people."""
        self.unfinished: list[UnfinishedCall] = []
        """The questions to other agents that the run before, which this one continues, has left unanswered."""
        self.within = Within()
        self.waiting: dict[str, UUID] = dict(claim.waiting)
        """The runs within this one that wait for people, by the calls that have started them."""
        self._ended: list[End] = []
        self._run = claim.run
        self._tree = tree
        self._execute = execute
        self._keeper = keeper
        self._giving_up: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._handles: dict[UUID, RunHandle] = {}
        self._closed_because = ""
        self._stored_calls: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        for call in claim.resumed.calls if claim.resumed is not None else ():
            self.mark_stored(call.id)

    def tools(self, helpers: Sequence[agents.AgentSpec]) -> list[agents.AskAgentTool]:
        """A tool for each agent that the agent may ask."""
        return [agents.AskAgentTool(helper, self.ask) for helper in helpers]

    def ask(self, agent_name: str, message: str, stop: CancelToken) -> str:
        """Ask another agent, and return its answer. Blocks: called in a tool's thread. Raises `ToolError`."""
        return asyncio.run_coroutine_threadsafe(self._ask(agent_name, message, stop), self._loop).result()

    def mark_stored(self, call_id: str) -> None:
        """Note that a call of the run is stored: it may now take effect."""
        self._stored_calls[call_id].set()

    def wait_stored(self, stop: CancelToken) -> None:
        """Wait until a call is stored. Blocks: called in a tool's thread. Raises `ToolError` if it is stopped, or the run ends before."""
        asyncio.run_coroutine_threadsafe(self._wait_stored(stop), self._loop).result()

    async def _wait_stored(self, stop: CancelToken) -> None:
        stored = self._stored_calls[stop.call_id]

        def wait_no_more() -> None:
            self._loop.call_soon_threadsafe(stored.set)

        remove_callback = stop.add_callback(wait_no_more)
        try:
            if not self._closed_because:
                await stored.wait()
        finally:
            remove_callback()
        if self._closed_because or stop.is_set():
            raise ToolError(self._closed_because or stop.reason)

    def refuse(self, reason: str) -> None:
        """Nothing more of the run will be stored: release a call that waits for that, whose thread would be blocked for nothing."""
        self._closed_because = reason
        for stored in self._stored_calls.values():
            stored.set()

    async def close(self, reason: str) -> None:
        """The run is about to end: stop the running runs within it, and wait until their ends are stored."""
        self.refuse(reason)
        for handle in list(self._handles.values()):
            handle.stop(reason)
        while self._handles:
            await next(iter(self._handles.values())).ended.wait()
        while self._giving_up:
            await asyncio.wait(self._giving_up)

    async def give_up(self, reason: str) -> None:
        """The run ends: end the waiting runs within it, too."""
        waiting = list(self.waiting.values())
        self.waiting.clear()
        if waiting:
            await self._give_up(waiting, reason)

    async def _give_up(self, run_ids: Sequence[UUID], reason: str) -> None:
        self._ended += await self._keeper.give_up(run_ids, reason)

    async def _ask(self, agent_name: str, message: str, stop: CancelToken) -> str:
        message = clean_text(message)
        if is_blank(message):
            raise ToolError("The message is empty: say what the other agent is to do.")
        await self._wait_stored(stop)
        known = self.waiting.pop(stop.call_id, None)
        run = Run(pk=known or uuid4(), agent_name=agent_name, message=message, parent_call_id=stop.call_id)
        if known is None:
            unfinished = self._pop_unfinished(agent_name, message)
            if unfinished is not None and unfinished.answer is not None:
                return unfinished.answer
            self._tree.admit(self._run.depth + 1)
            run.continues_id = unfinished and unfinished.child_id
        else:
            self._tree.at_work += 1
        try:
            finished = await self._run_child(run, stop, is_known=known is not None)
        finally:
            self._tree.at_work -= 1
        if finished is None:
            raise ToolError("What the other agent did could not be kept, because the run has ended meanwhile.")
        if finished.end.status is RunStatus.WAITING:
            self._wait(run.pk, stop)
            raise WaitsForPeople
        self._ended.append(finished.end)
        return _answer(agent_name, finished)

    def _wait(self, run_id: UUID, stop: CancelToken) -> None:
        """The other run waits for people: end it if its call is stopped meanwhile."""
        self.waiting[stop.call_id] = run_id

        def give_up() -> None:
            if self.waiting.pop(stop.call_id, None) is not None:
                giving_up = background.spawn(self._give_up([run_id], stop.reason), f"give up {run_id}")
                self._giving_up.add(giving_up)
                giving_up.add_done_callback(self._giving_up.discard)

        def give_up_soon() -> None:
            self._loop.call_soon_threadsafe(give_up)

        stop.add_callback(give_up_soon)

    async def _run_child(self, run: Run, stop: CancelToken, *, is_known: bool) -> Finished | None:
        """Begin or continue the other run, and wait until it has ended or waits; None if it was taken over by another process."""
        handle = self._handles[run.pk] = RunHandle(asyncio.Event())

        def stop_it() -> None:
            self._loop.call_soon_threadsafe(handle.stop, stop.reason)

        remove_callback = stop.add_callback(stop_it)
        ending: list[asyncio.Task[Finished | None]] = []

        def start(claim: ClaimedRun | Finished | None) -> None:
            if isinstance(claim, ClaimedRun):
                run_registry.add_within(run.pk, handle)
                ending.append(background.spawn(self._finish(claim, handle), f"run {run.pk}"))

        try:
            begin = self._keeper.resume if is_known else _begin
            begun = await run_registry.write_and_start(start, begin, run, self._run, self.within)
            if not isinstance(begun, ClaimedRun):
                return begun or Finished(End(RunStatus.WAITING))
            # Shielded: cancelling the wait must not stop the run.
            return await asyncio.shield(ending[0])
        except Fenced:
            return None
        except agents.UnknownAgent as unknown:
            raise ToolError(str(unknown)) from unknown
        except DatabaseError as error:
            if is_known:
                # It still waits, or is started again by `supervisor.compare_runs`.
                return Finished(End(RunStatus.WAITING))
            raise ToolError("The other agent could not be asked, because the database did not answer.") from error
        finally:
            remove_callback()
            if not ending:
                self._forget(run.pk)

    async def _finish(self, claim: ClaimedRun, handle: RunHandle) -> Finished | None:
        try:
            return await self._execute(claim, handle, self._tree)
        finally:
            self._forget(claim.run.pk)

    def _forget(self, run_id: UUID) -> None:
        handle = self._handles.pop(run_id, None)
        if handle is not None:
            handle.ended.set()

    def _pop_unfinished(self, agent_name: str, message: str) -> UnfinishedCall | None:
        """The same question, asked before without a result: its run was interrupted, had not begun, or its answer was lost."""
        for call in self.unfinished:
            if (call.agent_name, call.message) == (agent_name, message):
                self.unfinished.remove(call)
                return call
        return None

    def added_to(self, end: End) -> End:
        """The run's own end, with tokens and cost of the runs within it, which are counted once, at the root."""
        for ended in self._ended:
            end = with_child(end, ended)
        return end


def with_child(end: End, child: End) -> End:
    """A run's end with what a run within it has used. If one cost is unknown, so is the sum."""
    return replace(end, usage=end.usage.plus(child.usage), cost=_cost(end, child))


def _cost(one: End, other: End) -> Cost | None:
    costly = [each for each in (one, other) if each.usage.input_tokens + each.usage.output_tokens]
    costs = [each.cost for each in costly if each.cost is not None]
    if not costs or len(costs) < len(costly) or len({cost.currency for cost in costs}) > 1:
        return None
    return Cost(sum((cost.amount for cost in costs), Decimal(0)), costs[0].currency)


def end_of(run: Run) -> End:
    """How a run has ended, read from its row."""
    used = Usage(run.input_tokens, run.output_tokens, run.usage_estimated, run.cached_tokens, run.reasoning_tokens)
    cost = None if run.cost is None else Cost(run.cost, run.currency)
    return End(RunStatus(run.status), run.iterations, used, run.code, cost)


@transaction.atomic
def _begin(run: Run, parent: Run, within: Within) -> ClaimedRun:
    """Begin a run within another one. Raises `Fenced` if that does not belong to this process any more, and `agents.UnknownAgent`."""
    step_log.hold(parent)
    # Checked now: the agent may have been withdrawn from the requesting user since the tool was made.
    version = None if parent.user_id is None else catalog.current_of(run.agent_name, parent.user_id)
    if version is None:
        raise agents.UnknownAgent(f"There is no agent named “{run.agent_name}” any more.")
    run.agent_version_id = version
    run_state.begin_within(run, parent)
    events = step_log.append_unowned(run, run_events.initial_events(run))
    setup, budget_states = find_setup(run), budgets.budget_states_for(run.user_id, run.agent_name)
    past = history.conversation_within(run)
    helpers = helpers_of(run, setup)
    return claim_within(ClaimedRun(run, events, setup, past, helpers, budget_states), within)


def claim_within(claim: ClaimedRun, within: Within) -> ClaimedRun:
    """The claim, with what applies to runs within the asking one."""
    around, policies = within.meters, within.policies
    return replace(claim, around=around, policies=policies, may_wait=within.may_wait, by_clock=within.by_clock)


def _answer(agent_name: str, finished: Finished) -> str:
    """The result of the call. Raises `ToolError` if there is no answer."""
    match finished.end.status:
        case RunStatus.COMPLETED:
            return finished.answer or f"The agent “{agent_name}” ended without an answer."
        case RunStatus.FAILED:
            raise ToolError(f"The agent “{agent_name}” failed: {finished.error}")
        case RunStatus.MAX_ITERATIONS:
            limit = finished.end.iterations
            raise ToolError(f"The agent “{agent_name}” had no answer after {limit} model calls, which is its limit.")
        case _:
            raise ToolError(finished.error or f"The agent “{agent_name}” was stopped.")
