"""A server that dies, a network that is interrupted, and one that refuses WebSockets."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Error, expect

from tests.e2e.conftest import READER, Enter
from tests.e2e.conversation import Conversation
from tests.e2e.proxy import refusing_upgrades
from tests.e2e.watch import ANSWERED, NO_NETWORK, NO_SOCKET, Watch
from tests.model_server import ModelServer, Script
from tests.serving import Browser, Server


def questions_asked(model: ModelServer, text: str) -> int:
    """How many of the model's requests end with this message."""
    return sum(request.body["messages"][-1].get("content") == text for request in model.requests)


@pytest.fixture(scope="module")
def settings_of_server() -> dict[str, str]:
    """A server of its own: one test stops it for a while."""
    return {}


@pytest.fixture
async def proxied(server: Server, watch: Watch) -> AsyncIterator[str]:
    """The server's URL behind a proxy that refuses WebSockets."""
    async with refusing_upgrades(server.url) as address:
        watch.origins.add(address)
        watch.allow(NO_SOCKET)
        yield address


@pytest.fixture
async def behind_proxy(proxied: str, enter: Enter, api: Browser) -> Conversation:
    """The reader on a new session's page behind that proxy, after the page has switched to polling; closed before the proxy is."""
    talk = await enter(f"/sessions/{await api.new_session()}/", base_url=proxied)
    await talk.link_is("polling")
    return talk


async def test_offline_and_back(talk: Conversation, model: ModelServer, watch: Watch) -> None:
    watch.allow(NO_SOCKET, NO_NETWORK)
    await talk.ask("While you were away [tokens=150 every=30]")
    await expect(talk.answer).to_contain_text("word3")
    await talk.page.context.set_offline(True)
    await talk.link_is("offline")
    await talk.ask("Typed offline [tokens=3]")
    await expect(talk.waiting).to_contain_text("Not sent yet")
    await expect(talk.chip).to_contain_text("1 unsent")
    await talk.page.context.set_offline(False)
    await talk.is_live()
    await expect(talk.questions).to_have_text(["While you were away [tokens=150 every=30]", "Typed offline [tokens=3]"])
    await talk.ended()
    await expect(talk.waiting).to_have_count(0)
    assert (await talk.runs.first.locator(".answer .prose").inner_text()).split() == [f"word{n}" for n in range(150)]
    assert questions_asked(model, "Typed offline [tokens=3]") == 1


async def test_a_message_typed_offline_is_sent_once_after_a_reload(
    talk: Conversation, model: ModelServer, watch: Watch
) -> None:
    watch.allow(NO_SOCKET, NO_NETWORK)
    address = talk.page.url
    await talk.page.context.set_offline(True)
    await talk.link_is("offline")
    await talk.ask("Typed offline [tokens=3]")
    await expect(talk.waiting).to_contain_text("Not sent yet")
    with pytest.raises(Error, match="ERR_INTERNET_DISCONNECTED"):
        await talk.page.reload()
    await talk.page.context.set_offline(False)
    await talk.page.goto(address)
    await talk.ended()
    await talk.page.reload()
    await talk.is_live()
    await expect(talk.questions).to_have_text(["Typed offline [tokens=3]"])
    assert questions_asked(model, "Typed offline [tokens=3]") == 1


async def test_a_lost_connection_is_reopened_automatically(talk: Conversation, watch: Watch, enter: Enter) -> None:
    """The page's socket is cut in mid-run; it reconnects and shows each step once."""
    cut = await enter("")
    sockets = []

    async def through(socket) -> None:  # type: ignore[no-untyped-def] # Playwright's own type is not exported
        sockets.append(socket)
        socket.connect_to_server()

    await cut.page.route_web_socket(re.compile("/ws/chat/"), through)
    await cut.page.goto(f"/sessions/{talk.session_id}/")
    await cut.is_live()
    await talk.ask("Go on [tokens=100 every=50 reasoning=5]")
    await expect(cut.answer).to_contain_text("word3")
    await sockets[0].close(code=4012)
    await cut.ended()
    await talk.ended()
    assert len(sockets) == 2
    assert await cut.numbers() == await talk.numbers()
    assert await cut.answer.inner_html() == await talk.answer.inner_html()


async def test_the_page_works_over_the_api_where_sockets_are_blocked(
    behind_proxy: Conversation, model: ModelServer
) -> None:
    talk = behind_proxy
    await expect(talk.page.get_by_text("Live connection blocked: refreshing over the API.")).to_be_visible()
    await expect(talk.chip).to_contain_text("Over the API")
    await talk.ask('Slowly [tokens=4 reasoning=4 call=python:{"code": "6*7"}]')
    await talk.ended()
    await expect(talk.answer).to_have_text("The tools said: 42")
    await talk.open_outline()
    await expect(talk.step("call")).to_have_count(1)

    await talk.ask("Never end [tokens=3000 every=50]")
    await talk.stop.click()
    await talk.ended("Stopped by mei")
    await model.until(lambda: model.requests[-1].closed_at is not None)

    await talk.page.reload()
    await talk.link_is("polling")
    await expect(talk.runs).to_have_count(2)
    await expect(talk.runs.first.locator(".answer .prose")).to_have_text("The tools said: 42")


