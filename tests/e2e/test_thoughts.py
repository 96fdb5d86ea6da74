"""A thought is rendered like an answer: while it grows, when it is opened, and after a reload."""

import itertools
import re

import pytest
from playwright.async_api import expect

from chat.rendering import markdown
from tests.e2e.conftest import Enter
from tests.e2e.conversation import Conversation
from tests.model_server import ModelServer, Script
from tests.serving import Browser

#: A thought, its row's text, and what must be in it; a further one is one line.
THOUGHTS = {
    "emphasis": ("Now **weigh** `both`.\n\n- one\n- two", "Now weigh both. one two", "strong, li, p > code"),
    "a heading": ("# Plan\n\n1. look\n2. count", "Plan 1. look 2. count", "h3, ol"),
    "code and a formula": ("```python\nprint(1)\n```\n\nso $x^2$", "print(1) so $x^2$", ".codeblock .btn, .math math"),
    "a link": ("See [the page](https://a.example).", "See the page.", "a[target=_blank]"),
    "from the right": ("**مرحبا** بالعالم", "مرحبا بالعالم", "p[dir=auto] > strong"),
    "nothing of it": ("2 * 3 and snake_case", "2 * 3 and snake_case", "p"),
}


async def test_a_thought_is_rendered_live_and_by_the_server_alike(talk: Conversation, model: ModelServer) -> None:
    live = {}
    for number, (kind, (text, _, _)) in enumerate(THOUGHTS.items()):
        model.enqueue(Script("Done.", reasoning=text))
        await talk.ask("Think")
        await expect(talk.runs).to_have_count(number + 1)
        await talk.ended()
        live[kind] = await thought_of(talk, number, kind)
    await talk.page.reload()
    await talk.is_live()
    assert {kind: await thought_of(talk, number, kind) for number, kind in enumerate(THOUGHTS)} == live


async def thought_of(talk: Conversation, number: int, kind: str) -> str:
    """A run's thought as it is shown, which must be as the table says."""
    _, text, parts = THOUGHTS[kind]
    run = talk.runs.nth(number)
    await talk.open_steps(run)
    thought = run.locator("[data-item=thought]")
    await expect(thought.locator(".arg")).to_have_text(text)
    for part in parts.split(", "):
        await expect(thought.locator(f".prose {part}").first).to_be_visible()
    # Spaces between blocks do not count.
    html = re.sub(r"\s*(</?\w[^>]*>)\s*", r"\1", await thought.locator(".prose").inner_html())
    # Colours come later, or never where the browser is busy.
    return re.sub(r'<span class="hljs-\w+">([^<]*)</span>', r"\1", html)


