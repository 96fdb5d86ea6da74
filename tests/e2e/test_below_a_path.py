"""The whole way of a new user where the site is served below a path of its host."""

import re

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import READER, NewBrowser
from tests.e2e.conversation import Conversation
from tests.serving import PASSWORD, Server


@pytest.fixture(scope="module")
def settings_of_server() -> dict[str, str]:
    """Served at /ask/it."""
    return {"PUBLIC_URL": "http://127.0.0.1/ask/it"}


async def test_everything_is_found_below_the_path(new_browser: NewBrowser, server: Server) -> None:
    context = await new_browser()
    page = await context.new_page()
    home = f"{server.url}/ask/it/"
    await page.goto(home)
    assert page.url == f"{home}accounts/login/?next=/ask/it/"
    await page.get_by_label("Username").fill(READER)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url(home)

    conversation = Conversation(page)
    await conversation.ask("Tell [tokens=5 call=current_time:{}]")
    await conversation.ended()
    await conversation.is_live()
    assert re.fullmatch(rf"{re.escape(home)}sessions/[0-9a-f-]{{36}}/", page.url)
    await page.reload()
    await conversation.ended()
    await conversation.is_live()

    # Every address that the pages show is below the path, and the run's own page is there.
    hrefs: list[str] = await page.locator("a[href]").evaluate_all("links => links.map(link => link.href)")
    assert hrefs
    assert [href for href in hrefs if href.startswith(server.url) and not href.startswith(home)] == []
    run_page = next(href for href in hrefs if "/runs/" in href)
    for path in (run_page, f"{home}sessions/", f"{home}schedules/", f"{home}accounts/"):
        answer = await page.goto(path)
        assert answer is not None
        assert answer.status == 200, path
    assert {cookie.get("path") for cookie in await context.cookies()} == {"/ask/it/"}
    await page.goto(home)
    await page.locator("#logout button").evaluate("button => button.click()")
    await expect(page).to_have_url(f"{home}accounts/login/")
