"""Where the focus is after an action, and what single keys do."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from playwright.async_api import Page, expect

from tests.e2e.conftest import OTHER
from tests.e2e.conversation import Conversation
from tests.serving import Browser

#: The reader's look at the page, after which it asks the server for news.
SEEN = "() => document.dispatchEvent(new Event('visibilitychange'))"


async def keys_only(page: Page, name: str | re.Pattern[str], within: str = "body") -> None:
    """Press a button by keyboard."""
    await page.locator(within).get_by_role("button", name=name, exact=isinstance(name, str)).last.focus()
    await page.keyboard.press("Enter")


async def open_row_menu(talk: Conversation, title: str, within: str = "#side-list") -> None:
    """Open the menu of a session in a list, by keyboard."""
    await keys_only(talk.page, re.compile(f"^More for {title}"), within)


def row_of(title: str, within: str = "#side-list") -> str:
    """Any part of a session's row that takes the focus."""
    return f"{within} [data-session][data-title='{title}'] :is(a, button)"


async def delete_row(talk: Conversation, title: str, within: str) -> None:
    """Delete a session by the menu of its row."""
    await open_row_menu(talk, title, within)
    await keys_only(talk.page, re.compile("^Delete"), "#session-menu")
    await keys_only(talk.page, "Delete", "#delete-dialog")
    await expect(talk.page.locator(row_of(title, within))).to_have_count(0)


# Courses of actions, each of which yields where the focus is after an action.


async def naming(talk: Conversation) -> AsyncIterator[str]:
    """By the page's own menu."""
    for done in ("Escape", "Enter"):
        await keys_only(talk.page, "More")
        await keys_only(talk.page, "Rename")
        await expect(talk.page.get_by_role("dialog").get_by_label("Title")).to_be_focused()
        # The list may have been updated meanwhile, with a new element for the one that opened the dialog.
        await talk.page.evaluate("() => document.querySelector('#side-list').replaceChildren()")
        await talk.page.keyboard.type("Named")
        await talk.page.keyboard.press(done)
        await expect(talk.page.get_by_role("dialog")).to_have_count(0)
        yield "[popovertarget=page-menu]"


async def changing_rows(talk: Conversation) -> AsyncIterator[str]:
    await talk.page.evaluate(SEEN)
    await expect(talk.page.locator(row_of("Beside 2"))).not_to_have_count(0)
    for done in ("Escape", "Enter"):
        await open_row_menu(talk, "Beside 1")
        await keys_only(talk.page, "Rename", "#session-menu")
        await expect(talk.page.get_by_role("dialog").get_by_label("Title")).to_be_focused()
        await talk.page.evaluate(
            "() => { const list = document.querySelector('#side-list');"
            " list.replaceChildren(...[...list.children].map(row => row.cloneNode(true))) }"
        )
        await talk.page.keyboard.type("Renamed")
        await talk.page.keyboard.press(done)
        yield row_of("Beside 1" if done == "Escape" else "Renamed")
    await open_row_menu(talk, "Renamed")
    await keys_only(talk.page, "Archive", "#session-menu")
    await expect(talk.page.locator(row_of("Renamed"))).to_have_count(0)
    yield "#side-list [data-session] :is(a, button)"
    await delete_row(talk, "Beside 2", "#side-list")
    yield "#side-list [data-session] :is(a, button)"


async def changing_rows_of_the_page(talk: Conversation) -> AsyncIterator[str]:
    """The page is loaded again after each."""
    within = "main .list"
    await talk.page.goto("/sessions/")
    await open_row_menu(talk, "Beside 1", within)
    await keys_only(talk.page, "Rename", "#session-menu")
    await talk.page.keyboard.type("Renamed")
    await talk.page.keyboard.press("Enter")
    yield row_of("Renamed", within)
    await delete_row(talk, "Renamed", within)
    yield f"{within} [data-session] :is(a, button)"
    await talk.page.get_by_label("Status").focus()
    await talk.page.keyboard.press("ArrowDown")
    await talk.page.wait_for_url(re.compile("status="))
    yield "[name=status]"


async def stopping_and_continuing(talk: Conversation) -> AsyncIterator[str]:
    await talk.ask("Never end [tokens=2000 every=50]")
    await expect(talk.answer).to_contain_text("word1")
    await keys_only(talk.page, "Stop")
    await talk.ended("Stopped by mei")
    yield "#message"
    await keys_only(talk.page, "Continue")
    await expect(talk.runs).to_have_count(2)
    yield ":is(.run:first-child *, #message)"


async def in_the_queue(talk: Conversation) -> AsyncIterator[str]:
    await talk.ask("Never end [tokens=2000 every=50]")
    await talk.is_at_work()
    for number, text in enumerate(("Second", "Third", "Fourth"), 1):
        await talk.ask(text)
        await expect(talk.waiting).to_have_count(number)
    for left, where in ((2, "#waiting button"), (1, "#message"), (0, "#message")):
        name = "Take back and edit" if left == 1 else "Remove"
        await talk.waiting.first.get_by_role("button", name=name).focus()
        await talk.page.keyboard.press("Enter")
        await expect(talk.waiting).to_have_count(left)
        yield where
    await expect(talk.message).to_have_value("Third")


