"""Scrolling up while an answer grows: the page never scrolls back by itself, whatever was used to scroll and however fast it grows.

The page's own socket is passed through to the server, and text in progress is inserted at an exact pace.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any

import pytest
from playwright.async_api import Browser as Chromium
from playwright.async_api import CDPSession, Page, Playwright, WebSocketRoute, expect

from tests.e2e.conftest import Enter
from tests.model_server import ModelServer, Script
from tests.serving import Browser

#: Updates a second: each test runs at one of the three, or at all of them in the long tests.
SPEEDS = (5, 25, 60)
PACES = [pytest.param((25,), id="25"), pytest.param(SPEEDS, id="each", marks=pytest.mark.long)]


def briefly(names: Iterable[str], alike: Collection[str]) -> list[Any]:
    """The rows of a table that share a page; those that behave like others are long."""
    own = [name for name in names if name not in alike]
    return [pytest.param(own, id="own"), pytest.param([*alike], id="alike", marks=pytest.mark.long)]


LINE = "And so it goes on, line after line, until the end of it.\n\n"
#: How many updates must have been painted after a scroll before its position is checked; fewer for the slow pace.
LATER = 12
LATER_BUT_SLOW = 4
BOX = "document.getElementById('scroll')"
AT_END = f"{BOX}.scrollHeight - {BOX}.clientHeight - {BOX}.scrollTop < 2"


class GrowingAnswer:
    """An answer that grows at a pace, in the page's own socket."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._written = asyncio.Event()
        self._length = 0
        self._socket: WebSocketRoute | None = None
        self._run = ""

    async def listen(self) -> None:
        """Forward everything between page and server."""
        await self.page.route_web_socket(re.compile("/ws/chat/"), self._opened)

    def _opened(self, socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        self._socket = socket

        def on_frame(text: str | bytes) -> None:
            frame = json.loads(text)
            if frame["type"] == "reasoning_start":
                self._run = frame["run_id"]
            socket.send(text)

        server.on_message(on_frame)

    def write(self, text: str) -> None:
        """Add a text to the answer."""
        assert self._socket is not None
        data = {"step": 7, "type": "final_answer", "attempt": 0, "offset": self._length, "text": text}
        self._socket.send(json.dumps({"type": "reasoning_delta", "run_id": self._run, "data": data}))
        self._length += len(text)
        self._written.set()

    async def begin(self) -> None:
        """Begin the answer again, longer than the page, and scroll to its end."""
        self._length = 0
        self.write(LINE * 80)
        await self.page.evaluate(f"() => {{ {BOX}.scrollTop = 1e7 }}")
        await self.page.wait_for_function(
            f"() => {AT_END} && [80, 81].includes(document.querySelectorAll('#log .answer .prose > p').length)"
            " && document.querySelector('#log .answer .prose > :last-child').textContent.startsWith('And so')"
        )

    @contextlib.asynccontextmanager
    async def at(self, speed: int, pieces: int = 1) -> AsyncIterator[None]:
        """Add a line, or a piece of one, this many times a second, until the block is left."""
        size = -(-len(LINE) // pieces)

        async def go_on() -> None:
            while True:
                at = self._length % len(LINE)
                self.write(LINE[at : at + size])
                await asyncio.sleep(1 / speed)

        task = asyncio.create_task(go_on())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def goes_on(self, updates: int = LATER) -> None:
        """Wait until the answer has grown this many times more, and that is painted."""
        for _ in range(updates):
            self._written.clear()
            await self._written.wait()
        lines = self._length // len(LINE)
        await self.page.wait_for_function(
            "n => document.querySelectorAll('#log .answer .prose > p').length >= n", arg=lines - 2 * updates
        )


@pytest.fixture(scope="module")
async def browser(
    playwright: Playwright, browser_name: str, browser_type_launch_args: dict[str, Any]
) -> AsyncIterator[Chromium]:
    """A browser with scrollbars, which a headless one hides by default."""
    kind = getattr(playwright, browser_name)
    browser: Chromium = await kind.launch(**browser_type_launch_args, ignore_default_args=["--hide-scrollbars"])
    yield browser
    await browser.close()


@pytest.fixture
async def growing(enter: Enter, api: Browser, model: ModelServer) -> GrowingAnswer:
    """A run whose model writes nothing more, on a page that shows what the test inserts."""
    model.respond = lambda _body: Script("", reasoning="Hm. ", fault="stall", fault_after=1)
    talk = await enter("", has_touch=True)
    growing = GrowingAnswer(talk.page)
    await growing.listen()
    await talk.page.goto(f"/sessions/{await api.new_session()}/")
    await talk.is_live()
    await talk.ask("Go on")
    await talk.is_at_work()
    await growing.begin()
    return growing


#: The element at the upper edge of the box, and its distance from it.
PLACE = """() => {
  const top = document.getElementById("scroll").getBoundingClientRect().top;
  const lines = [...document.querySelectorAll("#log .q, #log .answer .prose > *")];
  const index = lines.findIndex((line) => line.getBoundingClientRect().bottom > top);
  return [index, Math.round(lines[index].getBoundingClientRect().top - top)];
}"""


async def middle(page: Page) -> tuple[float, float]:
    """A point in the middle of the conversation."""
    box = await page.locator("#scroll").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


async def drag(page: Page, *distances: float) -> None:
    """A finger moves down on the screen by this many pixels, one event after another: the content follows it."""
    client: CDPSession = await page.context.new_cdp_session(page)
    x, y = await middle(page)
    await client.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for distance in distances:
        y += distance
        await client.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y}]})
        await asyncio.sleep(0.016)
    await client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def finger(pixels: int) -> Callable[[Page], Awaitable[None]]:
    """A drag by this many pixels at a person's speed."""
    steps = max(4, pixels // 8)
    return lambda page: drag(page, *[pixels / steps] * steps)


def wheel(*turns: int) -> Callable[[Page], Awaitable[None]]:
    """This many turns of the wheel."""

    async def turn(page: Page) -> None:
        await page.mouse.move(*await middle(page))
        for by in turns:
            await page.mouse.wheel(0, by)
            await asyncio.sleep(0.03)

    return turn


def key(name: str, times: int = 1) -> Callable[[Page], Awaitable[None]]:
    """A key, with the focus in the conversation."""

    async def press(page: Page) -> None:
        await page.locator("#scroll").focus()
        for _ in range(times):
            await page.keyboard.press(name)

    return press


def script(what: str) -> Callable[[Page], Awaitable[None]]:
    """Scrolling that the browser does for a user, without an input event before it."""

    async def run(page: Page) -> None:
        await page.evaluate(what)

    return run


def scrollbar(moves: int) -> Callable[[Page], Awaitable[None]]:
    """The scrollbar's thumb, taken at its lower end and dragged up a little at a time."""

    async def dragged(page: Page) -> None:
        box = await page.locator("#scroll").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] - 4, box["y"] + box["height"] - 14
        await page.mouse.move(x, y)
        await page.mouse.down()
        for _ in range(moves):
            y -= 4
            await page.mouse.move(x, y)
            await asyncio.sleep(0.016)
        await page.mouse.up()

    return dragged


