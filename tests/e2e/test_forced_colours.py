"""Forced colours, in which there are no backgrounds and shadows: every control is seen, and its states can be told from each other."""

import re
from typing import Literal

from playwright.async_api import Locator, Page, expect

from tests.e2e.conftest import Enter
from tests.model_server import Call, ModelServer, Script
from tests.serving import Browser

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

#: Whether each control can be told from what lies behind it: it draws an edge, a text or a symbol in a colour of its own.
UNSEEN = """() => {
  const CLEAR = /^rgba\\(.*, 0\\)$|transparent/;
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const { backgroundColor } = getComputedStyle(one);
      if (!CLEAR.test(backgroundColor)) return backgroundColor;
    }
    return "rgb(255, 255, 255)";
  };
  const isSeen = (element) => {
    const behind = ground(element.parentElement);
    const style = getComputedStyle(element);
    const own = ground(element);
    const hasEdge = parseFloat(style.borderTopWidth) > 0 && style.borderTopStyle !== "none";
    if (hasEdge && style.borderTopColor !== behind && !CLEAR.test(style.borderTopColor)) return true;
    if (own !== behind) return true;
    // Pictures stay in forced colours.
    if (style.backgroundImage.startsWith("url(") || element.querySelector("img")) return true;
    if (!["none", "normal"].includes(getComputedStyle(element, "::before").content)) return true;
    const inside = [...element.querySelectorAll("svg, span, b, kbd")].filter((one) => one.checkVisibility());
    const drawn = [element, ...inside].some((one) => one.matches("svg")
      ? ![ground(one), "none"].includes(getComputedStyle(one).stroke)
      : one.textContent.trim() && getComputedStyle(one).color !== ground(one));
    return drawn;
  };
  const controls = document.querySelectorAll("a[href], button, input, select, textarea, summary, .dot, .caret");
  return [...controls]
    .filter((one) => one.checkVisibility({ opacityProperty: true }) && one.getBoundingClientRect().width > 1)
    .filter((one) => !one.matches(".scrim, .skip"))
    .filter((one) => !(one.matches("[type=radio], [type=checkbox]") && getComputedStyle(one).appearance !== "none"))
    .map((one) => one.matches("input, textarea, select") ? one.closest(".field, .composer, .pick, .switch, .seg > *") ?? one : one)
    .filter((one) => !isSeen(one)).map((one) => one.outerHTML.slice(0, 120));
}"""
#: The controls of which nothing that is drawn tells that they are focused, or disabled; one of each kind.
ALIKE = """() => {
  const drawn = (one) => [one, one.closest(".field, .composer, .switch, .seg > *, .pick")].filter(Boolean).map((each) => {
    const style = getComputedStyle(each);
    const outline = style.outlineStyle === "none" ? "" : `${style.outlineColor} ${style.outlineWidth}`;
    return [outline, style.borderTop, style.backgroundColor, style.color].join();
  }).join("|");
  const kinds = new Map();
  for (const one of document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")) {
    if (!one.checkVisibility({ visibilityProperty: true }) || one.disabled || one.matches(".scrim")) continue;
    // Drawn by the browser, which draws each state.
    if (one.matches("[type=radio], [type=checkbox]") && getComputedStyle(one).appearance !== "none" && !one.closest(".seg")) continue;
    kinds.set([one.tagName, one.type, one.className, one.parentElement.className].join(), one);
  }
  const alike = [];
  for (const one of kinds.values()) {
    document.activeElement.blur();
    const usual = drawn(one);
    one.focus({ focusVisible: true, preventScroll: true });
    if (document.activeElement === one && drawn(one) === usual) alike.push(`focused: ${one.outerHTML.slice(0, 110)}`);
    one.blur();
    if (!("disabled" in one)) continue;
    one.disabled = true;
    if (drawn(one) === usual) alike.push(`disabled: ${one.outerHTML.slice(0, 110)}`);
    one.disabled = false;
  }
  for (const field of document.querySelectorAll(".field")) {
    const usual = drawn(field);
    field.classList.add("bad");
    if (drawn(field) === usual) alike.push(`invalid: ${field.outerHTML.slice(0, 110)}`);
    field.classList.remove("bad");
  }
  return alike;
}"""
#: Pages with controls of their own, beside a conversation.
CONTROLS = (
    *("/", "/sessions/", "/schedules/new/", "/waiting/", "/sets/", "/accounts/", "/accounts/security/"),
    *("/accounts/tokens/", "/accounts/password_change/"),
)
#: That a state is not told by what forced colours take away: each pair must differ.
STATES = {
    "a switch": ("#reasoning:checked", "#reasoning:not(:checked)"),
    "the session that is open": (".sess[aria-current]", ".sess:not([aria-current])"),
    "the chosen look": ("[data-theme-choice][aria-pressed=true]", "[data-theme-choice][aria-pressed=false]"),
    "the page's view": (".seg.lg > [aria-current]", ".seg.lg > :not([aria-current])"),
    "a verdict": ("[data-verdict=good]", "[data-verdict=bad]"),
}
CHECKED = ("has(:checked)", "not(:has(:checked))")
LOOK = """(element) => {
  const { backgroundColor, borderTopColor, color } = getComputedStyle(element);
  return [backgroundColor, borderTopColor, color].join();
}"""


