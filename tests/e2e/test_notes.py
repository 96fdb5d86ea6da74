"""Two users at one run: verdicts and comments of one are shown to the other at once; and who is typing."""

import re

from playwright.async_api import expect

from tests.e2e.conftest import OTHER, Enter
from tests.serving import Browser


async def test_a_run_is_judged_and_its_steps_commented_on_by_two(enter: Enter, api: Browser) -> None:
    mine = await enter(f"/sessions/{await api.new_session()}/")
    await mine.is_live()
    await mine.ask("What time is it? [reasoning=4 call=current_time:{}]")
    await mine.ended()
    status, _ = await api.call("POST", f"sessions/{mine.session_id}/shares/", {"user": OTHER, "role": "driver"})
    assert status == 201
    theirs = await enter(f"/sessions/{mine.session_id}/", user=OTHER)
    await theirs.is_live()

    # By keyboard alone: the first step, a comment on it, sent.
    page, other = mine.page, theirs.page
    await page.locator(".outline > summary").click()
    await page.keyboard.press("j")
    await page.keyboard.press("m")
    await page.keyboard.type("Is that so? <b>No.</b>")
    await page.keyboard.press("ControlOrMeta+Enter")
    await expect(page.locator(".thread .said")).to_have_text("Is that so? <b>No.</b>")
    await expect(other.locator(".outline [data-slot=noted]")).to_have_text("1 comment")
    await other.locator(".outline > summary").click()
    await other.locator(".thread > summary").click()
    await expect(other.locator(".thread .said")).to_have_text("Is that so? <b>No.</b>")
    await expect(other.locator(".thread").get_by_role("button", name="Delete the comment")).to_be_hidden()

    # The place that they read is a link there.
    await expect(page.locator("#people-list a")).to_have_attribute("href", re.compile(r"^#s\d+$"))

    # A user who may ask is shown as typing; somebody who types a comment is not.
    await other.locator(".thread textarea").fill("It is.")
    await theirs.message.fill("And now")
    await expect(page.locator("#typing")).to_have_text(f"{OTHER} is typing")
    await other.locator(".thread").get_by_role("button", name="Comment", exact=True).click()
    await expect(page.locator(".thread .said")).to_have_text(["Is that so? <b>No.</b>", "It is."])

    # A verdict, its reason, and how many users share it.
    await other.get_by_role("button", name="A bad run").click()
    await other.locator(".verdict-why textarea").fill("It is not.")
    await other.locator(".verdict-why").get_by_role("button", name="Save").click()
    await expect(other.get_by_role("button", name="A bad run")).to_have_attribute("aria-pressed", "true")
    await expect(page.get_by_role("button", name="A bad run")).to_have_text("1")
    await page.get_by_role("button", name="A bad run").click()
    await expect(page.locator(".verdict-why li")).to_contain_text("It is not.")
    await expect(other.get_by_role("button", name="A bad run")).to_have_text("2")

    # Its author changes a comment, the owner deletes one; a user who was away finds the rest.
    await page.locator(".thread").get_by_role("button", name="Change the comment").click()
    await page.locator(".thread textarea").fill("I see.")
    await page.locator(".thread textarea").press("ControlOrMeta+Enter")
    await expect(other.locator(".thread .said")).to_have_text(["I see.", "It is."])
    await page.locator(".thread li").nth(1).get_by_role("button", name="Delete the comment").click()
    await page.get_by_role("button", name="Press again to delete the comment").click()
    await expect(other.locator(".thread .said")).to_have_text(["I see."])
    await other.reload()
    await expect(other.locator(".outline [data-slot=noted]")).to_have_text("1 comment")
    await expect(other.get_by_role("button", name="A bad run")).to_have_attribute("aria-pressed", "true")
