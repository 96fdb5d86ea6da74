"""Runs that wait for decisions: they hold no resources meanwhile, are decided once, and go on as the same run."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from agents import AgentSpec, ModelSettings, read_policy
from chat.accounts.models import User
from chat.catalog import agents as catalog
from chat.catalog import built_in
from chat.models import Agent, AuditEntry, Door, Origin, Run, RunStatus, Session, Share, Step, WaitingCall
from chat.protocol import ErrorCode
from chat.runs import auto_continue, commands, deciding, dispatch, erasure, live_runs, queue_watch, recovery
from chat.runs import queue as run_queue
from chat.runs import registry as run_registry
from chat.runs.admission import Refused
from chat.runs.deciding import Approval
from chat.runtime import database
from chat.serving import supervisor
from chat.store import selectors, waiting_calls
from tests.chat import making
from tests.faults.here import ENDS_WITHIN_S, Here, here
from tests.model_server import Call, ModelServer, Script

__all__ = ["here"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]

AGENT = AgentSpec("clerk", "Clerk", "Does what it may.", "You work.", ("python", "current_time", "ask_user"))
#: Code with a 7 waits for a decision; code with a 13 is denied.
POLICY = read_policy(
    [
        {"tool": "python", "arguments": {"code": "*13*"}, "decision": "deny"},
        {"tool": "pyth*", "arguments": {"code": "*7*"}, "decision": "ask"},
    ]
)
HELD = Call("python", {"code": "6*7"})
ALSO_HELD = Call("python", {"code": "7*7"})
FREE = Call("python", {"code": "1+1"})
FORBIDDEN = Call("python", {"code": "13"})
QUESTION = Call(
    "ask_user",
    {
        "question": "Where to?",
        "fields": [
            {"name": "city", "kind": "choice", "options": ["Oslo", "Rome"]},
            {"name": "nights", "kind": "number", "required": False},
        ],
    },
)


@pytest.fixture
def model(transactional_db: None, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[ModelServer]:
    """The model of the only agent."""
    monkeypatch.setattr(built_in, "AGENTS", {AGENT.name: AGENT})
    built_in.make_built_in()
    settings.APPROVAL_POLICY = POLICY
    settings.MAX_ITERATIONS = 8
    with ModelServer() as server:
        settings.AGENT_MODEL = ModelSettings(server.url, "stub", timeout_s=20.0)
        yield server


async def ask(here: Here, message: str = "Go.", session: Session | None = None, **fields: Any) -> UUID:
    target = session or here.session
    return (await commands.ask(here.user, target.pk, message=message, agent_name=AGENT.name, **fields)).run_id


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition on the database or the process holds."""
    async with asyncio.timeout(ENDS_WITHIN_S):
        while not await database.read(condition):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)


async def waits(run_id: UUID) -> Run:
    """Wait until the run waits for a decision, and nothing of it is left in this process."""
    await until(lambda: Run.objects.filter(pk=run_id, status=RunStatus.WAITING).exists())
    await until(lambda: not run_registry.running_ids())
    return await database.read(Run.objects.get, pk=run_id)


async def ended(here: Here, run_id: UUID) -> Run:
    assert await here.all_ended()
    return await database.read(Run.objects.select_related("cancelled_by").get, pk=run_id)


async def approve(here: Here, run_id: UUID, call: str = "call_1", decision: Any = "allow", **fields: Any) -> None:
    await deciding.approve(here.user, here.session.pk, run_id, Approval(call, decision, **fields), Door.API)


async def refused(act: Any) -> ErrorCode:
    with pytest.raises(Refused) as refusal:
        await act
    return refusal.value.code


async def share(here: Here, user: User, role: str) -> None:
    await sync_to_async(Share.objects.create)(session=here.session, user=user, role=role)


async def steps_of(run_id: UUID) -> list[dict[str, Any]]:
    rows = Step.objects.filter(run=run_id).order_by("position")
    return await database.read(lambda: [orjson.loads(step.body) | {"event": step.event} for step in rows])


def names(steps: Sequence[dict[str, Any]]) -> list[str]:
    return [step.get("type") or step["event"] for step in steps]


def result_of(steps: Sequence[dict[str, Any]], call: str = "call_1") -> dict[str, Any]:
    return next(step for step in steps if step.get("type") == "tool_result" and step["tool_call_id"] == call)


