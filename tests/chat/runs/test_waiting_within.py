"""Runs within runs that wait for decisions: no process holds them or their parents, and each end resumes the parent."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from agents import AgentSpec, ModelSettings, read_policy
from agents.tools import CurrentTimeTool
from chat.catalog import agents as catalog
from chat.catalog import built_in
from chat.catalog.setups import AgentSetup
from chat.models import Agent, Door, Origin, Run, RunStatus, Step, WaitingCall
from chat.runs import commands, deciding, dispatch, executor, queue_watch, recovery
from chat.runs import registry as run_registry
from chat.runs.children import ClaimedRun
from chat.runs.deciding import Approval
from chat.runtime import database
from chat.serving import supervisor
from chat.store import notices, selectors
from tests.faults.here import ENDS_WITHIN_S, Here, here
from tests.model_server import Call, ModelServer, Script

__all__ = ["here"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]

BOSS = AgentSpec(
    "boss", "Boss", "Hands on.", "You are the boss.", ("current_time", "python"), sub_agents=("lead", "clerk")
)
LEAD = AgentSpec("lead", "Lead", "Hands on.", "You are the lead.", (), sub_agents=("clerk",))
CLERK = AgentSpec("clerk", "Clerk", "Works.", "You are the clerk.", ("python", "ask_user"))
POLICY = read_policy([{"tool": "python", "decision": "ask"}])


def works(n: int) -> Call:
    return Call("python", {"code": f"{n}*10"})


def clerk(n: int) -> Call:
    return Call("ask_clerk", {"message": f"Task {n}."})


def lead(n: int) -> Call:
    return Call("ask_lead", {"message": f"Task {n}."})


@pytest.fixture
def model(transactional_db: None, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator["Office"]:
    """The models of three agents: the boss asks whomever it is told to, the lead asks the clerk, the clerk calls `python`."""
    monkeypatch.setattr(built_in, "AGENTS", {each.name: each for each in (BOSS, LEAD, CLERK)})
    built_in.make_built_in()
    settings.APPROVAL_POLICY = POLICY
    with ModelServer() as server:
        office = Office(server)
        server.respond = office.respond
        settings.AGENT_MODEL = ModelSettings(server.url, "stub", timeout_s=20.0)
        yield office


@dataclass
class Office:
    """The plan of the agents: each makes its calls once, and then repeats their results."""

    server: ModelServer
    asked: tuple[Call, ...] = ()

    def respond(self, body: dict[str, Any]) -> Script:
        messages = body["messages"]
        last = max(at for at, message in enumerate(messages) if message["role"] == "user")
        texts = [message["content"] for message in messages[last:] if message["role"] == "tool"]
        # Interrupted calls are made again.
        if results := [words for words in texts if not words.startswith("The server stopped")]:
            return Script(" & ".join(results))
        who, task = messages[0]["content"], messages[last]["content"]
        number = int("".join(filter(str.isdigit, task)) or 0)
        if "boss" in who:
            return Script(reasoning="Who?", calls=self.asked)
        return Script(calls=[clerk(number) if "lead" in who else works(number)])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(ENDS_WITHIN_S):
        while not await database.read(condition):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)


async def ask(here: Here, model: Office, *calls: Call, **fields: Any) -> UUID:
    model.asked = calls
    accepted = await commands.ask(here.user, here.session.pk, message="Go.", agent_name="boss", **fields)
    return accepted.run_id


async def wait(run_id: UUID, requests: int) -> None:
    """Wait until a root waits with this many open requests, and nothing of it is left in this process."""
    await until(lambda: Run.objects.filter(pk=run_id, status=RunStatus.WAITING).exists())
    await until(lambda: not run_registry.running_ids())
    await until(lambda: WaitingCall.objects.filter(decided_at=None).count() == requests)


async def held(here: Here, model: Office, *calls: Call, requests: int | None = None, **fields: Any) -> UUID:
    run_id = await ask(here, model, *calls, **fields)
    await wait(run_id, len(calls) if requests is None else requests)
    return run_id


async def requests() -> list[WaitingCall]:
    """The open requests, by the code that they would run."""
    found = WaitingCall.objects.filter(decided_at=None).select_related("run")
    return await database.read(lambda: sorted(found, key=lambda call: call.arguments))


async def decide(here: Here, call: WaitingCall, decision: Any = "allow", **fields: Any) -> None:
    approval = Approval(call.tool_call_id, decision, **fields)
    await deciding.approve(here.user, here.session.pk, call.run_id, approval, Door.API)


async def ended(here: Here, run_id: UUID) -> Run:
    assert await here.all_ended()
    return await database.read(Run.objects.get, pk=run_id)


async def log_of(run_id: UUID) -> list[dict[str, Any]]:
    rows = Step.objects.filter(run=run_id).order_by("position")
    return await database.read(lambda: [orjson.loads(step.body) | {"event": step.event} for step in rows])


async def results_of(run_id: UUID) -> list[tuple[bool, str]]:
    return [(step["ok"], step["content"]) for step in await log_of(run_id) if step.get("type") == "tool_result"]


async def statuses() -> list[str]:
    """The statuses of all runs, the root first."""
    return await database.read(
        lambda: list(Run.objects.order_by("depth", "created_at").values_list("status", flat=True))
    )


async def in_order(here: Here) -> None:
    """Check that the log has no gaps, that each run's figures include those of its children, and that its steps are in order."""
    numbers = await database.read(
        lambda: list(
            Step.objects.filter(session=here.session, seq__isnull=False).order_by("seq").values_list("seq", flat=True)
        )
    )
    assert numbers == list(range(1, len(numbers) + 1))
    for run in await database.read(lambda: list(Run.objects.all())):
        tree = [run, *await database.read(selectors.runs_within, run)]
        calls = await database.read(lambda tree=tree: [call for each in tree for call in each.calls.all()])
        assert run.input_tokens == sum(call.input_tokens for call in calls)
        log = await log_of(run.pk)
        assert [step["step"] for step in log if "step" in step] == list(range(1, 1 + sum("step" in s for s in log)))
        assert sum(step["event"] in ("reasoning_complete", "child_complete") for step in log) == 1
        uses = [step["tool_call_id"] for step in log if step.get("type") == "tool_use"]
        assert sorted(uses) == sorted(step["tool_call_id"] for step in log if step.get("type") == "tool_result")
    assert not await database.read(WaitingCall.objects.filter(decided_at=None).exists)