async def selecting(page: Page) -> None:
    """The mouse dragged over words of the answer."""
    _, y = await middle(page)
    box = await page.locator("#log .answer .prose").bounding_box()
    assert box is not None
    # Chromium begins no selection between two lines: then a little lower.
    for begin in (y, y + 8, y + 16):
        await page.mouse.move(box["x"] + 20, begin)
        await page.mouse.down()
        for step in range(6):
            await page.mouse.move(box["x"] + 20 + 20 * step, begin - 10 * step)
            await asyncio.sleep(0.03)
        await page.mouse.up()
        if await page.evaluate("() => document.getSelection().type") == "Range":
            return
    raise AssertionError("Nothing was chosen")


async def drifting(page: Page) -> None:
    """The middle button, and the mouse a little above where it was pressed."""
    x, y = await middle(page)
    await page.mouse.move(x, y)
    await page.mouse.down(button="middle")
    await page.mouse.up(button="middle")
    await page.mouse.move(x, y - 40, steps=4)
    await asyncio.sleep(0.5)
    await page.mouse.click(x, y - 40)


#: The means of scrolling. A further one is one line.
MEANS: dict[str, Callable[[Page], Awaitable[None]]] = {
    "a finger, 30 px": finger(30),
    "a finger, 80 px": finger(80),
    "a finger, 250 px": finger(250),
    "a slow finger": lambda page: drag(page, *[2] * 30),
    "one turn of the wheel": wheel(-100),
    "a touchpad": wheel(*[-4] * 12),
    "PageUp": key("PageUp"),
    "ArrowUp": key("ArrowUp"),
    "Home": key("Home"),
    "Shift+Space": key("Shift+Space"),
    "ArrowUp, held": key("ArrowUp", 8),
    "the scrollbar": scrollbar(10),
    "the scrollbar, taken and not moved": scrollbar(0),
    "choosing text": selecting,
    "the middle button": drifting,
    "a jump to an element": script("() => document.querySelectorAll('#log .answer p')[20].scrollIntoView()"),
    "by three pixels": script(f"() => {{ {BOX}.scrollTop -= 3 }}"),
    "find in page": script("() => find('line after line', false, true, true)"),
}


