"""The whole product in Firefox and in WebKit: each page works there as in Chromium, in which all other tests are."""

import asyncio

import pytest

from tests.e2e.conftest import OTHER_BROWSERS, STAFF, Logins, OpenOther
from tests.e2e.other_browsers import Page
from tests.e2e.test_languages import MESSAGES
from tests.e2e.test_look import WIDE
from tests.model_server import Call, ModelServer, Script
from tests.serving import PASSWORD, Server

#: For each language: the first words of the last lines of a run that has finished, and of one that was stopped.
ENDS = {"en": ("Finished ·", "Stopped by ada ·"), "zh-hant": ("已完成 ·", "由 ada 停止 ·")}
IS_LIVE = "() => document.querySelector('#chip').dataset.state === 'live'"
#: Whether the text of the last run's answer has had more than so many different lengths since this was called first.
GROWS = """(times) => {
  const run = [...document.querySelectorAll("#log article.run")].at(-1);
  if (!run) return false;
  window.lengths ??= {};
  const seen = (lengths[run.id] ??= new Set());
  seen.add(run.querySelector("[data-item=answer] .prose")?.textContent.length ?? 0);
  return seen.size > times;
}"""
#: Whether the last run's last line begins with these words.
ENDED = """(words) => [...document.querySelectorAll("#log [data-slot=endline]")].at(-1)?.textContent.trim().startsWith(words)"""

#: The path of a page whose heading is visible.
SHOWN = "() => document.querySelector('h1').checkVisibility() ? location.pathname : ''"
FAIL = "() => { setTimeout(() => { throw new Error('provoked'); }); }"


async def fits(page: Page, name: str) -> None:
    """Nothing is wider than the window, on a desktop and on a phone."""
    for width in (360, 1440):
        await page.set_size(width, 800)
        wide = await page.evaluate(WIDE, width)
        assert not wide, f"{name}: {wide}"
        assert await page.evaluate("() => document.documentElement.scrollWidth") <= width, name


async def errors_until_now(page: Page) -> list[str]:
    """The errors of scripts before one that is thrown now: Firefox reports them in their order, but later."""
    await page.evaluate(FAIL)
    errors: list[str] = []
    async with asyncio.timeout(20):
        while not errors or "provoked" not in errors[-1]:
            errors += await page.take_errors()
    return errors[:-1]


async def log_in(page: Page, server: Server) -> None:
    await page.goto(f"{server.url}/accounts/login/")
    await fits(page, "login")
    await page.locator("[name=username]").click()
    await page.keyboard.type(STAFF)
    await page.locator("[name=password]").click()
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_path("/")


async def ask(page: Page, text: str) -> None:
    await page.locator("#message").click()
    await page.keyboard.type(text)
    await page.keyboard.press("Enter")


async def converse(page: Page, language: str) -> None:
    """Ask, read the steps, stop another run, and find all of it again."""
    finished, stopped = ENDS[language]
    await ask(page, "Six times 7?")
    await page.wait_for_path("/sessions/.{36}/")
    await page.wait_for_function(GROWS, 8)
    await page.wait_for_function(ENDED, finished)
    await page.locator("#log details.outline > summary").click()
    await page.wait_for_function("() => document.querySelector('#log [data-item=thought]').checkVisibility()")
    await page.locator("#log [data-call] > summary").click()
    await page.wait_for_function(
        "() => { const out = document.querySelector('#log [data-call] [data-slot=out]');"
        " return out.checkVisibility() && out.textContent.includes('42'); }"
    )
    await fits(page, "steps")
    await ask(page, "And on")
    await page.wait_for_function("() => document.querySelectorAll('#log article.run').length === 2")
    await page.wait_for_function(GROWS, 8)
    await page.locator("#stop").click()
    await page.wait_for_function(ENDED, stopped)
    texts = await page.evaluate(MESSAGES)
    await page.goto(await page.evaluate("() => location.href"))
    await page.wait_for_function(IS_LIVE)
    assert await page.evaluate(MESSAGES) == texts


async def rename(page: Page) -> None:
    await page.locator("[popovertarget=page-menu]").click()
    await page.locator("#page-menu [data-action=rename]").click()
    await page.wait_for_function("() => document.activeElement.id === 'new-title'")
    await page.keyboard.type("Renamed")
    await page.keyboard.press("Enter")
    await page.wait_for_function("() => document.querySelector('h1').textContent.includes('Renamed')")


@pytest.mark.long
@pytest.mark.parametrize("language", ENDS)
@pytest.mark.parametrize("other", OTHER_BROWSERS)
async def test_a_walk_through_the_pages(
    other: str, open_other: OpenOther, server: Server, logins: Logins, model: ModelServer, language: str
) -> None:
    assert STAFF in logins
    page = await open_other(other)
    model.enqueue(
        Script(reasoning="Let me see. " * 5, calls=[Call("python", {"code": "6 * 7"})], every_s=0.03),
        Script("It is forty-two. " * 20, every_s=0.03),
        Script("On and on. " * 2000, every_s=0.03),
    )
    await page.add_cookie("language", language, server.url)
    await log_in(page, server)
    assert (await page.evaluate("() => document.documentElement.lang")).lower() == language
    await fits(page, "home")
    await converse(page, language)
    await rename(page)
    session, run = await page.evaluate(
        "() => [location.pathname, document.querySelector('#log article.run').dataset.run]"
    )
    for path in (
        *("/sessions/", "/schedules/", "/schedules/new/", "/waiting/", "/sets/", f"/runs/{run}/", f"{session}share/"),
        *("/accounts/", "/accounts/tokens/", "/api/docs", "/admin/", "/admin/chat/usage/"),
    ):
        await page.goto(f"{server.url}{path}")
        assert await page.evaluate(SHOWN) == path
        await fits(page, path)
    assert await errors_until_now(page) == []
