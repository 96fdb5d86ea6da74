"""A printed conversation: complete, in black on white, and without controls."""

import re
from typing import Any

import pytest
from playwright.async_api import ViewportSize, expect

from tests.e2e.conftest import Enter
from tests.e2e.conversation import Conversation
from tests.model_server import Call, ModelServer, Script
from tests.serving import Browser

#: What is not printed; a further thing is one line.
PRESSED = {
    "the message box": "#message",
    "the list of sessions": "#sessions",
    "the buttons of the head": ".top .btn",
    "the views": ".top nav",
    "stop and connection": ".runbar .end",
    "copying a question": "[data-action=copy-question]",
    "copying an answer": "[data-action=copy-answer]",
}
WIDTHS: dict[str, ViewportSize] = {"desk": {"width": 1280, "height": 800}, "phone": {"width": 360, "height": 740}}


async def conversation(enter: Enter, api: Browser, model: ModelServer, **options: Any) -> Conversation:
    """A conversation that is longer than a window, with a thought, a call and code, its outlines collapsed."""
    lines = "\n".join(f"line_{number} = {number}" for number in range(120))
    model.enqueue(
        Script(reasoning="I think of it.", calls=[Call("python", {"code": "print(6 * 7)"})]),
        Script(f"First.\n\n```python\n{lines}\n```\n\nSee [the page](https://example.com/there).\n"),
        Script("Second. " + "word " * 600),
    )
    talk = await enter(f"/sessions/{await api.new_session()}/", **options)
    await talk.is_live()
    for number, question in enumerate(("To be printed", "And this"), 1):
        await talk.ask(question)
        await expect(talk.endlines).to_have_count(number)
        await talk.ended()
    return talk


async def test_a_conversation_prints_whole(
    enter: Enter, api: Browser, model: ModelServer, subtests: pytest.Subtests
) -> None:
    talk = await conversation(enter, api, model, color_scheme="dark")
    page = talk.page
    await page.evaluate(
        "() => { for (const outline of document.querySelectorAll('#log .outline')) outline.open = false; }"
    )
    await page.evaluate("() => { document.documentElement.dataset.theme = 'dark' }")
    await page.emulate_media(media="print")
    for name, size in WIDTHS.items():
        with subtests.test(name):
            await page.set_viewport_size(size)
            await prints_whole(talk)


async def prints_whole(talk: Conversation) -> None:
    """A page as it is printed."""
    page = talk.page
    for selector in PRESSED.values():
        for element in await page.locator(selector).all():
            await expect(element).to_be_hidden()
    # No part scrolls by itself: everything is laid out on the page.
    cut = await page.evaluate(
        "() => [...document.querySelectorAll('#scroll, #log, #log pre, #log .thought, #log .q')]"
        ".filter((box) => box.scrollHeight > box.clientHeight + 1 && getComputedStyle(box).overflowY !== 'visible')"
        ".map((box) => box.className)"
    )
    assert cut == []
    assert await page.evaluate("() => document.documentElement.scrollHeight > 2 * innerHeight")
    await expect(talk.questions).to_have_text(["To be printed", "And this"])
    # The rows of the collapsed outlines, and the last line of long code.
    await expect(talk.step("call").locator(".row").first).to_be_visible()
    await expect(talk.log.get_by_text(re.compile("line_119"))).to_be_visible()
    ground, ink = await page.evaluate(
        "() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert ground == "rgba(0, 0, 0, 0)"
    assert max(int(part) for part in re.findall(r"\d+", ink)[:3]) < 100, ink
    await talk.fits()


async def test_printed_pages_contain_all_words(enter: Enter, api: Browser, model: ModelServer) -> None:
    talk = await conversation(enter, api, model)
    short = await talk.page.pdf()
    await talk.ask("And much more [tokens=4000]")
    await expect(talk.endlines).to_have_count(3)
    await talk.ended()
    long = await talk.page.pdf()
    pages = [len(re.findall(rb"/Type\s*/Page\b", pdf)) for pdf in (short, long)]
    assert pages[0] >= 2
    assert pages[1] > pages[0] + 2