#: The means that behave like another one of the table.
SAME = ("a finger, 80 px", "a finger, 250 px", "Home", "ArrowUp", "a jump to an element")


@pytest.mark.parametrize("speeds", PACES)
@pytest.mark.parametrize("means", briefly(MEANS, SAME))
async def test_a_hand_that_goes_up_is_never_pulled_back(
    growing: GrowingAnswer, subtests: pytest.Subtests, means: list[str], speeds: Sequence[int]
) -> None:
    for name in means:
        with subtests.test(name):
            await stays(growing, MEANS[name], name, speeds)


async def stays(growing: Any, go_up: Callable[[Any], Awaitable[None]], means: str, speeds: Sequence[int]) -> None:
    """Scroll up while it grows, at each pace, and check that the position stays; in any browser that supports the means."""
    page = growing.page
    for speed in speeds:
        await growing.begin()
        async with growing.at(speed):
            await growing.goes_on(2)
            await page.wait_for_function(f"() => {AT_END}")
            await go_up(page)
            await settled(page)
            before = await page.evaluate(PLACE)
            await growing.goes_on(LATER_BUT_SLOW if speed == min(SPEEDS) else LATER)
            assert await page.evaluate(PLACE) == before, f"{means}, {speed} updates a second"
        await page.wait_for_function("() => document.getElementById('jump').checkVisibility()")
        assert not await page.evaluate(f"() => {AT_END}")
        await page.mouse.click(*await middle(page))


async def settled(page: Page) -> None:
    """Wait until a scroll that has begun is finished."""
    await page.evaluate(f"""() => new Promise((resolve) => {{
      let [last, steady] = [-1, 0];
      const look = () => {{
        steady = {BOX}.scrollTop === last ? steady + 1 : 0;
        last = {BOX}.scrollTop;
        if (steady > 12) resolve(); else requestAnimationFrame(look);
      }};
      look();
    }})""")


async def to_the_end(page: Page) -> None:
    """Turn the wheel until the end."""
    await wheel(*[1000] * 12)(page)


async def swiping(page: Page) -> None:
    """Swipe up with a finger, again and again, until the end is reached: that has to be faster than the growing."""
    for _ in range(12):
        await drag(page, *[-120] * 9)
        if await page.evaluate(f"() => {AT_END}"):
            return


