"""The pages in each language, on a desktop and on a phone: nothing is left in English or cut, and live text is the same as after a reload.

With ``SHOTS=FOLDER`` screenshots of each page are saved there.
"""

import os
import re
import socket
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.e2e.conftest import STAFF, Enter, NewBrowser
from tests.e2e.watch import ANSWERED, Watch
from tests.model_server import Call, ModelServer, Script
from tests.serving import Browser

#: For each language: what a browser that prefers it sends, and "Finished", "Stopped by mei".
LANGUAGES = {
    "en": ("en-US", "Finished", "Stopped by mei"),
    "zh-Hant": ("zh-TW", "已完成", "由 mei 停止"),
    "zh-Hans": ("zh-CN", "已完成", "由 mei 停止"),
}
#: English is checked by all other tests.
EACH = [pytest.param(name, marks=[pytest.mark.long] * (name == "en")) for name in LANGUAGES]
SIZES: dict[str, dict[str, Any]] = {
    "desk": {"viewport": {"width": 1440, "height": 900}},
    "phone": {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True},
}

#: What has the same name in every language: the product, tools, people, symbols, units, and languages.
NAMES = """
Thinkaloud API JSON OpenAPI Python python current_time fetch_page search_history researcher developer writer mei omar ada keeper example
com https http Asia Taipei UTC cron Cron kB MB English Ctrl Alt Esc End scripted Token Cookie JavaScript Unix URL ID MCP admin qwen default
OpenAI AG UI ATIF HTML Markdown Webhook
""".split()
#: What can be read or heard of a page: its visible texts, alternative texts and placeholders.
READ = """() => {
  const SKIPPED = "script, style, template, noscript, code, pre, .prose, .mono, option[value*='/'], datalist, .asks, .raw, .ava, "
    + "[data-slot=q], [data-slot=arg], [data-slot=out], [data-slot=pairs], [data-slot=cause], .quote, "
    + ".field-beginning, th.field-name, .field-process";
  const NAMES = ["aria-label", "title", "placeholder",
    "data-less", "data-queue", "data-queue-placeholder", "data-stopping", "data-other"];
  const found = [document.title];
  for (const element of document.querySelectorAll("body *")) {
    if (element.closest(SKIPPED)) continue;
    for (const name of NAMES) if (element.hasAttribute(name)) found.push(element.getAttribute(name));
    for (const node of element.childNodes) if (node.nodeType === 3 && node.data.trim()) found.push(node.data.trim());
  }
  return found;
}"""
#: Labels and headings that are partly cut off; titles that people have entered may be.
CUT = """() => {
  const LABELS = "button, .btn, .seg > *, label, legend, h1, h2, h3, .navrow, .navrow .name, th, dt, .chip .lbl, .run-state";
  const GIVEN = ".sr, .sr *, [data-slot=q], .schedule h2, #title, .side-list *";
  const isCut = (one) => one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== "inline"
    && getComputedStyle(one).overflowX !== "visible";
  return [...document.querySelectorAll(LABELS)]
    .filter((one) => one.checkVisibility() && !one.matches(GIVEN) && isCut(one))
    .map((one) => `${one.textContent.trim()} (${one.scrollWidth} > ${one.clientWidth})`);
}"""
#: The texts of a conversation, without hidden ones.
MESSAGES = """() => [...document.querySelectorAll("#log article.run")].map((run) => {
  const texts = [];
  const walk = (element) => {
    for (const node of element.childNodes) {
      if (node.nodeType === 3) texts.push(node.data);
      else if (node.nodeType === 1 && !node.hidden && !node.matches(".acts, .katex, time")) walk(node);
    }
    for (const name of ["aria-label", "title"]) if (element.getAttribute(name)) texts.push(element.getAttribute(name));
  };
  walk(run);
  return texts.join(" ").replace(/\\s+/g, " ");
})"""


@pytest.fixture(scope="module")
def settings_of_server() -> dict[str, str]:
    """A server of its own: the administration shows what all users have written, in their languages."""
    return {}


def in_english(texts: list[str]) -> list[str]:
    """Words that are not translated."""
    words = (
        word
        for text in texts
        for word in re.findall(r"[A-Za-z][A-Za-z_]+", re.sub(r"\b[0-9a-f]{8}(?:-[0-9a-f-]{27})?\b", "", text))
    )
    return sorted({word for word in words if word not in NAMES})


async def look_over(page: Page, language: str, name: str) -> None:
    """Check that nothing is untranslated, too wide, or cut."""
    assert await page.locator("html").get_attribute("lang") == language, name
    if folder := os.environ.get("SHOTS"):
        width = (page.viewport_size or {"width": 0})["width"]
        await page.screenshot(path=f"{folder}/{name}-{language}-{width}.png")
    wide = await page.evaluate(
        "() => { scrollTo(500, scrollY); const moved = scrollX; scrollTo(0, scrollY); return moved; }"
    )
    assert wide == 0, f"{name}: {wide} px too wide"
    cut: list[str] = await page.evaluate(CUT)
    assert not cut, f"{name}: {cut}"
    if language != "en":
        left = in_english(await page.evaluate(READ))
        assert not left, f"{name}: {left}"


