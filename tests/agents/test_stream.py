"""Whole runs of an agent against a scripted model server."""

import asyncio
import dataclasses
import time
from itertools import pairwise
from typing import Any

import pytest

from agents import CancelToken, PartialStep, Step, Toolbox, Usage
from agents.history import NO_ANSWER
from agents.pace import PACE_S
from tests.agents.conftest import Echo, MakeAgent, Waiting, kinds, partials_of, steps_of
from tests.model_server import Call, ModelServer, Script


async def test_a_question_becomes_thoughts_tool_calls_and_an_answer(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(
        Script("Let me see.", reasoning="Hm.", calls=[Call("echo", {"text": "hi"})]),
        Script("It is hihihi.", reasoning="So."),
    )
    run = make_agent().start("What is hi?")
    steps = await steps_of(run)
    assert [(step["type"], step["content"], step["iteration"]) for step in steps] == [
        ("start", "", 0),
        ("iteration_start", "", 1),
        ("thought", "Hm.", 1),
        ("thought", "Let me see.", 1),
        ("tool_use", "", 1),
        ("tool_result", "hihihi", 1),
        ("iteration_end", "", 1),
        ("iteration_start", "", 2),
        ("thought", "So.", 2),
        ("final_answer", "It is hihihi.", 2),
        ("iteration_end", "", 2),
        ("complete", "", 2),
    ]
    assert [step["step"] for step in steps if "step" in step] == [1, 2, 3, 4, 5, 6]
    assert steps[0]["message"] == "What is hi?"
    use, result = steps[4], steps[5]
    assert (use["tool_name"], use["tool_call_id"], use["arguments"]) == ("echo", "call_1", {"text": "hi"})
    assert (result["tool_name"], result["tool_call_id"], result["ok"], result["truncated"]) == (
        "echo",
        "call_1",
        True,
        False,
    )
    assert steps[-1]["total_iterations"] == 2
    assert run.outcome is not None
    assert (run.outcome.status, run.outcome.iterations) == ("completed", 2)
    assert run.messages == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "echo", "arguments": '{"text": "hi"}'}}
            ],
            "origin": {"server": f"{server.url} scripted", "fields": {"reasoning_content": "Hm."}},
        },
        {"role": "tool", "tool_call_id": "call_1", "name": "echo", "content": "hihihi"},
        {"role": "assistant", "content": "It is hihihi."},
    ]


