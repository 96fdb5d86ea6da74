"""A typed message is never lost and never sent twice, whatever fails; and typing on a phone."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Page, Route, WebSocketRoute, expect

from tests.e2e.conftest import OTHER, READER, Enter
from tests.e2e.conversation import Conversation
from tests.e2e.watch import ANSWERED, NO_NETWORK, NO_SOCKET, Watch
from tests.model_server import ModelServer
from tests.serving import PASSWORD, Browser, Server

TEXT = "Asked once [tokens=3]"
SESSIONS, MESSAGES = re.compile(r"/api/sessions/$"), re.compile(r"/messages/$")

Fault = Callable[[Conversation], Awaitable[None]]


def answering(where: re.Pattern[str], *answers: str) -> Fault:
    """Send while the next requests are `lost` (their answers), `broken` (before they arrive), or answered with a proxy's status."""

    async def fault(talk: Conversation) -> None:
        left = list(answers)

        async def handle(route: Route) -> None:
            if route.request.method != "POST" or not left:
                await route.continue_()
                return
            kind = left.pop(0)
            if kind == "lost":
                await route.fetch()
            if kind.isdigit():
                await route.fulfill(status=int(kind), body="<h1>Bad gateway</h1>", content_type="text/html")
            else:
                await route.abort("connectionreset")

        await talk.page.route(where, handle)
        await talk.ask(TEXT)
        for _ in answers if where is SESSIONS else ():
            # In any case the text is kept, and the user is told.
            await expect(talk.page.locator("#refused")).to_be_visible()
            await expect(talk.message).to_have_value(TEXT)
            await talk.message.press("Enter")

    return fault


async def reloading_while_it_begins(talk: Conversation) -> None:
    """The page is reloaded when the server has made the session, before the answer has arrived."""
    made = asyncio.Event()

    async def handle(route: Route) -> None:
        await route.fetch()
        made.set()

    await talk.page.route(SESSIONS, handle)
    await talk.ask(TEXT)
    await made.wait()
    await talk.page.reload()
    await talk.page.unroute(SESSIONS)
    await expect(talk.message).to_have_value(TEXT)
    await talk.message.press("Enter")


async def pressing_again_while_it_is_slow(talk: Conversation) -> None:
    """The answer arrives after the message was sent a second and a third time."""
    arrive = asyncio.Event()

    async def handle(route: Route) -> None:
        await arrive.wait()
        await route.continue_()

    await talk.page.route(SESSIONS, handle)
    await talk.ask(TEXT)
    for _ in range(2):
        await talk.message.press("Enter")
    await expect(talk.page.get_by_role("button", name="Send")).to_be_disabled()
    arrive.set()


def breaking(*, arrives: bool) -> Fault:
    """The socket is closed between the message and its answer; the message has arrived or not."""

    async def fault(talk: Conversation) -> None:
        broken = asyncio.Event()

        async def opened(socket: WebSocketRoute) -> None:
            server = socket.connect_to_server()

            async def sent(text: str | bytes) -> None:
                if json.loads(text)["type"] != "chat" or broken.is_set():
                    server.send(text)
                    return
                if arrives:
                    server.send(text)
                else:
                    await break_off()

            async def receive(text: str | bytes) -> None:
                if arrives and not broken.is_set() and json.loads(text)["type"] == "accepted":
                    await break_off()
                else:
                    socket.send(text)

            async def break_off() -> None:
                broken.set()
                await socket.close(code=1011)

            socket.on_message(lambda text: asyncio.ensure_future(sent(text)) and None)
            server.on_message(lambda text: asyncio.ensure_future(receive(text)) and None)

        await talk.page.route_web_socket(re.compile("/ws/chat/"), opened)
        await talk.page.reload()
        await talk.is_live()
        await talk.ask(TEXT)
        await broken.wait()

    return fault


async def reloading_at_once(talk: Conversation) -> None:
    await talk.ask(TEXT)
    await talk.page.reload()


async def offline_and_reloading(talk: Conversation) -> None:
    await talk.page.context.set_offline(True)
    await talk.ask(TEXT)
    await expect(talk.waiting).to_contain_text("Not sent yet")
    await talk.page.context.set_offline(False)
    await talk.page.reload()


async def two_tabs_without_a_network(talk: Conversation) -> None:
    other = Conversation(await talk.page.context.new_page())
    await other.page.goto(talk.page.url)
    await other.is_live()
    await talk.page.context.set_offline(True)
    await talk.ask(TEXT)
    await expect(other.waiting).to_contain_text("Not sent yet")
    await talk.page.context.set_offline(False)
    await other.is_live()


async def a_tab_that_is_closed(talk: Conversation) -> None:
    """Another tab of the session sends what the first could not."""
    other = await talk.page.context.new_page()
    await other.route_web_socket(re.compile("/ws/chat/"), lambda _socket: None)
    await other.goto(talk.page.url)
    writing = Conversation(other)
    await writing.ask(TEXT)
    await other.close()


