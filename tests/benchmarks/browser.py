"""A real Chromium on the page: how soon something is painted, and how even frames are while scrolling and typing.

Runs like a client (`tests.benchmarks.client`), as a process of its own. The reference for scrolling is the same text in plain paragraphs,
scrolled in the same browser by the same gesture: the best that a page can reach on this machine, without a GPU.
"""

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import orjson
from playwright.async_api import BrowserContext, CDPSession, Page, async_playwright, expect

from scripts import machine
from tests.benchmarks.client import Job, Observed
from tests.benchmarks.measuring import Ticker
from tests.e2e.conversation import Conversation
from tests.e2e.screenshots import FLAGS

_PATIENCE_MS = 60_000
_SPEED = 4_000
"""Pixels a second: a brisk turn of the wheel."""
_DISTANCE = 12_000
_LEAST = 1_000
_TYPED = "How high is the tide at noon, and when is it lowest? "

_FIRST_PAINT = """() => new Promise(resolve => new PerformanceObserver((list, observer) => {
  for (const entry of list.getEntriesByName('first-contentful-paint')) { observer.disconnect(); resolve(entry.startTime); }
}).observe({ type: 'paint', buffered: true }))"""
_COUNT_FRAMES = """() => {
  const times = window.benchFrames = [];
  const tick = now => { if (window.benchFrames === times) { times.push(now); requestAnimationFrame(tick); } };
  requestAnimationFrame(tick);
}"""
_COUNTED = "() => { const times = window.benchFrames; window.benchFrames = null; return times; }"
# From a key's event to the frame after the one in which its letter was laid out.
_TIME_KEYS = """() => {
  window.benchKeys = [];
  addEventListener('keydown', event => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => window.benchKeys.push(performance.now() - event.timeStamp);
    channel.port2.postMessage(0);
  }), true);
}"""
_PLAIN = """() => {
  const text = document.querySelector('#log').innerText.split('\\n').filter(Boolean);
  const room = document.createElement('div');
  room.style.cssText = 'position:fixed;inset:0;overflow:auto;background:white;color:black;font:16px/34px sans-serif';
  room.id = 'plain';
  room.append(...text.map(line => Object.assign(document.createElement('p'), { textContent: line })));
  document.body.replaceChildren(room);
}"""


async def opened(context: BrowserContext, job: Job, seen: Observed) -> None:
    """Open the page this many times; the first time fills the browser's cache and is not counted."""
    paints = seen.series["first paint"] = []
    for _ in range(job.times + 1):
        page = await context.new_page()
        await page.goto(f"{job.url}/sessions/{job.sessions[0]}/")
        paints.append(await page.evaluate(_FIRST_PAINT))
        await Conversation(page).is_live()
        await page.close()
    del paints[0]


async def scrolled(context: BrowserContext, job: Job, seen: Observed) -> None:
    """Scroll through the session with every step loaded and every outline expanded."""
    page = await context.new_page()
    await page.goto(f"{job.url}/sessions/{job.sessions[0]}/")
    talk = Conversation(page)
    await talk.is_live()
    earlier = page.locator("#earlier a")
    while await earlier.count():
        shown = await earlier.get_attribute("href")
        await earlier.click()
        await page.wait_for_function(
            "href => document.querySelector('#earlier a')?.getAttribute('href') !== href", arg=shown
        )
    await page.evaluate("() => document.querySelectorAll('#log details').forEach(part => { part.open = true; })")
    seen.series["steps"] = [float(await page.locator("#log .step").count())]
    seen.series["scrolling"] = await _frames(page, "#scroll")
    await page.evaluate(_PLAIN)
    seen.series["scrolling plain text"] = await _frames(page, "#plain")
    await page.close()