BEGINNING = ["reasoning_start", "start", "iteration_start", "thought"]
ENDING = ["iteration_end", "iteration_start", "final_answer", "iteration_end", "complete", "reasoning_complete"]


@dataclass(frozen=True)
class Turn:
    """A turn of the model, the decisions, and the results."""

    calls: Sequence[Call]
    decisions: Sequence[tuple[str, dict[str, Any]]]
    log: Sequence[str]
    results: dict[str, tuple[bool, str]] = field(default_factory=dict)


USE, RESULT, REQUEST, APPROVAL = "tool_use", "tool_result", "approval_request", "approval"
TURNS = {
    "allowed": Turn([HELD], [("call_1", {})], [USE, REQUEST, APPROVAL, RESULT], {"call_1": (True, "42")}),
    "denied": Turn(
        [HELD],
        [("call_1", {"decision": "deny", "reason": "Not today."})],
        [USE, REQUEST, APPROVAL, RESULT],
        {"call_1": (False, "denied this call, so it was not run. Not today.")},
    ),
    "with other arguments": Turn(
        [HELD],
        [("call_1", {"arguments": {"code": "6*8"}})],
        [USE, REQUEST, APPROVAL, RESULT],
        {"call_1": (True, "48")},
    ),
    "what is free runs first": Turn(
        [HELD, FREE],
        [("call_1", {})],
        [USE, USE, RESULT, REQUEST, APPROVAL, RESULT],
        {"call_1": (True, "42"), "call_2": (True, "2")},
    ),
    "what is forbidden is refused at once": Turn(
        [FORBIDDEN, HELD],
        [("call_2", {})],
        [USE, USE, RESULT, REQUEST, APPROVAL, RESULT],
        {"call_1": (False, "rules forbid"), "call_2": (True, "42")},
    ),
    "two, in any order": Turn(
        [HELD, ALSO_HELD],
        [("call_2", {"decision": "deny"}), ("call_1", {})],
        [USE, USE, REQUEST, REQUEST, APPROVAL, APPROVAL, RESULT, RESULT],
        {"call_1": (True, "42"), "call_2": (False, "denied")},
    ),
    "what does not fit its schema waits for nobody": Turn(
        [Call("python", {"code": 7}), Call("nothing", {"code": "7"})],
        [],
        [USE, USE, RESULT, RESULT],
        {"call_1": (False, "has to be of type string"), "call_2": (False, "There is no tool")},
    ),
}


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
async def test_a_turn_waits_for_people_and_goes_on(here: Here, model: ModelServer, turn: Turn) -> None:
    model.enqueue(Script(reasoning="Hm.", calls=turn.calls), Script("Done."))
    run_id = await ask(here)
    if turn.decisions:
        run = await waits(run_id)
        assert (run.owner, run.heartbeat_at, run.iterations) == ("", None, 1)
        session = await database.read(Session.objects.get, pk=here.session.pk)
        assert session.status == RunStatus.WAITING
        live = await database.read(selectors.live_run, here.session.pk)
        assert live is not None
        assert live["status"] == "waiting"
        assert len(model.requests) == 1
    for call, fields in turn.decisions:
        await approve(here, run_id, call, **fields)
    run = await ended(here, run_id)
    steps = await steps_of(run_id)
    assert names(steps) == [*BEGINNING, *turn.log, *ENDING]
    assert run.status == RunStatus.COMPLETED
    assert [step["step"] for step in steps if "step" in step] == list(range(1, 1 + sum("step" in s for s in steps)))
    assert [step["iteration"] for step in steps if "iteration" in step] == sorted(
        step["iteration"] for step in steps if "iteration" in step
    )
    assert [step.seq for step in await database.read(list, Step.objects.filter(run=run_id).order_by("position"))] == (
        list(range(1, len(steps) + 1))
    )
    for call, (ok, words) in turn.results.items():
        result = result_of(steps, call)
        assert result["ok"] is ok
        assert words in result["content"]
    # The model is sent all results, in the order of its calls, once.
    messages = model.requests[-1].body["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", *["tool"] * len(turn.calls)]
    assert {message["tool_call_id"]: message["content"] for message in messages[3:]} == {
        call: result_of(steps, call)["content"] for call in (f"call_{n + 1}" for n in range(len(turn.calls)))
    }
    complete = steps[-1]
    assert complete["total_iterations"] == run.iterations == 2
    assert ("waited_ms" in complete) is bool(turn.decisions)
    assert complete["usage"]["input_tokens"] == run.input_tokens > 0


