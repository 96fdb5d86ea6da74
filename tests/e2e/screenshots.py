"""Screenshots of every page in every important state: ``python -m tests.e2e.screenshots FOLDER``.

On a desktop and on a phone, light and dark; the conversation with the demo model, errors with a scripted one. Without a folder: the
README's picture, taken again.
"""

import asyncio
import contextlib
import re
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.async_api import Browser as Chromium
from playwright.async_api import BrowserContext, Page, async_playwright, expect

from scripts import machine
from tests.e2e.conversation import Conversation
from tests.model_server import Call, ModelServer, Script
from tests.serving import PASSWORD, Server

QUESTION = "What is 17 % of 2,340, and which weekday is 2031-03-01?"
SIZES: dict[str, dict[str, Any]] = {
    "desk": {"viewport": {"width": 1440, "height": 900}},
    "phone": {
        "viewport": {"width": 360, "height": 740},
        "has_touch": True,
        "is_mobile": True,
        "device_scale_factor": 2,
    },
}
SCHEMES = ("light", "dark")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ANSWER = """The wheel bug is in `settle()`: it reads the **old** balance.

```python
def settle(account, amount):  # called twice under load
    balance = read(account)
    write(account, balance - amount)
```

| Run | Expected | Found |
|----:|---------:|------:|
| 1   | 340      | 340   |
| 2   | 280      | 340   |

The error grows as $e = n \\cdot \\bar{a}$. 明天的天氣很好，適合看鳥。
"""

README = Path(__file__).parent / "screenshots" / "session.png"


async def main(*arguments: str) -> None:
    """Take all of them, or the README's."""
    expect.set_options(timeout=30_000)
    chromium = machine.find_chromium(Path(sys.executable))
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        with tempfile.TemporaryDirectory() as data:
            server = Server(Path(data))
            server.prepare("mei", "omar")
            server.manage("collectstatic", "--no-input", "--verbosity", "0")
            await (everything(browser, server, Path(arguments[0])) if arguments else readme(browser, server))
        await browser.close()


async def everything(browser: Chromium, server: Server, folder: Path) -> None:
    """Every page."""
    with ModelServer() as model:
        scripted = Server(server.data_dir, LLM_MODEL_SERVER=model.url, LLM_MODEL="qwen3-32b").start()
        try:
            await histories(browser, scripted, model, folder)
        finally:
            scripted.stop()
    server.start()
    try:
        for size in SIZES:
            for scheme in SCHEMES:
                await pages(browser, server, folder, size, scheme)
    finally:
        server.stop()


async def readme(browser: Chromium, server: Server) -> None:
    """A session in the middle of its answer."""
    server.start()
    try:
        context = await someone(browser, server, "desk", "light")
        for question in ("How many days are left until 31 December?", "What is the square root of 1,764?"):
            talk = await begin(context, question)
            await talk.ended()
            await talk.page.close()
        talk = await begin(context, QUESTION)
        await expect(talk.answer).to_contain_text("397.8")
        await talk.page.screenshot(path=README)
        await context.close()
    finally:
        server.stop()


async def someone(browser: Chromium, server: Server, size: str, scheme: Any) -> BrowserContext:
    """A browser in which the reader is logged in."""
    context = await browser.new_context(
        base_url=server.url, color_scheme=scheme, reduced_motion="reduce", **SIZES[size]
    )
    page = await context.new_page()
    await page.goto("/accounts/login/")
    await page.get_by_label("Username").fill("mei")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url("/")
    await page.close()
    return context


async def begin(context: BrowserContext, text: str) -> Conversation:
    """A new page with a message that was sent."""
    page = await context.new_page()
    await page.goto("/")
    await Conversation(page).ask(text)
    await page.wait_for_url(re.compile("/sessions/"))
    return Conversation(page)


