"""Phone, light and dark, less motion; and what a machine can tell of accessibility."""

import re
from typing import Literal
from uuid import UUID

import pytest
from axe_playwright_python.async_playwright import Axe
from axe_playwright_python.base import AxeResults
from playwright.async_api import Page, expect

from tests.e2e.conftest import STAFF, Enter, NewBrowser
from tests.e2e.conversation import Conversation
from tests.e2e.watch import AT_REST
from tests.faults.world import until
from tests.model_server import Call, ModelServer, Script
from tests.serving import Browser, Server

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
LONG_LINE = (
    "A line with a "
    + "very-" * 60
    + "long word, https://example.com/"
    + "path/" * 60
    + "\n\n```python\nx = '"
    + "y" * 400
    + "'\n```\n\n"
    "|" + "column |" * 14 + "\n|" + "--|" * 14 + "\n|" + "value |" * 14 + "\n\n$$" + "a_{1} + " * 60 + "b$$\n"
)


#: Whatever is written, read or pressed, of which a part lies outside the window or is cut off by what it stands in.
CUT_OFF = """(width) => [...document.querySelectorAll("input, textarea, select, button, a, label, th, td, p, h1, h2")].filter((one) => {
  const box = one.getBoundingClientRect();
  if (!one.checkVisibility({ opacityProperty: true, visibilityProperty: true }) || box.width < 2) return false;
  const cuts = (left, right) => box.left < left - 1 || box.right > right + 1;
  for (let outer = one.parentElement; outer; outer = outer.parentElement) {
    const overflow = getComputedStyle(outer).overflowX, { left, right } = outer.getBoundingClientRect();
    if (overflow === "auto" || overflow === "scroll") return false;
    if (overflow !== "visible" && cuts(left, right)) return true;
  }
  return cuts(0, width);
}).map((one) => one.outerHTML.slice(0, 120))"""


#: What is wider than the window, from the innermost on.
WIDE = """(width) => {
  const isShownBy = (outer) => getComputedStyle(outer).overflowX === "visible" || outer.getBoundingClientRect().right > width + 1;
  const wide = [...document.body.querySelectorAll("*")].filter((one) => {
    for (let outer = one.parentElement; outer !== document.body; outer = outer.parentElement) if (!isShownBy(outer)) return false;
    const { right, width: own } = one.getBoundingClientRect();
    return one.checkVisibility() && own > 1 && right > width + 1;
  });
  return wide.filter((one) => !wide.some((inner) => inner !== one && one.contains(inner)))
    .map((one) => `${Math.round(one.getBoundingClientRect().right - width)} px: ${one.outerHTML.slice(0, 90)}`);
}"""
#: The reader has set the browser's letters to 200 %, or zooms to 200 %, on a phone: how wide its page is, and its letters.
TWICE = {"letters": (360, 2), "zoom": (180, 1)}
SIZES = {"usual": (360, 1), **TWICE}
#: All pages that a page of the administration leads to.
WITHIN = """(content) => [...new Set([...content.querySelectorAll("a[href^='/admin/']")].map((link) => link.getAttribute("href")))]"""

#: Copies of a session's first step.
COPY_STEPS = """
    INSERT INTO chat_step (position, event_id, event, type, iteration, tool_name, body, created_at, run_id, session_id)
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :copies)
    SELECT 1000000 + n, lower(hex(randomblob(16))), event, type, iteration, tool_name, body, created_at, run_id, session_id
    FROM numbers, (SELECT * FROM chat_step WHERE session_id = :session ORDER BY position LIMIT 1)
"""


async def set_letters(page: Page, times: int) -> None:
    """Make the browser's letters so many times as large as usual."""
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("Page.setFontSizes", {"fontSizes": {"standard": 16 * times, "fixed": 13 * times}})
    assert await page.evaluate("() => getComputedStyle(document.documentElement).fontSize") == f"{16 * times}px"