async def over_the_api(talk: Conversation) -> None:
    """The page works over the API, and both the request and the next one's answer are lost."""
    await talk.chip.click()
    await talk.page.get_by_role("switch", name="Work over the API").check()
    await talk.link_is("polling")
    await talk.page.keyboard.press("Escape")
    await answering(MESSAGES, "broken", "lost", "502")(talk)


#: On the start page, and on a session's; a further fault is one line.
BEGINNING: dict[str, Fault] = {
    "the answer is lost": answering(SESSIONS, "lost"),
    "the answer is lost twice": answering(SESSIONS, "lost", "lost"),
    "the network is broken": answering(SESSIONS, "broken"),
    "a proxy answers": answering(SESSIONS, "502", "lost"),
    "the page is reloaded meanwhile": reloading_while_it_begins,
    "the answer is slow": pressing_again_while_it_is_slow,
}
ASKING: dict[str, Fault] = {
    "the line breaks before the message arrives": breaking(arrives=False),
    "the line breaks before it is accepted": breaking(arrives=True),
    "the page is reloaded at once": reloading_at_once,
    "no network, and reloaded": offline_and_reloading,
    "two tabs, no network": two_tabs_without_a_network,
    "its tab is closed": a_tab_that_is_closed,
    "over the API": over_the_api,
}


#: What a browser logs of these faults.
LOGGED = (NO_SOCKET, NO_NETWORK, ANSWERED.format(status="502"), "net::ERR_FAILED|ERR_CONNECTION_RESET")


async def test_a_first_message_is_asked_once_whatever_fails(
    enter: Enter, api: Browser, model: ModelServer, watch: Watch, subtests: pytest.Subtests
) -> None:
    watch.allow(*LOGGED)
    talk = await enter("")
    for name, fault in BEGINNING.items():
        with subtests.test(name):
            model.reset()
            known = await sessions_of(api)
            await talk.page.goto("/")
            await fault(talk)
            await talk.page.wait_for_url(re.compile("/sessions/[0-9a-f-]{36}/"))
            await talk.page.unroute_all()
            await is_asked_once(talk, api, model, known)


@pytest.mark.parametrize("name", ASKING)
async def test_a_message_is_asked_once_whatever_fails(
    name: str, enter: Enter, api: Browser, model: ModelServer, watch: Watch
) -> None:
    watch.allow(*LOGGED)
    known = await sessions_of(api)
    talk = await enter(f"/sessions/{await api.new_session()}/")
    await talk.is_live()
    await ASKING[name](talk)
    await is_asked_once(talk, api, model, known)


async def sessions_of(api: Browser) -> set[str]:
    return {session["id"] for session in (await api.call("GET", "sessions/"))[1]["items"]}


async def is_asked_once(talk: Conversation, api: Browser, model: ModelServer, known: set[str]) -> None:
    """The message is a question of the page's session, which is the only new one, and was sent to the model once."""
    await expect(talk.questions).to_have_text([TEXT])
    await talk.ended()
    await expect(talk.waiting).to_have_count(0)
    await expect(talk.message).to_have_value("")
    _, events = await api.call("GET", f"sessions/{talk.session_id}/events/?limit=1000")
    assert [e["data"]["message"] for e in events["events"] if e["type"] == "reasoning_start"] == [TEXT]
    assert sum(request.body["messages"][-1].get("content") == TEXT for request in model.requests) == 1
    assert await sessions_of(api) - known == {talk.session_id}


async def test_text_typed_before_the_page_is_ready_stays(talk: Conversation) -> None:
    page: Page = talk.page
    held = asyncio.Event()

    async def handle(route: Route) -> None:
        await held.wait()
        await route.continue_()

    await talk.message.fill("Kept from before")
    await page.route(re.compile(r"/main\.\w+\.js$"), handle)
    await page.reload(wait_until="commit")
    await talk.message.fill("Typed at once")
    await page.get_by_role("button", name="Send").click()
    held.set()
    await talk.is_live()
    await expect(talk.message).to_have_value("Kept from before\n\nTyped at once")


async def test_a_draft_is_in_one_box(talk: Conversation, enter: Enter) -> None:
    await talk.message.fill("Half a thought")
    other = Conversation(await talk.page.context.new_page())
    await other.page.goto(talk.page.url)
    await other.is_live()
    await other.message.fill("Another one")
    await other.page.reload()
    await expect(other.message).to_have_value("Another one")
    await expect(talk.message).to_have_value("Half a thought")
    await talk.page.goto("/")
    await talk.page.close()
    await other.message.fill("")
    await other.page.reload()
    await expect(other.message).to_have_value("Half a thought")


