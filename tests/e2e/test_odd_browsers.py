"""Browsers without features that most have, unusual texts, and going back and forth."""

import re

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import Enter
from tests.e2e.conversation import Conversation
from tests.e2e.watch import NO_SOCKET, Watch
from tests.model_server import ModelServer, Script
from tests.serving import Browser

#: What a browser may refuse or lack: a script that is run before any of ours. A further one is one more line.
DENIED = {
    "storage": "for (const name of ['localStorage', 'sessionStorage'])"
    " Object.defineProperty(window, name, { get() { throw new DOMException('denied', 'SecurityError'); } });",
    "storage that is full": "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };",
    "storage that is none": "for (const name of ['localStorage', 'sessionStorage'])"
    " Object.defineProperty(window, name, { value: null });",
    "channels between tabs": "delete window.BroadcastChannel;",
    "channels between tabs, by an error": "window.BroadcastChannel"
    " = class { constructor() { throw new DOMException('denied', 'SecurityError'); } };",
    "locks": "Object.defineProperty(navigator, 'locks', { value: undefined });",
    "notifications": "delete window.Notification;",
    "workers": "window.Worker = class { constructor() { throw new DOMException('denied', 'SecurityError'); } };",
    "dates of languages": "Intl.RelativeTimeFormat = undefined; Intl.ListFormat = undefined;",
    "segments": "delete Intl.Segmenter;",
    "random identifiers": "delete Crypto.prototype.randomUUID;",
    "transitions and highlights": "delete Document.prototype.startViewTransition; delete window.Highlight;",
    "idle time": "delete window.requestIdleCallback;",
    "a clipboard": "Object.defineProperty(navigator, 'clipboard', { value: undefined });",
    "the network, by its own word": "Object.defineProperty(navigator, 'onLine', { get: () => false });",
    "sockets": "delete window.WebSocket;",
    "sockets, by an error": "window.WebSocket = class { constructor() { throw new DOMException('denied', 'SecurityError'); } };",
}


async def test_a_question_is_asked_and_answered_without(
    enter: Enter, api: Browser, model: ModelServer, watch: Watch, subtests: pytest.Subtests
) -> None:
    talk = await enter("")
    devtools = await talk.page.context.new_cdp_session(talk.page)
    await devtools.send("Page.enable")
    for denied, script in DENIED.items():
        with subtests.test(denied):
            added = await devtools.send("Page.addScriptToEvaluateOnNewDocument", {"source": script})
            await asks_and_reads(talk, api, model)
            await devtools.send("Page.removeScriptToEvaluateOnNewDocument", added)


async def asks_and_reads(talk: Conversation, api: Browser, model: ModelServer) -> None:
    await talk.page.goto(f"/sessions/{await api.new_session()}/")
    await talk.link_is("live", "polling")
    model.enqueue(Script("It is **well**.\n\n```python\nx = 1\n```", every_s=0.01))
    await talk.ask("Is it?")
    await talk.ended()
    await expect(talk.answer).to_contain_text("It is well.")
    await talk.page.reload()
    await expect(talk.answer).to_contain_text("It is well.")
    await talk.page.goto("/")
    await expect(talk.message).to_be_enabled()


_SHIFTED = (
    "const off = %d, Real = Date; globalThis.Date = class extends Real {"
    " constructor(...a) { if (a.length) super(...a); else super(Real.now() + off); } static now() { return Real.now() + off; } };"
)
#: What extensions, translators and wrong clocks do to a page while an answer grows: a script that is run before any of ours.
MEDDLING = {
    "a translator": """addEventListener("DOMContentLoaded", () => setInterval(() => {
        for (const place of document.querySelectorAll(".prose")) {
            const walk = document.createTreeWalker(place, NodeFilter.SHOW_TEXT), found = [];
            while (walk.nextNode()) if (walk.currentNode.parentElement.tagName !== "FONT") found.push(walk.currentNode);
            for (const text of found.filter((each) => each.data.trim())) {
                const [outer, inner] = [document.createElement("font"), document.createElement("font")];
                text.replaceWith(outer);
                outer.append(inner);
                inner.append(text.data.toUpperCase());
            }
        }
    }, 50))""",
    "elements": """addEventListener("DOMContentLoaded", () => setInterval(() => {
        for (const place of document.querySelectorAll("#log, form, .prose, main, body"))
            if (!place.querySelector(":scope > x-other")) {
                place.prepend(document.createElement("x-other"));
                place.append(document.createElement("x-other"));
            }
    }, 50))""",
    "attributes": """addEventListener("DOMContentLoaded", () => setInterval(() => {
        for (const each of document.querySelectorAll("*")) each.setAttribute("data-other", each.classList.add("other") ?? "");
    }, 200))""",
    "words about the network": """setInterval(() => {
        dispatchEvent(new Event("offline"));
        dispatchEvent(new Event("online"));
    }, 300)""",
    "one word about the network": "setTimeout(() => dispatchEvent(new Event('offline')), 1_000)",
    "a clock ten years behind": _SHIFTED % -315_360_000_000,
    "a clock ten years ahead": _SHIFTED % 315_360_000_000,
}
_LISTS = "It is:\n\n- one item\n- two of them\n- three **bold** words here\n\n1. a\n\n   more of a\n2. b\n\n|c|d|\n|-|-|\n|1|2|\n\nThe end."


