"""Messages to a run at work, and branches of sessions: what happens to them is shown at their place."""

import re

from playwright.async_api import Locator, Page, expect

from tests.e2e.conftest import Enter
from tests.model_server import ModelServer
from tests.serving import Browser

LONG = "Count [tokens=3000 every=20]"


async def test_a_message_to_a_run_shows_its_state(enter: Enter, api: Browser, model: ModelServer) -> None:
    """It is pending, and withdrawn; interrupts, and is read at its step; comes too late, and is queued."""
    conversation = await enter(f"/sessions/{await api.new_session()}/")
    await conversation.is_live()
    page, message, waiting = conversation.page, conversation.message, conversation.waiting
    await conversation.ask(LONG)
    # A message that is sent before the model is called is read by its first call.
    await model.until(lambda: len(model.requests) == 1)
    await conversation.is_at_work()

    await message.fill("Be brief. [tokens=2]")
    await message.press("Alt+Enter")
    await expect(waiting).to_have_count(1)
    await expect(waiting).to_contain_text("Waiting for the next step")
    await waiting.get_by_role("button", name="Take back and edit").click()
    await expect(waiting).to_have_count(0)
    await expect(message).to_have_value("Be brief. [tokens=2]")
    # Stop and send in one action.
    await page.get_by_role("button", name="Interrupt and say it now").click()
    await conversation.ended()
    word = conversation.step("word")
    number = await word.evaluate("row => row.id.slice(1)")
    await conversation.open_outline()
    label = f"mei · read by the model at step {number}"
    await expect(word.locator("[data-slot=name]")).to_have_text(label)
    await expect(word.locator("[data-slot=n]")).to_have_text(number)
    await page.reload()
    await conversation.open_outline()
    await expect(word.locator("[data-slot=name]")).to_have_text(label)

    # Two messages that the run has not read when it is stopped: the first is asked next, the second after it.
    await conversation.is_live()
    await conversation.ask(LONG)
    await model.until(lambda: len(model.requests) == 3)
    await conversation.is_at_work()
    for words in ("One [tokens=3000 every=20]", "Two [tokens=2]"):
        await message.fill(words)
        await message.press("Alt+Enter")
    await expect(waiting).to_have_count(2)
    await conversation.stop.click()
    await expect(conversation.questions.last).to_have_text("One [tokens=3000 every=20]")
    await expect(waiting).to_have_count(1)
    await expect(waiting).to_contain_text("Too late: queued")
    await page.reload()
    await expect(waiting).to_contain_text("Too late: queued")
    await waiting.get_by_role("button", name="Remove").click()
    await expect(waiting).to_have_count(0)
    await conversation.is_at_work()
    await conversation.stop.click()
    await expect(conversation.stop).to_be_hidden()


def siblings(page: Page) -> Locator:
    """The links to branches on the page."""
    return page.get_by_role("navigation", name="Branches")


async def test_a_question_is_edited_and_asked_again_and_the_branches_lead_to_each_other(
    enter: Enter, api: Browser
) -> None:
    """Twice: they are one row in the list, are shown beside each other where they branch, and are compared."""
    conversation = await enter(f"/sessions/{await api.new_session(title='Tea')}/")
    await conversation.is_live()
    page = conversation.page
    await conversation.ask("First? [tokens=3]")
    await conversation.ended()
    await conversation.ask("Second? [tokens=3]")
    await expect(conversation.runs).to_have_count(2)
    await expect(conversation.endlines).to_have_count(2)
    first = page.url
    for number in (2, 3):
        await page.goto(first)
        await conversation.runs.last.get_by_role("link", name="Ask otherwise, or go on from here").click()
        question = page.get_by_role("textbox", name="Question")
        await expect(question).to_have_value("Second? [tokens=3]")
        await question.fill(f"Otherwise {number}? [tokens=3]")
        await page.get_by_role("button", name="Ask in a branch").click()
        await expect(conversation.questions).to_have_text(["First? [tokens=3]", f"Otherwise {number}? [tokens=3]"])
        await expect(siblings(page)).to_have_text(re.compile(rf"Branch {number} of {number}"))
        await expect(conversation.endlines).to_have_count(2)
    await siblings(page).get_by_role("link", name="The branch before").click()
    await expect(siblings(page)).to_have_text(re.compile("Branch 2 of 3"))
    await expect(conversation.questions).to_have_text(["First? [tokens=3]", "Otherwise 2? [tokens=3]"])

    # Compared with its sibling, by the run's own menu.
    await conversation.runs.last.get_by_role("link", name="Compare with…").click()
    await page.get_by_role("link", name=re.compile("Second")).click()
    await expect(page.locator(".beside.heads h2 a")).to_have_text([re.compile("^Otherwise 2"), re.compile("^Second")])
    await page.goto("/".join([*first.split("/")[:3], "sessions/"]))
    row = page.locator(".line-row", has_text="Tea")
    await expect(row).to_have_count(1)
    await expect(row).to_contain_text("3 branches")