async def test_a_growing_thought_shows_its_newest_lines_without_marks(talk: Conversation, model: ModelServer) -> None:
    lines = [f"Line **{n}** of it.\n\n" for n in range(200)]
    text = "".join(lines) + "And then **the last** one"
    model.enqueue(Script("", reasoning=text, piece=400, fault="stall", fault_after=len(text) // 400 + 1))
    await talk.ask("Think")
    window = talk.step("growing").locator(".thought-live")
    await expect(window.locator("strong").last).to_have_text("the last")
    await expect(window.locator("strong").last).to_be_in_viewport()
    assert "*" not in await window.inner_text()
    # What has scrolled out above is removed.
    assert await window.locator(".prose > *").count() < 10


#: Whatever is not what it seems before it is complete.
GROWING = (
    "## First **of** all\n\nSee [the page](https://a.example/x), **bold**, *so*, `code`, H<sub>2</sub>O[^1] and $e = mc^2$.\n\n"
    "| a | b |\n|---|---|\n| one | **two** |\n| three | `x` |\n\n"
    "Then:\n- one\n  - two **three**\n  - [x] done\n- four\n\n1. a\n2. b\n\n"
    "![A picture](https://a.example/x.png) and \\(y^2\\), $$\\frac{a}{b}$$.\n\n```python\nprint(1)\n```\n\nThe end of [a name][n].\n\n"
    'Really.\n\n[n]: https://b.example "T"\n\n[^1]: A note.\n'
)
#: What is seen of each text at each change: its words without formulas, notes and what the page adds; and its height.
RECORD = """() => {
  globalThis.words = (prose) => {
    const shown = prose.cloneNode(true);
    for (const other of shown.querySelectorAll(".math, sup, .footnotes, button, header")) other.remove();
    return shown.textContent.replace(/\\s/g, "");
  };
  globalThis.seen = { thought: [], answer: [] };
  new MutationObserver(() => {
    const growing = { thought: "[data-item=growing] .prose", answer: ".answer .prose" };
    for (const [part, where] of Object.entries(growing)) {
      const prose = document.querySelector(`#log ${where}`);
      if (prose) globalThis.seen[part].push([globalThis.words(prose), prose.getBoundingClientRect().height]);
    }
  }).observe(document.querySelector("#log"), { subtree: true, childList: true, characterData: true });
}"""


async def test_no_mark_is_seen_before_its_meaning_and_nothing_jumps(talk: Conversation, model: ModelServer) -> None:
    model.enqueue(Script(GROWING, reasoning=GROWING, piece=3, every_s=0.02))
    await talk.page.evaluate(RECORD)
    await talk.ask("Write")
    await talk.ended()
    answer = talk.page.locator(".answer .prose")
    await expect(answer.locator(".footnotes")).to_have_count(1)
    await expect(answer.get_by_role("link", name="a name")).to_have_count(1)
    whole = await answer.evaluate("prose => globalThis.words(prose)")
    seen = await talk.page.evaluate("() => globalThis.seen")
    assert min(len({words for words, _ in each}) for each in seen.values()) > 3
    # What of a thought has scrolled out above is removed.
    assert not [words for words, _ in seen["thought"] if words not in whole]
    assert not [words for words, _ in seen["answer"] if not whole.startswith(words)]
    heights = [height for _, height in seen["answer"]]
    assert not [pair for pair in itertools.pairwise(heights) if pair[1] < pair[0] - 1]


async def test_copying_a_thought_gives_its_markdown(talk: Conversation, model: ModelServer) -> None:
    await talk.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    text = "Now **weigh** it.\n\n- one\n- two"
    model.enqueue(Script("Done.", reasoning=text))
    await talk.ask("Think")
    await talk.ended()
    for _ in range(2):
        await talk.open_steps()
        thought = talk.step("thought")
        await thought.locator(".row").hover()
        await thought.get_by_role("button", name="Copy", exact=True).click()
        await expect(thought.get_by_role("button", name="Copied")).to_be_visible()
        assert await talk.page.evaluate("() => navigator.clipboard.readText()") == text
        await talk.page.reload()
        await talk.is_live()


async def test_a_thought_that_did_not_come_rendered_is_when_it_is_opened(
    talk: Conversation, model: ModelServer
) -> None:
    model.enqueue(Script("Done.", reasoning="Very **long**. " * (markdown.THOUGHT_CHARACTERS // 10), piece=4_000))
    await talk.ask("Think")
    await talk.ended()
    await talk.page.reload()
    await talk.is_live()
    thought = talk.step("thought").locator(".prose")
    await expect(thought.locator("strong")).to_have_count(0)
    await talk.open_steps()
    await expect(thought.locator("strong").first).to_have_text("long")
    assert "*" not in await thought.inner_text()


#: Texts that are wider than a phone; a further one is one line.
WIDE = {
    "a word": "x" * 500,
    "an address": "https://a.example/" + "path/" * 80,
    "a table": "| a | b | c | d | e | f |\n|--|--|--|--|--|--|\n| " + " | ".join(["some longer words"] * 6) + " |",
    "code": "```\n" + "line " * 100 + "\n```",
    "a formula": "$$" + "x + " * 80 + "y$$",
    "a list in lists": "".join("  " * depth + "- " + "word" * 10 + "\n" for depth in range(12)),
}


async def test_a_thought_is_no_wider_than_a_phone(
    enter: Enter, api: Browser, model: ModelServer, subtests: pytest.Subtests
) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    talk = await enter(f"/sessions/{await api.new_session()}/", **phone)
    await talk.is_live()
    for number, (kind, text) in enumerate(WIDE.items()):
        with subtests.test(kind):
            model.enqueue(Script("Done.", reasoning=text, piece=40))
            await talk.ask("Think")
            await expect(talk.runs).to_have_count(number + 1)
            await talk.ended()
            await talk.open_steps()
            await talk.fits()
    for run in await talk.runs.evaluate_all("runs => runs.map(run => run.dataset.run)"):
        with subtests.test("on its page", run=run):
            await talk.page.goto(f"/runs/{run}/")
            await talk.page.locator(".wf details").first.evaluate("details => (details.open = true)")
            await talk.fits()
