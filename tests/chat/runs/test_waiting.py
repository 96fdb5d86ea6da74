"""Runs that wait for people: they hold nothing meanwhile, are decided once, and go on as the same run."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
import pytest

from agents import AgentSpec, ModelSettings, read_policy
from chat.catalog import built_in
from chat.models import Door, Run, RunStatus, Session, Step
from chat.protocol import ErrorCode
from chat.runs import commands, deciding
from chat.runs import registry as run_registry
from chat.runs.admission import Refused
from chat.runs.deciding import Approval
from chat.runtime import database
from chat.store import selectors
from tests.faults.here import ENDS_WITHIN_S, Here, here
from tests.model_server import Call, ModelServer, Script

__all__ = ["here"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]

AGENT = AgentSpec("clerk", "Clerk", "Does what it may.", "You work.", ("python", "current_time", "ask_user"))
#: Code that holds a 7 waits; code with a 13 is never run.
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
    """The model of the one agent."""
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
    """Wait until something in the database or in memory is so."""
    async with asyncio.timeout(ENDS_WITHIN_S):
        while not await database.read(condition):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)


async def waits(run_id: UUID) -> Run:
    """Wait until the run waits for people, and nothing of it is left in this process."""
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
    """A turn of the model's, what people say of it, and what comes of it."""

    calls: Sequence[Call]
    said: Sequence[tuple[str, dict[str, Any]]]
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
    if turn.said:
        run = await waits(run_id)
        assert (run.owner, run.heartbeat_at, run.iterations) == ("", None, 1)
        session = await database.read(Session.objects.get, pk=here.session.pk)
        assert session.status == RunStatus.WAITING
        live = await database.read(selectors.live_run, here.session.pk)
        assert live is not None
        assert live["status"] == "waiting"
        assert len(model.requests) == 1
    for call, said in turn.said:
        await approve(here, run_id, call, **said)
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
    # The model is told all of it, in the order of a turn, once.
    told = model.requests[-1].body["messages"]
    assert [message["role"] for message in told] == ["system", "user", "assistant", *["tool"] * len(turn.calls)]
    assert {message["tool_call_id"]: message["content"] for message in told[3:]} == {
        call: result_of(steps, call)["content"] for call in (f"call_{n + 1}" for n in range(len(turn.calls)))
    }
    complete = steps[-1]
    assert complete["total_iterations"] == run.iterations == 2
    assert ("waited_ms" in complete) is bool(turn.said)
    assert complete["usage"]["input_tokens"] == run.input_tokens > 0