async def test_logging_in_again_sends_what_was_typed_meanwhile(
    enter: Enter, server: Server, watch: Watch, model: ModelServer
) -> None:
    watch.allow(ANSWERED.format(status="401"), ANSWERED.format(status="403"))
    async with Browser.logged_in(server.url, READER) as own:
        session = await own.new_session(title="As it was")
        talk = await enter("")
        context = talk.page.context
        await context.clear_cookies()
        await context.add_cookies([{"name": c.key, "value": c.value, "url": server.url} for c in own.http.cookie_jar])
        await talk.page.goto(f"/sessions/{session}/")
        await talk.is_live()
        tab = await context.new_page()
        await tab.goto("/accounts/")
        await tab.get_by_role("button", name="Log out").click()
        await talk.link_is("logged_out")
        await talk.ask(TEXT)
        await expect(talk.waiting).to_contain_text("Not sent yet")
        await tab.goto("/accounts/login/")
        await tab.get_by_label("Username").fill(READER)
        await tab.get_by_label("Password").fill(PASSWORD)
        await tab.get_by_role("button", name="Log in").click()
        await tab.wait_for_url("/")
        await talk.page.bring_to_front()
        await talk.page.evaluate("() => dispatchEvent(new Event('focus'))")
        await talk.is_live()
        await expect(talk.page.get_by_text("You are logged out.")).to_have_count(0)
        await talk.ended()
        await expect(talk.questions).to_have_text([TEXT])
        # The next form has the new token.
        await talk.page.get_by_role("button", name="More", exact=True).click()
        await talk.page.get_by_role("button", name="Rename", exact=True).click()
        await talk.page.get_by_role("dialog").get_by_label("Title").fill("Renamed later")
        await talk.page.keyboard.press("Enter")
        await expect(talk.page.get_by_role("heading", level=1)).to_have_text("Renamed later")
        await talk.page.get_by_role("button", name=re.compile("mei$")).click()
        await talk.page.get_by_role("button", name="Log out").click()
        await expect(talk.page).to_have_url(re.compile("/accounts/"))


#: Where something is typed while another user logs in, and whether the page stays the same; a further page is one line.
PLACES = ["/", "/sessions/{session}/"]


@pytest.mark.parametrize("place", PLACES)
async def test_typed_text_is_not_sent_by_the_next_user(
    enter: Enter, accounts: dict[str, Browser], server: Server, watch: Watch, model: ModelServer, place: str
) -> None:
    watch.allow(*(ANSWERED.format(status=status) for status in ("401", "403", "404")))

    async def sessions(user: str) -> set[str]:
        return await sessions_of(accounts[user])

    mine, theirs = await sessions(READER), await sessions(OTHER)
    async with Browser.logged_in(server.url, READER) as own:
        session = await own.new_session(title="As it was")
        talk = await enter("")
        context = talk.page.context
        await context.clear_cookies()
        await context.add_cookies([{"name": c.key, "value": c.value, "url": server.url} for c in own.http.cookie_jar])
        await talk.page.goto(place.format(session=session))
        await talk.message.fill(TEXT)
        tab = await context.new_page()

        async def log_in(user: str) -> None:
            await tab.goto("/accounts/")
            await tab.get_by_role("button", name="Log out").click()
            await tab.goto("/accounts/login/")
            await tab.get_by_label("Username").fill(user)
            await tab.get_by_label("Password").fill(PASSWORD)
            await tab.get_by_role("button", name="Log in").click()
            await tab.wait_for_url("/")

        await log_in(OTHER)
        await talk.page.bring_to_front()
        await talk.page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
        await expect(talk.page.get_by_text("Somebody else has logged in.")).to_be_visible()
        await talk.message.press("Enter")
        if place == "/":
            await expect(talk.page.locator("#composer")).to_contain_text("Somebody else has logged in")
            await expect(talk.message).to_have_value(TEXT)
        await tab.reload()
        assert await sessions(OTHER) == theirs
        await log_in(READER)
        await talk.page.bring_to_front()
        if place != "/":
            await talk.page.reload()
            await talk.is_live()
        # Where the page already knew that it could not be sent, it is still in the message box.
        if await talk.message.input_value():
            await talk.message.press("Enter")
        await talk.ended()
        await expect(talk.questions).to_have_text([TEXT])
        assert len(await sessions(READER) - mine) == (2 if place == "/" else 1)


async def test_a_thumb_breaks_lines_with_enter_and_sends_with_the_button(enter: Enter, api: Browser) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    talk = await enter(f"/sessions/{await api.new_session()}/", **phone)
    await talk.is_live()
    assert await talk.message.get_attribute("enterkeyhint") == "enter"
    await talk.message.fill("One")
    await talk.message.press("Enter")
    await talk.message.press_sequentially("two [tokens=2]")
    await expect(talk.runs).to_have_count(0)
    await talk.page.get_by_role("button", name="Send").tap()
    await expect(talk.questions).to_have_text(["One\ntwo [tokens=2]"], use_inner_text=True)
    await talk.message.fill("With a keyboard [tokens=2]")
    await talk.message.press("Control+Enter")
    await expect(talk.questions).to_have_count(2)


async def test_beside_the_box_stands_what_the_chosen_agent_is_for(enter: Enter) -> None:
    home = await enter("/")
    about = home.page.locator("[data-agent]:visible")
    await expect(about).to_contain_text("Finds things out")
    await home.page.get_by_label("Agent").select_option("writer")
    await expect(about).to_contain_text("Drafts, edits and shortens")
    await expect(about).not_to_contain_text("17 %")
    await about.get_by_role("link", name="What did we say").click()
    await expect(home.message).to_have_value("What did we say about the flour order?")
