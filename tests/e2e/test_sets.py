"""Sets of cases in Chromium: a case is made of a run, the set is run twice, its table read, and two of its runs compared."""

import re

from playwright.async_api import expect

from tests.e2e.conftest import Enter
from tests.serving import Browser


async def test_from_a_run_to_a_case_that_is_asked_again_and_compared(enter: Enter, api: Browser) -> None:
    mine = await enter(f"/sessions/{await api.new_session()}/")
    await mine.is_live()
    await mine.ask("What time is it? [reasoning=4 call=current_time:{}]")
    await mine.ended()
    page = mine.page
    await page.get_by_role("link", name="Make a case of this run…").click()
    await expect(page.get_by_label("Question")).to_have_value(re.compile("^What time is it"))
    await page.get_by_label("Name of a new set").fill("Clocks")
    await page.get_by_label("Rule").fill("steps[0]['tool'] == 'current_time'")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", name="Clocks")).to_be_visible()

    # Run; the results appear without a reload.
    await page.get_by_role("button", name="Ask the set").click()
    await expect(page.locator(".verdict-passed")).to_have_count(1)
    await expect(page.locator("table.cases thead")).to_contain_text("1 of 1 passed")
    table = page.locator("table.cases")
    await table.get_by_role("link", name="What time is it?").click()
    await page.get_by_label("Expected words").fill("half past\n")
    await page.get_by_role("button", name="Save").click()
    await page.get_by_role("button", name="Ask the set").click()
    await expect(page.locator(".verdict-failed")).to_have_count(1)
    await expect(page.locator(".why-not")).to_have_text("The answer lacks “half past”.")

    # Its runs are in no list of sessions; the cell links to its run, and to the comparison of both.
    await expect(page.locator("#side-list").get_by_role("link", name="What time is it?")).to_have_count(1)
    await table.get_by_role("link", name="Compare", exact=True).click()
    await expect(page.locator(".beside.heads section")).to_have_count(2)
    await page.go_back()
    await table.get_by_role("link", name="failed").click()
    await expect(page).to_have_url(re.compile("/runs/"))