#: The ways back to the end; a further one is one line.
BACK: dict[str, Callable[[Page], Awaitable[None]]] = {
    "Jump to live": lambda page: page.locator("#jump").click(),
    "the wheel": to_the_end,
    "End": key("End"),
    "a finger": swiping,
}


@pytest.mark.parametrize("speeds", PACES)
async def test_reaching_the_end_follows_again(
    growing: GrowingAnswer, subtests: pytest.Subtests, speeds: Sequence[int]
) -> None:
    for back in BACK:
        with subtests.test(back):
            await follows(growing, back, speeds)


async def follows(growing: Any, back: str, speeds: Sequence[int]) -> None:
    """Scroll up, then back to the end, at each pace, and check that the page follows the growing answer again."""
    page = growing.page
    for speed in speeds:
        await growing.begin()
        # In pieces: sixty whole lines a second are faster than any finger.
        async with growing.at(speed, pieces=4):
            await wheel(-200)(page)
            await settled(page)
            await BACK[back](page)
            await page.wait_for_function(f"() => {AT_END}")
            await growing.goes_on(LATER_BUT_SLOW if speed == min(SPEEDS) else LATER)
            await page.wait_for_function(f"() => {AT_END}")
        await page.wait_for_function("() => !document.getElementById('jump').checkVisibility()")


async def test_coming_near_the_end_is_not_reaching_it(growing: GrowingAnswer) -> None:
    page = growing.page
    async with growing.at(25):
        await wheel(-600)(page)
        await settled(page)
        await page.evaluate(f"() => {{ {BOX}.scrollTop += 100 }}")
        before = await page.evaluate(PLACE)
        await growing.goes_on()
        assert await page.evaluate(PLACE) == before


#: The text that is selected while it grows: the Markdown so far, what is added, and the selected words.
CHOSEN = {
    "a paragraph": ("The first words of a paragraph that goes on", " and on", "p"),
    "a list": ("- first words\n- second", "\n- more", "li"),
    "a nested list": ("1. outer\n   - first words\n   - second", "\n   - more", "li li"),
    "a loose list": ("- first words\n\n- second", "\n\n- more", "li p"),
    "code": ("```python\nfirst words = 1\n", "more = 2\n", "code"),
    "a quotation": ("> first words", " and more", "blockquote p"),
    "a table": ("| a | b |\n|---|---|\n| first words | 1 |", "\n| more | 2 |", "td"),
    "a heading": ("## The first words", " of it", "h4"),
    "bold words": ("Some **first words**, and", " more", "strong"),
    "what is finished": ("The first words.\n\nThen a second", " part", "p"),
}


#: Kinds of text that consist of the same elements as others of the table.
ALIKE_CHOSEN = ("a loose list", "a quotation", "a heading")


@pytest.mark.parametrize("kinds", briefly(CHOSEN, ALIKE_CHOSEN))
async def test_selected_text_stays_selected_while_it_grows(
    growing: GrowingAnswer, subtests: pytest.Subtests, kinds: list[str]
) -> None:
    for kind in kinds:
        with subtests.test(kind):
            await growing.begin()
            await stays_selected(growing, *CHOSEN[kind])


async def stays_selected(growing: GrowingAnswer, begun: str, more: str, where: str) -> None:
    page = growing.page
    growing.write("\n" + begun)
    place = page.locator(f"#log .answer .prose {where}").filter(has_text="irst words")
    await expect(place).to_have_count(1)
    await place.evaluate("""(element) => {
      const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
      while (walker.nextNode()) {
        const at = walker.currentNode.data.indexOf("irst words");
        if (at < 0) continue;
        document.getSelection().setBaseAndExtent(walker.currentNode, at, walker.currentNode, at + 10);
      }
    }""")
    length = len(await page.locator("#log .answer .prose").inner_text())
    for _ in range(10):
        growing.write(more)
        await asyncio.sleep(0.02)
    await page.wait_for_function(
        "n => document.querySelector('#log .answer .prose').innerText.length >= n", arg=length + 10
    )
    assert await page.evaluate("() => document.getSelection().toString()") == "irst words"


