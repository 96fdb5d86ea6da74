"""Runs within runs, executed in this process: all are in one log, each as its own run, and none is unfinished when the root ends."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

import orjson
import pytest
from asgiref.sync import sync_to_async

from agents import AgentSpec, Limits, ModelSettings
from chat.catalog import built_in
from chat.models import Run, RunStatus, Step
from chat.runs import commands, events, executor, recovery, toolbox
from chat.runs import registry as run_registry
from chat.runtime import database
from chat.store import history, selectors
from tests.faults import invariants
from tests.faults.conftest import OpenWorld, Record
from tests.faults.here import ENDS_WITHIN_S, Here, here
from tests.faults.world import SCALE
from tests.model_server import Call, ModelServer, Script

__all__ = ["here"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]

#: Which agent may ask which: `boss` may ask any, `ring` itself without end, `helper` none.
SPECS = (
    AgentSpec(
        "boss", "Boss", "Hands everything on.", "You hand on.", ("python",), sub_agents=("helper", "boss", "ring")
    ),
    AgentSpec("ring", "Ring", "Asks itself.", "You ask yourself.", (), sub_agents=("ring",)),
    AgentSpec("helper", "Helper", "Does the work.", "You work.", ("python",)),
    AgentSpec(
        "tight", "Tight", "Has little.", "You spend.", ("python",), sub_agents=("boss",), limits=Limits(tokens=1)
    ),
    AgentSpec("hurried", "Hurried", "Has no time.", "You hurry.", (), sub_agents=("helper",), limits=Limits(time_s=3)),
    AgentSpec("brief", "Brief", "Has no time.", "You hurry.", (), limits=Limits(time_s=0.3)),
    AgentSpec("calm", "Calm", "Has time.", "You hand on.", (), sub_agents=("brief",)),
)
ADD: Call = Call("python", {"code": "6*7"})


def ask(message: str, of: str = "helper") -> Call:
    """A model's call that asks another agent."""
    return Call(f"ask_{of}", {"message": message})


#: What the model answers to a message, call by call; the last answer is repeated.
PLANS: dict[str, Sequence[Script]] = {
    "hand on": [Script(reasoning="Who knows?", calls=[ask("work")]), Script("The boss says so.")],
    "work": [Script(reasoning="Let me see.", calls=[ADD]), Script("It is 42.")],
    "two levels": [Script(calls=[ask("hand on", of="boss")]), Script("All done.")],
    "two at once": [Script(calls=[ask("work"), ADD, ask("hand on", of="boss")]), Script("Both done.")],
    "nine at once": [Script(calls=[ask(f"slow {n}") for n in range(9)]), Script("Enough.")],
    "thirty-three": [
        *(Script(calls=[ask("say")] * 8) for _ in range(4)),
        Script(calls=[ask("say")]),
        Script("Enough."),
    ],
    "ring": [Script(calls=[ask("ring", of="ring")]), Script("Back again.")],
    "say": [Script("Said.")],
    "hang": [Script(fault="hang")],
    "hand on what hangs": [Script(calls=[ask("hang")]), Script("Without it, then.")],
    "hand on to who is brief": [Script(calls=[ask("hang", of="brief")]), Script("Without it, then.")],
    "hand on deep what hangs": [Script(calls=[ask("hand on what hangs", of="boss")]), Script("Without it, then.")],
    "hand on what fails": [Script(calls=[ask("fail")]), Script("It failed.")],
    "fail": [Script(status=401)],
    "hand on what is spent": [Script(calls=[ask("hand on", of="boss")]), Script("Enough.")],
    "hand on nothing": [Script(calls=[ask("  \n")]), Script("Nothing.")],
    "hand on and on": [Script(calls=[ask("loop")]), Script("It never ends.")],
    "loop": [Script(calls=[ADD])],
} | {f"slow {n}": [Script(reasoning="Hm. " * 20, every_s=0.02), Script("Done.")] for n in range(9)}