async def test_a_message_waits_in_line_over_the_api_too(behind_proxy: Conversation) -> None:
    talk = behind_proxy
    await talk.ask("First [tokens=3000 every=50]")
    await talk.is_at_work()
    await talk.ask("Second [tokens=3]")
    await expect(talk.waiting).to_contain_text("Second")
    await talk.stop.click()
    await expect(talk.questions.last).to_have_text("Second [tokens=3]")
    await talk.ended()
    await expect(talk.waiting).to_have_count(0)


async def test_a_reader_can_choose_to_work_over_the_api(talk: Conversation) -> None:
    await talk.chip.click()
    await talk.page.get_by_role("switch", name="Work over the API instead of a live connection").check()
    await talk.link_is("polling")
    await talk.page.keyboard.press("Escape")
    await talk.ask("By the side door [tokens=4]")
    await talk.ended()
    await talk.page.reload()
    await talk.link_is("polling")
    await talk.chip.click()
    await talk.page.get_by_role("switch", name="Work over the API instead of a live connection").uncheck()
    await talk.is_live()


async def test_logging_out_in_another_tab_is_told(enter: Enter, server: Server, watch: Watch) -> None:
    watch.allow(ANSWERED.format(status="401"))
    async with Browser.logged_in(server.url, READER) as other:
        session = await other.new_session()
        talk = await enter("")
        await talk.page.context.clear_cookies()
        await talk.page.context.add_cookies(
            [{"name": cookie.key, "value": cookie.value, "url": server.url} for cookie in other.http.cookie_jar]
        )
        await talk.page.goto(f"/sessions/{session}/")
        await talk.is_live()
        tab = await talk.page.context.new_page()
        await tab.goto("/accounts/")
        await tab.get_by_role("button", name="Log out").click()
        await talk.link_is("logged_out")
        await expect(talk.page.get_by_text("You are logged out.")).to_be_visible()
        await expect(talk.page.get_by_role("link", name="Log in")).to_have_attribute(
            "href", f"/accounts/login/?next=%2Fsessions%2F{session}%2F"
        )


# Last, because it ends the module's server for a while.
async def test_a_server_killed_in_mid_run_comes_back_and_the_run_can_be_continued(
    talk: Conversation, server: Server, model: ModelServer, watch: Watch
) -> None:
    watch.allow(NO_SOCKET, NO_NETWORK)
    await talk.ask('Think twice [tokens=400 every=50 reasoning=5 call=python:{"code": "6*7"}]')
    await talk.ended()
    await talk.ask("And go on [tokens=400 every=50 reasoning=5]")
    # Of a text in progress, the last two seconds may be lost; this is more.
    await expect(talk.answer).to_contain_text("word60")
    numbers = await talk.numbers()
    server.kill()
    await talk.link_is("waiting", "connecting")
    await expect(talk.chip).to_contain_text("Reconnecting")
    server.start(server.port)
    await talk.is_live()
    await expect(talk.state).to_have_text("Interrupted by restart")
    await expect(talk.trouble).to_contain_text("Interrupted by a restart.")
    await expect(talk.answer).to_contain_text("word0 word1")
    assert (await talk.numbers())[: len(numbers)] == numbers
    model.respond = lambda _body: Script("Back again.")
    await talk.trouble.get_by_role("button", name="Continue").click()
    await expect(talk.runs).to_have_count(3)
    await talk.ended()
    await expect(talk.answer).to_have_text("Back again.")


#: What happens to a script that a page needs, and which one; a further way is one line.
NOT_STARTED = {
    "blocked": ("page/main", {}),
    "blocked further down": ("state/humanize", {}),
    "not there": ("page/main", {"status": 404, "body": "Not found", "content_type": "text/html"}),
    "another page in its place": (
        "transport/socket",
        {"status": 200, "body": "<p>Log in</p>", "content_type": "text/html"},
    ),
    "fails at its start": (
        "page/main",
        {"status": 200, "body": "throw new Error('no')", "content_type": "text/javascript"},
    ),
}


async def test_a_page_whose_script_does_not_start_says_so(
    talk: Conversation, watch: Watch, subtests: pytest.Subtests
) -> None:
    watch.allow(".*")
    for how, (name, answer) in NOT_STARTED.items():
        with subtests.test(how):
            await shows_that_it_does_not_work(talk, name, answer)


async def shows_that_it_does_not_work(talk: Conversation, name: str, answer: dict[str, Any]) -> None:
    page = talk.page
    words = page.get_by_text("This page is not working.")
    await expect(words).to_have_count(0)
    address = re.compile(rf"/chat/{name}\.[^/]*js$")
    await page.route(address, lambda route: route.fulfill(**answer) if answer else route.abort())
    await page.reload()
    # Not before the script would have arrived.
    await expect(words).to_be_hidden()
    await page.evaluate("() => document.getAnimations().forEach((animation) => animation.finish())")
    await expect(words).to_be_visible()
    await page.unroute(address)
    await page.get_by_role("link", name="Reload").click()
    await talk.is_live()
    await expect(words).to_have_count(0)


async def test_the_start_page_says_so_too(enter: Enter, watch: Watch) -> None:
    watch.allow(".*")
    home = await enter("/")
    words = home.page.get_by_text("This page is not working.")
    await expect(words).to_have_count(0)
    await home.page.route(re.compile(r"/chat/page/start\.[^/]*js$"), lambda route: route.abort())
    await home.page.emulate_media(reduced_motion="reduce")
    await home.page.reload()
    await home.page.evaluate("() => document.getAnimations().forEach((animation) => animation.finish())")
    await expect(words).to_be_visible()
    await home.fits()