#: The languages and windows of these tests. The two kinds of Chinese have the same widths, so one of them is enough on a desktop.
IN_EACH = pytest.mark.parametrize(
    ("size", "language"),
    [
        pytest.param(window, language, marks=[pytest.mark.long] * is_long, id=f"{name}-{language}")
        for name, window in SIZES.items()
        for language in LANGUAGES
        # English is checked by all other tests.
        for is_long in [language == "en" or (name, language) == ("desk", "zh-Hans")]
    ],
)


#: Shown in a conversation of which the model's server accepts only a part.
FEWER_MESSAGES = {
    "en": "The model server takes fewer messages at a time",
    "zh-Hant": "模型伺服器一次能接收的訊息較少",
    "zh-Hans": "模型服务器一次能接收的消息较少",
}


@IN_EACH
async def test_a_conversation(
    enter: Enter, api: Browser, model: ModelServer, language: str, size: dict[str, Any]
) -> None:
    locale, finished, stopped = LANGUAGES[language]
    model.enqueue(
        Script(
            reasoning="想一想。",
            calls=[Call("python", {"code": "6 * 7"}), Call("python", {"code": "1 / 0"}), Call("current_time")],
        ),
        Script(reasoning="再想一想。", calls=[Call("search_history", {"query": "麵粉"})]),
        Script("四十二。"),
        Script("半句", fault="cut"),
        Script(status=400, body='{"error": {"message": "Too many messages"}}'),
        Script("一二三四五六七八九十" * 400, every_s=0.03),
    )
    talk = await enter("/", locale=locale, **size)
    await look_over(talk.page, language, "home")
    session = await api.new_session(title="算術")
    await talk.page.goto(f"/sessions/{session}/")
    await talk.is_live()
    await look_over(talk.page, language, "empty")
    box, send = talk.page.locator("#message"), talk.page.locator("#composer .send")
    await box.fill("算一算")
    await send.click()
    await talk.ended(finished)
    await look_over(talk.page, language, "finished")
    await talk.open_steps()
    await look_over(talk.page, language, "opened")
    await box.fill("再來")
    await send.click()
    await expect(talk.trouble).to_be_visible()
    await look_over(talk.page, language, "failed")
    await box.fill("數一數")
    await send.click()
    await expect(talk.answer).to_contain_text("九十一")
    await expect(talk.runs.last).to_contain_text(FEWER_MESSAGES[language])
    await box.fill("等一等")
    await send.click()
    await expect(talk.waiting).to_have_count(1)
    await look_over(talk.page, language, "running")
    await talk.page.locator("#waiting [data-action=remove-waiting]").click()
    await expect(talk.waiting).to_have_count(0)
    await talk.page.locator("#stop").click()
    await expect(talk.endlines.nth(2)).to_have_text(re.compile(f"^{stopped} ·"))
    await look_over(talk.page, language, "stopped")
    live = await talk.page.evaluate(MESSAGES)
    await talk.page.reload()
    await talk.is_live()
    assert await talk.page.evaluate(MESSAGES) == live
    await look_over(talk.page, language, "reloaded")
    run = await talk.runs.first.get_attribute("data-run")
    for name, path in (
        ("run", f"/runs/{run}/"),
        ("sessions", "/sessions/"),
        ("found", "/sessions/?q=四十二"),
        ("nothing-found", "/sessions/?q=沒有這個"),
        ("failed-ones", "/sessions/?status=failed"),
    ):
        await talk.page.goto(path)
        await look_over(talk.page, language, name)


@IN_EACH
async def test_schedules(enter: Enter, api: Browser, watch: Watch, language: str, size: dict[str, Any]) -> None:
    watch.allow(ANSWERED.format(status="400"))
    page = (await enter("/schedules/", locale=LANGUAGES[language][0], **size)).page
    await look_over(page, language, "no-schedules")
    made = {}
    for name, when in (
        ("晨間", {"cron": "0 9 * * 1-5"}),
        ("每時", {"every_minutes": 90}),
        ("兩天", {"cron": "30 18 * * 1,3"}),
    ):
        wanted = {"name": name, "message": "你好", "agent_name": "researcher", "time_zone": "Asia/Taipei", **when}
        made = (await api.call("POST", "schedules/", wanted))[1]
    await page.reload()
    await page.locator(".schedule-more summary").first.click()
    await look_over(page, language, "schedules")
    await page.goto("/schedules/new/")
    await look_over(page, language, "new-schedule")
    await page.locator("[name=cron]").fill("61 9 * * 1-5")
    await page.locator(".schedule-form .btn-fill").click()
    await look_over(page, language, "wrong-schedule")
    for name, path in (("edit", ""), ("delete", "delete/")):
        await page.goto(f"/schedules/{made['id']}/{path}")
        await look_over(page, language, f"{name}-schedule")