async def test_the_model_is_asked_with_instructions_history_tools_and_results(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    server.enqueue(Script(reasoning="Hm.", calls=[Call("echo", {"text": "hi"})]), Script("Yes."))
    history = [
        {"role": "user", "content": "Before?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "echo", "arguments": "{}"}}],
        },
    ]
    agent = make_agent(api_key="sesame")
    await steps_of(agent.start("What is hi?", history=history))
    first, second = (request.body for request in server.requests)
    assert first["model"] == "scripted"
    assert first["stream_options"] == {"include_usage": True}
    assert server.requests[0].headers["Authorization"] == "Bearer sesame"
    assert [tool["function"]["name"] for tool in first["tools"]] == ["echo", "failing", "waiting"]
    assert [message["role"] for message in first["messages"]] == [
        *("system", "user", "assistant", "tool", "assistant", "user"),
    ]
    assert first["messages"][0]["content"] == agent.spec.instructions
    assert "interrupted" in first["messages"][3]["content"]
    assert first["messages"][4]["content"] == NO_ANSWER
    assert second["messages"][:6] == first["messages"]
    call, result = second["messages"][6:]
    assert call["tool_calls"][0]["function"] == {"name": "echo", "arguments": '{"text": "hi"}'}
    # The server sends reasoning in a field of its own, so it is sent back in that field.
    assert call["reasoning_content"] == "Hm."
    assert result == {"role": "tool", "tool_call_id": "call_1", "name": "echo", "content": "hihihi"}
    assert server.requests[0].peer == server.requests[1].peer  # one connection is used for both


async def test_a_run_continues_a_history_without_a_prompt(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script("So it is."))
    history = [
        {"role": "user", "content": "What is hi?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "echo", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "hihihi"},
    ]
    steps = await steps_of(make_agent().start(None, history=history))
    assert steps[0]["message"] == "What is hi?"
    assert kinds(steps) == ["final_answer"]
    assert [message["role"] for message in server.requests[0].body["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
    ]


async def test_calls_of_one_turn_run_together(server: ModelServer, make_agent: MakeAgent, waiting: Waiting) -> None:
    class Releasing(Waiting):
        name = "releasing"

        def call(self, arguments: dict[str, Any], stop: Any) -> str:
            waiting.released.set()
            return "released"

    server.enqueue(
        Script(
            calls=[
                Call("waiting", {"text": "deaf"}),
                Call("releasing", {"text": ""}),
                Call("nope"),
                Call("echo", "{bad"),
            ]
        ),
        Script("Done."),
    )
    agent = make_agent(tools=[waiting, Releasing()])
    steps = await steps_of(agent.start("Go"))
    assert kinds(steps) == ["tool_use"] * 4 + ["tool_result"] * 4 + ["final_answer"]
    results = {step["tool_call_id"]: step for step in steps if step["type"] == "tool_result"}
    # The first call can only end because the second, which comes later, has begun.
    assert [results[f"call_{n}"]["ok"] for n in (1, 2, 3, 4)] == [True, True, False, False]
    assert list(results).index("call_2") < list(results).index("call_1")
    # They are sent to the model in the order of the calls.
    sent = server.requests[1].body["messages"]
    assert [message["tool_call_id"] for message in sent if message["role"] == "tool"] == [
        "call_1",
        "call_2",
        "call_3",
        "call_4",
    ]
    assert [message["content"] for message in sent if message["role"] == "tool"][:2] == ["late", "released"]


@pytest.mark.parametrize("dialect", ["native", "template"])
@pytest.mark.parametrize("thinking", ["reasoning_content", "reasoning", "tags", "closing_tag"])
@pytest.mark.parametrize("bytes_per_write", [0, 1, 7])
async def test_every_dialect_makes_the_same_steps(
    server: ModelServer, make_agent: MakeAgent, dialect: Any, thinking: Any, bytes_per_write: int
) -> None:
    server.enqueue(
        Script(
            "看一下 👀.",
            reasoning="Hé, 😀",
            calls=[
                Call("echo", {"text": "天"}, id=None),
                Call("echo", {"text": "氣"}, id="same"),
                Call("echo", {"text": "!"}, id="same"),
            ],
            dialect=dialect,
            thinking=thinking,
            bytes_per_write=bytes_per_write,
            piece=8 if bytes_per_write == 1 else 1,
            escape=bytes_per_write == 7,
        ),
        Script("好 👍"),
    )
    steps = await steps_of(make_agent().start("?"))
    assert kinds(steps) == ["thought", "thought", *["tool_use"] * 3, *["tool_result"] * 3, "final_answer"]
    assert [step["content"] for step in steps if "step" in step][:2] == ["Hé, 😀", "看一下 👀."]
    assert [step["arguments"] for step in steps if step["type"] == "tool_use"] == [
        {"text": "天"},
        {"text": "氣"},
        {"text": "!"},
    ]
    assert len({step["tool_call_id"] for step in steps if step["type"] == "tool_use"}) == 3
    assert sorted(step["content"] for step in steps if step["type"] == "tool_result") == ["!!!", "天天天", "氣氣氣"]
    assert steps[-3]["content"] == "好 👍"


async def test_tools_can_go_in_the_prompt(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script(calls=[Call("echo", {"text": "hi"})], dialect="template"), Script("Yes."))
    await steps_of(make_agent(tool_format="template").start("What is hi?"))
    first, second = (request.body for request in server.requests)
    assert "tools" not in first
    assert '<tools>\n{"type":"function","function":{"name":"echo"' in first["messages"][0]["content"]
    assert second["messages"][2:] == [
        {"role": "assistant", "content": '<tool_call>\n{"name": "echo", "arguments": {"text": "hi"}}\n</tool_call>'},
        {"role": "user", "content": "<tool_response>\nhihihi\n</tool_response>"},
    ]


async def test_arguments_that_are_no_json_reach_the_model_again_as_json(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    server.enqueue(Script(calls=[Call("echo", '{"text": oops')]), Script("Sorry."))
    steps = await steps_of(make_agent().start("?"))
    assert next(step["arguments"] for step in steps if step["type"] == "tool_use") == '{"text": oops'
    call = server.requests[1].body["messages"][2]["tool_calls"][0]
    assert call["function"]["arguments"] == '{"unreadable": "{\\"text\\": oops"}'


# -- text in progress -----------------------------------------------------------------------------


async def test_text_grows_at_once_and_then_at_a_pace(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script("x" * 400, piece=1, every_s=0.001))
    run = make_agent().start("?")
    times: list[float] = []
    texts: list[str] = []
    async for event in run:
        if isinstance(event, PartialStep):
            times.append(time.time())
            texts.append(event.text)
    assert texts[0] == "x"
    assert times[0] - (server.requests[0].first_token_at or 0) < 1
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    took = times[-1] - times[0]
    assert 3 <= len(texts) <= took / PACE_S + 2


async def test_growth_nobody_reads_gives_way_and_steps_never_do(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(
        Script("x" * 60, reasoning="y" * 60, piece=1, every_s=0.004, calls=[Call("echo", {"text": "a"})]), Script("z")
    )
    run = make_agent().start("?")
    await server.until(lambda: len(server.requests) == 2 and server.requests[1].finished_at is not None)
    await asyncio.sleep(0)  # what is due on this loop is done
    events = [event async for event in run]
    assert kinds([event.data for event in events if isinstance(event, Step)]) == [
        "thought",
        "thought",
        "tool_use",
        "tool_result",
        "final_answer",
    ]
    assert not [event for event in events if isinstance(event, PartialStep) and event.type == "thought"]


async def test_a_call_grows_under_its_tools_name(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script(calls=[Call("echo", {"text": "a" * 100})], every_s=0.005), Script("z"))
    partials = [partial for partial in await partials_of(make_agent().start("?")) if partial.type == "tool_use"]
    assert {partial.tool_name for partial in partials} == {"echo"}
    assert partials[-1].text.startswith('{"text": "aaa')


# -- iterations -----------------------------------------------------------------------------------


async def test_twenty_five_iterations_work_when_allowed(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(*[Script(calls=[Call("echo", {"text": str(n)})]) for n in range(24)], Script("Done."))
    run = make_agent().start("?", max_iterations=25)
    steps = await steps_of(run)
    assert run.outcome is not None
    assert (run.outcome.status, run.outcome.iterations) == ("completed", 25)
    assert steps[-1] == {**steps[-1], "type": "complete", "total_iterations": 25}
    assert "max_iterations_reached" not in [step["type"] for step in steps]
    assert len({step["tool_call_id"] for step in steps if step["type"] == "tool_use"}) == 24


class Advancing(Echo):
    """Reports its progress before it answers."""

    name = "advancing"

    def call(self, arguments: dict[str, Any], stop: CancelToken) -> str:
        stop.progress("1 of 2: half-way")
        return "there"


async def test_how_far_a_tool_is_grows_under_the_number_of_its_result(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    server.enqueue(Script(calls=[Call("advancing", {"text": "go"})]), Script("Done."))
    run = make_agent(tools=[Advancing()]).start("Go")
    partials: list[PartialStep] = []
    run.watch_partials(partials.append)
    steps = await steps_of(run)
    (progress,) = [partial for partial in partials if partial.type == "tool_result"]
    (result,) = [step for step in steps if step["type"] == "tool_result"]
    assert (progress.text, progress.tool_name, progress.step) == ("1 of 2: half-way", "advancing", result["step"])
    assert result["content"] == "there"


async def test_a_missing_tool_is_a_step_of_the_run_and_known_to_the_model(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    """A configured server that is not available delays nothing, and the log says that it is missing."""
    server.enqueue(Script("I can't."))
    agent = make_agent(tools=[])
    broken = {"command": "/no/such/program", "timeout": "soon"}
    agent = dataclasses.replace(agent, toolbox=Toolbox(mcp_servers={"broken": broken}))
    steps = await steps_of(agent.start("Use it"))
    words = (
        "Some tools are not available in this run."
        " The MCP server “broken” could not be started: its configuration can't be used (timeout)."
    )
    assert [(step["type"], step["content"]) for step in steps if "step" in step] == [
        ("thought", words),
        ("final_answer", "I can't."),
    ]
    assert server.requests[0].body["messages"][0]["content"].endswith(words)


async def test_at_the_limit_the_last_tools_still_run(server: ModelServer, make_agent: MakeAgent) -> None:
    server.respond = lambda _body: Script(calls=[Call("echo", {"text": "x"})])
    run = make_agent().start("?", max_iterations=3)
    steps = await steps_of(run)
    assert [step["type"] for step in steps[-5:]] == [
        "tool_use",
        "tool_result",
        "iteration_end",
        "max_iterations_reached",
        "complete",
    ]
    assert steps[-2]["max_iterations"] == 3
    assert len(server.requests) == 3
    assert run.outcome is not None
    assert (run.outcome.status, run.outcome.iterations) == ("max_iterations", 3)


# -- usage ----------------------------------------------------------------------------------------


async def test_usage_is_added_up(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(
        Script(calls=[Call("echo", {"text": "x"})], usage={"prompt_tokens": 10, "completion_tokens": 5}),
        Script("Yes.", usage={"prompt_tokens": 20, "completion_tokens": 2}, empty_choices=False),
    )
    run = make_agent().start("?")
    await steps_of(run)
    assert run.outcome is not None
    assert run.outcome.usage == Usage(30, 7)


async def test_usage_that_no_server_reports_is_estimated(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script("Yes, " * 40, usage=None))
    run = make_agent().start("?")
    await steps_of(run)
    assert run.outcome is not None
    assert run.outcome.usage.estimated
    assert run.outcome.usage.output_tokens == 51
    assert run.outcome.usage.input_tokens > 100


async def test_a_long_history_is_cut_to_what_the_model_reads(server: ModelServer, make_agent: MakeAgent) -> None:
    history = [
        message
        for n in range(50)
        for message in ({"role": "user", "content": f"{n} " + "q" * 400}, {"role": "assistant", "content": "a" * 400})
    ]
    await steps_of(make_agent(max_input_tokens=2_000).start("Now?", history=history))
    sent = server.requests[0].body["messages"]
    assert sent[0]["role"] == "system"
    assert sent[1]["role"] == "user"
    assert sent[-1]["content"] == "Now?"
    assert 3 < len(sent) < 30


async def test_many_runs_at_once_keep_apart(server: ModelServer, make_agent: MakeAgent) -> None:
    agent = make_agent()

    async def ask(number: int) -> None:
        steps = await steps_of(agent.start(f'{number} [call=echo:{{"text": "<{number}>"}} every=2]'))
        assert steps[-3]["content"] == f"The tools said: <{number}><{number}><{number}>"

    await asyncio.gather(*(ask(number) for number in range(20)))


# -- tools that a server refuses ------------------------------------------------------------------

NO_TOOLS = Script(
    status=400, body='{"error": {"message": "\\"auto\\" tool choice requires --enable-auto-tool-choice"}}'
)


async def test_a_server_that_refuses_tools_gets_them_in_the_prompt_from_then_on(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    server.enqueue(NO_TOOLS, Script(calls=[Call("echo", {"text": "hi"})], dialect="template"), Script("Yes."))
    steps = await steps_of(make_agent().start("What is hi?"))
    assert kinds(steps) == ["tool_use", "tool_result", "final_answer"]
    await steps_of(make_agent().start("And now?"))
    assert ["tools" in request.body for request in server.requests] == [True, False, False, False]


@pytest.mark.parametrize("tool_format", ["native", "template"])
async def test_a_format_that_was_asked_for_is_kept(
    server: ModelServer, make_agent: MakeAgent, tool_format: Any
) -> None:
    server.enqueue(NO_TOOLS)
    run = make_agent(tool_format=tool_format).start("?")
    await steps_of(run)
    assert run.outcome is not None
    assert run.outcome.error.endswith(
        'refused the request (400): "auto" tool choice requires --enable-auto-tool-choice'
    )
    assert len(server.requests) == 1
