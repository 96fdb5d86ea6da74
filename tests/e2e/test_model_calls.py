"""How full the model's context is, and what the model was sent, in a browser."""

import re

from playwright.async_api import expect

from tests.e2e.conversation import Conversation
from tests.model_server import Call, ModelServer, Script


async def test_the_context_fills_live_and_the_runs_page_leads_to_what_the_model_saw(
    talk: Conversation, model: ModelServer
) -> None:
    used = {"prompt_tokens": 46_000, "completion_tokens": 500}
    model.enqueue(Script(calls=[Call("current_time")], usage=used), Script("So late.", first_s=2, usage=used))
    page = talk.page
    await expect(page.locator("#context")).to_be_hidden()
    await talk.ask("What time is it?")
    # While the second call is still to come: the value is that of the first one.
    await expect(page.locator("#context")).to_have_text("Context\N{NO-BREAK SPACE}81%")
    await talk.ended()
    await page.reload()
    await expect(page.locator("#context")).to_have_text("Context\N{NO-BREAK SPACE}81%")
    await page.get_by_role("link", name="Timeline").click()
    links = page.get_by_role("link", name="What the model saw")
    await expect(links).to_have_count(2)
    await links.last.click()
    await expect(page).to_have_url(re.compile(r"/runs/[0-9a-f-]{36}/calls/2/$"))
    await expect(page.locator(".sent li")).to_have_count(4)
    await expect(page.locator(".sent summary").nth(1)).to_contain_text("What time is it?")
    await page.get_by_role("link", name="The call before").click()
    await expect(page.locator(".sent li")).to_have_count(2)