#: What the boss calls at once; the orders of the decisions; and the results of its calls.
TREES: dict[str, tuple[tuple[Call, ...], list[int], str]] = {
    "one": ((clerk(1),), [0], "10"),
    "two, the first first": ((clerk(1), clerk(2)), [0, 0], "10 & 20"),
    "two, the second first": ((clerk(1), clerk(2)), [1, 0], "10 & 20"),
    "one of one": ((lead(1),), [0], "10"),
    "of each depth": ((lead(1), clerk(2), works(3)), [1, 0, 0], "10 & 20 & 30"),
    "its own first": ((clerk(1), works(2)), [1, 0], "10 & 20"),
    "its own last": ((clerk(1), works(2)), [0, 0], "10 & 20"),
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
async def test_each_decision_leads_on(here: Here, model: Office, tree: tuple[tuple[Call, ...], list[int], str]) -> None:
    calls, order, answer = tree
    run_id = await held(here, model, *calls)
    for left, at in zip(range(len(order) - 1, -1, -1), order, strict=True):
        await decide(here, (await requests())[at])
        if left:
            await wait(run_id, left)
    root = await ended(here, run_id)
    assert set(await statuses()) == {"completed"}
    final = [step["content"] for step in await log_of(run_id) if step.get("type") == "final_answer"]
    # Results are in the order of the decisions.
    assert [sorted(words.split(" & ")) for words in final] == [answer.split(" & ")]
    # Each model was called once before the wait and once after it, and never again for what was known.
    assert len(model.server.requests) == 2 * len(await statuses())
    assert root.waited_ms > 0
    await in_order(here)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Keeps `current_time` busy until it is set, or the call is stopped."""
    opened = threading.Event()

    def call(self: CurrentTimeTool, arguments: dict[str, Any], stop: Any) -> str:
        stop.add_callback(opened.set)
        assert opened.wait(ENDS_WITHIN_S)
        return "late"

    monkeypatch.setattr(CurrentTimeTool, "call", call)
    yield opened
    opened.set()


@pytest.fixture
async def beside(here: Here, model: Office, gate: threading.Event) -> UUID:
    """A root of which one call waits for a decision while another one is at work."""
    run_id = await ask(here, model, clerk(1), Call("current_time", {}))
    await until(lambda: WaitingCall.objects.filter(decided_at=None).exists())
    return run_id


@pytest.mark.parametrize("moment", ["here", "at the poll"])
async def test_a_decided_child_run_goes_on_while_the_root_is_at_work(
    here: Here, beside: UUID, gate: threading.Event, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    if moment == "at the poll":
        monkeypatch.setattr(run_registry, "wake_runs", lambda _: asyncio.sleep(0))
    [call] = await requests()
    await until(lambda: Run.objects.filter(pk=call.run_id, status="waiting").exists())
    assert (await statuses()) == ["running", "waiting"]
    await decide(here, call)
    while (await statuses())[1] != "completed":
        await supervisor.compare_runs()
        await asyncio.sleep(0.01)
    assert (await statuses()) == ["running", "completed"]
    # The call of the root that asked for it ends a moment after it.
    await until(lambda: Step.objects.filter(run=beside, type="tool_result").exists())
    gate.set()
    root = await ended(here, beside)
    assert (root.status, root.waited_ms) == ("completed", 0)
    assert await results_of(beside) == [(True, "10"), (True, "late")]
    await in_order(here)


async def test_a_decision_as_the_root_begins_to_wait_is_not_lost(
    here: Here, beside: UUID, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_registry, "wake_runs", lambda _: asyncio.sleep(0))
    await decide(here, (await requests())[0])
    gate.set()
    assert (await ended(here, beside)).status == "completed"
    await in_order(here)


async def stop(here: Here, run_id: UUID | None = None) -> None:
    await commands.cancel(here.user, here.session.pk, run_id)


async def test_a_stop_ends_what_waits_at_every_depth_at_once(here: Here, model: Office) -> None:
    run_id = await held(here, model, lead(1), clerk(2))
    await stop(here)
    assert await statuses() == ["cancelled"] * 4
    assert all(not ok and "Stopped by" in words for ok, words in await results_of(run_id))
    await in_order(here)


async def test_a_stop_ends_what_waits_beside_what_is_at_work(here: Here, beside: UUID) -> None:
    await stop(here)
    assert (await ended(here, beside)).status == "cancelled"
    assert await statuses() == ["cancelled", "cancelled"]
    await in_order(here)


@pytest.mark.parametrize("depth", [1, 2])
async def test_a_waiting_child_run_is_stopped_alone_and_the_others_go_on(here: Here, model: Office, depth: int) -> None:
    run_id = await held(here, model, lead(1))
    child = await database.read(Run.objects.get, depth=depth)
    await stop(here, child.pk)
    assert (await ended(here, run_id)).status == "completed"
    assert await statuses() == (
        ["completed", "cancelled", "cancelled"] if depth == 1 else ["completed"] * 2 + ["cancelled"]
    )
    [(ok, words)] = await results_of(child.parent_id)
    assert (ok, "Stopped by" in words) == (False, True)
    await in_order(here)


async def test_a_waiting_child_run_is_stopped_alone_while_the_root_is_at_work(
    here: Here, beside: UUID, gate: threading.Event
) -> None:
    [call] = await requests()
    await stop(here, call.run_id)
    gate.set()
    assert (await ended(here, beside)).status == "completed"
    assert sorted(ok for ok, _ in await results_of(beside)) == [False, True]
    await in_order(here)


@pytest.mark.parametrize("unanswered", ["deny", "stop"])
async def test_deadlines_hold_within_runs(here: Here, model: Office, settings: Any, unanswered: str) -> None:
    """Denied, the parent goes on; stopped, it ends, and its parent gets the result."""
    settings.APPROVAL_UNANSWERED = unanswered
    run_id = await held(here, model, clerk(1))
    await sync_to_async(WaitingCall.objects.update)(deadline=timezone.now() - timedelta(seconds=1))
    await deciding.expire_due()
    root = await ended(here, run_id)
    child = await database.read(Run.objects.get, parent=run_id)
    assert root.status == "completed"
    [(ok, words)] = await results_of(run_id)
    assert "in time" in words
    assert (child.status, child.code, ok) == (
        ("cancelled", "not_decided", False) if unanswered == "stop" else ("completed", "", True)
    )
    await in_order(here)


async def test_a_decided_child_run_that_was_not_resumed_is_found(here: Here, model: Office) -> None:
    run_id = await held(here, model, lead(1))
    run_registry.stop_accepting()
    await decide(here, (await requests())[0])
    assert await statuses() == ["waiting"] * 3
    run_registry.start_accepting()
    await queue_watch.start_waiting()
    assert (await ended(here, run_id)).status == "completed"
    await in_order(here)


async def test_a_process_that_took_it_up_and_died_leaves_all_of_it_interrupted(here: Here, model: Office) -> None:
    """*Continue* repeats those that were at work, and they ask for decisions again."""
    run_id = await held(here, model, lead(1), clerk(2))
    run_registry.stop_accepting()
    await decide(here, (await requests())[0])
    run_registry.start_accepting()
    await database.write(lambda: dispatch.claim_next(here.session.pk) is not None)
    assert await recovery.interrupt(run_id)
    assert await statuses() == ["interrupted"] * 4
    await in_order(here)
    onward = (await commands.continue_run(here.user, here.session.pk, run_id)).run_id
    await wait(onward, 2)
    for _ in range(2):
        await decide(here, (await requests())[0])
    assert (await ended(here, onward)).status == "completed"
    again = Run.objects.filter(parent=onward, continues__isnull=False)
    assert await database.read(again.count) == 2


@pytest.mark.parametrize(("origin", "passes"), [(Origin.CHAT, True), (Origin.SCHEDULE, False)])
async def test_a_tool_allowed_for_the_session_is_allowed_in_child_runs_too(
    here: Here, model: Office, origin: Origin, passes: bool
) -> None:
    first = await held(here, model, clerk(1))
    await decide(here, (await requests())[0], scope="session")
    await ended(here, first)
    run_id = await ask(here, model, clerk(2), origin=origin)
    if passes:
        assert (await ended(here, run_id)).status == "completed"
        assert await results_of(run_id) == [(True, "20")]
    else:
        await wait(run_id, 1)
        await stop(here)
    await in_order(here)


async def test_the_rules_of_those_who_asked_hold_for_edited_arguments(here: Here, model: Office) -> None:
    def forbid() -> None:
        rules = [{"tool": "python", "arguments": {"code": "*13*"}, "decision": "deny"}]
        Agent.objects.get(name="boss").versions.update(policy=rules)
        catalog.forget()

    await database.write(forbid)
    run_id = await held(here, model, clerk(1))
    [call] = await requests()
    with pytest.raises(commands.Refused) as refused:
        await decide(here, call, arguments={"code": "13"})
    assert refused.value.code == "bad_arguments"
    await decide(here, call, arguments={"code": "14"})
    await ended(here, run_id)
    [(ok, words)] = await results_of(call.run_id)
    assert ok
    assert "changed the arguments" in words
    assert words.endswith("14")


async def test_people_are_told_once_of_each_request(here: Here, model: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    notified: list[UUID] = []
    monkeypatch.setattr(notices, "record_waiting", notified.append)
    run_id = await held(here, model, clerk(1), clerk(2))
    assert notified.count(run_id) == 1
    await decide(here, (await requests())[0])
    await wait(run_id, 1)
    # Only the requests that were open before are open now.
    assert notified.count(run_id) == 1
    await decide(here, (await requests())[0])
    await ended(here, run_id)


@pytest.mark.parametrize(
    ("agent_class", "asker_may", "may"), [("", True, True), ("", False, False), ("poems.Poet", True, False)]
)
async def test_neither_agents_of_extensions_wait_nor_those_that_they_ask(
    agent_class: str, asker_may: bool, may: bool
) -> None:
    claim = ClaimedRun(Run(), [], None, may_wait=asker_may)
    setup = AgentSetup(replace(CLERK, agent_class=agent_class), ModelSettings())
    assert executor._within(claim, setup, None).may_wait is may