@IN_EACH
async def test_accounts_and_errors(
    enter: Enter, new_browser: NewBrowser, watch: Watch, language: str, size: dict[str, Any]
) -> None:
    watch.allow(ANSWERED.format(status="404"))
    locale = LANGUAGES[language][0]
    visitor = await (await new_browser(locale=locale, **size)).new_page()
    await visitor.goto("/accounts/login/")
    await look_over(visitor, language, "login")
    await visitor.locator("[name=username]").fill("nobody")
    await visitor.locator("[name=password]").fill("wrong")
    await visitor.locator(".login .btn-fill").click()
    await look_over(visitor, language, "wrong-login")
    page = (await enter("/accounts/", locale=locale, **size)).page
    await look_over(page, language, "account")
    for name, path in (("password", "/accounts/password_change/"), ("nothing-here", "/nothing/")):
        await page.goto(path)
        await look_over(page, language, name)


#: What has the same name everywhere: stored values, and the names of other applications' tables.
STORED = """
model_cut_off tool_result tool_use thought final_answer error socket page api view search stop interrupt delete pause resume run ok CSV
completed cancelled failed max_iterations interrupted queued running cancelling reasoning_start reasoning_step reasoning_complete
Socket MCP_SERVERS start iteration_start iteration_end complete Django Axes axes
""".split()
# A run at work shows its process, which is named after this machine.
STORED += re.findall(r"[A-Za-z][A-Za-z_]+", socket.gethostname())


@pytest.mark.parametrize("language", ["zh-Hant", pytest.param("zh-Hans", marks=pytest.mark.long)])
async def test_the_administration(enter: Enter, api: Browser, model: ModelServer, language: str) -> None:
    model.enqueue(Script(reasoning="想。", calls=[Call("python", {"code": "6 * 7"})]), Script("四十二。"))
    session = await api.new_session(title="算術")
    _, accepted = await api.call("POST", f"sessions/{session}/messages/", {"message": "算一算"})
    wanted = {
        "name": "晨間",
        "message": "你好",
        "agent_name": "researcher",
        "time_zone": "Asia/Taipei",
        "cron": "0 9 * * 1-5",
    }
    _, schedule = await api.call("POST", "schedules/", wanted)
    # A run at work shows names of its own: its process, its model.
    await (await enter(f"/sessions/{session}/")).ended()
    page = (await enter("", user=STAFF, locale=LANGUAGES[language][0], **SIZES["desk"])).page
    left = {}
    for name, path in (
        ("runs", "run/"),
        ("run", f"run/{accepted['run_id']}/change/"),
        ("stop", f"run/act/stop/?id={accepted['run_id']}"),
        ("sessions", "session/"),
        ("session", f"session/{session}/change/"),
        ("steps", "step/"),
        ("schedules", "schedule/"),
        ("schedule", f"schedule/{schedule['id']}/change/"),
        ("connections", "connection/"),
        ("processes", "process/"),
        ("audit", "auditentry/"),
        ("tool-servers", "toolserver/"),
    ):
        await page.goto(f"/admin/chat/{path}")
        if folder := os.environ.get("SHOTS"):
            await page.screenshot(path=f"{folder}/admin-{name}-{language}.png")
        left[name] = [word for word in in_english(await page.evaluate(READ)) if word not in STORED]
    assert not {name: words for name, words in left.items() if words}


async def test_a_language_is_chosen_before_and_after_logging_in(new_browser: NewBrowser, enter: Enter) -> None:
    visitor = await (await new_browser(locale="zh-TW")).new_page()
    await visitor.goto("/accounts/login/?next=/sessions/")
    await expect(visitor.get_by_role("button", name="登入")).to_be_visible()
    await visitor.get_by_role("button", name="简体中文").click()
    await expect(visitor.get_by_role("button", name="登录")).to_be_visible()
    assert visitor.url.endswith("/accounts/login/?next=/sessions/")
    await visitor.get_by_role("button", name="English").click()
    await expect(visitor.get_by_role("button", name="Log in", exact=True)).to_be_visible()

    page = (await enter("/accounts/")).page
    await page.get_by_role("button", name="繁體中文").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("帳號")
    await page.goto("/")
    await expect(page.locator("#composer .send")).to_have_attribute("aria-label", "送出")
    await page.goto("/accounts/")
    await page.get_by_role("button", name="English").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Account")
    await page.get_by_role("button", name="As the browser").click()
    await expect(page.get_by_role("button", name="As the browser")).to_have_attribute("aria-current", "true")


async def test_english_needs_no_catalogue_and_others_one_that_is_kept(enter: Enter) -> None:
    for locale, expected in (("en-US", []), ("zh-TW", ["zh-hant"])):
        page = (await enter("", locale=locale)).page
        asked: list[str] = []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        await page.goto("/")
        await expect(page.locator("#composer .send")).to_be_visible()
        assert re.findall(r"/locale/(zh-han[ts])\.[0-9a-f]+\.js", " ".join(asked)) == expected
