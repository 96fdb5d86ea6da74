"""A session exported and imported, and the exported file opened by itself, in a browser."""

import json
from pathlib import Path
from typing import Any

from playwright.async_api import Browser as Chromium
from playwright.async_api import ConsoleMessage, Request, WebSocket, expect

from tests.e2e.conftest import Enter
from tests.e2e.conversation import Conversation
from tests.model_server import Call, ModelServer, Script

KEY = "sk-proj-x7Qp2Lm9Zt4Vb8Nc1Ks6"
HOSTILE = "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\"> **bold**"


async def test_a_session_is_saved_after_a_look_at_what_is_hidden_and_works_alone(
    talk: Conversation, model: ModelServer, browser: Chromium, browser_context_args: dict[str, Any], tmp_path: Path
) -> None:
    model.enqueue(Script(HOSTILE, calls=[Call("python", {"code": f"print('{KEY}')"})]), Script(HOSTILE))
    page = talk.page
    await talk.ask(f"Is {KEY} mine?")
    await talk.ended()
    await page.get_by_role("button", name="More", exact=True).click()
    await page.get_by_role("button", name="Save as a file").click()
    dialog = page.locator("#export-dialog")
    await expect(dialog.locator("[data-slot=found]")).to_contain_text("will be hidden")
    await expect(dialog.locator(".places")).to_contain_text("[hidden key]")
    await dialog.get_by_role("switch").click()
    await expect(dialog.locator("[data-slot=found]")).to_contain_text("will be in the file")
    await dialog.get_by_role("switch").click()
    async with page.expect_download() as download:
        await dialog.get_by_role("button", name="Save").click()
    file = tmp_path / "saved.html"
    await (await download.value).save_as(file)
    assert KEY not in file.read_text("utf-8")
    messages: list[str] = []
    context = await browser.new_context(
        **{**browser_context_args, "offline": True, "viewport": {"width": 360, "height": 800}}
    )
    try:
        alone = await context.new_page()

        def on_console(message: ConsoleMessage) -> None:
            messages.append(message.text)

        def asked(request: Request) -> None:
            if not request.url.startswith("file:"):
                messages.append(request.url)

        alone.on("console", on_console)
        alone.on("request", asked)
        await alone.goto(file.as_uri())
        answer = alone.locator(".answer .prose")
        await expect(answer.locator("strong")).to_have_text("bold")
        await expect(alone.locator("details.tool pre").first).to_be_hidden()
        await alone.get_by_role("button", name="Open all").click()
        await expect(alone.locator("details.tool pre").first).to_contain_text("[hidden key]")
        for row in (0, 1):
            await alone.keyboard.press("j")
            await expect(alone.locator("summary").nth(row)).to_be_focused()
        await alone.get_by_role("button", name="Light or dark").click()
        assert await alone.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(252, 253, 252)"
        await alone.get_by_role("button", name="Light or dark").click()
        assert await alone.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 20)"
        assert await alone.evaluate("document.documentElement.scrollWidth") <= 360
        assert await alone.title() != "run"
        assert messages == []
    finally:
        await context.close()


async def test_a_trajectory_is_read_in_and_only_read(enter: Enter, tmp_path: Path) -> None:
    document = {
        "schema_version": "ATIF-v1.8",
        "agent": {"name": "elsewhere", "version": "1"},
        "steps": [
            {"step_id": 1, "source": "user", "message": "Which animal?"},
            {"step_id": 2, "source": "agent", "message": "An okapi.", "reasoning_content": "Hm."},
        ],
    }
    page = (await enter("/sessions/")).page
    file = tmp_path / "other.json"
    file.write_text("{")
    async with page.expect_file_chooser() as chooser:
        await page.get_by_role("button", name="Import a trajectory").click()
    await (await chooser.value).set_files(file)
    await expect(page.locator("#import-message")).to_have_text("This file is no JSON.")
    file.write_text(json.dumps(document))
    joined: list[WebSocket] = []
    page.on("websocket", lambda socket: joined.append(socket) if "/ws/chat/" in socket.url else None)
    async with page.expect_file_chooser() as chooser:
        await page.get_by_role("button", name="Import a trajectory").click()
    await (await chooser.value).set_files(file)
    await expect(page.locator(".answer")).to_contain_text("An okapi.")
    await expect(page.locator("#dock")).to_contain_text("This session was imported.")
    await expect(page.locator("#message")).to_have_count(0)
    await Conversation(page).is_live()
    await page.wait_for_load_state("networkidle")
    assert len(joined) == 1, "the page was loaded again for what its reader may not do here"