async def streaming(context: BrowserContext, job: Job, seen: Observed) -> None:
    """Type, then scroll, while an answer grows below the whole session."""
    page = await context.new_page()
    await page.goto(f"{job.url}/sessions/{job.sessions[0]}/")
    talk = Conversation(page)
    await talk.is_live()
    await page.evaluate(_TIME_KEYS)
    await talk.ask(job.message)
    await expect(talk.answer).not_to_be_empty()
    await page.evaluate("() => { window.benchKeys.length = 0; }")
    await page.evaluate(_COUNT_FRAMES)
    await talk.message.press_sequentially(_TYPED * 2, delay=60)
    seen.series["typing while it streams"] = _intervals(await page.evaluate(_COUNTED))
    seen.series["keys"] = await page.evaluate("() => window.benchKeys")
    seen.series["scrolling while it streams"] = await _frames(page, "#scroll")
    if not await talk.stop.is_visible():
        seen.problems.append("the answer ended before all was measured")
    await talk.stop.click()
    await talk.ended("Stopped by ada")
    await page.close()


async def large(context: BrowserContext, job: Job, seen: Observed) -> None:
    """Open a tool's result of a megabyte, and scroll over it."""
    page = await context.new_page()
    await page.goto(f"{job.url}/sessions/{job.sessions[0]}/")
    talk = Conversation(page)
    await talk.is_live()
    await talk.open_steps()
    result = talk.step("call").last.locator("[data-part=result]")
    await page.evaluate(_COUNT_FRAMES)
    await result.get_by_role("link", name="Show all").click()
    whole = result.locator("[data-slot=content]")
    await page.wait_for_function(
        "([part, length]) => part.textContent.length === length", arg=[await whole.element_handle(), job.held]
    )
    seen.series["a megabyte"] = _intervals(await page.evaluate(_COUNTED))
    await page.close()


async def _frames(page: Page, scroller: str) -> list[float]:
    """Milliseconds between frames while scrolling up and down again."""
    devtools: CDPSession = await page.context.new_cdp_session(page)
    box = await page.locator(scroller).bounding_box()
    assert box is not None
    # At the margin: elements that scroll by themselves, such as a long result, would receive the wheel's events.
    gesture = {"x": box["x"] + 12, "y": box["y"] + box["height"] / 2, "speed": _SPEED}
    await page.locator(scroller).evaluate("element => { element.scrollTop = element.scrollHeight; }")
    await page.evaluate(_COUNT_FRAMES)
    for way in (_DISTANCE, -_DISTANCE):
        before = await page.locator(scroller).evaluate("element => element.scrollTop")
        await devtools.send(
            "Input.synthesizeScrollGesture", {**gesture, "yDistance": way, "gestureSourceType": "mouse"}
        )
        moved = abs(await page.locator(scroller).evaluate("element => element.scrollTop") - before)
        # Less than the gesture's length: elements above the window get their true height only when they are laid out.
        if moved < _LEAST:
            raise RuntimeError(f"{scroller} moved {moved} px only")
    return _intervals(await page.evaluate(_COUNTED))


def _intervals(times: Sequence[float]) -> list[float]:
    return [later - sooner for sooner, later in itertools.pairwise(times)]


_KINDS: dict[str, Callable[[BrowserContext, Job, Observed], Awaitable[None]]] = {
    work.__name__: work for work in (opened, scrolled, streaming, large)
}


async def main() -> None:
    """Do the job that comes on standard input."""
    job = Job(**orjson.loads(sys.stdin.readline()))
    seen = Observed()
    expect.set_options(timeout=_PATIENCE_MS)
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            # The full browser that people use, if it is installed: the headless shell is faster.
            executable_path=machine.find_chromium(
                Path(sys.executable), (*machine.WHOLE_BROWSERS, *machine.HEADLESS_BROWSERS)
            ),
            args=FLAGS,
        )
        context = await chromium.new_context(viewport={"width": 1440, "height": 900})
        context.set_default_timeout(_PATIENCE_MS)
        await context.add_cookies([{"name": "sessionid", "value": job.cookie, "url": job.url}])
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        ticker = Ticker()
        await _KINDS[job.kind](context, job, seen)
        seen.lateness = ticker.drain()
        await chromium.close()
    print(orjson.dumps(seen).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
