"""Logging in, two users, past sessions, and the keyboard instead of a mouse."""

import asyncio
import re

from playwright.async_api import Page, expect

from tests.e2e.conftest import OTHER, READER, STAFF, Enter, NewBrowser
from tests.e2e.conversation import Conversation
from tests.e2e.test_forced_colours import find_unseen
from tests.e2e.watch import ANSWERED, Watch
from tests.model_server import Call, ModelServer, Script
from tests.serving import PASSWORD, Browser, Server


async def focused(page: Page, role: str, name: str | re.Pattern[str]) -> None:
    """Press Tab until this element has the focus."""
    wanted = page.get_by_role(role, name=name)  # type: ignore[arg-type] # a literal there
    for _ in range(40):
        await page.keyboard.press("Tab")
        if await wanted.evaluate_all("found => found.includes(document.activeElement)"):
            return
    raise AssertionError(f"No {role} {name} within 40 tabs")


async def test_a_user_never_sees_the_session_of_another(enter: Enter, api: Browser, watch: Watch) -> None:
    watch.allow(ANSWERED.format(status="404"))
    mine = await enter(f"/sessions/{await api.new_session()}/")
    await mine.is_live()
    await mine.ask("The secret is a heron [tokens=3]")
    await mine.ended()
    run = await mine.runs.get_attribute("data-run")

    theirs = await enter("/", user=OTHER)
    await expect(theirs.sessions).not_to_contain_text("heron")
    for path in (f"/sessions/{mine.session_id}/", f"/runs/{run}/", f"/api/sessions/{mine.session_id}/events/"):
        answer = await theirs.page.goto(path)
        assert answer is not None
        assert answer.status == 404
        nowhere = await theirs.page.goto(re.sub(r"[0-9a-f-]{36}", "00000000-0000-4000-8000-000000000000", path))
        assert nowhere is not None
        assert nowhere.status == 404
    await theirs.page.goto("/sessions/?q=heron")
    await expect(theirs.page.get_by_role("heading", name="Nothing found for “heron”")).to_be_visible()
    await expect(theirs.page.get_by_role("main")).not_to_contain_text("secret")


async def test_a_login_leads_back_to_the_requested_page(new_browser: NewBrowser, api: Browser) -> None:
    session = await api.new_session()
    page = await (await new_browser()).new_page()
    await page.goto(f"/sessions/{session}/")
    await expect(page).to_have_url(re.compile(r"/accounts/login/\?next="))
    await page.get_by_label("Username").fill(READER)
    await page.get_by_label("Password").fill("not this one")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await expect(page).to_have_url(re.compile(f"/sessions/{session}/$"))


async def test_everything_by_keyboard(new_browser: NewBrowser, model: ModelServer) -> None:
    page = await (await new_browser()).new_page()
    await page.goto("/accounts/login/")
    await focused(page, "textbox", "Username")
    await page.keyboard.type(READER)
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url("/")

    talk = Conversation(page)
    await expect(talk.message).to_be_focused()
    await page.keyboard.type("Never end [tokens=3000 every=50]")
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile("/sessions/"))
    await talk.is_at_work()
    await expect(talk.message).to_be_focused()
    await focused(page, "link", "Skip to the message box")
    await focused(page, "button", "Stop")
    await page.keyboard.press("Enter")
    await talk.ended("Stopped by mei")

    await focused(page, "button", "More")
    await page.keyboard.press("Enter")
    await focused(page, "button", "Rename")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog").get_by_label("Title")).to_be_focused()
    await page.keyboard.press("ControlOrMeta+a")
    await page.keyboard.type("Renamed by hand")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Renamed by hand")


async def test_single_keys(talk: Conversation, model: ModelServer) -> None:
    model.enqueue(
        Script(reasoning="Hm.", calls=[Call("python", {"code": "print(1)"})]), Script("Never.", fault="stall")
    )
    await talk.ask("Keys, please")
    await expect(talk.step("call").locator("[data-result]")).to_have_count(1)
    await talk.message.blur()
    await talk.page.keyboard.press("Control+.")
    await talk.ended("Stopped by mei")
    await talk.open_outline()
    await talk.page.keyboard.press("j")
    await talk.page.keyboard.press("o")
    await expect(talk.step("thought").locator("details")).to_have_attribute("open", "")
    await talk.page.keyboard.press("?")
    await expect(talk.page.get_by_role("dialog").get_by_role("heading", name="Keyboard")).to_be_visible()
    await talk.page.keyboard.press("Escape")
    await talk.page.keyboard.press("/")
    await expect(talk.page.get_by_role("searchbox", name="Search every step")).to_be_focused()


