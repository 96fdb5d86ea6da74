"""A network that is slow, and not broken: what is typed or pressed meanwhile is neither lost nor done twice."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, Request, Response, Route, expect

from tests.e2e.conftest import Enter
from tests.e2e.conversation import Conversation
from tests.e2e.test_files import payload
from tests.e2e.test_schedules import make
from tests.e2e.watch import Watch
from tests.faults.proxy import Proxy
from tests.model_server import Call, ModelServer, Script
from tests.serving import Browser, Server


@dataclass
class Held:
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    bodies: list[dict[str, object]] = field(default_factory=list)


@contextlib.asynccontextmanager
async def held(page: Page, where: str, method: str, times: int = 1) -> AsyncIterator[Held]:
    """Hold the requests to an address until the block ends; there are exactly so many, one after the other."""
    release, requests = asyncio.Event(), Held()

    async def hold(route: Route, request: Request) -> None:
        if request.method == method:
            is_json = (await request.header_value("content-type") or "").startswith("application/json")
            requests.bodies.append(request.post_data_json if is_json else {})
            requests.begun.set()
            await release.wait()
        await route.continue_()

    address, answered = re.compile(where), []

    def is_last(response: Response) -> bool:
        if address.search(response.url) and response.request.method == method:
            answered.append(response)
        return len(answered) == times

    await page.route(address, hold)
    try:
        async with page.expect_response(is_last) as last:
            yield requests
            await requests.begun.wait()
            assert len(requests.bodies) == 1, requests
            release.set()
        await (await last.value).finished()
        assert len(requests.bodies) == times, requests
    finally:
        release.set()
        await page.unroute(address)


async def rename(talk: Conversation) -> None:
    page = talk.page
    heading, box = page.get_by_role("heading", level=1), page.get_by_role("dialog").get_by_label("Title")
    address = f"/api/sessions/{talk.session_id}/$"

    async def open_dialog(title: str) -> None:
        await page.get_by_role("button", name="More", exact=True).click()
        await page.get_by_role("button", name="Rename", exact=True).click()
        await box.fill(title)

    await open_dialog("First")
    async with held(page, address, "PATCH", times=2) as requests:
        await box.press("Enter")
        await box.press_sequentially(" and more")
        await box.press("Enter")
        await box.press("Enter")
    await expect(heading).to_have_text("First and more")
    await expect(box).to_be_hidden()
    assert [each["title"] for each in requests.bodies] == ["First", "First and more"]
    # What was typed meanwhile without Enter is not saved yet.
    await open_dialog("Second")
    async with held(page, address, "PATCH"):
        await box.press("Enter")
        await box.press_sequentially(" and more")
    await expect(heading).to_have_text("Second")
    await expect(box).to_have_value("Second and more")
    async with held(page, address, "PATCH") as requests:
        await box.press("Enter")
        await requests.begun.wait()
        await page.keyboard.press("Escape")
        await open_dialog("Another")
    await expect(heading).to_have_text("Second and more")
    await expect(box).to_have_value("Another")
    await page.keyboard.press("Escape")


async def comment(talk: Conversation) -> None:
    page = talk.page
    await talk.runs.last.get_by_role("button", name="Comment on the answer").click()
    box, messages = page.locator(".thread textarea"), page.locator(".thread .said")
    await box.fill("Is that so?")
    async with held(page, "/comments/$", "POST", times=2) as requests:
        await page.keyboard.press("Control+Enter")
        await page.keyboard.press("Control+Enter")
        await box.press_sequentially(" By whom?")
        await page.keyboard.press("Control+Enter")
    assert [each["text"] for each in requests.bodies] == ["Is that so?", "By whom?"]
    await expect(messages).to_have_text(["Is that so?", "By whom?"])
    await expect(box).to_have_value("")
    # What is still being written when the answer comes is not sent, though a part of it was.
    await box.fill("And why?")
    async with held(page, "/comments/$", "POST"):
        await page.keyboard.press("Control+Enter")
        await box.press_sequentially(" I")
        await page.keyboard.press("Control+Enter")
        await box.press_sequentially(" think")
    await expect(messages).to_have_text(["Is that so?", "By whom?", "And why?"])
    await expect(box).to_have_value("I think")

    async def lose(route: Route) -> None:
        await route.fetch()
        await route.abort("connectionreset")

    await page.route("**/comments/", lose, times=1)
    await page.keyboard.press("Control+Enter")
    await expect(page.get_by_text("It could not be saved. Please try again.")).to_be_visible()
    await page.keyboard.press("Control+Enter")
    await expect(box).to_have_value("")
    await expect(messages).to_have_text(["Is that so?", "By whom?", "And why?", "I think"])


async def edit_a_comment(talk: Conversation) -> None:
    """What is typed while a change is being stored is neither lost nor stored as another comment."""
    page = talk.page
    box, message = page.locator(".thread textarea"), page.locator(".thread .said").last
    await box.fill("Half a comment")
    await page.get_by_role("button", name="Change the comment").last.click()
    await expect(box).to_have_value("I think")
    await box.press_sequentially(" so")
    async with held(page, "/api/comments/", "PATCH"):
        await page.keyboard.press("Control+Enter")
        await box.press_sequentially(", too")
    await expect(message).to_have_text("I think so")
    await expect(box).to_have_value("I think so, too")
    async with held(page, "/api/comments/", "PATCH", times=2) as requests:
        await page.keyboard.press("Control+Enter")
        await requests.begun.wait()
        await box.press_sequentially("!")
        await page.keyboard.press("Control+Enter")
    assert [each["text"] for each in requests.bodies] == ["I think so, too", "I think so, too!"]
    await expect(message).to_have_text("I think so, too!")
    # What was begun before is there again, also after Escape.
    await expect(box).to_have_value("Half a comment")
    await box.press("Escape")
    await talk.runs.last.get_by_role("button", name="Comment on the answer").click()
    await expect(box).to_have_value("Half a comment")
    # A comment that is changed and then deleted stays deleted, whatever is answered first.
    await box.fill("A slip")
    await page.keyboard.press("Control+Enter")
    await expect(message).to_have_text("A slip")
    await page.get_by_role("button", name="Change the comment").last.click()
    await box.press_sequentially("!")
    async with held(page, "/api/comments/", "PATCH"):
        await page.keyboard.press("Control+Enter")
        for name in ("Delete the comment", "Press again to delete the comment", "Press again to delete the comment"):
            await page.get_by_role("button", name=name).last.click()
    await expect(message).to_have_text("I think so, too!")
    await expect(page.locator("#notices > *")).to_have_count(0)
    await box.fill("")


async def judge(talk: Conversation) -> None:
    page = talk.page
    good, bad = (talk.runs.last.get_by_role("button", name=name) for name in ("A good run", "A bad run"))
    async with held(page, "/verdict/$", "PUT", times=2) as requests:
        await good.click()
        await good.click()
        await bad.click()
    assert [each["verdict"] for each in requests.bodies] == ["good", "bad"]
    await expect(page.locator(".verdict-why")).to_be_visible()
    await expect(bad).to_have_attribute("aria-pressed", "true")
    async with held(page, "/verdict/$", "PUT"):
        await good.click()
        await good.click()
        await talk.message.focus()
        await page.keyboard.type("Typed ")
    reason = page.locator(".verdict-why textarea")
    await expect(reason).to_be_visible()
    await page.keyboard.type("on")
    await expect(talk.message).to_have_value("Typed on")
    await talk.message.fill("")
    await reason.fill("Because")
    async with held(page, "/verdict/$", "PUT"):
        await page.locator(".verdict-why").get_by_role("button", name="Save").click()
        await reason.press_sequentially(" it is")
    await expect(reason).to_have_value("Because it is")
    # The reason goes before the verdict that is given after it.
    async with held(page, "/verdict/$", "PUT", times=2) as requests:
        for _ in range(2):
            await page.keyboard.press("Control+Enter")
            await page.locator(".verdict-why").get_by_role("button", name="Save").click()
        await good.click()
    assert [(each["verdict"], each["reason"]) for each in requests.bodies] == [("good", "Because it is"), (None, "")]
    await expect(good).to_have_attribute("aria-pressed", "false")


async def choose(talk: Conversation) -> None:
    """What is chosen last is stored last."""
    address = f"/api/sessions/{talk.session_id}/$"
    async with held(talk.page, address, "PATCH", times=3) as requests:
        for _ in range(3):
            await talk.page.locator("#composer [name=enable_reasoning]").evaluate("box => box.click()")
    first, second, third = (each["enable_reasoning"] for each in requests.bodies)
    assert first == third != second


async def take_back_a_word(talk: Conversation) -> None:
    await talk.ask("Wait [stall]")
    await talk.is_at_work()
    await talk.message.fill("Be brief")
    await talk.message.press("Alt+Enter")
    await expect(talk.waiting).to_contain_text("Waiting for the next step")
    async with held(talk.page, "/unsteer/$", "POST"):
        for _ in range(2):
            await talk.waiting.get_by_role("button", name="Take back and edit").click()
    await expect(talk.waiting).to_have_count(0)
    await expect(talk.message).to_have_value("Be brief")
    await expect(talk.page.locator("#notices > *")).to_have_count(0)
    await talk.message.fill("")
    await talk.stop.click()
    await talk.ended("Stopped by mei")


async def test_nothing_is_lost_or_done_twice_while_an_answer_is_slow(
    talk: Conversation, api: Browser, model: ModelServer, watch: Watch
) -> None:
    watch.allow("net::ERR_CONNECTION_RESET|net::ERR_FAILED")
    # A page that has no routes for a moment does not hold the first request after that, where the machine is busy.
    await talk.page.route("**/no-such-page", lambda route: route.abort())
    model.enqueue(Script("Yes."), Script("Never.", fault="stall"))
    await talk.ask("Is it?")
    await talk.ended()
    for act in (rename, comment, edit_a_comment, judge, choose, take_back_a_word):
        await act(talk)
    _, events = await api.call("GET", f"sessions/{talk.session_id}/comments/")
    assert [each["text"] for each in events["items"]] == ["Is that so?", "By whom?", "And why?", "I think so, too!"]
    await begin_with_a_file(talk)
    await send_forms(talk, api)


async def begin_with_a_file(talk: Conversation) -> None:
    """A first message whose file, and whose session, are long on their way."""
    page = talk.page
    await page.goto("/")
    async with held(page, "/api/files/$", "POST"):
        await page.locator("#attach-input").set_input_files([payload("tea.txt", b"Tea: 3")])  # type: ignore[list-item]
        await talk.message.fill("What does tea cost?")
        for _ in range(2):
            await talk.message.press("Enter")
        await expect(page.get_by_text("The files are still being sent.")).to_be_visible()
    await expect(page.get_by_text("The files are still being sent.")).to_be_hidden()
    async with held(page, "/api/sessions/$", "POST"):
        for _ in range(2):
            await talk.message.press("Enter")
    await talk.ended()
    await expect(talk.runs).to_have_count(1)
    await expect(talk.runs.first).to_contain_text("tea.txt")
    await expect(talk.message).to_have_value("")


async def send_forms(talk: Conversation, api: Browser) -> None:
    """Forms of pages: a second press sends nothing, unless something has changed meanwhile."""
    page, keyboard = talk.page, talk.page.keyboard
    await page.goto("/sets/")
    name = page.get_by_label("Name of a new set")
    await name.fill("Tea")
    async with held(page, "/sets/$", "POST"):
        for _ in range(3):
            await keyboard.press("Enter")
    await page.wait_for_url(re.compile("/sets/[0-9a-f-]{36}/$"))
    await page.goto("/accounts/tokens/")
    await page.get_by_label("What it is for").fill("A robot")
    await page.get_by_role("button", name="Make a token").focus()
    async with held(page, "/tokens/$", "POST"):
        for _ in range(2):
            await keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Revoke")).to_have_count(1)
    schedule = await make(api)
    await page.goto("/schedules/")
    await page.get_by_role("button", name="Run Morning summary now").focus()
    async with held(page, "/run/$", "POST"):
        for _ in range(2):
            await keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(r"/sessions/[0-9a-f-]{36}/"))
    await page.goto(f"/schedules/{schedule['id']}/")
    box = page.get_by_label("Name", exact=True)
    await box.fill("Evening")

    sent: list[str | None] = []
    page.on("request", lambda request: request.method == "POST" and sent.append(request.post_data))
    release = asyncio.Event()

    async def hold(route: Route, request: Request) -> None:
        if request.method == "POST":
            await release.wait()
        await route.continue_()

    await page.route("**/schedules/*/", hold)
    await keyboard.press("Enter")
    await keyboard.type(" summary")
    await keyboard.press("Enter")
    await keyboard.press("Enter")
    release.set()
    await expect(page.get_by_role("heading", name="Evening summary")).to_be_visible()
    assert len(sent) == 2, sent
    await page.unroute("**/schedules/*/")


@pytest.mark.long
async def test_nothing_is_lost_or_done_twice_on_a_slow_line(
    enter: Enter, api: Browser, server: Server, model: ModelServer, watch: Watch
) -> None:
    """Each piece of data takes a third of a second, in both directions; the hand does not wait for any of it."""
    address = urlsplit(server.url)
    async with Proxy.before(str(address.hostname), address.port or 80) as line:
        line.latency_s = 0.3
        proxied = line.instead_of(server.url).rstrip("/")
        watch.origins.add(proxied)
        thought = Script(reasoning="I think " * 30, calls=[Call("python", {"code": "6*7"})], piece=4, every_s=0.1)
        model.enqueue(thought, Script("Yes."), Script("No."))
        session_id = await api.new_session()
        talk = await enter(f"/sessions/{session_id}/", base_url=proxied)
        await talk.is_live()
        keyboard = talk.page.keyboard
        await talk.message.focus()
        for text, press in (("Is it?", "Enter"), ("And that?", "Enter"), ("Be brief", "Alt+Enter")):
            if press == "Alt+Enter":
                # Before, it would be a question like the others.
                await talk.is_at_work()
            await keyboard.type(text)
            await keyboard.press(press)
            await keyboard.press(press)
        await keyboard.type("Half a quest")
        await expect(talk.endlines).to_have_count(2)
        await expect(talk.questions).to_have_text(["Is it?", "And that?"])
        await expect(talk.waiting).to_have_count(0)
        await expect(talk.message).to_have_value("Half a quest")
        await talk.page.get_by_role("button", name="More", exact=True).click()
        await talk.page.get_by_role("button", name="Rename", exact=True).click()
        await keyboard.type("A slow one")
        await keyboard.press("Enter")
        await keyboard.press("Enter")
        await expect(talk.page.get_by_role("heading", level=1)).to_have_text("A slow one")
        _, events = await api.call("GET", f"sessions/{session_id}/events/?limit=200")
        stored = [each["data"] for each in events["events"]]
        assert [each["content"] for each in stored if each.get("type") == "steer"] == ["Be brief"]
        begun = [each["data"]["message"] for each in events["events"] if each["type"] == "reasoning_start"]
        assert begun == ["Is it?", "And that?"]
        await talk.page.close()