async def set_size(page: Page, size: str) -> int:
    """Make an open page of the size with this name; returns its width."""
    width, letters = SIZES[size]
    await page.set_viewport_size({"width": width, "height": 740})
    await set_letters(page, letters)
    return width


async def find_wide(page: Page, width: int) -> list[str]:
    """What makes a page wider than its window; a phone's widens with what is in it, so its own width says nothing."""
    found: list[str] = await page.evaluate(WIDE, width)
    wide: int = await page.evaluate("() => document.documentElement.scrollWidth")
    return found or [f"{wide} px"] * (wide > width)


async def audit(page: Page) -> None:
    """No violation that axe finds, light and dark. It is part of the page from its start: the content policy lets nothing in later."""
    for scheme in SCHEMES:
        await page.emulate_media(color_scheme=scheme)
        await page.evaluate(AT_REST)
        found = AxeResults(await page.evaluate("() => axe.run({ resultTypes: ['violations'] })"))
        assert found.violations_count == 0, f"{scheme}: {found.generate_report()}"


@pytest.fixture
def axe() -> str:
    """The script."""
    return str(Axe().axe_script)


async def test_on_a_phone(enter: Enter, api: Browser, model: ModelServer) -> None:
    model.enqueue(
        Script(reasoning="Thinking " * 40, calls=[Call("python", {"code": "print('" + "z" * 300 + "')"})]),
        Script(LONG_LINE + "word " * 2000, every_s=0.02),
    )
    home = await enter("/", **PHONE)
    await home.fits()
    await home.ask("Whatever is wide " + "w" * 200)
    await home.page.wait_for_url(re.compile("/sessions/"))
    talk = Conversation(home.page)
    await expect(talk.answer).to_contain_text("very-")
    await talk.fits()
    await expect(talk.stop).to_be_in_viewport(ratio=1)
    box = await talk.stop.bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) >= 40
    await talk.stop.tap()
    await talk.ended("Stopped by mei")
    await talk.open_steps()
    await talk.fits()

    links = talk.sessions.get_by_role("link", name=re.compile("^Whatever"))
    await expect(links).not_to_be_in_viewport()
    await talk.page.get_by_role("link", name="Sessions").tap()
    await expect(links).to_be_in_viewport()
    await talk.fits()
    await talk.page.keyboard.press("Escape")
    await expect(links).not_to_be_in_viewport()

    run = await talk.runs.get_attribute("data-run")
    for path in ("/sessions/", f"/runs/{run}/", "/accounts/", "/api/docs"):
        await talk.page.goto(path)
        await talk.fits()


async def find_wrong(page: Page) -> dict[str, list[str]]:
    """What does not fit a phone, by size; at the usual size nothing is cut off either."""
    wrong = {}
    for size in SIZES:
        width = await set_size(page, size)
        wrong[size] = await find_wide(page, width)
        if size == "usual":
            wrong[size] += await page.evaluate(CUT_OFF, width)
    return {size: parts for size, parts in wrong.items() if parts}


async def test_each_page_of_the_administration_fits_a_phone(enter: Enter) -> None:
    """Its lists and forms."""
    page = (await enter("/admin/", user=STAFF, **PHONE)).page
    paths = await page.locator("#content").evaluate(WITHIN)
    paths += ["/admin/chat/agent/1/change/", "/admin/chat/agent/1/versions/1/", "/admin/chat/agent/1/versions/1/try/"]
    assert len(paths) > 30, paths
    wrong = {}
    for path in ("/admin/", *paths):
        answer = await page.goto(path)
        assert answer is not None
        assert answer.status == 200, path
        wrong[path] = await find_wrong(page)
    assert not {path: parts for path, parts in wrong.items() if parts}