async def test_rename_archive_and_delete(talk: Conversation, api: Browser, watch: Watch) -> None:
    watch.allow(ANSWERED.format(status="404"))
    page = talk.page
    await talk.ask("Something to keep [tokens=3]")
    await talk.ended()
    row = talk.sessions.get_by_role("listitem").filter(has=page.locator("[aria-current=page]"))
    await expect(row).to_contain_text("Something to keep")

    await row.hover()
    await row.get_by_role("button", name=re.compile("^More for")).click()
    await page.get_by_role("button", name="Rename", exact=True).click()
    await page.get_by_role("dialog").get_by_label("Title").fill("Kept & <b>bold</b>")
    await page.get_by_role("dialog").get_by_role("button", name="Rename", exact=True).click()
    await expect(row).to_contain_text("Kept & <b>bold</b>")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Kept & <b>bold</b>")

    await page.get_by_role("button", name="More", exact=True).click()
    await page.get_by_role("button", name="Archive", exact=True).click()
    await expect(page.locator("#agent-line")).to_contain_text("archived")
    await expect(talk.sessions).not_to_contain_text("Kept &")
    await page.goto("/sessions/")
    await expect(page.get_by_role("main")).not_to_contain_text("Kept &")
    await page.get_by_role("switch", name="Archived").check()
    found = page.get_by_role("main").get_by_role("link", name=re.compile("Kept &"))
    await found.click()
    await expect(talk.answer).to_contain_text("word0")

    await page.get_by_role("button", name="More", exact=True).click()
    await page.get_by_role("button", name=re.compile("^Delete")).click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("Kept & <b>bold</b>")
    address = page.url
    await dialog.get_by_role("button", name="Delete").click()
    await page.wait_for_url("/")
    gone = await page.goto(address)
    assert gone is not None
    assert gone.status == 404


async def test_search_leads_to_the_step(talk: Conversation, model: ModelServer) -> None:
    model.enqueue(
        Script(
            reasoning="The user asks about herons.", calls=[Call("python", {"code": "print('king' + 'fisher 17')"})]
        ),
        Script("明天的天氣很好，適合看鳥。"),
    )
    await talk.ask("Birds?")
    await talk.ended()
    page = talk.page
    # The first one is only in a result, which is in its call's card.
    for words, kind in (("kingfisher 17", "call"), ("天氣", "answer"), ("herons", "thought")):
        search = page.get_by_role("searchbox", name="Search every step")
        await search.fill(words)
        await search.press("Enter")
        await page.wait_for_url(re.compile(r"/sessions/\?q="))
        hit = (
            page.get_by_role("main").get_by_role("listitem").get_by_role("link").filter(has=page.locator("mark")).first
        )
        await expect(hit.locator("mark").first).to_have_text(re.compile(words.split()[0]))
        await hit.click()
        await page.wait_for_url(re.compile(r"/sessions/[0-9a-f-]{36}/\?at=\d+#s\d+$"))
        number = page.url.split("#s")[1]
        target = page.locator(f"#s{number}, [data-result='{number}']")
        await expect(target).to_be_in_viewport()
        await expect(talk.log.locator(".at")).to_have_attribute("data-item", kind)
        await expect(talk.log.locator(".at").get_by_text(words.split()[0]).last).to_be_visible()


async def test_a_run_can_be_inspected(talk: Conversation, model: ModelServer) -> None:
    model.enqueue(Script(reasoning="Hm.", calls=[Call("python", {"code": "print(6 * 7)"})]), Script("It is **42**."))
    await talk.ask("What is six times seven?")
    await talk.ended()
    page = talk.page
    await page.get_by_role("navigation", name="View").get_by_role("link", name="Timeline").click()
    await page.wait_for_url(re.compile("/runs/"))
    steps = page.get_by_role("region", name="Steps over time")
    await expect(steps).to_contain_text("Iteration 1")
    await expect(steps).to_contain_text("Iteration 2")
    await steps.get_by_text("python").click()
    await expect(steps.locator("[data-part=result]")).to_contain_text("42")
    await expect(steps.locator(".prose strong")).to_have_text("42")
    events = page.locator("#events li")
    await expect(events.first).to_contain_text("reasoning_start")
    await expect(events.last).to_contain_text("reasoning_complete")
    await events.last.locator("summary").click()
    await expect(events.last.locator("pre")).to_contain_text('"completed"')
    await page.get_by_role("navigation", name="View").get_by_role("link", name="Conversation").click()
    await expect(talk.answer).to_have_text("It is 42.")


