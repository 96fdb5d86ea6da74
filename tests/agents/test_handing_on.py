"""What asking other agents needs: calls with which a run begins, and who has written a conversation's messages."""

from typing import Any

import pytest

from agents import AgentSpec, AskAgentTool, CancelToken, ModelSettings, Toolbox, ToolError
from agents.agent import Agent
from tests.model_server import Call, ModelServer, Script

HELPER = AgentSpec("helper", "Helper", "Does the work.", "You work.", ())
BOSS = AgentSpec("boss", "Boss", "Hands on.", "You hand on.", ())


def answering(asked: list[tuple[str, str, str]]) -> AskAgentTool:
    """A tool whose agent answers at once; its questions are recorded."""

    def ask(agent: str, message: str, stop: CancelToken) -> str:
        asked.append((agent, message, stop.call_id))
        if message == "fail":
            raise ToolError("It could not.")
        return f"Did {message}."

    return AskAgentTool(HELPER, ask)


@pytest.mark.parametrize(("message", "ok", "content"), [("work", True, "Did work."), ("fail", False, "It could not.")])
async def test_calls_that_a_run_begins_with_come_before_the_model_is_asked(
    message: str, ok: bool, content: str
) -> None:
    asked: list[tuple[str, str, str]] = []
    history: list[dict[str, Any]] = [
        {"role": "user", "content": "Hand on."},
        {"role": "assistant", "content": "", "tool_calls": [_call("call_1", message)]},
        {"role": "tool", "tool_call_id": "call_1", "name": "ask_helper", "content": "It was broken off."},
    ]
    with ModelServer() as server:
        server.enqueue(Script("Done."))
        agent = Agent(BOSS, ModelSettings(server.url, "stub"), Toolbox(extra=[answering(asked)]))
        run = agent.start(None, history=history, calls=[("ask_helper", f'{{"message": "{message}"}}')])
        steps = [event.data async for event in run if hasattr(event, "data")]
    kinds = ["start", "iteration_start", "tool_use", "tool_result", "final_answer", "iteration_end", "complete"]
    assert [step["type"] for step in steps] == kinds
    [(agent_name, question, call_id)] = asked
    assert (agent_name, question) == ("helper", message)
    assert call_id == steps[2]["tool_call_id"] != "call_1"  # type: ignore[typeddict-item]
    assert (steps[3]["ok"], steps[3]["content"]) == (ok, content)  # type: ignore[typeddict-item]
    [request] = server.requests
    assert [m["role"] for m in request.body["messages"]] == ["system", "user", "assistant", "tool", "assistant", "tool"]
    assert request.body["messages"][-1]["content"] == content


def _call(call_id: str, message: str) -> dict[str, Any]:
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": "ask_helper", "arguments": f'{{"message": "{message}"}}'},
    }


async def test_a_stop_before_the_first_call_ends_the_run() -> None:
    asked: list[tuple[str, str, str]] = []
    with ModelServer() as server:
        agent = Agent(BOSS, ModelSettings(server.url, "stub"), Toolbox(extra=[answering(asked)]))
        run = agent.start("Hand on.", calls=[("ask_helper", '{"message": "work"}')])
        run.cancel("Stopped.")
        async for _ in run:
            pass
    assert run.outcome is not None
    assert run.outcome.status == "cancelled"
    assert not asked


class Private:
    """A tool that reads private data."""

    def is_marked(self) -> bool:
        return True

    def mark(self) -> None:
        """Mark the session."""

    def person_texts(self) -> list[str]:
        return []

    def page_texts(self) -> list[str]:
        return []


@pytest.mark.parametrize(("by_person", "is_read"), [(True, True), (False, False)])
async def test_an_address_that_an_agent_wrote_to_another_is_none_that_a_person_wrote(
    by_person: bool, is_read: bool
) -> None:
    """Otherwise somebody could make one agent send another a message with an address, to which that one would send private words."""
    address = "http://192.0.2.1/private-words"
    with ModelServer() as server:
        server.enqueue(Script(calls=[Call("fetch_page", {"url": address})]), Script("Done."))
        spec = AgentSpec("reader", "Reader", "Reads.", "You read.", ("fetch_page",))
        toolbox = Toolbox(privacy=Private(), is_asked_by_person=by_person)
        agent = Agent(spec, ModelSettings(server.url, "stub"), toolbox)
        steps = await agent.run_with_reasoning(f"Read {address}")
    [result] = [step["content"] for step in steps if step["type"] == "tool_result"]
    # Neither is fetched: one has an address that is not allowed, the other is not even looked up.
    assert ("earlier conversations have been read in this session" in result) is not is_read