async def test_a_list_of_very_many_pages_fits_a_phone(enter: Enter, server: Server, api: Browser) -> None:
    """More steps than are counted: the last page's number is as long as it gets, and words follow it."""
    session = UUID(await api.new_session())
    status, _ = await api.call("POST", f"sessions/{session}/messages/", {"message": "One question"})
    assert status == 202
    await until(lambda: not server.runs_at_work(), wanted="the run to end")
    with server.open_database() as file:
        assert file.execute(COPY_STEPS, {"session": session.hex, "copies": 10_001}).rowcount == 10_001
    try:
        page = (await enter("", user=STAFF, **PHONE)).page
        for path in ("/admin/chat/step/", "/admin/chat/step/?p=100"):
            await page.goto(path)
            await expect(page.locator(".paginator")).to_contain_text(
                re.compile("200.*more than 10,000 steps", re.DOTALL)
            )
            assert not await find_wrong(page)
    finally:
        with server.open_database() as file:
            file.execute("DELETE FROM chat_step WHERE session_id = ? AND position > 1000000", [session.hex])


async def test_on_a_phone_before_logging_in(new_browser: NewBrowser) -> None:
    page = await (await new_browser(**PHONE)).new_page()
    await page.goto("/accounts/login/")
    await Conversation(page).fits()


async def test_a_rows_actions_are_no_part_of_what_opens_it(talk: Conversation) -> None:
    """A button within a button can neither be announced nor reached reliably."""
    await talk.ask('Act [tokens=2 reasoning=3 call=python:{"code": "6*7"}]')
    await talk.ended()
    await talk.open_outline()
    await talk.step("call").locator("summary").focus()
    await expect(talk.page.get_by_role("button", name="Copy link to this step")).to_be_visible()
    await expect(talk.log.locator("summary :is(a, button)")).to_have_count(0)


async def test_accessibility(enter: Enter, new_browser: NewBrowser, api: Browser, model: ModelServer, axe: str) -> None:
    visitor = await new_browser()
    await visitor.add_init_script(axe)
    page = await visitor.new_page()
    await page.goto("/accounts/login/")
    await audit(page)

    talk = await enter("")
    await talk.page.context.add_init_script(axe)
    await talk.page.goto("/")
    await audit(talk.page)

    model.enqueue(
        Script(reasoning="Hm.", calls=[Call("python", {"code": "print(6 * 7)"}), Call("python", {"code": "1/0"})]),
        Script(reasoning="Once more.", calls=[Call("current_time")]),
        Script(
            "# Heading\n\nText, `code`, [a link](https://example.com/).\n\n```python\nprint(1)  # one\n```\n",
            every_s=0.01,
        ),
    )
    await talk.page.goto(f"/sessions/{await api.new_session()}/")
    await talk.is_live()
    await talk.ask("A bit of everything")
    await talk.ended()
    await talk.open_steps()
    # Away from the rows, whose actions appear under the pointer: they have a test of their own.
    await talk.message.hover()
    await audit(talk.page)
    run = await talk.runs.get_attribute("data-run")

    await talk.ask("And running [tokens=3000 reasoning=20 every=50]")
    await expect(talk.answer).to_contain_text("word3")
    await audit(talk.page)
    await talk.stop.click()
    await talk.ended("Stopped by mei")
    await audit(talk.page)

    for path in (f"/runs/{run}/", "/sessions/", "/sessions/?q=everything", "/accounts/"):
        await talk.page.goto(path)
        await audit(talk.page)


async def test_the_chosen_look_is_kept(enter: Enter) -> None:
    page = (await enter("/", color_scheme="light")).page
    background = "() => getComputedStyle(document.body).backgroundColor"
    light = await page.evaluate(background)
    await page.get_by_role("button", name=re.compile("mei$")).click()
    await page.get_by_role("group", name="Appearance").get_by_role("button", name="Dark").click()
    dark = await page.evaluate(background)
    assert dark != light
    await page.reload()
    assert await page.evaluate(background) == dark


