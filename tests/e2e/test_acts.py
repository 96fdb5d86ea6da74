"""After an action: what is copied, what is kept, and what stops when a session is deleted."""

import re

import pytest
from playwright.async_api import expect

from tests.e2e.conftest import READER, Enter
from tests.e2e.conversation import Conversation
from tests.e2e.test_plain_http import PASTED
from tests.e2e.watch import ANSWERED, Watch
from tests.model_server import Call, ModelServer, Script
from tests.serving import Browser

MARKDOWN = "## A heading\n\n1. **one**\n2. two\n\n```python\nprint(1)\n```\n\nThe error is $e = n$.\n"
LONG_QUESTION = "\n".join(f"line {n} of a question [tokens=2]" for n in range(60))


async def pasted(talk: Conversation) -> list[str]:
    """What a page would receive if the clipboard were pasted, as text and as HTML."""
    await talk.message.focus()
    await talk.page.evaluate(f"() => {{ window.pasted = ({PASTED})() }}")
    await talk.page.keyboard.press("ControlOrMeta+v")
    found: list[str] = await talk.page.evaluate("() => window.pasted")
    return found


async def test_an_answer_is_copied_as_it_was_written_and_as_it_is_shown(talk: Conversation, model: ModelServer) -> None:
    model.enqueue(Script(MARKDOWN))
    await talk.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await talk.ask("What **is** it?")
    await talk.ended()
    await copies_both(talk)
    await talk.page.reload()
    await talk.is_live()
    await copies_both(talk)


async def copies_both(talk: Conversation) -> None:
    """The answer, and its question."""
    await talk.runs.last.get_by_role("button", name="Copy answer").click()
    await expect(talk.runs.last.get_by_role("button", name="Copied")).to_be_visible()
    text, html = await pasted(talk)
    assert text == MARKDOWN
    assert "<strong>one</strong>" in html
    assert "<button" not in html
    question = talk.runs.last.get_by_role("button", name="Copy question")
    await question.click()
    # Its label says "Copied" now, and the answer's may still do so.
    await expect(question).to_have_count(0)
    assert (await pasted(talk))[0] == "What **is** it?"


async def test_question_and_code_can_be_copied_while_they_grow(talk: Conversation, model: ModelServer) -> None:
    await talk.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    model.enqueue(Script("```python\nprint(1)\n" + "more = 1\n" * 400, every_s=0.05))
    await talk.ask("Show me code")
    await expect(talk.answer).to_contain_text("more = 1")
    await talk.answer.get_by_role("button", name="Copy code").click()
    assert (await pasted(talk))[0].startswith("print(1)\nmore")
    await talk.runs.last.get_by_role("button", name="Copy question").click()
    assert (await pasted(talk))[0] == "Show me code"
    await talk.stop.click()
    await talk.ended("Stopped by mei")


async def test_a_run_without_an_answer_offers_none_to_copy(talk: Conversation, model: ModelServer) -> None:
    model.enqueue(Script(status=401))
    await talk.ask("Nothing")
    await talk.ended("Failed")
    await expect(talk.runs.last.get_by_role("button", name="Copy answer")).to_be_hidden()


async def test_a_long_question_is_folded_and_shown_whole(talk: Conversation) -> None:
    await talk.ask(LONG_QUESTION)
    await talk.ended()
    question = talk.questions.first
    for _ in range(2):
        more = talk.runs.first.get_by_role("button", name="Show all", exact=True)
        folded = await question.evaluate("q => [q.clientHeight, parseFloat(getComputedStyle(q).lineHeight)]")
        assert folded[0] / folded[1] == pytest.approx(10, abs=0.1)
        assert await question.evaluate("q => getComputedStyle(q).overflowY") == "clip"
        await more.click()
        assert await question.evaluate("q => q.clientHeight >= q.scrollHeight - 1 && q.clientHeight > 60 * 20")
        await talk.runs.first.get_by_role("button", name="Show less").click()
        assert (await question.evaluate("q => q.clientHeight")) == folded[0]
        await talk.page.reload()
        await talk.is_live()


async def test_choices_are_kept_with_the_session_and_runs_name_them(talk: Conversation, model: ModelServer) -> None:
    for name, agent in (("Writer", "writer"), ("Developer", "developer")):
        async with talk.page.expect_response(lambda answer: answer.request.method == "PATCH"):
            await talk.page.get_by_role("combobox", name="Agent").select_option(agent)
        await talk.ask(f"As {agent} [tokens=2]")
        await talk.ended()
        await expect(talk.runs.last.locator("[data-slot=by]")).to_have_text(f"{name} · scripted")
    async with talk.page.expect_response(lambda answer: answer.request.method == "PATCH"):
        await talk.page.get_by_role("switch", name="Show reasoning").uncheck()
    await talk.page.reload()
    await talk.is_live()
    await expect(talk.page.get_by_role("combobox", name="Agent")).to_have_value("developer")
    await expect(talk.page.get_by_role("switch", name="Show reasoning")).not_to_be_checked()
    await expect(talk.log.locator("[data-slot=by]")).to_have_text(["Writer · scripted", "Developer · scripted"])