async def find_unseen(page: Page, where: str) -> list[str]:
    """The controls of a page that are not seen in forced colours, or whose states look alike; those of a part also under the mouse."""
    found = []
    await page.emulate_media(forced_colors="active")
    for scheme in SCHEMES:
        await page.emulate_media(color_scheme=scheme)
        found += [*await page.evaluate(UNSEEN), *await page.evaluate(ALIKE)]
        controls = page.locator(where).locator("a[href]:visible, button:visible:enabled, input:visible:enabled")
        await expect(controls).not_to_have_count(0)
        for control in await controls.all():
            await control.hover()
            found += [f"under the mouse: {each}" for each in await page.evaluate(UNSEEN)]
    await page.emulate_media(forced_colors="none", color_scheme="no-preference")
    return found


async def look_of(element: Locator) -> list[str]:
    """The colours of an element, light and dark."""
    looks = []
    for scheme in SCHEMES:
        await element.page.emulate_media(color_scheme=scheme)
        looks.append(await element.evaluate(LOOK))
    return looks


async def test_in_forced_colours_every_control_is_there_in_every_state(
    enter: Enter, api: Browser, model: ModelServer
) -> None:
    model.enqueue(Script(calls=[Call("python", {"code": "1/0"}), Call("python", {"code": "6*7"})]), Script("Done."))
    await api.new_session(title="Another one")
    talk = await enter(f"/sessions/{await api.new_session()}/", forced_colors="active")
    await talk.is_live()
    await talk.ask("A bit of everything")
    await talk.ended()
    await talk.open_outline()
    await talk.ask("And running [tokens=3000 every=50]")
    await expect(talk.answer).to_contain_text("word3")
    await talk.ask("Waits [tokens=2]")
    await expect(talk.waiting).to_have_count(1)
    page = talk.page
    wrong: dict[str, list[str]] = {}

    async def look(name: str) -> None:
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme)
            wrong[f"{name}, {scheme}"] = [*await page.evaluate(UNSEEN), *await page.evaluate(ALIKE)]

    await look("at work")
    await talk.runs.first.get_by_role("button", name="A good run").click()
    await expect(page.locator(".verdict-why")).to_be_visible()
    await look("judged")
    seen: dict[str, list[list[str]]] = {name: [] for name in STATES}
    await page.get_by_role("button", name=re.compile("mei$")).click()
    for name, pair in STATES.items():
        for selector in pair:
            if name == "a switch":
                await page.get_by_role("switch", name="Show reasoning").set_checked("not" not in selector, force=True)
            seen[name].append(await look_of(page.locator(selector).first))
    for number, scheme in enumerate(SCHEMES):
        distinguished = {name: len({looks[number] for looks in pair}) for name, pair in seen.items()}
        assert distinguished == dict.fromkeys(STATES, 2), scheme
    await page.keyboard.press("Escape")
    await talk.waiting.first.get_by_role("button", name="Remove").click()
    await talk.stop.click()
    await expect(talk.stop).to_be_hidden()
    await look("ended")
    run, session = await talk.runs.first.get_attribute("data-run"), talk.session_id
    _, made = await api.call("POST", "sets/", {"name": "A set"})
    for path in (
        *CONTROLS,
        f"/runs/{run}/",
        f"/sessions/{session}/share/",
        f"/sets/{made['id']}/",
        f"/runs/{run}/branch/",
    ):
        answer = await page.goto(path)
        assert answer is not None
        assert answer.status == 200, path
        await look(path)
        if path.endswith("/share/"):
            checked, unchecked = [await look_of(page.locator(f".kinds label:{which}").first) for which in CHECKED]
            assert all(a != b for a, b in zip(checked, unchecked, strict=True)), "with whom it is shared"
    await page.context.clear_cookies()
    for path in ("/accounts/login/", "/accounts/signup/"):
        await page.goto(path)
        await look(path)
    found = [f"{name}: {part}" for name, parts in wrong.items() for part in parts]
    assert not found, "\n".join(found)
