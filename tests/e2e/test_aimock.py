"""The whole product against a model server that others wrote: aimock, from npm."""

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from scripts import bootstrap
from tests.e2e.conversation import Conversation

CLI = bootstrap.NODE_MODULES / "@copilotkit" / "aimock" / "dist" / "cli.js"
QUESTION = "What is 17 % of 2,340, and which weekday is 2031-03-01?"
CODES = ("print(2340 * 17 / 100)", "import datetime\nprint(datetime.date(2031, 3, 1).strftime('%A'))")
FIXTURES = {
    "fixtures": [
        {
            "match": {"userMessage": "weekday", "hasToolResult": False},
            "response": {
                "reasoning": "A sum and a date: both at once.",
                "content": "Let me work that out.",
                "toolCalls": [{"name": "python", "arguments": {"code": code}} for code in CODES],
            },
        },
        {
            "match": {"userMessage": "weekday", "hasToolResult": True},
            "response": {"content": "It is **397.8**, and a **Saturday**."},
            "latency": 30,
        },
        {"match": {"userMessage": "thank"}, "response": {"content": "You are welcome."}},
    ]
}


@pytest.fixture(scope="module")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    if not CLI.exists():
        pytest.fail("aimock is missing: npm ci brings it.")
    folder = tmp_path_factory.mktemp("aimock")
    (folder / "fixtures.json").write_text(json.dumps(FIXTURES))
    node = bootstrap.find_node(Path(sys.executable))
    command = [node, str(CLI), "-p", "0", "-f", str(folder), "--strict", "--validate-on-load"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            found = next((line for line in process.stdout if "http://" in line), "")
            assert found, "aimock did not start"
            yield re.findall(r"http://[^\s/]+", found)[0]
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def settings_of_server(aimock: str) -> dict[str, str]:
    """The product, asking it."""
    return {"LLM_MODEL_SERVER": f"{aimock}/v1", "LLM_MODEL": "qwen3-32b", "LLM_API_KEY": "a key"}


def journal(address: str) -> list[dict[str, Any]]:
    """The requests that aimock received."""
    with urllib.request.urlopen(f"{address}/__aimock/journal") as answer:
        entries: list[dict[str, Any]] = json.load(answer)
    return entries


async def test_reasoning_calls_at_once_a_second_turn_and_an_answer(talk: Conversation, aimock: str) -> None:
    await talk.ask(QUESTION)
    await talk.ended()
    await expect(talk.answer.locator("strong")).to_have_text(["397.8", "Saturday"])
    await talk.open_steps()
    await expect(talk.step("thought").first).to_contain_text("A sum and a date: both at once.")
    results = talk.step("calls").locator("[data-part=result] [data-slot=content]")
    await expect(results).to_have_text([re.compile(r"^397\.8\s*$"), re.compile(r"^Saturday\s*$")])

    await talk.ask("Well, thank you.")
    await expect(talk.runs).to_have_count(2)
    await talk.ended()
    await expect(talk.answer).to_have_text("You are welcome.")
    sent = [message["role"] for message in journal(aimock)[-1]["body"]["messages"]]
    assert sent == ["system", "user", "assistant", "tool", "tool", "assistant", "user"]


async def test_an_unknown_request_is_shown_as_an_error(talk: Conversation) -> None:
    await talk.ask("Nobody scripted this.")
    await talk.ended("Failed")
    await expect(talk.trouble).to_contain_text("The model reported an error.")