async def test_less_motion_is_none(enter: Enter, api: Browser, server: Server) -> None:
    talk = await enter(f"/sessions/{await api.new_session()}/", reduced_motion="reduce")
    await talk.is_live()
    await talk.ask("Be still [tokens=3000 reasoning=5 every=50]")
    await expect(talk.answer).to_contain_text("word2")
    moving = await talk.page.evaluate(
        "() => document.getAnimations().filter(a => a.playState === 'running' && a.effect.getTiming().duration > 1)"
        ".map(a => a.effect.target.outerHTML.slice(0, 120))"
    )
    assert moving == []
    await talk.stop.click()
    await talk.ended("Stopped by mei")


#: Windows as they are at 400 % zoom.
ZOOMED = ((320, 256), (480, 270), (640, 360))


async def test_at_great_zoom_the_text_has_most_of_the_window(enter: Enter, api: Browser) -> None:
    talk = await enter(f"/sessions/{await api.new_session()}/", viewport={"width": 320, "height": 256})
    await talk.is_live()
    await talk.ask("Read on [tokens=3000 every=50]")
    await expect(talk.answer).to_contain_text("word3")
    for width, height in ZOOMED:
        await talk.page.set_viewport_size({"width": width, "height": height})
        await talk.message.fill("")
        await talk.fits()
        await talk.message.evaluate("box => box.blur()")
        box = await talk.page.locator("#scroll").bounding_box()
        assert box is not None
        assert box["height"] >= height / 2, box
        for control in (talk.stop, talk.message, talk.page.get_by_role("button", name="More", exact=True)):
            await expect(control).to_be_in_viewport(ratio=1)
        await talk.message.fill("line\n" * 20)
        for control in (talk.page.get_by_role("combobox", name="Agent"), talk.page.get_by_role("button", name="Send")):
            await expect(control).to_be_in_viewport(ratio=1)
    await talk.stop.click()
    await talk.ended("Stopped by mei")


#: The pages of people, beside a conversation and what belongs to it.
PAGES = (
    *("/", "/sessions/", "/sessions/?q=wide", "/waiting/", "/sets/", "/schedules/", "/schedules/new/", "/api/docs"),
    *("/accounts/", "/accounts/tokens/", "/accounts/webhooks/", "/accounts/data/", "/accounts/data/delete/"),
    *("/accounts/security/", "/accounts/confirm/", "/accounts/password_change/"),
)


async def test_at_twice_the_size_every_page_fits_a_phone(enter: Enter, api: Browser, model: ModelServer) -> None:
    model.enqueue(
        Script(reasoning="Thinking " * 40, calls=[Call("python", {"code": "print('" + "z" * 300 + "')"})]),
        Script(LONG_LINE),
    )
    talk = await enter(f"/sessions/{await api.new_session()}/", **PHONE)
    too_wide: dict[str, list[str]] = {}

    async def look(name: str) -> None:
        for size in TWICE:
            too_wide[f"{name}, {size}"] = await find_wide(talk.page, await set_size(talk.page, size))

    await look("a new conversation")
    await talk.ask("Whatever is wide " + "w" * 200)
    await talk.ended()
    await look("a conversation")
    await talk.open_steps()
    await look("its steps")
    run, session = await talk.runs.get_attribute("data-run"), talk.page.url.split("/")[4]
    _, made = await api.call("POST", "sets/", {"name": "A set of " + "w" * 80})
    within = [f"/runs/{run}/{part}" for part in ("", "branch/", "case/", "calls/1/")]
    within += [f"/sessions/{session}/{part}" for part in ("share/", "allowed/")]
    within += [f"/sets/{made['id']}/{part}" for part in ("", "share/", "cases/new/")]
    for path in (*within, *PAGES):
        answer = await talk.page.goto(path)
        assert answer is not None
        assert answer.status == 200, path
        await look(path)
    await talk.page.context.clear_cookies()
    for path in ("login/", "signup/", "password_reset/", "password_reset/MQ/pr_a-b/"):
        answer = await talk.page.goto(f"/accounts/{path}")
        assert answer is not None
        assert answer.status == 200, path
        await look(path)
    assert not {name: parts for name, parts in too_wide.items() if parts}
