"""What models, tools and users write is text: it executes nothing and requests nothing."""

import json
import re

import pytest
from playwright.async_api import Page, expect

from tests.e2e.conversation import Conversation
from tests.e2e.watch import Watch
from tests.model_server import Call, ModelServer, Script
from tests.serving import Browser

ELSEWHERE = "http://elsewhere.invalid"
EVIL = (
    f'<img src="{ELSEWHERE}/a.png" onerror="window.ran=1"> <script>window.ran=1</script> '
    f'<svg onload="window.ran=1"></svg> <iframe src="{ELSEWHERE}/frame"></iframe> '
    f'<a href="javascript:window.ran=1">click</a> <style>@import "{ELSEWHERE}/s.css";</style> '
    f'<form action="{ELSEWHERE}"><button>Send</button></form> <base href="{ELSEWHERE}/">'
)
MARKDOWN = (
    f"{EVIL}\n\n![tracking]({ELSEWHERE}/pixel.png)\n\n[run me](javascript:window.ran=1) "
    f"[data](data:text/html,<script>window.ran=1</script>) [fine](https://example.com/)\n\n"
    f"![ref][p]\n\n[p]: {ELSEWHERE}/ref.png\n\n```html\n{EVIL}\n```\n\n"
    r"$\href{javascript:window.ran=1}{x}$ $\url{javascript:window.ran=1}$ $$\class{evil}{y}$$" + "\n\nThe end."
)


async def nothing_ran(page: Page) -> None:
    """Check that none of their scripts ran, and that the document contains none."""
    assert await page.evaluate("() => window.ran") is None
    main = page.get_by_role("main")
    await expect(
        main.locator("img, script:not([type='application/json']), iframe, style, base, object, embed")
    ).to_have_count(0)
    await expect(main.locator("[onerror], [onload], [onclick], [style]")).to_have_count(0)
    links = await main.locator("a[href]").evaluate_all("links => links.map(link => link.protocol)")
    assert set(links) <= {"http:", "https:"}, links


async def test_nothing_a_model_or_a_tool_writes_runs_or_fetches(talk: Conversation, model: ModelServer) -> None:
    page = talk.page
    code = f"print({EVIL!r})"
    model.enqueue(
        Script(
            reasoning=EVIL,
            calls=[Call("python", {"code": code}), Call("<b onclick='window.ran=1'>x</b>", {EVIL: EVIL})],
        ),
        Script(MARKDOWN, every_s=0.002),
    )
    await talk.ask(EVIL)
    await talk.ended()
    await talk.open_steps()
    await expect(talk.questions).to_have_text([EVIL])
    await expect(talk.answer).to_contain_text("The end.")
    await expect(talk.log.locator("[data-part=result]").first).to_contain_text("<iframe src=")
    await nothing_ran(page)
    live = await talk.answer.inner_text()

    await page.reload()
    await talk.is_live()
    await nothing_ran(page)
    assert (await talk.answer.inner_text()).split() == live.split()
    await page.get_by_role("navigation", name="View").get_by_role("link", name="Timeline").click()
    await page.wait_for_url(re.compile("/runs/"))
    await nothing_ran(page)
    await page.goto("/sessions/?q=elsewhere")
    await expect(page.get_by_role("main").locator("mark").first).to_be_visible()
    await nothing_ran(page)
    await page.goto("/")
    await nothing_ran(page)


async def test_a_link_of_an_answer_opens_nothing_by_itself_and_knows_no_opener(
    talk: Conversation, model: ModelServer
) -> None:
    model.enqueue(Script("See [this](https://example.com/page) and https://example.org/."))
    await talk.ask("Links")
    await talk.ended()
    links = talk.answer.get_by_role("link")
    await expect(links).to_have_count(2)
    for link in await links.all():
        await expect(link).to_have_attribute("rel", re.compile("noopener"))


async def test_json_of_a_tool_is_shown_as_a_table_of_text(talk: Conversation, model: ModelServer) -> None:
    rows = json.dumps([{"name": "<img src=x onerror=window.ran=1>", "n": -3}, {"name": "b", "n": 4}])
    model.enqueue(Script(calls=[Call("python", {"code": f"print({rows!r})"})]), Script("Done."))
    await talk.ask("Rows")
    await talk.ended()
    await talk.open_steps()
    result = talk.log.locator("[data-part=result]")
    await expect(result.get_by_role("cell")).to_have_text(["<img src=x onerror=window.ran=1>", "−3", "b", "4"])
    await result.get_by_role("button", name="Raw").click()
    await expect(result.locator("[data-slot=content]")).to_have_text(re.compile(r'^\[\{"name": "<img'))
    await nothing_ran(talk.page)