def respond(body: dict[str, Any]) -> Script:
    """Choose the plan by the last user message, and the step by the number of answers since."""
    messages = body["messages"]
    # The words that the product adds when a run is resumed are not the name of a plan.
    last = max(at for at, message in enumerate(messages) if message["content"].strip() in PLANS)
    replies = sum(message["role"] == "assistant" for message in messages[last:])
    plan = PLANS[messages[last]["content"].strip()]
    return plan[min(replies, len(plan) - 1)]


@pytest.fixture
def planned(transactional_db: None, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[ModelServer]:
    """The model server for all agents, which follows `PLANS`."""
    monkeypatch.setattr(built_in, "AGENTS", {spec.name: spec for spec in SPECS})
    built_in.make_built_in()
    with ModelServer() as server:
        server.respond = respond
        settings.AGENT_MODEL = ModelSettings(server.url, "stub", timeout_s=20.0)
        settings.MAX_ITERATIONS = 8
        yield server


async def start(here: Here, message: str, **fields: Any) -> UUID:
    """Send a message to the boss, or another agent."""
    accepted = await commands.ask(here.user, here.session.pk, message=message, **{"agent_name": "boss", **fields})
    return accepted.run_id


async def finish(here: Here, message: str, **fields: Any) -> Run:
    """Send a message, and wait until all runs have ended."""
    run_id = await start(here, message, **fields)
    assert await here.all_ended()
    return await database.read(Run.objects.select_related("cancelled_by").get, pk=run_id)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition on the database or the process holds."""
    async with asyncio.timeout(ENDS_WITHIN_S):
        while not await database.read(condition):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)


def tree(here: Here) -> list[Run]:
    """The session's runs, parents before children."""
    return list(Run.objects.filter(session=here.session).order_by("number", "depth", "created_at"))


async def log(here: Here) -> list[Step]:
    """The session's events as they were stored."""
    return await database.read(lambda: list(Step.objects.filter(session=here.session).order_by("pk")))


def event_words(steps: Sequence[Step], names: dict[UUID, str]) -> list[str]:
    """One word for each event, with the run that it belongs to."""
    return [f"{names[step.run_id]} {step.type or step.event}" for step in steps]


def check_log(steps: Sequence[Step], runs: Sequence[Run]) -> None:
    """Check that no number is missing, that each run begins and ends once, within its parent, and that its last event matches its row."""
    assert [step.seq for step in steps] == list(range(1, len(steps) + 1))
    by_run = {run.pk: [step for step in steps if step.run_id == run.pk] for run in runs}
    for run in runs:
        own, kind = by_run[run.pk], "child" if run.parent_id else "reasoning"
        assert [step.position for step in own] == list(range(1, len(own) + 1))
        assert {step.event for step in own} <= {f"{kind}_start", f"{kind}_step", f"{kind}_complete"} | (
            {"child_error"} if run.parent_id else {"error"}
        )
        assert (own[0].event, own[-1].event) == (f"{kind}_start", f"{kind}_complete")
        assert orjson.loads(own[-1].body)["status"] == run.status
        numbers = [step.number for step in own if step.number]
        assert numbers == list(range(1, len(numbers) + 1))
        if run.parent_id:
            around = by_run[run.parent_id]
            calls = [step for step in around if orjson.loads(step.body).get("tool_call_id") == run.parent_call_id]
            use, result = calls
            assert use.pk < own[0].pk
            assert own[-1].pk < result.pk
            assert orjson.loads(own[0].body)["parent"] == selectors.parent_of(run)


async def result_of(here: Here, tool: str = "ask_helper") -> tuple[bool, str]:
    """The result of the root's first tool call."""
    step = await database.read(
        lambda: Step.objects.filter(event="reasoning_step", type="tool_result", tool_name=tool).order_by("pk").first()
    )
    assert step is not None
    data = orjson.loads(step.body)
    return data["ok"], data["content"]


async def test_a_question_to_another_agent_is_a_run_within_the_one_that_asks(here: Here, planned: ModelServer) -> None:
    root = await finish(here, "hand on")
    runs, steps = await database.read(tree, here), await log(here)
    child = runs[1]
    assert (root.status, child.status) == ("completed", "completed")
    assert (child.parent_id, child.parent_call_id, child.depth, child.number) == (root.pk, "call_1", 1, root.number)
    assert (child.agent_name, child.message, child.user_id) == ("helper", "work", here.user.pk)
    assert (child.owner, child.fence) == (root.owner, root.fence)
    check_log(steps, runs)
    names = {root.pk: "boss", child.pk: "helper"}
    assert event_words(steps, names)[5:-7] == [
        f"helper {kind}"
        for kind in (
            *("child_start", "start", "iteration_start", "thought", "tool_use", "tool_result", "iteration_end"),
            *("iteration_start", "final_answer", "iteration_end", "complete", "child_complete"),
        )
    ]
    assert await result_of(here) == (True, "It is 42.")
    # Each token is counted once in the root: its last event has the sum of both runs.
    own = sum(len(script.deltas()) for script in PLANS["hand on"])
    assert root.output_tokens == own + child.output_tokens
    assert child.output_tokens == sum(len(script.deltas()) for script in PLANS["work"])


async def test_a_later_model_call_is_told_of_the_call_and_its_result_alone(here: Here, planned: ModelServer) -> None:
    await finish(here, "hand on")
    assert "work" not in [m["content"] for request in planned.requests[-1:] for m in request.body["messages"]]
    past = await database.read(history.conversation_history, here.session.pk, 2)
    assert [message["role"] for message in past] == ["user", "assistant", "tool", "assistant"]
    assert past[2]["content"] == "It is 42."
    # Nor is what an agent wrote to another one a message of a user.
    assert await database.read(toolbox.SessionRecord(here.session.pk).person_texts) == ["hand on"]
    within = [
        request.body["messages"] for request in planned.requests if request.body["messages"][1]["content"] == "work"
    ]
    assert [[message["role"] for message in each] for each in within] == [
        ["system", "user"],
        ["system", "user", "assistant", "tool"],
    ]


async def test_child_runs_at_once_and_at_two_levels_stay_in_order(here: Here, planned: ModelServer) -> None:
    root = await finish(here, "two at once")
    runs, steps = await database.read(tree, here), await log(here)
    assert [(run.status, run.depth) for run in runs] == [
        ("completed", 0),
        ("completed", 1),
        ("completed", 1),
        ("completed", 2),
    ]
    check_log(steps, runs)
    assert root.input_tokens > sum(run.input_tokens for run in runs if run.depth == 1) > 0


@pytest.mark.parametrize(
    ("message", "tool", "words"),
    [
        ("hand on what fails", "ask_helper", "The agent “helper” failed: "),
        ("hand on nothing", "ask_helper", "The message is empty"),
        ("hand on and on", "ask_helper", "The agent “helper” had no answer after 8 model calls"),
    ],
)
async def test_a_question_without_an_answer_says_why(
    here: Here, planned: ModelServer, message: str, tool: str, words: str
) -> None:
    root = await finish(here, message)
    ok, content = await result_of(here, tool)
    assert not ok
    assert words in content
    assert root.status == "completed"
    check_log(await log(here), await database.read(tree, here))


@pytest.mark.parametrize(
    ("message", "agent", "runs", "refusals", "words"),
    [
        ("nine at once", "boss", 8, 1, "8 other agents are at work for this run"),
        ("thirty-three", "boss", 32, 1, "All 32 questions to other agents"),
        ("ring", "ring", 3, 1, "Agents may ask each other 3 levels deep"),
    ],
)
async def test_limits_of_child_runs_have_clear_errors(
    here: Here, planned: ModelServer, message: str, agent: str, runs: int, refusals: int, words: str
) -> None:
    root = await finish(here, message, agent_name=agent)
    found, steps = await database.read(tree, here), await log(here)
    assert root.status == "completed"
    assert len(found) - 1 == runs
    refused = [step for step in steps if step.type == "tool_result" and words in step.body]
    assert len(refused) == refusals
    assert not any(step.ok for step in refused)
    check_log(steps, found)


async def test_a_budget_of_a_run_holds_for_its_child_runs(here: Here, planned: ModelServer) -> None:
    """The root's first call uses up its budget: the child makes no model call, and the root makes one last call without tools."""
    root = await finish(here, "hand on what is spent", agent_name="tight")
    runs = await database.read(tree, here)
    assert [(run.agent_name, run.status, run.code) for run in runs] == [
        ("tight", "completed", ""),
        ("boss", "failed", "budget_exceeded"),
    ]
    assert ["tools" in request.body for request in planned.requests] == [True, False]
    assert root.input_tokens + root.output_tokens > 1


async def test_a_time_limit_of_a_run_ends_its_child_runs(here: Here, planned: ModelServer) -> None:
    await start(here, "hand on what hangs", agent_name="hurried")
    await planned.until(lambda: any(each.body["messages"][-1]["content"] == "hang" for each in planned.requests))
    assert await here.all_ended()
    await planned.until(lambda: planned.requests[-1].closed_at is not None)
    runs, steps = await database.read(tree, here), await log(here)
    assert [(run.agent_name, run.code) for run in runs] == [("hurried", "budget_exceeded"), ("helper", "")]
    assert runs[0].status == "failed"
    assert (await result_of(here))[0] is False
    check_log(steps, runs)


async def test_a_child_run_past_its_time_limit_says_so_and_its_parent_goes_on(here: Here, planned: ModelServer) -> None:
    root = await finish(here, "hand on to who is brief", agent_name="calm")
    runs = await database.read(tree, here)
    assert root.status == "completed"
    assert [(run.agent_name, run.status, run.code) for run in runs[1:]] == [("brief", "failed", "budget_exceeded")]
    ok, words = await result_of(here, "ask_brief")
    assert not ok
    assert "time limit of 0.3 s was reached" in words


async def test_child_runs_count_neither_as_active_runs_nor_as_messages(
    here: Here, planned: ModelServer, settings: Any
) -> None:
    settings.MAX_ACTIVE_RUNS_PER_USER, settings.MAX_MESSAGES_PER_MINUTE = 2, 2
    await start(here, "hand on what hangs")
    await until(lambda: Run.objects.filter(depth=1).exists())
    other = await sync_to_async(lambda: type(here.session).objects.create(owner=here.user, agent_name="boss"))()
    accepted = await commands.ask(here.user, other.pk, message="say", agent_name="helper")
    assert accepted.queued == 0
    with pytest.raises(commands.Refused, match="is 2 a minute"):
        await commands.ask(here.user, other.pk, message="say", agent_name="helper")
    await commands.cancel(here.user, here.session.pk)
    assert await here.all_ended()


@pytest.mark.parametrize("message", ["hand on what hangs", "hand on deep what hangs"])
async def test_a_stop_reaches_every_level_at_once(here: Here, planned: ModelServer, message: str) -> None:
    depth = 2 if "deep" in message else 1
    root = await start(here, message)
    await planned.until(lambda: any(each.body["messages"][-1]["content"] == "hang" for each in planned.requests))
    loop = asyncio.get_running_loop()
    asked_at = loop.time()
    await commands.cancel(here.user, here.session.pk)
    assert await here.all_ended()
    assert loop.time() - asked_at < 1.0
    await planned.until(lambda: planned.requests[-1].closed_at is not None)
    runs, steps = await database.read(tree, here), await log(here)
    assert [run.status for run in runs] == ["cancelled"] * (depth + 1)
    assert {run.cancelled_by_id for run in runs} == {here.user.pk}
    assert runs[0].pk == root
    check_log(steps, runs)
    assert not any(step.ok for step in steps if step.type == "tool_result")


async def test_a_child_run_is_stopped_alone_and_its_parent_goes_on(here: Here, planned: ModelServer) -> None:
    await start(here, "hand on what hangs")
    await until(lambda: Run.objects.filter(depth=1).exists())
    child = (await database.read(tree, here))[1]
    stops = await commands.cancel(here.user, here.session.pk, child.pk)
    assert stops.running == [child.pk]
    assert await here.all_ended()
    runs = await database.read(tree, here)
    assert [run.status for run in runs] == ["completed", "cancelled"]
    assert await result_of(here) == (False, "Stopped by ada.")
    with pytest.raises(commands.Refused) as refused:
        await commands.continue_run(here.user, here.session.pk, child.pk)
    assert refused.value.code == "not_continuable"


async def test_a_session_names_its_runs_at_work(here: Here, planned: ModelServer) -> None:
    root = await start(here, "hand on deep what hangs")
    await until(lambda: Run.objects.filter(depth=2).exists())
    view = await database.read(selectors.session_view, here.session.pk)
    runs = await database.read(tree, here)
    assert view is not None
    assert view.run is not None
    assert view.run["id"] == str(root)
    assert [(child["id"], child["parent"]) for child in view.children] == [
        (str(run.pk), selectors.parent_of(run)) for run in runs[1:]
    ]
    await commands.cancel(here.user, here.session.pk)
    assert await here.all_ended()


async def test_child_runs_without_reasoning_have_no_numbered_events(here: Here, planned: ModelServer) -> None:
    root = await finish(here, "hand on", enable_reasoning=False)
    steps = await log(here)
    numbered = [step for step in steps if step.seq is not None]
    assert [step.event for step in numbered] == ["reasoning_start", "response", "reasoning_complete"]
    assert [step.seq for step in numbered] == [1, 2, 3]
    within = [step for step in steps if step.run_id != root.pk]
    assert [within[0].event, within[-1].event] == ["child_start", "child_complete"]


async def test_child_runs_are_interrupted_with_their_root_and_continued_by_the_next(
    here: Here, planned: ModelServer
) -> None:
    """As when a process is told to stop: the children of the next run continue the interrupted ones."""
    hangs = iter([Script(fault="hang")])

    def hang_once(body: dict[str, Any]) -> Script:
        """The innermost run does not end before the interruption."""
        is_innermost = body["messages"][-1]["content"].strip() == "work"
        return next(hangs, None) or respond(body) if is_innermost else respond(body)

    planned.respond = hang_once
    await start(here, "two levels")
    # The child was really asked: otherwise the call would hang in the next run.
    await until(lambda: any(request.body["messages"][-1]["content"].strip() == "work" for request in planned.requests))
    run_registry.stop_accepting()
    run_registry.interrupt_all()
    assert await here.all_ended()
    run_registry.start_accepting()
    runs = await database.read(tree, here)
    assert {run.status for run in runs} == {"interrupted"}
    await go_on(here, runs[0].pk)


async def go_on(here: Here, root: UUID) -> None:
    """Continue a root until it completes: interrupted children are continued too, and no call with a stored result is repeated."""
    before = await database.read(tree, here)
    await commands.continue_run(here.user, here.session.pk, root)
    assert await here.all_ended()
    runs, steps = await database.read(tree, here), await log(here)
    check_log(steps, runs)
    added = [run for run in runs if run.pk not in {each.pk for each in before}]
    assert all(run.status == "completed" for run in added)
    broken_off = {run.pk for run in before if run.parent_id and run.status != "completed"}
    gone_on = {run.continues_id for run in added if run.parent_id} - {None}
    assert gone_on == broken_off, "what had been answered is asked again"
    done = [run for run in runs if run.agent_name == "helper" and run.status == "completed"]
    assert len(done) == 1, "the work was done again"
    results = [step.ok for step in steps if step.event == "reasoning_step" and step.type == "tool_result"]
    assert results[-1], "what was answered is not known"


def live_at(n: int) -> Callable[..., Any]:
    """`publish_events`, but at the nth event the run's process counts as dead, and another process ends the run."""
    count = itertools.count(1)
    publish_events = executor.publish_events

    def interrupt_root() -> None:
        root = Run.objects.filter(parent=None, status__in=["running"]).first()
        if root is not None:
            recovery.interrupt_atomically(root.pk)

    async def publish(session_id: UUID, stored: Sequence[Any]) -> None:
        # Before the event is published: the run goes on meanwhile, and must not end first.
        is_nth = n in [next(count) for _ in stored]
        interruption = asyncio.ensure_future(database.write(interrupt_root)) if is_nth else None
        await publish_events(session_id, stored)
        if interruption is not None:
            await interruption

    return publish


#: The number of events of the plan "two levels".
EVENTS = 40


@pytest.mark.parametrize("n", range(1, EVENTS, 3))
async def test_a_run_interrupted_at_any_event_leaves_nothing_open_and_continues(
    here: Here, planned: ModelServer, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    publish = live_at(n)
    for module in ("chat.runs.executor", "chat.runs.recorder"):
        monkeypatch.setattr(f"{module}.publish_events", publish)
    root = await start(here, "two levels")
    assert await here.all_ended()
    assert not run_registry.running_ids()
    runs, steps = await database.read(tree, here), await log(here)
    check_log(steps, runs)
    if runs[0].status == RunStatus.COMPLETED:
        return
    assert runs[0].status == RunStatus.INTERRUPTED
    assert {run.status for run in runs} <= {"interrupted", "completed"}
    no_result = [step for step in steps if events.NO_RESULT in step.body]
    assert all(step.type == "tool_result" for step in no_result)
    await go_on(here, root)


#: The event at which the first run is interrupted, and the event at which its continuation is.
TWICE = [*itertools.product((13, 20), (1, 2, 3, 5, 9)), (31, 1), (31, 2), (31, 3)]


@pytest.mark.parametrize(("n", "again"), TWICE)
async def test_a_run_interrupted_twice_continues_with_what_was_stored_first(
    here: Here, planned: ModelServer, monkeypatch: pytest.MonkeyPatch, n: int, again: int
) -> None:
    """The continuation is interrupted at any event, too: also before it has repeated the calls that it has to repeat."""

    async def ends_at(event: int, asked: Callable[[], Awaitable[Any]]) -> Any:
        publish = live_at(event)
        with monkeypatch.context() as broken:
            for module in ("chat.runs.executor", "chat.runs.recorder"):
                broken.setattr(f"{module}.publish_events", publish)
            await asked()
            assert await here.all_ended()
        assert not run_registry.running_ids()
        return (await database.read(lambda: list(Run.objects.filter(parent=None).order_by("number"))))[-1]

    root = await ends_at(n, lambda: start(here, "two levels"))
    assert root.status == RunStatus.INTERRUPTED
    root = await ends_at(again, lambda: commands.continue_run(here.user, here.session.pk, root.pk))
    assert root.status == RunStatus.INTERRUPTED
    await commands.continue_run(here.user, here.session.pk, root.pk)
    assert await here.all_ended()
    runs, steps = await database.read(tree, here), await log(here)
    check_log(steps, runs)
    assert {run.status for run in runs if run.number == 3} == {"completed"}
    done = [run for run in runs if run.agent_name == "helper" and run.status == "completed"]
    assert len(done) == 1, "the work was done again"
    # Each run but the first continues an interrupted one.
    by_agent: dict[str, list[Run]] = {}
    for run in runs:
        if run.parent_id:
            by_agent.setdefault(run.agent_name, []).append(run)
    assert all(run.continues_id is not None for same in by_agent.values() for run in same[1:])


# Processes of their own


def fan_out(body: dict[str, Any]) -> Script:
    """Ask the developer eight questions at once; its answers are slow."""
    last = max(at for at, message in enumerate(body["messages"]) if message["role"] == "user")
    if "Fan out" not in body["messages"][last]["content"]:
        return Script(reasoning="Let me think. " * 10, content="A part of it. " * 10, every_s=0.03)
    if len(body["messages"]) > last + 1:
        return Script("All parts are there.")
    return Script(calls=[Call("ask_developer", {"message": f"Part {n}"}) for n in range(8)])


@pytest.mark.long
@pytest.mark.parametrize("topology", ["sqlite", SCALE])
async def test_ten_parents_with_eight_children_each_stream_at_once(
    open_world: OpenWorld, model: ModelServer, record_property: Record, topology: str
) -> None:
    """Each client has each event once, in order, and the text in progress that it received is a prefix of what was stored."""
    model.respond = fan_out
    world = open_world(topology)
    sessions = [await world.new_session() for _ in range(10)]
    async with contextlib.AsyncExitStack() as until_done:
        clients = [await until_done.enter_async_context(world.client(session)) for session in sessions]
        for client in clients:
            await client.until(lambda client=client: client.is_connected)  # type: ignore[misc]
        runs = await asyncio.gather(*(client.ask("Fan out") for client in clients))
        for client, run_id in zip(clients, runs, strict=True):
            assert await client.ended(run_id, 120) == "completed"
        for session, client in zip(sessions, clients, strict=True):
            events_of = await invariants.check(world, session, [client])
            assert sum(event.event == "child_complete" for event in events_of) == 8
            assert len(client.state.seen_growing) >= 8, "not all of them were seen growing"
    times = [(request.at, request.finished_at or request.at) for request in model.requests]
    most = max(sum(began <= at < ended for began, ended in times) for at, _ in times)
    record_property("model calls at the same time, at most", most)


@pytest.mark.long
@pytest.mark.parametrize("topology", ["sqlite", "postgres_alone"])
async def test_the_process_is_killed_at_every_event_of_a_nested_run(
    open_world: OpenWorld, model: ModelServer, topology: str
) -> None:
    """Then it is restarted, and the run continued: nothing is lost or duplicated, no run is left at work, and the work is finished."""
    model.respond = nested
    world = open_world(topology, DJANGO_SETTINGS_MODULE="tests.faults.dying_settings")
    [server] = world.servers
    event_words = server.data_dir / "dies_after"
    session = await world.new_session()
    async with world.client(session) as client:
        assert await client.ended(await client.ask("Hand on")) == "completed"
        length = client.state.seq
    for dies_after in range(1, length):
        session = await world.new_session()
        event_words.write_text(f"{dies_after} {session}")
        async with world.client(session) as client:
            asking = asyncio.create_task(client.ask("Hand on"))
            await asyncio.to_thread(server.process.wait, 30)  # type: ignore[union-attr]
            event_words.write_text("")
            await world.start(server)
            run_id = await asking
            # An event that is stored in one transaction with the run's last one is not published before it.
            if await client.ended(run_id) == "interrupted":
                assert await client.ended(await client.go_on(run_id)) == "completed"
            await invariants.check(world, session, [client])


def nested(body: dict[str, Any]) -> Script:
    """The researcher asks the developer, which calculates."""
    asked = [message["content"] for message in body["messages"] if message["role"] == "user"]
    has_result = body["messages"][-1]["role"] == "tool"
    if "Work" in asked:
        return Script("It is 42.") if has_result else Script(reasoning="Let me see.", calls=[ADD])
    return Script("So it is.") if has_result else Script(calls=[Call("ask_developer", {"message": "Work"})])
