"""Scrolling while an answer grows, in the Firefox that people use: the same means as in Chromium except touch, which it cannot simulate."""

import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e import firefox
from tests.e2e.conftest import READER, Logins, log_in_newly
from tests.e2e.test_reading import AT_END, BACK, BOX, LATER, LINE, MEANS, PACES, follows, script, stays
from tests.model_server import ModelServer, Script
from tests.serving import Browser, Server

pytestmark = pytest.mark.skipif(firefox.installed() is None, reason="No Firefox is installed.")

# Installed before the page's scripts: the socket that they open, into which the test writes.
LISTEN = """() => {
  const Real = WebSocket;
  window.WebSocket = class extends Real {
    constructor(...given) {
      super(...given);
      window.line = this;
    }
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

    def __init__(self, page: firefox.Page, run: str) -> None:
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


@pytest.fixture(scope="module")
async def fox(tmp_path_factory: pytest.TempPathFactory, server: Server, logins: Logins) -> AsyncIterator[firefox.Page]:
    """A Firefox in which the reader is logged in."""
    async with firefox.opened(tmp_path_factory.mktemp("firefox")) as page:
        for name, value in logins[READER].items():
            await page.add_cookie(name, value, urlsplit(server.url).hostname or "")
        await page.add_init_script(LISTEN)
        yield page


@pytest.fixture
async def growing(fox: firefox.Page, server: Server, api: Browser, model: ModelServer) -> GrowingAnswer:
    """A run whose model writes nothing more, on a page that shows what the test inserts."""
    model.respond = lambda _body: Script("", reasoning="Hm. ", fault="stall", fault_after=1)
    session = await api.new_session()
    status, run = await api.call("POST", f"sessions/{session}/messages/", {"message": "Go on"})
    assert status == 202
    await fox.goto(f"{server.url}/sessions/{session}/")
    await fox.wait_for_function("() => document.querySelector('#chip').dataset.state === 'live'")
    await fox.wait_for_function("() => document.querySelector('#log [data-item=growing]') !== null")
    growing = GrowingAnswer(fox, run["run_id"])
    await growing.begin()
    return growing


#: In Chromium a script's smooth scroll ends as soon as the box is scrolled by something else, before that can be seen.
MORE = {"smoothly by 60 px": script(f"() => {BOX}.scrollBy({{ top: -60, behavior: 'smooth' }})")}
#: Touch cannot be simulated, and `find` scrolls to the end by itself where the last line has the words, which counts as the end.
HANDS = {name: go_up for name, go_up in {**MEANS, **MORE}.items() if "finger" not in name and name != "find in page"}


#: What Firefox does differently from Chromium; the others take long, and are tested in Chromium as well.
OWN = ("the scrollbar", "smoothly by 60 px", "End")


def long_but_own(names: Iterable[str]) -> list[Any]:
    """The cases of a table; those that Firefox does not do differently are marked as long."""
    return [pytest.param(name, marks=() if name in OWN else pytest.mark.long) for name in names]


@pytest.mark.parametrize("speeds", PACES)
@pytest.mark.parametrize("means", long_but_own(HANDS))
async def test_a_hand_that_goes_up_is_never_pulled_back(
    growing: GrowingAnswer, means: str, speeds: Sequence[int]
) -> None:
    await stays(growing, HANDS[means], means, speeds)


@pytest.mark.parametrize("speeds", PACES)
@pytest.mark.parametrize("back", long_but_own(back for back in BACK if "finger" not in back))
async def test_reaching_the_end_follows_again(growing: GrowingAnswer, back: str, speeds: Sequence[int]) -> None:
    await follows(growing, back, speeds)