@pytest.mark.parametrize(
    "what", ["a translator", *(pytest.param(each, marks=pytest.mark.long) for each in [*MEDDLING][1:])]
)
async def test_no_text_is_lost_when_others_change_the_page(
    enter: Enter, api: Browser, model: ModelServer, watch: Watch, what: str
) -> None:
    watch.allow(NO_SOCKET)  # an answer that the limit cuts before it is open
    talk = await enter("")
    await talk.page.add_init_script(MEDDLING[what])
    await talk.page.goto(f"/sessions/{await api.new_session()}/")
    await talk.link_is("live")
    model.enqueue(Script(reasoning=_LISTS, content=_LISTS, piece=3, every_s=0.02))
    await talk.ask("Is it?")
    await talk.ended()
    words = (await talk.answer.inner_text()).casefold().split()
    assert words == "it is: one item two of them three bold words here a more of a b c d 1 2 the end.".split()


#: Texts that are wider, longer or stranger than most. A further one is one more line.
TEXTS = {
    "a very long word": "x" * 3_000,
    "a very long address": "https://example.com/" + "a" * 3_000,
    "a very long word in code": f"`{'x' * 3_000}`",
    "a very long line of code": f"```\n{'x ' * 3_000}\n```",
    "a very wide table": "|" + "a|" * 60 + "\n|" + "-|" * 60 + "\n|" + "long words |" * 60,
    "a very wide formula": f"$${' + '.join(f'x_{{{n}}}' for n in range(200))}$$",
    "a very wide formula in a line": f"Is ${'+'.join(f'x_{{{n}}}' for n in range(200))}$ it?",
    "a very deep list": "\n".join(f"{'  ' * n}- {n}" for n in range(40)),
    "a very deep quotation": "> " * 60 + "deep",
    "a very long heading": f"# {'x' * 2_000}",
    "joined pictures": "👩‍👩‍👧‍👦👨🏽‍🚀🏳️‍🌈" * 300,
    "stacked marks": "Z̴̡̢̛̛͙͙̥̼͖̜͎̝̲͎͚͚̘̪̦̈́̈́̈́̊̽͂͐̄̆̕͝͝" * 30,
    "Arabic and English": "مرحبا world 123 (abc) " * 60,
    "Thai without spaces": "ภาษาไทยไม่มีช่องว่าง" * 100,
    "Chinese without spaces": "這是一個沒有空格的句子" * 200,
    "no-break spaces": "a\u00a0" * 1_000,
}


@pytest.mark.long
@pytest.mark.parametrize("text", TEXTS)
async def test_no_text_is_wider_than_a_phone(enter: Enter, api: Browser, model: ModelServer, text: str) -> None:
    talk = await enter(f"/sessions/{await api.new_session()}/", viewport={"width": 360, "height": 640})
    await talk.is_live()
    model.enqueue(Script(reasoning=TEXTS[text], content=TEXTS[text], piece=2_000))
    await talk.ask(TEXTS[text][:2_000])
    await talk.ended()
    await talk.open_steps()
    await talk.fits()
    await talk.page.reload()
    await talk.is_live()
    await talk.fits()


ARABIC = "مرحبا بالعالم، هذا عنوان طويل جدا لا يتسع له السطر في أي قائمة من القوائم أبدا مهما كان عرضها!"
#: Where the first letter of an element's text is: how far from its right end, and that what follows is on its left.
FROM_THE_RIGHT = """(element) => {
  const text = document.createTreeWalker(element, NodeFilter.SHOW_TEXT).nextNode();
  const at = (place) => {
    const range = document.createRange();
    range.setStart(text, place);
    range.setEnd(text, place + 1);
    return range.getBoundingClientRect();
  };
  const { right, width } = element.getBoundingClientRect();
  const far = right - parseFloat(getComputedStyle(element).paddingRight) - at(0).right;
  return [Math.abs(far) < 3 && width > 20, at(10).right < at(0).left];
}"""
#: In a box, the first place of its text is at the right.
BOX_FROM_THE_RIGHT = """(box) => {
  const { left, right, top } = box.getBoundingClientRect();
  const [first, last] = [right - 14, left + 14].map((x) => document.caretPositionFromPoint(x, top + 12).offset);
  return [first === 0, last === box.value.length];
}"""