#: How many nodes an update may create that adds one block to 300 existing ones.
FEW = 30
LONG = {
    "a list": ("".join(f"- item {n} with `code`\n" for n in range(300)), "- one more\n"),
    "a numbered list": ("".join(f"{n}. item\n" for n in range(1, 301)), "1. one more\n"),
    "a loose list": ("".join(f"- item {n}\n\n" for n in range(300)), "- one more\n\n"),
    "a list within one": ("- outer\n" + "".join(f"  - item {n}\n" for n in range(300)), "  - one more\n"),
    "a table": ("| a | b |\n|---|---|\n" + "".join(f"| {n} | `x` |\n" for n in range(300)), "| one | more |\n"),
    "code": ("```\n" + "line\n" * 300, "one more\n"),
    "a quotation": ("> words\n>\n" * 300, "> one more\n>\n"),
    "paragraphs": ("words\n\n" * 300, "one more\n\n"),
}


#: Kinds of text that consist of the same elements as others of the table.
ALIKE_LONG = ("a loose list", "a numbered list", "a quotation")


@pytest.mark.parametrize("kinds", briefly(LONG, ALIKE_LONG))
async def test_the_cost_of_growing_follows_what_is_new(
    growing: GrowingAnswer, subtests: pytest.Subtests, kinds: list[str]
) -> None:
    await growing.page.evaluate(COUNT_NODES)
    for kind in kinds:
        with subtests.test(kind):
            await growing.begin()
            await grows_by_what_is_new(growing, *LONG[kind])


async def grows_by_what_is_new(growing: GrowingAnswer, begun: str, more: str) -> None:
    page = growing.page
    growing.write("\n" + begun)
    await page.wait_for_function(
        "() => !document.querySelector('#log .answer .prose > :last-child').textContent.startsWith('And so')"
    )
    await settled(page)
    await page.evaluate("() => { window.built = 0 }")
    for n in range(1, 6):
        growing.write(more)
        await page.wait_for_function(
            "n => document.querySelector('#log .answer .prose').textContent.match(/one\\s*more/gu)?.length >= n", arg=n
        )
    built = await page.evaluate("() => window.built")
    assert 0 <= built <= 5 * FEW, f"{built} nodes in five updates"


# Everything that is parsed into a template, and everything that is inserted into the log.
COUNT_NODES = """() => {
  window.built = 0;
  const size = (node) => node.childNodes ? 1 + [...node.childNodes].reduce((sum, one) => sum + size(one), 0) : 1;
  new MutationObserver((records) => {
    for (const { addedNodes } of records) for (const node of addedNodes) window.built += size(node);
  }).observe(document.querySelector("#log"), { childList: true, subtree: true });
  const { get, set } = Object.getOwnPropertyDescriptor(Element.prototype, "innerHTML");
  Object.defineProperty(Element.prototype, "innerHTML", { get, set(html) {
    set.call(this, html);
    window.built += size(this.content ?? this) - 1;
  } });
}"""


async def test_painting_goes_on_after_a_pause_of_the_machine(growing: GrowingAnswer) -> None:
    page = growing.page
    # The next frame takes a minute, by the page's clock.
    await page.evaluate("""() => {
      const now = performance.now.bind(performance);
      const { get, set } = Object.getOwnPropertyDescriptor(Element.prototype, "innerHTML");
      window.late = 0;
      performance.now = () => now() + window.late;
      Object.defineProperty(Element.prototype, "innerHTML", { get, set(html) {
        set.call(this, html);
        window.late ||= 60_000;
      } });
    }""")
    growing.write("\nThen it was held up.\n\n")
    await page.wait_for_function("() => window.late > 0")
    growing.write("And went on.")
    await expect(page.locator("#log .answer .prose")).to_contain_text("And went on.")
