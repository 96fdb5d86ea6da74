"""The agent against a model server that others wrote: aimock, by way of npm."""

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agents.conftest import MakeAgent, kinds, steps_of

CLI = Path(__file__).parents[2] / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"

FIXTURES = {
    "fixtures": [
        {
            "match": {"userMessage": "echo", "hasToolResult": False},
            "response": {
                "reasoning": "Both at once.",
                "content": "Let me ask twice.",
                "toolCalls": [
                    {"name": "echo", "arguments": {"text": "a"}},
                    {"name": "echo", "arguments": {"text": "b"}},
                ],
            },
        },
        {
            "match": {"userMessage": "echo", "hasToolResult": True},
            "response": {"content": "They said **aaa** and **bbb**."},
        },
        {"match": {"userMessage": "hello"}, "response": {"content": "Hello yourself."}},
    ]
}


@pytest.fixture(scope="module")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    node = shutil.which("node")
    if node is None or not CLI.exists():
        pytest.fail("aimock is missing: npm ci brings it.")
    folder = tmp_path_factory.mktemp("aimock")
    (folder / "fixtures.json").write_text(json.dumps(FIXTURES))
    command = [node, str(CLI), "-p", "0", "-f", str(folder), "--strict", "--validate-on-load"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if "http://" in line:
                    yield "http://" + line.split("http://")[1].split()[0].rstrip("/")
                    break
            else:
                pytest.fail("aimock did not start.")
        finally:
            process.terminate()


def journal(address: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{address}/__aimock/journal") as answer:
        entries: list[dict[str, Any]] = json.load(answer)
    return entries


async def test_thoughts_parallel_calls_and_a_second_turn(aimock: str, make_agent: MakeAgent) -> None:
    agent = make_agent(server=f"{aimock}/v1", model="qwen3-32b")
    run = agent.start("Please echo.")
    steps = await steps_of(run)
    assert kinds(steps) == ["thought", "thought", "tool_use", "tool_use", "tool_result", "tool_result", "final_answer"]
    assert [step["content"] for step in steps if step["type"] == "thought"] == ["Both at once.", "Let me ask twice."]
    assert sorted(step["content"] for step in steps if step["type"] == "tool_result") == ["aaa", "bbb"]
    assert steps[-3]["content"] == "They said **aaa** and **bbb**."
    assert run.outcome is not None
    assert run.outcome.status == "completed"

    history = [{"role": "user", "content": "Please echo."}, *run.messages]
    steps = await steps_of(agent.start("And now say hello.", history=history))
    assert steps[-3]["content"] == "Hello yourself."
    sent = journal(aimock)[-1]["body"]["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool", "tool", "assistant", "user"]


async def test_an_unknown_request_is_an_error_with_a_text(aimock: str, make_agent: MakeAgent) -> None:
    run = make_agent(server=f"{aimock}/v1").start("Nobody scripted this.")
    await steps_of(run)
    assert run.outcome is not None
    assert run.outcome.status == "failed"
    assert run.outcome.code == "model_error"
