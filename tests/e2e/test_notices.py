"""What the page says at its top ends with its cause."""

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from playwright.async_api import BrowserContext, Route, WebSocketRoute, expect

from tests.e2e.conftest import OTHER, READER, Enter
from tests.e2e.conversation import Conversation
from tests.e2e.test_files import payload
from tests.e2e.watch import NO_NETWORK, NO_SOCKET, Watch
from tests.serving import Browser

TOO_MANY, RESTARTING = 4429, 4012
#: Live connections that never open while `isBlocked` is set, as where a network refuses them; for those made from now on.
BLOCKABLE = """() => {
  const Real = WebSocket;
  globalThis.WebSocket = class extends Real {
    constructor(address) {
      if (globalThis.isBlocked) throw new Error("blocked");
      super(address);
    }
  };
}"""
#: The reader's look at the page, after which it asks the server for news.
SEEN = "() => document.dispatchEvent(new Event('visibilitychange'))"


@dataclass
class Stage:
    """A page with a run that has ended, and what can be done to it."""

    talk: Conversation
    api: Browser
    accounts: dict[str, Browser]
    #: The sockets of the page, the last one last.
    sockets: list[WebSocketRoute] = field(default_factory=list)
    #: With this code each socket is closed as soon as it is opened.
    closing: int | None = None

    async def opened(self, socket: WebSocketRoute) -> None:
        """Handle a socket of the page."""
        if self.closing is not None:
            await socket.close(code=self.closing)
            return
        socket.connect_to_server()
        self.sockets.append(socket)

    async def choose_the_api(self, wanted: bool) -> None:
        """Switch between the live connection and the API."""
        await self.talk.page.locator("#over-api").evaluate(
            "(box, wanted) => { if (box.checked !== wanted) box.click() }", wanted
        )


async def log_in(context: BrowserContext, user: Browser, url: str) -> None:
    """Have a browser send another user's cookies, as after a login in another tab."""
    await context.add_cookies([{"name": each.key, "value": each.value, "url": url} for each in user.http.cookie_jar])


# Each begins a cause, yields what is said of it, and ends the cause. A further one is one function in CAUSES.


async def a_stop_without_a_network(stage: Stage) -> AsyncIterator[str]:
    talk = stage.talk
    await talk.ask("Never end [tokens=2000 every=50]")
    await talk.is_at_work()
    await expect(talk.answer).to_contain_text("word1")
    await talk.page.context.set_offline(True)
    await talk.link_is("offline")
    await talk.stop.click()
    await expect(talk.stop).to_be_enabled()
    yield "Stop could not be sent"
    await talk.page.context.set_offline(False)
    await talk.is_live()
    yield ""
    await talk.stop.click()
    await talk.ended("Stopped by mei")


async def a_choice_that_is_not_kept(stage: Stage) -> AsyncIterator[str]:
    page = stage.talk.page
    address = re.compile(rf"/api/sessions/{stage.talk.session_id}/$")
    await page.route(address, lambda route: route.abort())
    await page.get_by_role("combobox", name="Agent").select_option("writer")
    yield "The choice holds for this page"
    await page.unroute(address)
    async with page.expect_response(address):
        await page.get_by_role("combobox", name="Agent").select_option("developer")


async def a_comment_that_is_not_stored(stage: Stage) -> AsyncIterator[str]:
    page = stage.talk.page
    address = re.compile(r"/comments/$")
    await page.route(address, lambda route: route.abort())
    await stage.talk.runs.first.get_by_role("button", name="Comment on the answer").click()
    box = page.locator(".thread textarea")
    await box.fill("Is that so?")
    await box.press("Control+Enter")
    yield "It could not be saved. Please try again."
    await page.unroute(address)
    await box.press("Control+Enter")
    await expect(page.locator(".thread .said")).to_have_text("Is that so?")


async def a_verdict_that_is_not_stored(stage: Stage) -> AsyncIterator[str]:
    page = stage.talk.page
    address = re.compile(r"/verdict/$")
    await page.route(address, lambda route: route.abort())
    await stage.talk.runs.first.get_by_role("button", name="A good run").click()
    yield "It could not be saved. Please try again."
    await page.unroute(address)
    await stage.talk.runs.first.get_by_role("button", name="A good run").click()
    await expect(page.locator(".verdict-why")).to_be_visible()


