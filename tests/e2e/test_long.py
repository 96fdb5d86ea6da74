"""Long sessions and large results: they open, and the page stays responsive."""

import re

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import READER, Enter, Logins, log_in_newly
from tests.serving import Server

THOUGHTS, RESULT = 2_000, 1_000_000


@pytest.fixture(scope="module")
def logins(server: Server) -> Logins:
    """Users shared by all tests, because their session takes long to write."""
    return log_in_newly(server)


@pytest.fixture(scope="module")
def written(server: Server, logins: Logins) -> str:
    """A session with this many steps, the last of them large."""
    code = "from tests.e2e import long_session\n"
    code += f"print(long_session.write({READER!r}, message='A long one', thoughts={THOUGHTS}, result_length={RESULT}))"
    return server.manage("shell", "--no-imports", "--command", code).strip().splitlines()[-1]


async def test_two_thousand_steps_open_and_the_earlier_ones_come_by_page(enter: Enter, written: str) -> None:
    talk = await enter(f"/sessions/{written}/")
    await talk.is_live()
    await talk.ended()
    await talk.open_outline(talk.runs.first)
    steps = talk.log.locator(".steps > .step")
    shown = await steps.count()
    assert 100 < shown <= 200
    await expect(steps.last).to_have_attribute("data-item", "call")
    await talk.page.get_by_role("link", name=re.compile("^Show earlier")).click()
    await expect(steps.nth(shown + 100)).to_be_attached()
    more = await steps.count()
    numbers = [int(number.removeprefix("s")) for number in await talk.numbers()]
    assert numbers == list(range(numbers[0], numbers[0] + more))
    await talk.ask("Still there? [tokens=3]")
    await expect(talk.runs).to_have_count(2)
    await talk.ended()


async def test_a_link_to_an_early_step_leads_there(enter: Enter, written: str) -> None:
    talk = await enter(f"/sessions/{written}/#s501")
    await talk.page.wait_for_url(re.compile(r"\?at=501#s501$"))
    await expect(talk.page.locator("#s501")).to_be_in_viewport()
    await expect(talk.page.locator("#s501")).to_contain_text("Thought 500 of many.")


async def test_a_result_of_a_megabyte_can_be_opened_and_the_page_answers(enter: Enter, written: str) -> None:
    talk = await enter(f"/sessions/{written}/")
    await talk.is_live()
    await talk.open_outline(talk.runs.first)
    card = talk.step("call").last.locator("[data-call]")
    if await card.get_attribute("open") is None:
        await card.locator("summary").click()
    result = card.locator("[data-part=result]")
    await expect(result).to_contain_text("showing 2 kB of 1.0 MB")
    await result.get_by_role("link", name="Show all").click()
    whole = result.locator("[data-slot=content]")
    await expect(whole.locator("span").last).to_contain_text(re.compile(r"line \d+"))
    await expect(result.get_by_text("showing 2 kB")).to_be_hidden()
    assert await whole.evaluate("block => block.textContent.length") == RESULT
    await talk.message.fill("The box still answers")
    await expect(talk.message).to_have_value("The box still answers")
    await talk.fits()


async def test_the_page_of_a_long_run_opens(enter: Enter, written: str) -> None:
    talk = await enter(f"/sessions/{written}/")
    await talk.is_live()
    run = await talk.runs.first.get_attribute("data-run")
    await talk.page.goto(f"/runs/{run}/#events")
    await expect(talk.page.locator("#events li").first).to_contain_text("reasoning_start")
    await talk.page.get_by_role("link", name="Later", exact=True).click()
    await expect(talk.page.locator("#events li").first).to_contain_text("reasoning_step")
    first = talk.page.locator("#steps .wf-item").first
    earlier = await first.inner_text()
    await talk.page.get_by_role("link", name="Later steps").click()
    await expect(talk.page.get_by_role("link", name="Earlier steps")).to_be_visible()
    assert await first.inner_text() != earlier
