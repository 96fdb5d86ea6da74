"""Tools of a real MCP server: their progress is shown in the run's outline while they work, and then the pictures that they return."""

import asyncio
import json
import re
import sys
import time
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import Enter
from tests.e2e.conversation import Conversation
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


async def entered(enter: Enter, api: Browser, server: Server) -> Conversation:
    """A session's page, once the tools are there: a run has those that are available when it begins."""
    conversation = await enter(f"/sessions/{await api.new_session()}/")
    await conversation.is_live()
    await asyncio.to_thread(wait_connected, server)
    return conversation


async def test_how_far_a_tool_is_shows_while_it_works_and_is_stopped_with_it(
    enter: Enter, api: Browser, model: ModelServer, server: Server
) -> None:
    conversation = await entered(enter, api, server)
    model.enqueue(Script(calls=[Call("far-advance", {"steps": 1000, "every_s": 0.1})]))
    await conversation.ask("Go far")
    await conversation.is_at_work()
    await conversation.open_outline()
    growing = conversation.step("growing")
    await expect(growing.locator("[data-slot=name]")).to_have_text("far-advance")
    progress = growing.locator("[data-slot=arg]")
    await expect(progress).to_have_text(re.compile(r"^[1-9]\d* of 1000: step "))
    first = await progress.text_content() or ""
    await expect(progress).not_to_have_text(first)
    await conversation.stop.click()
    await conversation.ended("Stopped by mei")
    await expect(growing).to_have_count(0)


async def test_a_picture_that_a_tool_returns_is_in_its_card(
    enter: Enter, api: Browser, model: ModelServer, server: Server
) -> None:
    """Live and after a reload; the model is told that the person sees it."""
    conversation = await entered(enter, api, server)
    model.enqueue(Script(calls=[Call("far-mixed")]), Script("Look above"))
    await conversation.ask("Show me")
    await conversation.ended()
    assert "where the person sees it: “picture-1.png”" in str(model.requests[-1].body["messages"])
    for _ in range(2):
        await conversation.open_steps()
        file = conversation.step("call").get_by_role("list", name="Files").get_by_role("listitem")
        await expect(file).to_have_text(re.compile(r"picture-1\.png"))
        await expect(file.locator("img")).to_have_js_property("naturalWidth", 3)
        await conversation.page.reload()
