"""Input methods: the Enter that accepts a word belongs to the input method, in whatever order the browser reports it."""

from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import CDPSession, expect

from tests.e2e.conversation import Conversation

TEXT = "你好 [tokens=2]"
#: The key that browsers report while an input method handles it.
TAKEN = 229

Act = Callable[[CDPSession], Awaitable[None]]


async def compose(ime: CDPSession, letters: str = "ni hao") -> None:
    """Letters of an unfinished composition, underlined in the box."""
    await ime.send(
        "Input.imeSetComposition", {"text": letters, "selectionStart": len(letters), "selectionEnd": len(letters)}
    )


async def choose(ime: CDPSession) -> None:
    """Finish the composition: the letters become text."""
    await ime.send("Input.insertText", {"text": TEXT})


async def press(ime: CDPSession, code: int, key: str = "Enter") -> None:
    """A key is pressed and released, without the text that it would enter."""
    for kind in ("rawKeyDown", "keyUp"):
        await ime.send(
            "Input.dispatchKeyEvent", {"type": kind, "key": key, "code": "Enter", "windowsVirtualKeyCode": code}
        )


async def chromium(ime: CDPSession) -> None:
    await compose(ime)
    await press(ime, TAKEN, "Process")
    await choose(ime)


async def firefox(ime: CDPSession) -> None:
    await compose(ime)
    await press(ime, 13)
    await choose(ime)


async def safari(ime: CDPSession) -> None:
    await compose(ime)
    await choose(ime)
    await press(ime, TAKEN)


async def several_words(ime: CDPSession) -> None:
    for _ in range(3):
        await compose(ime)
        await press(ime, TAKEN, "Process")
    await choose(ime)
    await press(ime, TAKEN)


#: The orders of a key and the end of its composition; a further one is one line.
ORDERS: dict[str, Act] = {"Chromium": chromium, "Firefox": firefox, "Safari": safari, "several words": several_words}


async def test_the_enter_of_an_input_method_sends_nothing(talk: Conversation, subtests: pytest.Subtests) -> None:
    ime = await talk.page.context.new_cdp_session(talk.page)
    for number, (order, act) in enumerate(ORDERS.items(), 1):
        with subtests.test(order):
            await talk.message.focus()
            await act(ime)
            await expect(talk.message).to_have_value(TEXT)
            # The next Enter is the user's own: it sends the text, and nothing was sent before.
            await talk.message.press("Enter")
            await expect(talk.endlines).to_have_count(number)
            await talk.ended()
            await expect(talk.questions).to_have_text([TEXT] * number)


async def test_letters_of_an_input_method_are_no_single_keys(talk: Conversation) -> None:
    await talk.ask("First [tokens=2]")
    await talk.ended()
    await talk.page.evaluate("() => { document.activeElement.blur() }")
    ime = await talk.page.context.new_cdp_session(talk.page)
    await press(ime, TAKEN, "?")
    await expect(talk.page.get_by_role("dialog")).to_have_count(0)
    await press(ime, 191, "?")
    await expect(talk.page.get_by_role("dialog")).to_be_visible()
