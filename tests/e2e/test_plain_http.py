"""The page by another machine's name over plain HTTP, where browsers disable features: everything works, or explains why not."""

import re
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import READER, NewBrowser
from tests.e2e.conversation import Conversation
from tests.e2e.watch import Watch
from tests.model_server import ModelServer, Script
from tests.serving import PASSWORD, Server

NAME = "name.lan"
#: Both formats of a paste, as a page receives them.
PASTED = """() => new Promise((resolve) => document.addEventListener("paste", (event) => {
  event.preventDefault();
  resolve([event.clipboardData.getData("text/plain"), event.clipboardData.getData("text/html")]);
}, { once: true }))"""


@pytest.fixture(scope="module")
def settings_of_server() -> dict[str, str]:
    """Reachable from the network, as far as a test may be."""
    return {"ALLOWED_HOSTS": f"{NAME},127.0.0.1"}


@pytest.fixture
async def by_name(new_browser: NewBrowser, server: Server, watch: Watch) -> Conversation:
    """The reader, logged in on a page that is no secure context."""
    address = f"http://{NAME}:{urlsplit(server.url).port}"
    watch.origins.add(address)
    watch.allow("Cross-Origin-Opener-Policy header has been ignored")
    page = await (await new_browser(base_url=address)).new_page()
    await page.goto("/")
    assert not await page.evaluate("() => isSecureContext")
    await page.get_by_label("Username").fill(READER)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await expect(page).to_have_url(f"{address}/")
    await page.wait_for_load_state()
    return Conversation(page)


async def paste(talk: Conversation) -> list[str]:
    """What a page would receive if the clipboard were pasted."""
    await talk.message.focus()
    pasted = await talk.page.evaluate_handle(f"() => {{ window.pasted = ({PASTED})() }}")
    await pasted.dispose()
    await talk.page.keyboard.press("ControlOrMeta+v")
    found: list[str] = await talk.page.evaluate("() => window.pasted")
    return found


async def test_from_the_login_to_the_answer(by_name: Conversation, model: ModelServer) -> None:
    model.enqueue(
        Script("One **bold** word.\n\n```python\nprint(1)\n```\n"), Script(status=401), Script("Back."), Script("Fine.")
    )
    talk = by_name
    await talk.ask("Hello by name")
    await talk.page.wait_for_url(re.compile("/sessions/"))
    await talk.ended()
    await talk.is_live()
    await expect(talk.answer.locator("strong")).to_have_text("bold")

    await talk.runs.last.get_by_role("button", name="Copy answer").click()
    await expect(talk.runs.last.get_by_role("button", name="Copied")).to_be_visible()
    text, html = await paste(talk)
    assert text == "One **bold** word.\n\n```python\nprint(1)\n```\n"
    assert "<strong>bold</strong>" in html
    await talk.answer.get_by_role("button", name="Copy code").click()
    assert (await paste(talk))[0] == "print(1)\n"

    await talk.ask("And fail")
    await talk.ended("Failed")
    await talk.trouble.get_by_role("button", name="Continue").click()
    await talk.ended()
    await talk.ask("And follow up")
    await expect(talk.runs).to_have_count(4)
    await talk.ended()


async def test_features_that_need_https_say_why(by_name: Conversation) -> None:
    await by_name.page.goto("/schedules/")
    await expect(by_name.page.get_by_role("switch", name="Notify me in the browser")).to_be_disabled()
    await expect(by_name.page.get_by_text("Browsers only do that for pages that are opened over https")).to_be_visible()