async def a_message_that_a_reload_would_lose(stage: Stage) -> AsyncIterator[str]:
    talk = stage.talk
    await talk.page.context.set_offline(True)
    await talk.link_is("offline")
    await talk.page.evaluate(
        "() => { globalThis.kept = Storage.prototype.setItem;"
        " Storage.prototype.setItem = () => { throw new Error('full') } }"
    )
    await talk.ask("Only here")
    await expect(talk.waiting).to_contain_text("Not sent yet")
    yield "This browser keeps nothing for this site"
    await talk.message.press("ArrowUp")
    await expect(talk.message).to_have_value("Only here")
    yield ""
    await talk.page.evaluate("() => { Storage.prototype.setItem = globalThis.kept }")
    await talk.message.fill("")
    await talk.page.context.set_offline(False)
    await talk.is_live()


async def a_file_under_way(stage: Stage) -> AsyncIterator[str]:
    """Beside the box."""
    page = stage.talk.page
    arrive = asyncio.Event()

    async def hold(route: Route) -> None:
        await arrive.wait()
        await route.continue_()

    await page.route("**/api/files/", hold)
    await page.locator("#attach-input").set_input_files([payload("tea.txt", b"Tea: 3")])  # type: ignore[list-item]
    await stage.talk.ask("With a file")
    yield "The files are still being sent. One moment."
    arrive.set()
    yield ""
    await page.get_by_role("button", name="Remove “tea.txt”").click()
    await stage.talk.message.fill("")


async def a_call_that_waits_elsewhere(stage: Stage) -> AsyncIterator[str]:
    """The page is told of it by the server's news, and of its end by the list of sessions."""
    page = stage.talk.page
    waits = {
        "kind": "approval",
        "session_id": "0" * 36,
        "title": "Elsewhere",
        "run_id": "1" * 36,
        "tool_call_id": "c 1",
    }
    body = {"items": [{**waits, "tool_name": "python", "deadline": 0, "timestamp": 0}], "now": 0}
    open_calls = [f"{waits['run_id']}/{waits['tool_call_id']}"]

    async def answer_list(route: Route) -> None:
        answer = await route.fetch()
        named = html.escape(json.dumps(open_calls))
        text = re.sub(r'data-open="[^"]*"', f'data-open="{named}"', await answer.text())
        await route.fulfill(response=answer, body=text)

    await page.route("**/sessions/?part=side*", answer_list)
    await page.route("**/api/notifications/*", lambda route: route.fulfill(json=body))
    await page.evaluate(SEEN)
    yield "python waits for your decision."
    await page.unroute("**/api/notifications/*")
    async with page.expect_response("**/sessions/?part=side*"):
        await page.evaluate(SEEN)
    await expect(page.get_by_text("python waits for your decision.")).to_be_visible()
    open_calls.clear()
    await page.evaluate(SEEN)
    yield ""
    await page.unroute("**/sessions/?part=side*")


async def too_many_connections(stage: Stage) -> AsyncIterator[str]:
    stage.closing = TOO_MANY
    await stage.sockets[-1].close(code=TOO_MANY)
    yield "Too many connections."
    # Another cause keeps the page waiting.
    stage.closing = RESTARTING
    await stage.talk.page.evaluate("() => dispatchEvent(new Event('online'))")
    yield ""
    stage.closing = None
    await stage.talk.is_live()


async def another_login(stage: Stage) -> AsyncIterator[str]:
    page = stage.talk.page
    url = page.url.split("/sessions/")[0]
    await log_in(page.context, stage.accounts[OTHER], url)
    await page.evaluate(SEEN)
    yield "Somebody else has logged in."
    await log_in(page.context, stage.accounts[READER], url)
    await page.evaluate(SEEN)


async def blocked_connections(stage: Stage) -> AsyncIterator[str]:
    page = stage.talk.page
    await page.evaluate(BLOCKABLE)
    await stage.choose_the_api(True)
    await page.evaluate("() => { globalThis.isBlocked = true }")
    await stage.choose_the_api(False)
    yield "Live connection blocked: refreshing over the API."
    await page.evaluate("() => { globalThis.isBlocked = false }")
    await page.get_by_role("button", name="Try live again").click()
    await stage.talk.is_live()


