"""Runs of an agent that are stopped, paused or closed: at once, in whatever state they are, and leaving nothing open."""

import asyncio
import gc
import time
import weakref
from typing import Any

import pytest

from agents import AgentRun, PartialStep, Step
from agents.tools import runner
from tests.agents.conftest import MakeAgent, Waiting, steps_of
from tests.model_server import Call, ModelServer, Script


async def stopped(run: AgentRun, when: Any) -> tuple[list[dict[str, Any]], float]:
    """Stop the run at the first event for which ``when`` holds; returns its steps, and how long it took to end."""
    steps: list[dict[str, Any]] = []
    stopped_at = None
    async for event in run:
        if stopped_at is None and when(event):
            stopped_at = time.time()
            run.cancel("Stopped by Mei.")
            run.cancel("Stopped by somebody else.")
        if isinstance(event, Step):
            steps.append(event.data)
    assert stopped_at is not None
    assert run.outcome is not None
    assert run.outcome.status == "cancelled"
    return steps, time.time() - stopped_at


async def test_a_stop_in_mid_answer_closes_the_connection_at_once(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script("Once upon a time " * 100, reasoning="Hm.", every_s=0.01))
    steps, took = await stopped(
        make_agent().start("?"), lambda event: isinstance(event, PartialStep) and "time" in event.text
    )
    assert took < 1
    assert [step["type"] for step in steps] == ["start", "iteration_start", "thought", "final_answer"]
    assert steps[-1]["partial"] is True
    assert steps[-1]["content"].startswith("Once upon a time")
    await server.until(lambda: server.requests[0].closed_at is not None)


@pytest.mark.parametrize("fault", ["hang", "stall"])
async def test_a_stop_closes_the_connection_while_nothing_comes(
    server: ModelServer, make_agent: MakeAgent, fault: Any
) -> None:
    server.enqueue(Script("One two three", fault=fault))
    run = make_agent().start("?")
    await server.until(lambda: bool(server.requests))
    if fault == "stall":
        assert [
            event async for event in run if isinstance(event, PartialStep) and run.cancel("Stopped by Mei.") is None
        ]
    at = time.time()
    run.cancel("Stopped by Mei.")
    await run.aclose()
    await server.until(lambda: server.requests[0].closed_at is not None)
    assert (server.requests[0].closed_at or 0) - at < 1
    texts = [message["content"] for message in run.messages]
    assert texts in ([["One "], ["One two "]] if fault == "stall" else [[]])
    assert run.outcome is not None
    assert run.outcome.usage.estimated


async def test_a_stop_in_a_tool_closes_its_call_with_the_reason(
    server: ModelServer, make_agent: MakeAgent, waiting: Waiting
) -> None:
    server.enqueue(Script(calls=[Call("echo", {"text": "a"}), Call("waiting", {"text": "a"})]))
    steps, took = await stopped(
        make_agent().start("?"), lambda event: isinstance(event, Step) and event.type == "tool_result"
    )
    assert took < 1
    results = {step["tool_name"]: step for step in steps if step["type"] == "tool_result"}
    assert results["echo"]["ok"] is True
    assert (results["waiting"]["ok"], results["waiting"]["content"]) == (False, "Stopped by Mei.")
    assert waiting.stopped_because == "Stopped by Mei."
    assert len(server.requests) == 1


async def test_a_tool_that_heeds_no_stop_is_abandoned(
    server: ModelServer, make_agent: MakeAgent, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "ABANDON_S", 0.2)
    server.enqueue(Script(calls=[Call("waiting", {"text": "deaf"})]))
    run = make_agent().start("?")
    assert await asyncio.to_thread(waiting.began.wait, 10)
    at = time.monotonic()
    run.cancel("Stopped by Mei.")
    steps = await steps_of(run)
    assert 0.2 <= time.monotonic() - at < 2
    assert steps[-1]["ok"] is False
    assert "did not stop within 0.2 seconds" in steps[-1]["content"]


