"""The progress of a tool is shown in the run's outline while it works."""

import asyncio
import json
import re
import sys
import time
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import Enter
from tests.model_server import Call, ModelServer, Script
from tests.serving import Browser, Server

PROGRAM = Path(__file__).parents[1] / "agents" / "tools" / "mcp_server.py"


@pytest.fixture(scope="module")
def settings_of_server(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A real MCP server, on standard input and output."""
    journal = tmp_path_factory.mktemp("mcp") / "journal"
    return {"MCP_SERVERS": json.dumps({"far": {"command": sys.executable, "args": [str(PROGRAM), str(journal)]}})}


def wait_connected(server: Server) -> None:
    """Wait until the tools are available."""
    ends_at = time.monotonic() + 60
    while not any("The MCP server far is connected" in line for line in server.output):
        assert time.monotonic() < ends_at, "the tools' server was never connected"
        time.sleep(0.05)


async def test_how_far_a_tool_is_shows_while_it_works_and_is_stopped_with_it(
    enter: Enter, api: Browser, model: ModelServer, server: Server
) -> None:
    conversation = await enter(f"/sessions/{await api.new_session()}/")
    await conversation.is_live()
    # A run has the tools that are available when it begins.
    await asyncio.to_thread(wait_connected, server)
    model.enqueue(Script(calls=[Call("far-advance", {"steps": 1000, "every_s": 0.1})]))
    await conversation.ask("Go far")
    await conversation.is_at_work()
    await conversation.open_outline()
    growing = conversation.step("growing")
    await expect(growing.locator("[data-slot=name]")).to_have_text("far-advance")
    told = growing.locator("[data-slot=arg]")
    await expect(told).to_have_text(re.compile(r"^[1-9]\d* of 1000: step "))
    first = await told.text_content() or ""
    await expect(told).not_to_have_text(first)
    await conversation.stop.click()
    await conversation.ended("Stopped by mei")
    await expect(growing).to_have_count(0)