async def held(here: Here, model: ModelServer, *calls: Call, message: str = "Go.", **fields: Any) -> UUID:
    """A run that waits because of these calls, and answers "done" after them."""
    model.enqueue(Script(reasoning="Hm.", calls=calls or [HELD]), Script("Done."))
    run_id = await ask(here, message, **fields)
    await waits(run_id)
    return run_id


async def test_a_question_is_a_form_and_its_answers_are_the_result(here: Here, model: ModelServer) -> None:
    run_id = await held(here, model, QUESTION)
    question = (await steps_of(run_id))[-1]
    assert (question["type"], question["content"]) == ("question", "Where to?")
    assert question["fields"] == [
        {"name": "city", "label": "city", "kind": "choice", "required": True, "options": ["Oslo", "Rome"]},
        {"name": "nights", "label": "nights", "kind": "number", "required": False},
    ]

    async def answer(answers: dict[str, Any]) -> None:
        await deciding.answer(here.user, here.session.pk, run_id, "call_1", answers, Door.API)

    for wrong in ({}, {"city": "Paris"}, {"city": ["Oslo"]}, {"city": "Oslo", "nights": "two"}, {"town": "Oslo"}):
        assert await refused(answer(wrong)) == "bad_arguments"
    # A question is no call that could be allowed.
    assert await refused(approve(here, run_id)) == "not_waiting"
    await answer({"city": "Rome", "nights": 2})
    run = await ended(here, run_id)
    steps = await steps_of(run_id)
    assert names(steps) == [*BEGINNING, USE, "question", "answer", RESULT, *ENDING]
    assert (result_of(steps)["ok"], orjson.loads(result_of(steps)["content"])) == (True, {"city": "Rome", "nights": 2})
    assert run.status == RunStatus.COMPLETED


async def test_a_stop_ends_a_waiting_run_at_once(here: Here, model: ModelServer) -> None:
    run_id = await held(here, model, HELD, ALSO_HELD)
    await approve(here, run_id, "call_2")
    model.enqueue(Script("The next one."))
    behind = await ask(here, "After it.")
    assert await here.statuses() == ["waiting", "queued"]
    await commands.cancel(here.user, here.session.pk)
    # No process has to notice the stop: the run has ended with the command.
    run = await database.read(Run.objects.select_related("cancelled_by").get, pk=run_id)
    assert (run.status, run.cancelled_by, run.waiting_since) == (RunStatus.CANCELLED, here.user, None)
    steps = await steps_of(run_id)
    assert names(steps)[-4:] == [APPROVAL, RESULT, RESULT, "reasoning_complete"]
    assert all("Stopped by" in result_of(steps, call)["content"] for call in ("call_1", "call_2"))
    assert steps[-1]["cancelled_by"] == here.user.get_username()
    assert not await database.read(WaitingCall.objects.filter(decided_at=None).exists)
    assert await refused(approve(here, run_id, "call_1")) == "not_waiting"
    assert (await ended(here, behind)).status == RunStatus.COMPLETED