async def blocked_connections_of_a_session_that_is_deleted(stage: Stage) -> AsyncIterator[str]:
    """Afterwards there is no session."""
    await stage.choose_the_api(True)
    await stage.talk.page.evaluate("() => { globalThis.isBlocked = true }")
    await stage.choose_the_api(False)
    yield "Live connection blocked: refreshing over the API."
    assert (await stage.api.call("DELETE", f"sessions/{stage.talk.session_id}/"))[0] == 204
    await stage.talk.link_is("gone")


async def an_announcement(stage: Stage) -> AsyncIterator[str]:
    notices = stage.talk.page.locator("#notices")

    def announce(text: str) -> None:
        data = {"message": text, "level": "warning"}
        stage.sockets[-1].send(json.dumps({"type": "announcement", "data": data}))

    announce("Down at ten")
    yield "Down at ten"
    announce("All is well again")
    yield ""
    await expect(notices).to_contain_text("All is well again")
    # Withdrawn.
    announce("")
    await expect(notices).to_be_empty()


async def a_link_to_a_step_that_is_not_there(stage: Stage) -> AsyncIterator[str]:
    page = stage.talk.page
    await page.evaluate(
        "() => { globalThis.real = setTimeout;"
        " globalThis.setTimeout = (act, ms) => globalThis.real(act, ms === 5000 ? 500 : ms) }"
    )
    await page.evaluate("() => { location.hash = 's999' }")
    yield "There is no step 999"
    yield ""
    await page.evaluate("() => { globalThis.setTimeout = globalThis.real; location.hash = '' }")


async def an_end_of_a_schedule(stage: Stage) -> AsyncIterator[str]:
    """Its session is opened in another tab."""
    page = stage.talk.page
    session = await stage.api.new_session()
    end = {"id": "7", "session_id": session, "run_id": "1" * 36, "title": "Daily", "text": "It has been done."}
    body = {"items": [{**end, "status": "completed", "paused": False}], "now": 0}
    await page.route("**/api/notifications/*", lambda route: route.fulfill(json=body))
    await page.evaluate(SEEN)
    yield "It has been done."
    await page.unroute("**/api/notifications/*")
    tab = await page.context.new_page()
    await tab.goto(f"/sessions/{session}/")
    yield ""
    await tab.close()


async def a_message_that_another_login_could_not_send(stage: Stage) -> AsyncIterator[str]:
    """On the start page."""
    page = stage.talk.page
    await page.goto("/")
    await stage.talk.message.fill("Mine")
    await log_in(page.context, stage.accounts[OTHER], page.url)
    await stage.talk.message.press("Enter")
    yield "Somebody else has logged in meanwhile."
    await expect(page.locator("#notices")).to_contain_text("Somebody else has logged in.")
    await log_in(page.context, stage.accounts[READER], page.url)
    await page.evaluate(SEEN)
    yield ""
    await expect(stage.talk.message).to_have_value("Mine")


CAUSES: list[Callable[[Stage], AsyncIterator[str]]] = [
    a_stop_without_a_network,
    a_choice_that_is_not_kept,
    a_comment_that_is_not_stored,
    a_verdict_that_is_not_stored,
    a_message_that_a_reload_would_lose,
    a_file_under_way,
    a_call_that_waits_elsewhere,
    an_announcement,
    a_link_to_a_step_that_is_not_there,
    an_end_of_a_schedule,
    too_many_connections,
    another_login,
    blocked_connections,
    blocked_connections_of_a_session_that_is_deleted,
    a_message_that_another_login_could_not_send,
]


async def test_what_is_said_ends_with_its_cause(
    enter: Enter, api: Browser, accounts: dict[str, Browser], watch: Watch
) -> None:
    """On one page, one after the other."""
    watch.allow(NO_SOCKET, NO_NETWORK, "net::ERR_FAILED", "status of 40[34]")
    stage = Stage(await enter(""), api, accounts)
    page = stage.talk.page
    await page.route_web_socket(re.compile("/ws/chat/"), stage.opened)
    await page.goto(f"/sessions/{await api.new_session()}/")
    await stage.talk.is_live()
    await stage.talk.ask("One [tokens=2]")
    await stage.talk.ended()
    for cause in CAUSES:
        course = cause(stage)
        notice = page.get_by_text(await anext(course))
        await expect(notice, cause.__name__).to_be_visible()
        await anext(course, None)
        # Those that pass by themselves do so later.
        await expect(notice, cause.__name__).to_be_hidden(timeout=3_000)
        await anext(course, None)
