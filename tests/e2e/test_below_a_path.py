"""A new user's first steps where the site is served below a path of its host."""

import re

import pytest
from playwright.async_api import Browser as Chromium
from playwright.async_api import BrowserContext, expect

from tests.e2e.conftest import PATIENCE_MS, READER, NewBrowser
from tests.e2e.conversation import Conversation
from tests.e2e.nginx import in_front_of
from tests.serving import PASSWORD, Server


@pytest.fixture(scope="module")
def settings_of_server() -> dict[str, str]:
    """Served at /ask/it."""
    return {"PUBLIC_URL": "http://127.0.0.1/ask/it"}


async def test_everything_is_found_below_the_path(new_browser: NewBrowser, server: Server) -> None:
    await go_all_the_way(await new_browser(), server.url)


@pytest.mark.long
@pytest.mark.usefixtures("logins")
@pytest.mark.scale
@pytest.mark.parametrize("takes_off", [True, False], ids=["nginx takes the path off", "nginx leaves it"])
async def test_behind_nginx(
    browser: Chromium, server: Server, tmp_path_factory: pytest.TempPathFactory, takes_off: bool
) -> None:
    with in_front_of(server.url, "/ask/it/", takes_off=takes_off) as address:
        context = await browser.new_context()
        context.set_default_timeout(PATIENCE_MS)
        try:
            await go_all_the_way(context, address)
        finally:
            await context.close()


async def go_all_the_way(context: BrowserContext, address: str) -> None:
    """Log in, ask, watch, reload, look at every kind of page, log out."""
    page = await context.new_page()
    home = f"{address}/ask/it/"
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
    assert [href for href in hrefs if href.startswith(address) and not href.startswith(home)] == []
    run_page = next(href for href in hrefs if "/runs/" in href)
    for path in (run_page, f"{home}sessions/", f"{home}schedules/", f"{home}accounts/"):
        answer = await page.goto(path)
        assert answer is not None
        assert answer.status == 200, path
    assert {cookie.get("path") for cookie in await context.cookies()} == {"/ask/it/"}
    await page.goto(home)
    await page.locator("#logout button").evaluate("button => button.click()")
    await expect(page).to_have_url(f"{home}accounts/login/")