async def test_what_is_written_from_the_right_begins_there(talk: Conversation) -> None:
    """Also where a line is too long to be shown whole: its end is left out, not its beginning."""
    page = talk.page
    await talk.message.fill("مرحبا")
    assert await talk.message.evaluate(BOX_FROM_THE_RIGHT) == [True, True]
    await talk.ask(f"{ARABIC} [tokens=2 reasoning=2]")
    await talk.ended()
    await talk.open_outline()
    await talk.runs.first.get_by_role("button", name="Comment on the answer").click()
    await page.keyboard.type("مرحبا!")
    assert await page.locator(".thread textarea").evaluate(BOX_FROM_THE_RIGHT) == [True, True]
    await page.locator(".thread textarea").fill(ARABIC)
    await page.keyboard.press("Control+Enter")
    await expect(page.locator(".sess .name").first).to_have_text(re.compile("^مرحبا"))
    places = {path: [".sess .name"] for path in (f"/sessions/{talk.session_id}/", "/sessions/", "/")}
    places[f"/sessions/{talk.session_id}/"] += [".q", ".thread .said", "#title"]
    for path, selectors in places.items():
        if path not in page.url or path == "/":
            await page.goto(path)
            selectors.append(".line-row .name")
        for selector in selectors:
            assert await page.locator(selector).first.evaluate(FROM_THE_RIGHT) == [True, True], (path, selector)


async def test_invisible_characters_are_left_out(talk: Conversation, model: ModelServer) -> None:
    """Such as text that is copied from a terminal or a PDF."""
    model.enqueue(Script("Yes."))
    await talk.ask("Is\0 it\0?")
    await talk.ended()
    assert model.requests[-1].body["messages"][-1]["content"] == "Is it?"


async def test_a_page_that_is_come_back_to_is_live(enter: Enter, api: Browser) -> None:
    """Also where the browser has kept the page in its back/forward cache."""
    talk = await enter(f"/sessions/{await api.new_session()}/")
    await talk.is_live()
    await talk.ask("One [tokens=3]")
    await talk.ended()
    session_id = talk.session_id
    await talk.page.goto("/accounts/")
    await api.call("POST", f"sessions/{session_id}/messages/", {"message": "Two [tokens=3]"})
    await talk.page.go_back()
    await talk.is_live()
    await expect(talk.runs).to_have_count(2)
    await talk.ask("Three [tokens=3]")
    await expect(talk.runs).to_have_count(3)
    await talk.page.go_back()
    await talk.page.go_forward()
    await talk.is_live()
    await expect(talk.runs).to_have_count(3)


async def test_announcements_of_a_screen_reader_are_few(talk: Conversation) -> None:
    """A screen reader announces where a run is and how it ended, and not each piece of a text in progress."""
    await talk.page.evaluate(
        """() => {
            window.messages = [];
            const regions = "[aria-live]:not([aria-live=off]), [role=status], [role=alert], [role=log]";
            for (const region of document.querySelectorAll(regions))
                new MutationObserver(() => window.messages.push(`${region.id}: ${region.textContent.trim().slice(0, 80)}`))
                    .observe(region, { childList: true, characterData: true, subtree: true });
        }"""
    )
    await talk.ask("Go on [tokens=120 every=20 reasoning=20]")
    await talk.ended()
    messages = await talk.page.evaluate("() => window.messages")
    assert len(messages) < 30, messages
    assert any("Answering" in each for each in messages), messages
    assert any("Finished" in each for each in messages), messages


async def test_touch_targets_are_large_enough(enter: Enter, api: Browser) -> None:
    talk = await enter(
        f"/sessions/{await api.new_session()}/", viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True
    )
    await talk.is_live()
    await talk.ask("One [tokens=3]")
    await talk.ended()
    small = await talk.page.evaluate(
        """() => [...document.querySelectorAll("button, a[href], input, select, textarea, summary, [role=button]")]
            .filter((each) => each.checkVisibility() && !each.closest(".prose, .sr, [popover]:not(:popover-open)"))
            .map((each) => [each.outerHTML.slice(0, 120), (each.closest("label") ?? each).getBoundingClientRect()])
            .filter(([, box]) => box.width > 1 && (box.width < 24 || box.height < 24))
            .map(([html, box]) => `${Math.round(box.width)}x${Math.round(box.height)} ${html}`)"""
    )
    assert not small


async def test_code_of_ten_thousand_lines_leaves_the_page_quick(talk: Conversation, model: ModelServer) -> None:
    code = "\n".join(f"print({n})  # line {n}" for n in range(10_000))
    model.enqueue(Script(f"```python\n{code}\n```", piece=20_000))
    await talk.ask("Long")
    await talk.ended()
    took = await talk.page.evaluate(
        """async () => {
            let longest = 0, last = performance.now();
            const until = last + 2000;
            while (last < until) {
                await new Promise(requestAnimationFrame);
                const now = performance.now();
                longest = Math.max(longest, now - last);
                last = now;
            }
            return longest;
        }"""
    )
    assert took < 1_000
    await talk.message.fill("Still here")
    await talk.page.reload()
    await talk.is_live()
    await expect(talk.message).to_have_value("Still here")