#: How a decision differs from the correct one of the table below: by whom, of which run, which call, with which arguments.
async def test_a_late_or_wrong_decision_is_refused(here: Here, model: ModelServer, settings: Any) -> None:
    outsider, watcher, driver = [await sync_to_async(making.user)(name) for name in ("stranger", "watcher", "driver")]
    await share(here, watcher, "watcher")
    await share(here, driver, "driver")
    run_id = await held(here, model)

    def by(who: Any, call: str = "call_1", run: UUID = run_id, **fields: Any) -> Any:
        return deciding.approve(who, here.session.pk, run, Approval(call, "allow", **fields), Door.API)

    refusals: dict[ErrorCode, Sequence[Any]] = {
        "not_found": [by(outsider), by(here.user, run=UUID(int=1))],
        "not_allowed": [by(watcher)],
        "not_waiting": [by(here.user, "call_9"), by(here.user, "")],
        "bad_arguments": [
            by(here.user, arguments={}),
            by(here.user, arguments={"code": 7}),
            by(here.user, arguments={"code": "13"}),
            by(here.user, arguments={"code": "7" * 300_000}),
            by(here.user, arguments={"code": "7", "n": 10**30}),
        ],
    }
    for code, acts in refusals.items():
        assert [await refused(act) for act in acts] == [code] * len(acts)
    log = await steps_of(run_id)
    assert names(log)[-1] == REQUEST
    # Of two at the same time the first counts, and the other is told who decided.
    outcomes = await asyncio.gather(by(driver), by(here.user), return_exceptions=True)
    [late] = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    first = driver if outcomes[1] is late else here.user
    assert (late.code, late.message) == ("conflict", f"{first.get_username()} has decided on this already.")
    await ended(here, run_id)
    assert await refused(by(here.user)) == "conflict"
    assert names(await steps_of(run_id)).count(APPROVAL) == 1
    noted = await database.read(
        lambda: list(AuditEntry.objects.filter(action="approve").values_list("actor_id", "details"))
    )
    assert noted == [(first.pk, {"tool": "python", "changed": False, "scope": "once"})]


@pytest.mark.parametrize("unanswered", ["deny", "stop"])
@pytest.mark.parametrize("call", [HELD, QUESTION], ids=["call", "question"])
async def test_a_deadline_decides_where_nobody_has(
    here: Here, model: ModelServer, settings: Any, unanswered: str, call: Call
) -> None:
    settings.APPROVAL_UNANSWERED = unanswered
    run_id = await held(here, model, call)
    await deciding.expire_due()
    assert (await here.statuses()) == ["waiting"]
    past = timezone.now() - timedelta(seconds=1)
    await sync_to_async(WaitingCall.objects.update)(deadline=past)
    await asyncio.gather(deciding.expire_due(), deciding.expire_due())
    run = await ended(here, run_id)
    steps = await steps_of(run_id)
    assert result_of(steps)["ok"] is False
    assert "in time" in result_of(steps)["content"]
    if unanswered == "stop":
        assert (run.status, run.code, steps[-1]["code"]) == (RunStatus.CANCELLED, "not_decided", "not_decided")
        assert names(steps)[-2:] == [RESULT, "reasoning_complete"]
    else:
        assert run.status == RunStatus.COMPLETED
        [decision] = [step for step in steps if step.get("type") in (APPROVAL, "answer")]
        assert decision["user"] is None
    assert await refused(approve(here, run_id)) == "not_waiting"


async def test_a_decided_run_that_was_not_resumed_is_found(here: Here, model: ModelServer) -> None:
    run_id = await held(here, model)
    run_registry.stop_accepting()
    await approve(here, run_id)
    assert await here.statuses() == ["waiting"]
    run_registry.start_accepting()
    await queue_watch.start_waiting()
    assert (await ended(here, run_id)).status == RunStatus.COMPLETED
    assert names(await steps_of(run_id)) == [*BEGINNING, USE, REQUEST, APPROVAL, RESULT, *ENDING]


@pytest.mark.parametrize("seen", ["running", "waiting"])
async def test_a_run_resumed_while_runs_are_compared_with_the_table_goes_on(
    here: Here, model: ModelServer, monkeypatch: pytest.MonkeyPatch, seen: str
) -> None:
    """The comparison has read the run before it was resumed, and acts on that afterwards."""
    run_id = await held(here, model)
    if seen == "running":
        fence = (await database.read(Run.objects.get, pk=run_id)).fence
        monkeypatch.setattr(live_runs, "owned_by", lambda _: {run_id: live_runs.OwnedRun(fence, None)})
        interrupt = recovery.interrupt

        async def interrupt_resumed(*args: Any) -> bool:
            await approve(here, run_id)
            return await interrupt(*args)

        monkeypatch.setattr(recovery, "interrupt", interrupt_resumed)
    else:
        # Its wait is stored; the execution that began to wait has not quite ended.
        run_registry.running[run_id] = run_registry.RunHandle(asyncio.Event())
        owned_by, loop = live_runs.owned_by, asyncio.get_running_loop()

        def read_then_resume(process: str) -> dict[UUID, live_runs.OwnedRun]:
            found = owned_by(process)
            asyncio.run_coroutine_threadsafe(approve(here, run_id), loop).result(ENDS_WITHIN_S)
            return found

        monkeypatch.setattr(live_runs, "owned_by", read_then_resume)
    await supervisor.compare_runs()
    assert (await ended(here, run_id)).status == RunStatus.COMPLETED
    assert names(await steps_of(run_id)) == [*BEGINNING, USE, REQUEST, APPROVAL, RESULT, *ENDING]


