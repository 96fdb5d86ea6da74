"""A run that waits for a decision: in another browser, after a restart of the server; by keyboard; without scripts."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.e2e.conftest import Enter
from tests.e2e.conversation import Conversation
from tests.e2e.test_forced_colours import find_unseen
from tests.e2e.test_slow import held
from tests.e2e.watch import ANSWERED, KEEP_SHOWN, NO_NETWORK, NO_SOCKET, UNSEEN, Watch
from tests.model_server import Call, ModelServer, Script
from tests.serving import Browser, Server

#: Every agent may ask questions, and calculate.
GIVE = """
from chat.catalog import built_in
from chat.models import AgentVersion

built_in.make_built_in()
AgentVersion.objects.update(tools=["python", "ask_user"])
"""
POLICY = [{"tool": "python", "arguments": {"code": "*7*"}, "decision": "ask"}]
QUESTION = Call(
    "ask_user",
    {
        "question": "Some things before I book:",
        "fields": [
            {"name": "why", "label": "What for?", "kind": "text"},
            {"name": "city", "label": "Which city?", "kind": "choice", "options": ["Oslo", "Rome"]},
            {
                "name": "extras",
                "label": "What else?",
                "kind": "choices",
                "options": ["Breakfast", "Bicycle"],
                "required": False,
            },
            {"name": "nights", "label": "How many nights?", "kind": "number"},
            {"name": "sure", "label": "Book it now?", "kind": "yes_no"},
        ],
    },
)


@pytest.fixture(scope="module")
def server(data_dir: Path, model_server: ModelServer) -> Iterator[Server]:
    process = Server(
        data_dir,
        LLM_MODEL_SERVER=model_server.url,
        LLM_MODEL="scripted",
        MAX_MESSAGES_PER_MINUTE="0",
        APPROVAL_POLICY=json.dumps(POLICY),
    )
    process.manage("shell", "--no-imports", "--command", GIVE)
    process.start()
    yield process
    process.stop()


async def photograph(page: Page, name: str) -> None:
    """With SHOTS=FOLDER, save screenshots of a page in both widths and themes."""
    folder = os.environ.get("SHOTS", "")
    if not folder:
        return
    before = page.viewport_size
    for width, height in ((1440, 900), (360, 740)):
        await page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type] # one of the two
            await page.wait_for_timeout(350)
            await page.screenshot(path=f"{folder}/{name}-{width}-{scheme}.png")
    if before is not None:
        await page.set_viewport_size(before)


@pytest.mark.long
async def test_a_call_is_decided_in_another_browser_after_a_restart(
    enter: Enter, talk: Conversation, model: ModelServer, server: Server, watch: Watch
) -> None:
    watch.allow(NO_SOCKET, NO_NETWORK)
    model.enqueue(
        Script(reasoning="I have to calculate.", calls=[Call("python", {"code": "6*7"})]), Script("It is 48.")
    )
    await talk.ask("What is 6 times 7?")
    card = talk.log.locator("[data-item=call]")
    await expect(card).to_have_attribute("data-state", "wait")
    await expect(talk.state).to_have_text("Waiting for approval")
    await expect(card.get_by_role("button", name="Allow once")).to_be_visible()
    await expect(card).to_contain_text("Denied by itself in")
    await expect(talk.page).to_have_title(re.compile(r"^\(1\) ● "))
    await photograph(talk.page, "card")
    assert not await find_unseen(talk.page, "#log [data-item=call] form")
    port = int(server.url.rsplit(":", 1)[1].rstrip("/"))
    server.stop()
    server.start(port)

    other = await enter("/waiting/")
    await expect(other.page.locator("#needs-list .deadline")).to_have_text(
        re.compile(r"^Denied by itself in \d+:\d\d:\d\d$")
    )
    await photograph(other.page, "inbox")
    await expect(other.page.locator("#needs")).to_have_text("1")
    await other.page.get_by_text("Edit the arguments").click()
    await other.page.get_by_role("textbox", name=re.compile("^code")).fill("6*8")
    await other.page.get_by_role("textbox", name=re.compile("^Reason")).fill("Eight, please.")
    await other.page.get_by_role("button", name="Allow once").click()
    await expect(other.page.locator("#needs-list")).to_contain_text("Allowed by mei")
    await photograph(other.page, "decided-inbox")

    await talk.ended()
    await talk.open_steps()
    await expect(card).to_contain_text("Allowed by mei")
    await expect(card.locator("del")).to_have_text("6*7")
    await expect(card.locator("ins")).to_have_text("6*8")
    await expect(talk.page).not_to_have_title(re.compile(r"^\("))
    await photograph(talk.page, "decided")
    live = await card.locator("[data-part=decision]").inner_text()
    await talk.page.reload()
    await talk.is_live()
    await talk.open_steps()
    assert await card.locator("[data-part=decision]").inner_text() == live, "the server says what the page has said"


@pytest.mark.long
async def test_a_form_of_all_kinds_is_answered_by_keyboard_alone(
    talk: Conversation, model: ModelServer, watch: Watch
) -> None:
    watch.allow(ANSWERED.format(status="400"))
    model.enqueue(Script(calls=[QUESTION]), Script("Booked."))
    await talk.ask("Book me a room")
    keyboard = talk.page.keyboard
    await expect(talk.log.get_by_label("What for?")).to_be_focused()
    await photograph(talk.page, "question")
    assert not await find_unseen(talk.page, "#log [data-item=call] form")
    await talk.log.get_by_label("What for?").focus()
    await keyboard.type("A fair")
    await keyboard.press("Tab")
    await keyboard.press("ArrowDown")
    await keyboard.press("Tab")
    await keyboard.press("Space")
    await keyboard.press("Tab")
    await keyboard.press("Tab")
    await keyboard.type("two")
    await keyboard.press("Enter")
    await keyboard.press("Tab")
    await keyboard.press("Space")
    await keyboard.press("Control+Enter")
    await expect(talk.log.get_by_role("alert")).to_contain_text("How many nights?")
    await talk.log.get_by_label("How many nights?").focus()
    await keyboard.press("ControlOrMeta+a")
    await keyboard.type("2")
    async with held(talk.page, "/decide/", "POST"):
        for _ in range(2):
            await keyboard.press("Control+Enter")
    await talk.ended()
    await talk.open_steps()
    answers = talk.log.locator("[data-slot=answers]")
    await expect(answers.locator("dd")).to_have_text(["A fair", "Rome", "Breakfast", "2", "Yes"])
    await photograph(talk.page, "answered")


async def test_after_a_decision_by_keyboard_one_goes_on_by_keyboard(talk: Conversation, model: ModelServer) -> None:
    model.enqueue(*(Script(calls=[Call("python", {"code": code})]) for code in ("7", "6*7")), Script("It is 42."))
    await talk.ask("What is 7?")
    calls, keyboard = talk.log.locator("[data-item=call]"), talk.page.keyboard
    await talk.log.get_by_role("button", name="Deny").focus()
    await keyboard.press("Enter")
    await expect(calls.first).to_contain_text("Denied by mei")
    # The next call waits, and an Enter that was meant for the first one decides nothing.
    await expect(calls.nth(1).locator("form")).to_be_focused()
    await keyboard.press("Enter")
    await talk.log.get_by_role("button", name="Allow once").focus()
    await keyboard.press("Enter")
    await expect(calls.nth(1)).to_contain_text("Allowed by mei")
    await talk.ended()
    await expect(talk.message).to_be_focused()


async def test_a_call_is_decided_without_scripts(enter: Enter, talk: Conversation, model: ModelServer) -> None:
    model.enqueue(Script(calls=[Call("python", {"code": "7"})]), Script("I may not."))
    await talk.ask("What is 7?")
    await expect(talk.state).to_have_text("Waiting for approval")
    plain = await enter(f"/sessions/{talk.session_id}/", java_script_enabled=False)
    await plain.log.get_by_role("link", name="Decide").click()
    await plain.page.get_by_role("textbox", name=re.compile("^Reason")).fill("Not this one.")
    await photograph(plain.page, "plain")
    await plain.page.get_by_role("button", name="Deny").click()
    await expect(plain.page).to_have_url(re.compile(f"/sessions/{talk.session_id}/#run-"))
    await talk.ended()
    await talk.open_steps()
    await expect(talk.log.locator("[data-item=call]")).to_contain_text("Denied by mei")
    await expect(talk.log.locator("[data-item=call]")).to_contain_text("Not this one.")


async def test_the_browser_tells_who_looks_elsewhere_and_has_allowed_it(
    enter: Enter, api: Browser, talk: Conversation, model: ModelServer
) -> None:
    first = (await enter("/schedules/")).page
    await first.context.add_init_script(KEEP_SHOWN)
    await first.reload()
    await first.get_by_role("switch", name="Notify me in the browser").check()
    unseen = await first.context.new_page()
    await first.close()
    await unseen.goto(f"/sessions/{await api.new_session()}/")
    await expect(unseen.locator("#chip")).to_have_attribute("data-state", "live")
    await unseen.evaluate(UNSEEN)
    model.enqueue(Script(calls=[Call("python", {"code": "6*7"})]), Script("It is 42."))
    await talk.ask("What is 6 times 7?")
    await expect(talk.state).to_have_text("Waiting for approval")
    await expect(unseen.locator(".banner", has_text="What is 6 times 7?")).to_contain_text("waits for your decision.")
    await expect(unseen.locator("html")).to_have_attribute(
        "data-shown", re.compile(r"^What is 6 times 7\?: [^;]+ waits for your decision\.;$")
    )
    await talk.log.get_by_role("button", name="Allow once").click()
    await talk.ended()


async def test_the_call_of_a_run_within_it_is_decided_on_the_page_of_the_one_that_asked(
    enter: Enter, talk: Conversation, model: ModelServer
) -> None:
    """The run's header says what it waits for, the card is within the call that asked, and after the decision both go on."""

    def respond(body: dict[str, Any]) -> Script:
        has_result = body["messages"][-1]["role"] == "tool"
        if body["messages"][1]["content"] == "Calculate":
            return Script("It is 42.") if has_result else Script("Let me see.", calls=[Call("python", {"code": "6*7"})])
        handed_on = Call("ask_developer", {"message": "Calculate"})
        return Script("The developer says 42.") if has_result else Script(reasoning="Who knows?", calls=[handed_on])

    model.respond = respond
    elsewhere = (await enter("/schedules/")).page
    await talk.ask("What is 6 times 7?")
    await expect(talk.state).to_have_text("Waiting for approval")
    banner = elsewhere.locator(".banner", has_text="What is 6 times 7?")
    href = re.compile(f"^/sessions/{talk.session_id}/#run-")
    await expect(banner.get_by_role("link", name="Open")).to_have_attribute("href", href)
    card = talk.log.locator("[data-item=call] [data-item=call]")
    await expect(card).to_have_attribute("data-state", "wait")
    await photograph(talk.page, "within")
    inbox = await enter("/waiting/")
    await photograph(inbox.page, "within-inbox")
    await expect(inbox.page.locator("#needs")).to_have_text("1")
    await card.get_by_role("button", name="Allow once").focus()
    await talk.page.keyboard.press("Enter")
    await talk.ended()
    await expect(talk.message).to_be_focused()
    await expect(talk.log).to_contain_text("The developer says 42.")
    # The other open page shows that it was decided, instead of the form.
    await expect(inbox.page.locator("#needs-list")).to_contain_text("Allowed by mei")
    await expect(inbox.page.locator("#needs-list :is(form, .deadline)")).to_have_count(0)
    await expect(inbox.page.locator("#needs-list .state")).to_have_text("")
    await talk.open_outline()
    await photograph(talk.page, "within-decided")
    # Nor is it said any more, wherever it was, from the next look at the page on.
    await elsewhere.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    await expect(banner).to_have_count(0)
    await expect(card).to_contain_text("Allowed by mei")