# Deleted sessions


@pytest.mark.parametrize("over_api", [False, True])
async def test_a_session_deleted_elsewhere_ends_on_the_open_page(
    talk: Conversation, api: Browser, watch: Watch, over_api: bool
) -> None:
    watch.allow(ANSWERED.format(status="404"))
    if over_api:
        await talk.chip.click()
        await talk.page.get_by_role("switch", name="Work over the API").check()
        await talk.link_is("polling")
        await talk.page.keyboard.press("Escape")
    await talk.ask("Never end [tokens=3000 every=50]")
    await talk.is_at_work()
    await talk.message.fill("Half a thought")
    assert (await api.call("DELETE", f"sessions/{talk.session_id}/"))[0] == 204
    await talk.link_is("gone")
    await expect(talk.page.get_by_text("This session is not available any more.")).to_be_visible()
    await expect(talk.stop).to_be_hidden()
    await expect(talk.state).to_have_text("Not available")
    await expect(talk.page.locator("#clock")).to_be_hidden()
    await expect(talk.page).not_to_have_title(re.compile("●"))
    await expect(talk.log.locator("[aria-busy], [data-item=growing], .prose.growing")).to_have_count(0)
    await expect(talk.page.locator("#side-list .badge")).to_have_count(0)
    await expect(talk.runs.last.get_by_role("button", name="Continue")).to_be_hidden()
    await talk.message.press("Enter")
    await expect(talk.message).to_have_value("Half a thought")
    await expect(talk.page.locator("#refused")).to_contain_text("not available")


async def test_a_title_that_cannot_be_seen_is_refused_in_words(talk: Conversation, subtests: pytest.Subtests) -> None:
    for title in (" ", "\u200b", "\u2066\u00a0\u2069"):
        with subtests.test(ascii(title)):
            await talk.page.get_by_role("button", name="More", exact=True).click()
            await talk.page.get_by_role("button", name="Rename", exact=True).click()
            dialog = talk.page.get_by_role("dialog")
            refusal = dialog.get_by_text("at least one letter, digit or sign that can be seen")
            await expect(refusal).to_be_hidden()
            await dialog.get_by_label("Title").fill(title)
            await dialog.get_by_role("button", name="Rename", exact=True).click()
            await expect(refusal).to_be_visible()
            await talk.page.keyboard.press("Escape")
            await expect(talk.page.get_by_role("heading", level=1)).to_have_text("New session")


# Links


#: Links that lead nowhere, and the message; a further one is one line.
NOWHERE = {
    "#s99999": "There is no step 99999 in this session.",
    "#s0": "There is no step 0 in this session.",
    "#run-00000000-0000-4000-8000-000000000000": "That run is not on this page.",
}


async def test_a_link_to_what_is_not_there_says_so(talk: Conversation, subtests: pytest.Subtests) -> None:
    await talk.ask("One [tokens=2]")
    await talk.ended()
    for link, message in NOWHERE.items():
        with subtests.test(link):
            await talk.page.goto(f"{talk.page.url.split('#')[0]}{link}")
            await talk.page.reload()
            shown = talk.page.get_by_text(message)
            await expect(shown).to_be_visible()
            step = await talk.step("answer").get_attribute("id")
            await talk.page.evaluate(f"() => location.hash = '{step}'")
            await expect(shown).to_have_count(0)


# Announcements


async def test_copied_is_said_only_where_something_was(enter: Enter, api: Browser) -> None:
    talk = await enter(f"/sessions/{await api.new_session()}/", user=READER)
    await talk.is_live()
    await talk.ask("One [tokens=2]")
    await talk.ended()
    await talk.page.evaluate(
        "() => { navigator.clipboard.write = () => Promise.reject(new Error('no')); document.execCommand = () => false }"
    )
    button = talk.runs.last.locator("[data-action=copy-answer]")
    await button.click()
    await expect(talk.page.get_by_text("That could not be copied.")).to_be_visible()
    await expect(button).not_to_have_attribute("aria-label", "Copied")
    await expect(button).to_have_attribute("aria-label", "Copy answer")


async def test_a_call_is_shown_the_same_as_before(talk: Conversation, model: ModelServer) -> None:
    """A step's own copy button copies what the step shows."""
    model.enqueue(Script(calls=[Call("python", {"code": "print(6 * 7)"})]), Script("Done."))
    await talk.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await talk.ask("Count")
    await talk.ended()
    await talk.open_steps()
    await talk.step("call").get_by_role("button", name="Copy result").click()
    assert (await pasted(talk))[0].strip() == "42"