async def test_formulas_and_code_of_an_answer_are_dressed(talk: Conversation, model: ModelServer) -> None:
    model.enqueue(
        Script(
            "Euler: $e^{i\\pi} + 1 = 0$.\n\n```python\nprint('hi')  # a comment\n```\n\n| a | b |\n|--|--|\n| 1 | 2 |\n"
        )
    )
    await talk.ask("Dress up")
    await talk.ended()
    for _ in range(2):
        await expect(talk.answer.locator("math")).to_have_count(1)
        await expect(talk.answer.locator("pre .hljs-comment")).to_have_text("# a comment")
        await expect(talk.answer.get_by_role("cell")).to_have_text(["1", "2"])
        await talk.page.reload()
        await talk.is_live()


async def test_code_that_takes_long_to_colour_stays_plain_and_the_page_goes_on(
    talk: Conversation, model: ModelServer
) -> None:
    slow = "class A {}\n" + "a " * 23_900
    code = f"```csharp\n{slow}\n```\n\n```python\nx = 1  # a comment\n```\n"
    model.enqueue(Script(code, piece=2_000))
    await talk.ask("Colours")
    await talk.ended()
    for _ in range(2):
        await expect(talk.answer.locator("pre .hljs-comment")).to_have_text("# a comment")
        spans = talk.answer.locator("pre").first.locator("span")
        await expect(spans, "code was coloured that takes too long").to_have_count(0)
        await expect(talk.answer.locator("pre").first).to_contain_text("a a a")
        await talk.page.reload()
        await talk.is_live()


#: Characters that invisibly reverse others; a further one is one entry.
TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# All that a reader sees of them in the page's texts, title and tooltips, from before its first script on.
NOTE_TURNING = r"""() => {
  window.turned = [];
  const turning = /[\u202a-\u202e\u2066-\u2069]/u;
  const look = () => {
    const places = document.createTreeWalker(document, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
    while (places.nextNode()) {
      const { currentNode: node } = places;
      const said = node.attributes ? [node.ariaLabel, node.title, node.placeholder, node.alt].join() : node.data;
      const isOurs = node.closest?.("script, textarea, input") ?? node.parentElement?.closest("script, textarea, template");
      if (!isOurs && turning.test(said)) window.turned.push([node.nodeName, said]);
    }
    if (turning.test(document.title)) window.turned.push(["title", document.title]);
  };
  const all = { childList: true, subtree: true, characterData: true, attributes: true };
  document.addEventListener("DOMContentLoaded", () => { look(); new MutationObserver(look).observe(document, all); });
}"""


@pytest.mark.parametrize("libraries", [True, False])
async def test_characters_that_reverse_text_are_made_visible(
    talk: Conversation, api: Browser, model: ModelServer, watch: Watch, libraries: bool
) -> None:
    page = talk.page
    turned = f"invoice{TURNING}gpj.exe"
    if not libraries:
        watch.allow(".*")
        await page.route(re.compile("vendor/"), lambda route: route.abort())
    assert (await api.call("PATCH", f"sessions/{talk.session_id}/", {"title": f"Title {turned}"}))[0] == 200
    await page.add_init_script(f"({NOTE_TURNING})()")
    await page.reload()
    await talk.is_live()
    model.enqueue(
        Script(
            f"Text {turned}, `{turned}`",
            reasoning=turned,
            calls=[
                Call("python", {"code": f"print({turned!r})\nprint('\\u202e')  # {turned}"}),
                Call("python", {turned: [turned]}),
                Call(turned, {"query": turned}),
            ],
            every_s=0.02,
        ),
        Script(
            f"# {turned}\n\n**{turned}** [{turned}](https://a.example/{turned})\n\n```{turned}\n{turned}\n```\n\n$x{turned}$",
            every_s=0.02,
        ),
    )
    await talk.ask(f"Question {turned}")
    await talk.ask(f"Waiting {turned} [tokens=2]")
    await talk.ended()
    await expect(talk.runs).to_have_count(2)
    await talk.ended()
    await talk.open_outline(talk.runs.first)
    for card in await talk.runs.first.locator(".steps summary").all():
        await card.click()
    await expect(talk.log).to_contain_text("[U+202E]")
    await expect(page).to_have_title(re.compile(r"\[U\+202E\]"))
    assert await page.evaluate("() => window.turned") == []