async def histories(browser: Chromium, server: Server, model: ModelServer, folder: Path) -> None:
    """What needs a scripted model: errors, long outlines, a queue; taken once for each look, and kept as past sessions."""
    for size in SIZES:
        for scheme in SCHEMES:
            context = await someone(browser, server, size, scheme)

            async def shoot(name: str, page: Page, size: str = size, scheme: str = scheme) -> None:
                await take_screenshot(page, folder, size, scheme, name)

            model.enqueue(Script("The key", status=401))
            talk = await begin(context, "Can you reach the warehouse system?")
            await talk.ended("Failed")
            await shoot("failed-model", talk.page)

            calls = [
                Call("python", {"code": "print(2340 * 17 / 100)"}),
                Call("current_time", {"time_zone": "Asia/Taipei"}),
            ]
            table = (
                "import json\nprint(json.dumps([{'run': n, 'expected': 340 - n * 60, 'found': 340} for n in range(4)]))"
            )
            model.enqueue(
                Script(
                    reasoning="The second run is wrong by exactly one charge. I will look at both. " * 4, calls=calls
                ),
                Script(reasoning="Compare the runs.", calls=[Call("python", {"code": table})]),
                Script(calls=[Call("python", {"code": "import wheel\nwheel.settle(1)"})]),
                Script(ANSWER),
            )
            talk = await begin(context, "Why does the second settlement of a day come out wrong, and by how much?")
            await talk.ended()
            await shoot("long-folded", talk.page)
            await talk.open_steps()
            await talk.log.locator("[data-item=call]").first.scroll_into_view_if_needed()
            await shoot("long-open", talk.page)
            run = await talk.runs.get_attribute("data-run")

            await talk.ask("And now think about it for a long while [tokens=900 reasoning=40 every=40]")
            await expect(talk.step("growing")).to_contain_text("idea8")
            await talk.ask("Then tell Omar")
            await expect(talk.waiting).to_have_count(1)
            await shoot("thinking-queued", talk.page)
            await expect(talk.answer).to_contain_text("word30")
            await shoot("answering", talk.page)
            await talk.waiting.get_by_role("button", name="Remove").click()
            await expect(talk.waiting).to_have_count(0)
            await talk.stop.click()
            await expect(talk.endlines.filter(has_text="Stopped by mei")).to_be_visible()
            await shoot("stopped", talk.page)
            await talk.page.context.set_offline(True)
            await talk.ask("Typed on the train")
            await talk.link_is("offline")
            await shoot("offline", talk.page)
            await talk.page.context.set_offline(False)
            await talk.page.goto(f"/runs/{run}/")
            await shoot("run-scripted", talk.page)
            await context.close()


async def pages(browser: Chromium, server: Server, folder: Path, size: str, scheme: str) -> None:
    """The pages, and a conversation with the demo model."""

    async def shoot(name: str, page: Page) -> None:
        await take_screenshot(page, folder, size, scheme, name)

    visitor = await browser.new_context(base_url=server.url, color_scheme=scheme, **SIZES[size])  # type: ignore[arg-type]
    page = await visitor.new_page()
    await page.goto("/accounts/login/")
    await shoot("login", page)
    await page.get_by_label("Username").fill("mei")
    await page.get_by_label("Password").fill("wrong")
    await page.get_by_role("button", name="Log in").click()
    await shoot("login-wrong", page)
    await visitor.close()

    context = await someone(browser, server, size, scheme)
    page = await context.new_page()
    await page.goto("/")
    await shoot("home", page)
    talk = await begin(context, QUESTION)
    await expect(talk.step("growing")).to_be_visible()
    await shoot("demo-running-early", talk.page)
    await expect(talk.step("calls").or_(talk.step("call")).first).to_be_visible()
    await expect(talk.answer).to_contain_text("2,340")
    await shoot("demo-running", talk.page)
    await talk.ended()
    await shoot("demo-finished", talk.page)
    await talk.open_steps()
    await shoot("demo-open", talk.page)
    run = await talk.runs.get_attribute("data-run")
    await talk.page.get_by_role("button", name="More", exact=True).click()
    await shoot("menu", talk.page)
    await talk.page.keyboard.press("Escape")
    if size == "phone":
        await talk.page.get_by_role("link", name="Sessions").tap()
        await shoot("drawer", talk.page)
    for name, path in {
        "sessions": "/sessions/",
        "search": "/sessions/?q=settlement",
        "nothing-found": "/sessions/?q=zebra",
        "run": f"/runs/{run}/",
        "account": "/accounts/",
        "password": "/accounts/password_change/",
        "not-found": "/sessions/00000000-0000-4000-8000-000000000000/",
        "api": "/api/docs",
        "admin": "/admin/",
        "admin-sessions": "/admin/chat/session/",
        "admin-runs": "/admin/chat/run/",
        "admin-steps": "/admin/chat/step/",
        "admin-run": f"/admin/chat/run/{run}/change/",
    }.items():
        await page.goto(path)
        await shoot(name, page)
    with without_logins(server):
        await page.goto("/")
        await shoot("no-database", page)
    await context.close()


@contextlib.contextmanager
def without_logins(server: Server) -> Iterator[None]:
    """Remove a table from the database that every page needs."""
    with contextlib.closing(sqlite3.connect(server.data_dir / "thinkaloud.sqlite3")) as file:
        file.execute("ALTER TABLE django_session RENAME TO elsewhere")
        try:
            yield
        finally:
            file.execute("ALTER TABLE elsewhere RENAME TO django_session")


async def take_screenshot(page: Page, folder: Path, size: str, scheme: str, name: str) -> None:
    """Take one screenshot, of what is visible without scrolling."""
    await page.evaluate("() => document.fonts.ready")
    await page.screenshot(path=folder / f"{name}-{size}-{scheme}.png")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