async def test_the_account_page(enter: Enter) -> None:
    page = (await enter("/accounts/", user=OTHER)).page
    await expect(page.get_by_role("heading", level=1)).to_have_text("Account")
    await page.get_by_label("First name").fill("Omar")
    await page.get_by_label("Last name").fill("Khayyam")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator(".person")).to_contain_text("Omar Khayyam")
    await page.get_by_role("link", name="Change password").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Change password")


async def test_a_conversation_can_be_begun_and_read_without_javascript(
    talk: Conversation, enter: Enter, model: ModelServer
) -> None:
    model.enqueue(Script(reasoning="Aha.", calls=[Call("python", {"code": "print(6 * 7)"})]), Script("It is **42**."))
    await talk.ask("Plain reading")
    await talk.ended()
    plain = await enter(f"/sessions/{talk.session_id}/", java_script_enabled=False)
    await expect(plain.questions).to_have_text(["Plain reading"])
    await expect(plain.answer).to_have_text("It is 42.")
    await expect(plain.answer.locator("strong")).to_have_text("42")
    await expect(plain.step("call").locator("[data-part=result]")).to_contain_text("42")
    await expect(plain.page.locator("form noscript p")).to_be_visible()
    await plain.ended()
    home = await enter("/", java_script_enabled=False)
    await expect(home.sessions.get_by_role("link", name=re.compile("^Plain reading"))).to_be_visible()
    model.enqueue(Script("Plain as well."))
    await home.page.get_by_label("Message").fill("Plain asking")
    await home.page.get_by_role("button", name="Send", exact=True).click()
    await expect(home.questions).to_have_text(["Plain asking"])
    async with asyncio.timeout(20):
        while not await home.answer.count():
            await home.page.reload()
    await expect(home.answer).to_have_text("Plain as well.")


async def test_staff_find_a_run_in_the_administration(talk: Conversation, enter: Enter, server: Server) -> None:
    await talk.ask("For the administration [tokens=3]")
    await talk.ended()
    page = (await enter("/admin/chat/run/", user=STAFF)).page
    # Requested by the page itself, once the list is there.
    await expect(page.locator("dl.figures")).to_contain_text("Duration")
    assert not await find_unseen(page, "#changelist :is(.actions, thead, .paginator)")
    await page.locator("#result_list tbody th").get_by_role("link").first.click()
    await expect(page.locator("#content")).to_contain_text("For the administration")
    await page.get_by_role("link", name="As people see it").click()
    await expect(page.locator(".runbar")).to_contain_text("Finished")
    await page.get_by_role("link", name="In the administration").click()
    await expect(page).to_have_url(re.compile("/admin/chat/run/.+/change/$"))


async def test_runs_at_work_are_shown_and_stopped_without_a_reload(talk: Conversation, enter: Enter) -> None:
    page = (await enter("/admin/chat/run/now/", user=STAFF)).page
    loaded = await page.evaluate("performance.timeOrigin")
    await talk.ask("At work for long [tokens=4000 every=25]")
    row = page.locator("#now tr").filter(has_text="At work for long")
    await expect(row.get_by_role("link", name="Interrupt")).to_be_visible()
    assert await page.evaluate("performance.timeOrigin") == loaded
    await row.get_by_role("link", name="Stop").click()
    await page.get_by_role("button", name="Stop").click()
    await expect(page.locator(".messagelist")).to_contain_text("is being stopped")
    await expect(talk.endline).to_have_text(re.compile("^Stopped"))
    await expect(row.get_by_role("link", name="Stop")).to_have_count(0)


async def test_a_call_is_tried_on_the_page_of_the_api(enter: Enter) -> None:
    page = (await enter("/api/docs")).page
    call = page.locator("[data-call]", has=page.locator("form[data-try=POST][data-path='/api/sessions/']"))
    await call.evaluate(
        "section => { for (let up = section; up; up = up.parentElement) if (up.tagName === 'DETAILS') up.open = true; }"
    )
    await call.locator("details.try > summary").click()
    await call.locator("textarea").fill('{"title": "Tried on the page"}')
    await call.get_by_role("button", name="Send").click()
    await expect(call.get_by_role("status")).to_have_text(re.compile("^201"))
    await expect(call.locator("details.try pre")).to_contain_text('"title": "Tried on the page"')
