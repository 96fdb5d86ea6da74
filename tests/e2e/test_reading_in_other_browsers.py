"""Scrolling while an answer grows, in Firefox and in WebKit: the same means as in Chromium except touch, which they cannot simulate."""

import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import pytest

from tests.e2e.conftest import READER, Logins, OpenOther, log_in_newly
from tests.e2e.other_browsers import Page
from tests.e2e.test_reading import AT_END, BACK, BOX, LATER, LINE, MEANS, PACES, follows, script, stays
from tests.model_server import ModelServer, Script
from tests.serving import Browser, Server

# The page's socket, into which the test writes, is the one by which it acknowledges what it was sent.
LISTEN = """() => {
  const { send } = WebSocket.prototype;
  WebSocket.prototype.send = function (text) {
    window.line = this;
    return send.call(this, text);
  };
  window.begin = (run, text) => {
    window.run = run;
    window.written = 0;
    write(text);
  };
  window.write = (text) => {
    const data = { step: 7, type: "final_answer", attempt: 0, offset: window.written, text };
    window.written += text.length;
    line.dispatchEvent(new MessageEvent("message", { data: JSON.stringify({ type: "reasoning_delta", run_id: window.run, data }) }));
  };
}"""
LINES = "document.querySelectorAll('#log .answer .prose > p').length"


class GrowingAnswer:
    """An answer that grows at a pace, by the page's own clock."""

    def __init__(self, page: Page, run: str) -> None:
        self.page = page
        self._run = run

    async def begin(self) -> None:
        """Begin the answer again, longer than the page, and scroll to its end."""
        await self.page.evaluate(
            f"([run, text]) => {{ begin(run, text); {BOX}.scrollTop = 1e7 }}", [self._run, LINE * 80]
        )
        await self.page.wait_for_function(
            f"() => {{ {BOX}.scrollTop = 1e7; return {AT_END} && [80, 81].includes({LINES}) }}"
        )

    @contextlib.asynccontextmanager
    async def at(self, speed: int, pieces: int = 1) -> AsyncIterator[None]:
        """Add a line, or a piece of one, this many times a second, until the block is left."""
        begin = """([line, size, pause]) => {
          window.updates = 0;
          window.growing = setInterval(() => {
            const at = window.written % line.length;
            write(line.slice(at, at + size));
            window.updates += 1;
          }, pause);
        }"""
        await self.page.evaluate(begin, [LINE, -(-len(LINE) // pieces), 1000 / speed])
        try:
            yield
        finally:
            await self.page.evaluate("() => clearInterval(window.growing)")

    async def goes_on(self, updates: int = LATER) -> None:
        """Wait until the answer has grown this many times more, and that is painted."""
        begin, length = await self.page.evaluate("() => [window.updates, window.written]")
        await self.page.wait_for_function("(n) => window.updates >= n", begin + updates)
        await self.page.wait_for_function(f"(n) => {LINES} >= n", length // len(LINE) - updates)


@pytest.fixture(scope="module")
def logins(server: Server) -> Logins:
    """Users shared by all tests, as the browser is."""
    return log_in_newly(server)


@pytest.fixture
async def growing(
    other: str, open_other: OpenOther, server: Server, logins: Logins, api: Browser, model: ModelServer
) -> GrowingAnswer:
    """A run whose model writes nothing more, on a page that shows what the test inserts."""
    model.respond = lambda _body: Script("", reasoning="Hm. ", fault="stall", fault_after=1)
    page = await open_other(other)
    for name, value in logins[READER].items():
        await page.add_cookie(name, value, server.url)
    session = await api.new_session()
    await page.goto(f"{server.url}/sessions/{session}/")
    await page.wait_for_function("() => document.querySelector('#chip').dataset.state === 'live'")
    await page.evaluate(LISTEN)
    status, run = await api.call("POST", f"sessions/{session}/messages/", {"message": "Go on"})
    assert status == 202
    await page.wait_for_function("() => window.line && document.querySelector('#log [data-item=growing]') !== null")
    growing = GrowingAnswer(page, run["run_id"])
    await growing.begin()
    return growing


#: In Chromium a script's smooth scroll ends as soon as the box is scrolled by something else, before that can be seen.
MORE = {"smoothly by 60 px": script(f"() => {BOX}.scrollBy({{ top: -60, behavior: 'smooth' }})")}
#: Touch cannot be simulated, and `find` scrolls to the end by itself where the last line has the words, which counts as the end.
HANDS = {name: go_up for name, go_up in {**MEANS, **MORE}.items() if "finger" not in name and name != "find in page"}


#: What these browsers do differently from Chromium, or most people use; the others take long, and are tested in Chromium as well.
OWN = {
    "Firefox": ("the scrollbar", "smoothly by 60 px", "End"),
    "WebKit": ("one turn of the wheel", "PageUp", "the scrollbar"),
}


def rows(names: Iterable[str], browsers: Iterable[str] = OWN) -> list[Any]:
    """The cases of a table in each browser; all but a browser's own are marked as long."""
    return [
        pytest.param(browser, name, marks=() if name in OWN[browser] else pytest.mark.long)
        for name in names
        for browser in browsers
    ]


@pytest.mark.parametrize("speeds", PACES)
@pytest.mark.parametrize(("other", "means"), rows(HANDS))
async def test_a_hand_that_goes_up_is_never_pulled_back(
    growing: GrowingAnswer, means: str, speeds: Sequence[int]
) -> None:
    await stays(growing, HANDS[means], means, speeds)


# Not in WebKit: there `settled`, by which these tests wait for frames, sometimes waits in vain; why is not known yet.
@pytest.mark.parametrize("speeds", PACES)
@pytest.mark.parametrize(("other", "back"), rows((back for back in BACK if "finger" not in back), ["Firefox"]))
async def test_reaching_the_end_follows_again(growing: GrowingAnswer, back: str, speeds: Sequence[int]) -> None:
    await follows(growing, back, speeds)