async def test_only_a_decision_ends_the_wait(here: Here, model: ModelServer) -> None:
    run_id = await held(here, model)
    assert await database.read(live_runs.all_live) == []
    assert await database.read(live_runs.silent_since, timezone.now() + timedelta(days=1)) == []
    assert await database.read(run_queue.sessions_to_start) == []
    assert not await recovery.interrupt(run_id)
    await queue_watch.start_waiting()
    assert await here.statuses() == ["waiting"]
    counts = await database.read(run_queue.count_unfinished)
    assert (counts.at_work, counts.queued) == (0, 0)


async def test_an_owner_who_is_deleted_leaves_nothing_that_waits(here: Here, model: ModelServer) -> None:
    driver = await sync_to_async(making.user)("driver")
    await share(here, driver, "driver")
    run_id = await held(here, model)
    await database.write(erasure.close_account, here.user.pk)
    assert (await database.read(Run.objects.get, pk=run_id)).status == RunStatus.CANCELLED
    decision = deciding.approve(driver, here.session.pk, run_id, Approval("call_1", "allow"), Door.API)
    assert await refused(decision) in ("not_found", "not_waiting")
    assert not (await database.read(waiting_calls.list_open, driver.pk)).entries
    # The deadline's task finds nothing of it, and ends.
    await sync_to_async(WaitingCall.objects.update)(deadline=timezone.now() - timedelta(seconds=1))
    await deciding.expire_due()
    await queue_watch.start_waiting()
    assert not await database.read(waiting_calls.due_calls, timezone.now())
    assert len(model.requests) == 1
    pace = erasure.Pace()
    while await database.write(erasure.erase_batch, pace) is not None:
        pass
    assert not await database.read(WaitingCall.objects.exists)


async def test_those_that_wait_count_for_no_limit(here: Here, model: ModelServer, settings: Any) -> None:
    settings.MAX_ACTIVE_RUNS_PER_USER = 1
    run_id = await held(here, model)
    model.enqueue(Script("Elsewhere."))
    other = await sync_to_async(making.session)(here.user)
    elsewhere = await ask(here, "And here?", session=other)
    await until(lambda: Run.objects.filter(pk=elsewhere, status=RunStatus.COMPLETED).exists())
    await approve(here, run_id)
    assert (await ended(here, run_id)).status == RunStatus.COMPLETED


@pytest.mark.parametrize("auto", [False, True])
async def test_a_call_that_may_have_run_is_closed_as_that_and_asked_for_again(
    here: Here, model: ModelServer, settings: Any, auto: bool
) -> None:
    """A process took the run and died: its call counts as begun from the transaction that gives it to a process."""
    settings.AUTO_CONTINUE = auto
    run_id = await held(here, model)
    run_registry.stop_accepting()
    await approve(here, run_id)
    run_registry.start_accepting()

    def take_over() -> None:
        assert dispatch.claim_next(here.session.pk) is not None

    await database.write(take_over)
    assert await recovery.interrupt(run_id)
    run = await ended(here, run_id)
    steps = await steps_of(run_id)
    assert run.status == RunStatus.INTERRUPTED
    assert names(steps)[-3:] == [APPROVAL, RESULT, "reasoning_complete"]
    assert "may have run" in result_of(steps)["content"], "a call that may have run counts as not begun"
    assert await database.read(auto_continue.continuation_of, run) is None
    model.reset()
    model.enqueue(Script(reasoning="Again.", calls=[HELD]), Script("Done."))
    onward = (await commands.continue_run(here.user, here.session.pk, run_id)).run_id
    await waits(onward)
    # A session's calls have different ids.
    again = (await steps_of(onward))[-1]
    await approve(here, onward, again["tool_call_id"])
    assert (await ended(here, onward)).status == RunStatus.COMPLETED


