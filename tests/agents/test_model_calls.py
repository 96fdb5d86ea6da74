"""The messages and results of each model call, as a run reports them: compared with what the model server received."""

import itertools
from typing import Any

import pytest

from agents import AgentRun, Allowance, CallBegun, CallEnded, Step
from agents.events import LeftOut
from agents.models.chunks import add_chunk
from agents.models.reply import Reply
from agents.steps import BudgetUse
from tests.agents.conftest import MakeAgent
from tests.model_server import Call, ModelServer, Script

ECHO = Call("echo", {"text": "hi"})


async def calls_of(run: AgentRun) -> list[CallBegun | CallEnded]:
    """A run's model calls, until its end."""
    return [event async for event in run if isinstance(event, CallBegun | CallEnded)]


def body_of(call: CallBegun) -> dict[str, Any]:
    """The request of a call as it is reported, in the API's form."""
    request = call.request
    tools = {"tools": list(request.tools)} if request.tools else {}
    return {"model": request.model, "messages": list(request.messages), **request.parameters, **tools}


#: How calls are written, and what the server refuses.
WAYS = {
    "native": ("auto", []),
    "template": ("template", []),
    "refused tools": ("auto", [Script(status=400, body='{"error": {"message": "This model does not support tools"}}')]),
    "refused usage": (
        "auto",
        [Script(status=400, body='{"error": {"message": "stream_options: Extra inputs are not permitted"}}')],
    ),
    "refused twice": (
        "auto",
        [
            Script(status=400, body='{"error": {"message": "stream_options: Extra inputs are not permitted"}}'),
            Script(status=400, body='{"error": {"message": "does not support tools"}}'),
        ],
    ),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_tells_exactly_what_was_sent(way: str, server: ModelServer, make_agent: MakeAgent) -> None:
    tool_format, refusals = WAYS[way]
    dialect: Any = "native" if way in ("native", "refused usage") else "template"
    server.enqueue(*refusals, Script(calls=[ECHO], dialect=dialect), Script("It is hihihi."))
    run = make_agent(tool_format=tool_format, api_key="sesame").start("What is hi?")
    calls = await calls_of(run)
    begun = [call for call in calls if isinstance(call, CallBegun)]
    ended = [call for call in calls if isinstance(call, CallEnded)]
    assert [body_of(call) for call in begun] == [request.body for request in server.requests]
    # One after the other, each attempt with its number; those that were refused have the reason.
    assert calls == list(itertools.chain.from_iterable(zip(begun, ended, strict=True)))
    tried = [(1, attempt + 1) for attempt in range(len(refusals) + 1)]
    assert [(call.iteration, call.attempt) for call in begun] == [*tried, (2, 1)]
    assert [bool(call.error) for call in ended] == [*[True] * len(refusals), False, False]
    assert all("echo" in call.request.tool_names for call in begun)
    assert "sesame" not in repr(calls)
    assert server.url not in repr(calls)


async def test_a_call_tells_what_came_of_it(server: ModelServer, make_agent: MakeAgent) -> None:
    usage: Any = {
        "prompt_tokens": 900,
        "completion_tokens": 70,
        "prompt_tokens_details": {"cached_tokens": 800},
        "completion_tokens_details": {"reasoning_tokens": 50},
    }
    server.enqueue(Script(reasoning="Hm.", calls=[ECHO], usage=usage), Script("Yes.", first_s=0.05, usage=usage))
    run = make_agent().start("What is hi?")
    first, second = [call for call in await calls_of(run) if isinstance(call, CallEnded)]
    assert (first.finish_reason, second.finish_reason) == ("tool_calls", "stop")
    assert (first.usage.cached_tokens, first.usage.reasoning_tokens, first.usage.estimated) == (800, 50, False)
    assert second.first_token_ms is not None
    assert 50 <= second.first_token_ms <= second.duration_ms
    assert run.outcome is not None
    assert run.outcome.usage == first.usage.plus(second.usage)
    assert (run.outcome.usage.input_tokens, run.outcome.usage.cached_tokens) == (1800, 1600)


@pytest.mark.parametrize(
    ("script", "error"),
    [(Script(status=401), "key"), (Script("Half", fault="reset"), "cut off"), (Script(fault="hang"), "stopped")],
)
async def test_a_call_that_fails_says_why(
    script: Script, error: str, server: ModelServer, make_agent: MakeAgent
) -> None:
    server.enqueue(script)
    run = make_agent().start("Go.")
    calls = []
    async for event in run:
        if isinstance(event, CallBegun | CallEnded):
            calls.append(event)
        if script.fault == "hang" and isinstance(event, CallBegun):
            run.cancel("Stopped by Mei.")
    (ended,) = [call for call in calls if isinstance(call, CallEnded)]
    assert error in ended.error
    assert ended.usage.estimated


async def test_omitted_messages_are_reported_in_the_call_and_at_their_place(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    history = []
    for number in range(20):
        history += [{"role": "user", "content": f"Question {number} " * 60}, {"role": "assistant", "content": "Yes."}]
    server.enqueue(Script("Now."))
    run = make_agent(max_input_tokens=1_500).start("And now?", history=history)
    events = [event async for event in run]
    (begun,) = [event for event in events if isinstance(event, CallBegun)]
    sent = server.requests[0].body["messages"]
    assert begun.request.left_out.messages == 1 + len(history) + 1 - len(sent)
    assert begun.request.left_out.tokens > 1_000
    assert begun.request.limit == 1_500
    note, answer = [event.data for event in events if isinstance(event, Step) and "step" in event.data]
    assert f"{begun.request.left_out.messages} oldest messages" in note["content"]
    assert (note["type"], answer["content"]) == ("thought", "Now.")


async def test_an_iteration_ends_with_what_the_context_holds(server: ModelServer, make_agent: MakeAgent) -> None:
    usage: Any = {"prompt_tokens": 900, "completion_tokens": 70}
    server.enqueue(Script(calls=[ECHO], usage=usage), Script("Yes.", usage=usage))
    run = make_agent(max_input_tokens=8_000).start("What is hi?")
    ends = [event.data async for event in run if isinstance(event, Step) and event.type == "iteration_end"]
    assert [end.get("context") for end in ends] == [{"used": 970, "limit": 8_000}] * 2


async def test_nothing_is_left_out_of_a_short_conversation(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script("Yes."))
    begun, _ended = await calls_of(make_agent().start("What is hi?"))
    assert isinstance(begun, CallBegun)
    assert begun.request.left_out == LeftOut()


#: Usage as servers report it, and how much of it was cached and for thoughts.
USAGES: list[tuple[dict[str, Any], int | None, int | None]] = [
    ({}, None, None),
    ({"prompt_tokens_details": None, "completion_tokens_details": None}, None, None),
    ({"prompt_tokens_details": {"cached_tokens": 0}}, 0, None),
    ({"prompt_tokens_details": {"cached_tokens": 64}, "completion_tokens_details": {"reasoning_tokens": 8}}, 64, 8),
    ({"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36}, 64, None),
    ({"cache_read_input_tokens": 64}, 64, None),
    ({"cached_tokens": 64, "reasoning_tokens": 8}, 64, 8),
    ({"prompt_tokens_details": {"cached_tokens": 10_000}}, None, None),
    ({"prompt_tokens_details": {"cached_tokens": "64"}, "completion_tokens_details": [8]}, None, None),
    ({"prompt_tokens_details": {"cached_tokens": -1}}, None, None),
]


@pytest.mark.parametrize(("details", "cached", "reasoning"), USAGES)
def test_usage_says_what_was_cached_and_thought(
    details: dict[str, Any], cached: int | None, reasoning: int | None
) -> None:
    reply = Reply()
    add_chunk({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 10, **details}}, reply)
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (100, 10)
    assert (reply.usage.cached_tokens, reply.usage.reasoning_tokens) == (cached, reasoning)


class Counting:
    """A budget that allows this many calls, and one last call after them."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def spend(self, call: CallEnded) -> BudgetUse:
        self.left -= 1
        return {"used": 7.0, "limit": 10.0, "unit": "tokens"}

    def allow(self) -> Allowance:
        if self.left > 0:
            return Allowance()
        return Allowance(is_last=True, note="The last one.") if self.left == 0 else Allowance(refusal="Used up.")


@pytest.mark.parametrize("tool_format", ["auto", "template", "template:glm"])
async def test_the_last_call_of_a_budget_has_no_tools(
    tool_format: str, server: ModelServer, make_agent: MakeAgent
) -> None:
    dialect: Any = "native" if tool_format == "auto" else "template"
    server.enqueue(Script(calls=[ECHO], dialect=dialect), Script("As far as I got."))
    run = make_agent(tool_format=tool_format).start("What is hi?", meter=Counting(1))
    events = [event async for event in run]
    steps = [event.data for event in events if isinstance(event, Step)]
    assert [(step["type"], step["content"]) for step in steps if "step" in step][-2:] == [
        ("thought", "The last one."),
        ("final_answer", "As far as I got."),
    ]
    assert run.outcome is not None
    assert run.outcome.status == "completed"
    ends = [step["budget"] for step in steps if step["type"] == "iteration_end"]
    assert ends == [{"used": 7.0, "limit": 10.0, "unit": "tokens"}] * 2
    first, last = (request.body for request in server.requests)
    assert "tools" not in last
    assert "Answer now from what you have" in last["messages"][0]["content"]
    assert first["messages"][0]["content"] != last["messages"][0]["content"]
    begun = [event for event in events if isinstance(event, CallBegun)]
    assert [list(call.request.tool_names) for call in begun] == [["echo", "failing", "waiting"], []]
    if tool_format != "auto":
        assert all("tool_calls" not in message for message in last["messages"])
        assert "<tools>" not in last["messages"][0]["content"]


async def test_after_it_there_is_none(server: ModelServer, make_agent: MakeAgent) -> None:
    run = make_agent().start("What is hi?", meter=Counting(-1))
    steps = [event.data async for event in run if isinstance(event, Step)]
    assert (steps[-1]["type"], steps[-1].get("code"), steps[-1].get("error")) == (
        "error",
        "budget_exceeded",
        "Used up.",
    )
    assert run.outcome is not None
    assert (run.outcome.status, run.outcome.code) == ("failed", "budget_exceeded")
    assert server.requests == []