async def at_a_run(talk: Conversation) -> AsyncIterator[str]:
    await talk.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await talk.page.get_by_role("combobox", name="Agent").focus()
    await talk.page.keyboard.press("ArrowDown")
    yield "#agent"
    await talk.ask("Long [tokens=1500]")
    await talk.ended()
    await keys_only(talk.page, "Copy answer")
    await expect(talk.page.get_by_role("button", name="Copied")).to_be_visible()
    yield "[data-action=copy-answer]"
    await keys_only(talk.page, "A good run")
    yield ".verdict-why textarea"
    await talk.page.keyboard.type("It is")
    await keys_only(talk.page, "Save", ".verdict-why")
    await expect(talk.page.locator(".verdict-why")).to_have_count(0)
    yield "#log .run *"
    await keys_only(talk.page, "Comment on the answer")
    yield ".thread textarea"
    await talk.page.keyboard.type("Is that so?")
    await talk.page.keyboard.press("Control+Enter")
    await expect(talk.page.locator(".thread .said")).to_have_text("Is that so?")
    yield ".thread textarea"
    await keys_only(talk.page, "Change the comment")
    yield ".thread textarea"
    await keys_only(talk.page, "Cancel", ".thread")
    yield ".thread *"
    await keys_only(talk.page, "Delete the comment")
    await talk.page.keyboard.press("Enter")
    await expect(talk.page.locator(".thread .said")).to_have_count(0)
    yield ".thread textarea"
    await talk.page.keyboard.press("Escape")
    yield "#log .run *"
    await talk.page.locator("#scroll").hover()
    await talk.page.mouse.wheel(0, -2500)
    await keys_only(talk.page, re.compile("Jump to live"))
    await expect(talk.page.get_by_role("button", name=re.compile("Jump to live"))).to_be_hidden()
    yield "#message"
    await talk.page.evaluate("() => location.hash = 's999'")
    await keys_only(talk.page, "Close", "#notices")
    yield "#message"
    await talk.page.locator("#scroll").focus()
    await talk.page.keyboard.press("?")
    await talk.page.keyboard.press("Escape")
    yield "#scroll"
    await talk.page.get_by_role("link", name="Ask otherwise, or go on from here").focus()
    await talk.page.keyboard.press("Enter")
    yield "textarea[name=message]"


async def sharing(talk: Conversation) -> AsyncIterator[str]:
    """The page is loaded again after each."""
    page = talk.page
    await page.goto(f"/sessions/{talk.session_id}/share/")
    await page.get_by_label("Username").focus()
    await page.keyboard.type(OTHER)
    await page.keyboard.press("Enter")
    await expect(page.locator(".shares li")).to_contain_text(OTHER)
    yield "[name=user]"
    await keys_only(page, "Watches · let drive")
    await expect(page.locator(".shares li")).to_contain_text("Drives")
    yield ".shares button[name=role]"
    await keys_only(page, "Withdraw")
    await expect(page.locator(".shares li")).not_to_contain_text(OTHER)
    yield ".hand-over [name=owner]"


COURSES: list[Callable[[Conversation], AsyncIterator[str]]] = [
    naming,
    changing_rows,
    changing_rows_of_the_page,
    stopping_and_continuing,
    in_the_queue,
    at_a_run,
    sharing,
]


@pytest.mark.parametrize("course", COURSES, ids=lambda course: course.__name__)
async def test_after_an_act_focus_is_where_one_goes_on(
    talk: Conversation, api: Browser, course: Callable[[Conversation], AsyncIterator[str]]
) -> None:
    for number in range(4):
        await api.new_session(title=f"Beside {number}")
    async for where in course(talk):
        await expect(talk.page.locator(f":is({where}):focus")).to_have_count(1)


# Single keys


async def nowhere(page: Page) -> None:
    await page.evaluate("() => document.activeElement.blur()")


async def in_a_select(page: Page) -> None:
    await page.get_by_role("combobox", name="Agent").focus()


async def in_a_menu(page: Page) -> None:
    await page.get_by_role("button", name="More", exact=True).click()


async def in_an_editable(page: Page) -> None:
    await page.evaluate(
        "() => { const box = document.createElement('p'); box.contentEditable = 'true';"
        " document.querySelector('main').append(box); box.focus() }"
    )


async def test_no_single_key_leaves_stops_or_deletes(talk: Conversation, subtests: pytest.Subtests) -> None:
    await talk.ask("Never end [tokens=2000 every=50]")
    await expect(talk.answer).to_contain_text("word1")
    for place in (nowhere, in_a_select, in_a_menu, in_an_editable):
        with subtests.test(place.__name__):
            await press_all_keys(talk, place)
    await nowhere(talk.page)
    await talk.page.keyboard.press("Control+.")
    await talk.ended("Stopped by mei")


async def press_all_keys(talk: Conversation, place: Callable[[Page], Awaitable[None]]) -> None:
    address = talk.page.url
    search = talk.page.get_by_role("searchbox", name="Search every step")
    # All keys of a keyboard. Those that open the list of keys and the search do so only where nothing is meant as text.
    for letter in [chr(code) for code in range(33, 127)] + ["Delete", "Backspace"]:
        if letter in "/?" and place is nowhere:
            continue
        await place(talk.page)
        await talk.page.keyboard.press(letter)
        if letter in "/?":
            await expect(talk.page.locator("dialog[open]")).to_have_count(0)
            await expect(search).not_to_be_focused()
        if place is in_a_menu:
            await talk.page.keyboard.press("Escape")
    assert talk.page.url == address
    await expect(talk.stop).to_be_visible()
    await expect(talk.page.get_by_role("dialog")).to_have_count(0)