async def test_a_tool_can_be_allowed_for_the_session_and_that_be_taken_back(here: Here, model: ModelServer) -> None:
    run_id = await held(here, model)
    await approve(here, run_id, scope="session")
    await ended(here, run_id)
    model.enqueue(Script(calls=[ALSO_HELD]), Script("Done."))
    free = await ended(here, await ask(here, "Again."))
    assert REQUEST not in names(await steps_of(free.pk))
    # Not by the periodic task, and not in another session.
    clocked = await held(here, model, origin=Origin.SCHEDULE)
    await commands.cancel(here.user, here.session.pk)
    await ended(here, clocked)
    model.reset()
    [standing] = await database.read(lambda: list(here.session.standing_approvals.values_list("pk", flat=True)))
    await deciding.revoke(here.user, here.session.pk, standing, Door.API)
    again = await held(here, model)
    await commands.cancel(here.user, here.session.pk)
    await ended(here, again)


async def test_budgets_and_figures_add_up_over_the_stretches(here: Here, model: ModelServer) -> None:
    run_id = await held(here, model)
    waiting = await database.read(Run.objects.get, pk=run_id)
    await approve(here, run_id)
    run = await ended(here, run_id)
    calls = await database.read(lambda: list(run.calls.values_list("iteration", "input_tokens", "output_tokens")))
    assert [call[0] for call in calls] == [1, 2]
    assert run.input_tokens == sum(call[1] for call in calls) > waiting.input_tokens > 0
    assert run.output_tokens == sum(call[2] for call in calls)


async def test_the_inbox_holds_what_waits_for_one(here: Here, model: ModelServer) -> None:
    driver, watcher = [await sync_to_async(making.user)(name) for name in ("driver", "watcher")]
    await share(here, driver, "driver")
    await share(here, watcher, "watcher")
    run_id = await held(here, model, HELD, QUESTION)

    async def waiting_for(who: Any, **place: Any) -> list[tuple[str, str]]:
        found = await database.read(waiting_calls.list_open, who.pk, **place)
        return [(entry.tool_call_id, entry.kind) for entry in found.entries]

    expected = [("call_1", "approval"), ("call_2", "question")]
    assert await waiting_for(here.user) == await waiting_for(driver) == expected
    assert await waiting_for(watcher) == []
    assert sorted(await database.read(waiting_calls.deciders, here.session.pk)) == sorted([here.user.pk, driver.pk])
    page = await database.read(waiting_calls.list_open, here.user.pk, limit=1)
    assert await waiting_for(here.user, after=page.next_after) == expected[1:]
    await approve(here, run_id)
    assert await waiting_for(here.user) == expected[1:]
    await commands.cancel(here.user, here.session.pk)
    assert await waiting_for(here.user) == []


async def test_without_reasoning_people_are_asked_all_the_same(here: Here, model: ModelServer) -> None:
    run_id = await held(here, model, enable_reasoning=False)
    await approve(here, run_id)
    await ended(here, run_id)
    sent = await database.read(
        lambda: list(
            Step.objects.filter(run=run_id, seq__isnull=False).order_by("seq").values_list("seq", "event", "type")
        )
    )
    assert sent == [
        (1, "reasoning_start", ""),
        (2, "reasoning_step", REQUEST),
        (3, "reasoning_step", APPROVAL),
        (4, "response", ""),
        (5, "reasoning_complete", ""),
    ]


@pytest.mark.parametrize("stricter", ["operator", "version"])
async def test_the_stricter_of_operator_and_version_holds(
    here: Here, model: ModelServer, settings: Any, stricter: str
) -> None:
    lax, strict = [{"tool": "*", "decision": "allow"}], [{"tool": "current_time", "decision": "deny"}]
    settings.APPROVAL_POLICY = read_policy(strict if stricter == "operator" else lax)
    own = lax if stricter == "operator" else strict

    def set_own() -> None:
        Agent.objects.get(name=AGENT.name).versions.update(policy=own)
        catalog.forget()

    await database.write(set_own)
    model.enqueue(Script(calls=[Call("current_time", {}), HELD]), Script("Done."))
    run = await ended(here, await ask(here))
    steps = await steps_of(run.pk)
    assert "rules forbid" in result_of(steps, "call_1")["content"]
    assert result_of(steps, "call_2")["content"] == "42"