async def test_a_stop_in_a_half_written_call_leaves_no_call_open(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script(calls=[Call("echo", {"text": "a" * 400})], every_s=0.01))
    steps, _ = await stopped(
        make_agent().start("?"), lambda event: isinstance(event, PartialStep) and "aaaa" in event.text
    )
    use, result = steps[-2:]
    assert (use["type"], use["tool_name"]) == ("tool_use", "echo")
    assert use["arguments"].startswith('{"text": "aaaa')
    assert (result["ok"], result["content"]) == (False, "Stopped by Mei. The call was not complete, so it was not run.")


async def test_a_stop_before_anything_ends_at_once(server: ModelServer, make_agent: MakeAgent) -> None:
    run = make_agent().start("?")
    run.cancel("Stopped by Mei.")
    assert [step["type"] for step in await steps_of(run)] == ["start", "iteration_start"]
    assert run.outcome is not None
    assert run.outcome.status == "cancelled"


async def test_a_stop_after_the_end_changes_nothing(server: ModelServer, make_agent: MakeAgent) -> None:
    run = make_agent().start("?")
    await steps_of(run)
    run.cancel("Stopped by Mei.")
    await run.aclose()
    assert run.outcome is not None
    assert run.outcome.status == "completed"


async def test_a_stop_from_a_thread_or_another_loop_is_refused(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script("x", fault="hang"))
    run = make_agent().start("?")

    async def stop() -> None:
        run.cancel("Stopped by Mei.")

    for wrong in (lambda: run.cancel("Stopped by Mei."), lambda: asyncio.run(stop())):
        with pytest.raises(RuntimeError):
            await asyncio.to_thread(wrong)
    assert run.outcome is None
    await run.aclose()


async def test_a_paused_run_ends_before_the_next_model_call(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script(calls=[Call("echo", {"text": "hi"})], every_s=0.01), Script("Never."))
    run = make_agent().start("?")
    await server.until(lambda: bool(server.requests))
    run.pause("The server is restarting.")
    steps = await steps_of(run)
    assert [step["ok"] for step in steps if step["type"] == "tool_result"] == [True]
    assert run.outcome is not None
    assert run.outcome.status == "cancelled"
    assert len(server.requests) == 1


async def test_a_paused_run_that_needs_no_other_model_call_completes(
    server: ModelServer, make_agent: MakeAgent
) -> None:
    server.enqueue(Script("Done.", every_s=0.01))
    run = make_agent().start("?")
    await server.until(lambda: bool(server.requests))
    run.pause("The server is restarting.")
    assert (await steps_of(run))[-1]["type"] == "complete"


async def test_a_run_paused_before_its_first_model_call_makes_none(server: ModelServer, make_agent: MakeAgent) -> None:
    run = make_agent().start("?")
    run.pause("The server is restarting.")
    assert [step["type"] for step in await steps_of(run)] == ["start", "iteration_start"]
    assert not server.requests


async def test_a_closed_run_has_ended(server: ModelServer, make_agent: MakeAgent) -> None:
    server.enqueue(Script("x", fault="hang"))
    run = make_agent().start("?")
    await server.until(lambda: bool(server.requests))
    await run.aclose()
    await server.until(lambda: server.requests[0].closed_at is not None)


@pytest.mark.parametrize(
    "replies",
    [
        [Script("Let me see.", calls=[Call("echo", {"text": "hi"})]), Script("It is hihihi.", reasoning="So.")],
        [Script("A word", status=500)],
        [Script("A few words", fault="reset")],
        [Script("A few words", fault="stall")],
    ],
    ids=["completed", "refused", "cut off", "stopped"],
)
async def test_a_run_that_has_ended_waits_for_no_collector(
    server: ModelServer, make_agent: MakeAgent, replies: list[Script]
) -> None:
    """Otherwise most of a busy process's memory would be ended runs, with all their texts."""
    await steps_of(make_agent().start("Warm up"))
    gc.collect()
    gc.disable()
    try:
        server.enqueue(*replies)
        run = make_agent().start("?")
        async for event in run:
            if isinstance(event, PartialStep) and replies[0].fault == "stall":
                run.cancel("Stopped.")
        freed = asyncio.Event()
        weakref.finalize(run, asyncio.get_running_loop().call_soon_threadsafe, freed.set)
        del run, event
        # Its thread and its model's connection may still have a callback to run.
        await asyncio.wait_for(freed.wait(), 5)
    finally:
        gc.enable()
