"""The page of a conversation, used by roles and labels where it has them."""

import re

from playwright.async_api import Locator, Page, expect


class Conversation:
    """One open page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.message = page.get_by_role("textbox", name="Message")
        self.stop = page.get_by_role("button", name="Stop", exact=True)
        self.log = page.locator("#log")
        self.runs = self.log.locator("article.run")
        self.questions = self.log.get_by_role("heading", level=2)
        self.state = page.get_by_role("region", name="This run").get_by_role("status")
        self.chip = page.locator("#chip")
        self.answer = self.log.locator("[data-item=answer]").last.locator(".prose")
        self.endlines = self.log.locator("[data-slot=endline]")
        self.endline = self.endlines.last
        self.trouble = self.log.locator("[data-slot=trouble]").last
        self.waiting = page.locator("#waiting > *")
        self.sessions = page.get_by_role("navigation", name="Sessions")

    @property
    def session_id(self) -> str:
        """The session the page is about."""
        found = re.search(r"/sessions/([0-9a-f-]{36})/", self.page.url)
        assert found is not None, self.page.url
        return found[1]

    async def ask(self, text: str) -> None:
        """Type a message and press Enter; on a touch screen, where that is a new line, press the button."""
        await self.message.fill(text)
        if await self.page.evaluate("() => matchMedia('(pointer: coarse)').matches"):
            await self.page.get_by_role("button", name=re.compile("^Send")).tap()
        else:
            await self.message.press("Enter")

    async def link_is(self, *words: str) -> None:
        """Wait until the connection's status is one of these words."""
        await expect(self.chip).to_have_attribute("data-state", re.compile(f"^({'|'.join(words)})$"))

    async def is_live(self) -> None:
        """Wait until the page is connected and has caught up."""
        await self.link_is("live")

    async def is_at_work(self) -> None:
        """Wait until a run is at work."""
        await expect(self.stop).to_be_visible()

    async def ended(self, word: str = "Finished") -> None:
        """Wait until the last run's closing line begins with this word."""
        await expect(self.endline).to_have_text(re.compile(f"^{re.escape(word)} ·"))

    def step(self, kind: str) -> Locator:
        """The rows of a kind: thought, call, calls, answer, growing."""
        return self.log.locator(f"[data-item={kind}]")

    async def open_outline(self, run: Locator | None = None) -> None:
        """Expand a run's outline: the last one's by default."""
        outline = (run or self.runs.last).locator("details.outline")
        if await outline.get_attribute("open") is None:
            await outline.locator("> summary").click()

    async def open_steps(self, run: Locator | None = None) -> None:
        """Expand a run's outline and every step in it: the last one's by default."""
        await self.open_outline(run)
        closed = (run or self.runs.last).locator(
            ".steps :is([data-call], [data-item=thought] details):not([open]) > summary"
        )
        while await closed.count():
            await closed.first.click()

    async def numbers(self) -> list[str]:
        """The numbers of the rows, as displayed."""
        rows: list[str] = await self.log.locator(".step[id], .answer[id]").evaluate_all(
            "rows => rows.map(row => row.id)"
        )
        return rows

    async def fits(self) -> None:
        """The page is no wider than its window, of which a phone's page says nothing: it widens with what is in it."""
        window = self.page.viewport_size
        assert window is not None
        wide = await self.page.evaluate("width => document.documentElement.scrollWidth - width", window["width"])
        assert wide <= 0, f"{wide} px too wide"
