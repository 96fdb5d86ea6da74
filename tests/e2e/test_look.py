"""Phone, light and dark, less motion; and what a machine can tell of accessibility."""

import re
from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from axe_playwright_python.base import AxeResults
from playwright.async_api import Page, expect

from tests.e2e.conftest import Enter, NewBrowser
from tests.e2e.conversation import Conversation
from tests.model_server import Call, ModelServer, Script
from tests.serving import Browser, Server

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
Scheme = Literal["light", "dark"]
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


AT_REST = """() => Promise.all(
  document.getAnimations().filter(a => a.effect.getComputedTiming().endTime !== Infinity).map(a => a.finished)
)"""


async def audit(page: Page) -> None:
    """No violation that axe finds. It is part of the page from its start, because the content policy lets nothing in later."""
    await page.evaluate(AT_REST)
    found = AxeResults(await page.evaluate("() => axe.run({ resultTypes: ['violations'] })"))
    assert found.violations_count == 0, found.generate_report()


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_accessibility(
    enter: Enter, new_browser: NewBrowser, api: Browser, model: ModelServer, axe: str, scheme: Scheme
) -> None:
    stranger = await new_browser(color_scheme=scheme)
    await stranger.add_init_script(axe)
    page = await stranger.new_page()
    await page.goto("/accounts/login/")
    await audit(page)

    talk = await enter("", color_scheme=scheme)
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
    await page.get_by_role("group", name="Look").get_by_role("button", name="Dark").click()
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
