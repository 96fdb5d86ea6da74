"""Ask, watch, stop, reload: the main functions in a browser."""

import asyncio
import os
import re
from typing import Any

from playwright.async_api import Route, expect

from agents.history import GO_ON
from tests.e2e.conftest import Enter
from tests.e2e.conversation import Conversation
from tests.model_server import Call, ModelServer, Script
from tests.serving import Browser

# Installed before asking: records when the answer's text has become longer, by the page's own clock.
NOTE_GROWTH = """() => {
  window.growths = [];
  let length = 0;
  new MutationObserver(() => {
    const prose = [...document.querySelectorAll("#log [data-item=answer] .prose")].at(-1);
    const now = prose ? prose.textContent.length : 0;
    if (now > length) growths.push([performance.now(), now]);
    length = now;
  }).observe(document.getElementById("log"), { childList: true, subtree: true, characterData: true });
}"""


async def stored(api: Browser, session: str) -> list[dict[str, Any]]:
    """Every event of a session, from the API."""
    status, answer = await api.call("GET", f"sessions/{session}/events/?limit=1000")
    assert status == 200
    events: list[dict[str, Any]] = answer["events"]
    return events


async def test_a_first_message_makes_a_session_and_its_answer_grows_on_the_page(enter: Enter) -> None:
    home = await enter("/")
    await home.ask("Say a few words [tokens=20 reasoning=4 every=30]")
    await home.page.wait_for_url(re.compile(r"/sessions/[0-9a-f-]{36}/$"))
    await expect(home.questions).to_have_text(["Say a few words [tokens=20 reasoning=4 every=30]"])
    await home.ended()
    await expect(home.answer).to_contain_text("word0 word1")
    await expect(home.answer).to_contain_text("word19")
    await expect(home.stop).to_be_hidden()
    await expect(home.message).to_have_value("")
    await expect(home.page).to_have_title(re.compile("^Say a few words"))
    row = home.sessions.get_by_role("link", name=re.compile("^Say a few words"))
    await expect(row).to_have_attribute("aria-current", "page")


async def test_enter_sends_the_first_message_while_the_page_s_scripts_are_on_their_way(enter: Enter) -> None:
    home = await enter("")
    held: list[Route] = []

    async def hold(route: Route) -> None:
        held.append(route)

    await home.page.route(re.compile(r"/page/start\.[0-9a-f]+\.js"), hold)
    await home.page.goto("/", wait_until="commit")
    await home.message.fill("Sooner than the scripts")
    await home.page.evaluate("() => import(document.querySelector('script[src*=first-message]').src)")
    await home.message.press("Enter")
    await home.page.wait_for_url(re.compile(r"/sessions/[0-9a-f-]{36}/$"))
    await home.ended()
    await expect(home.questions).to_have_text(["Sooner than the scripts"])
    assert held


async def test_text_grows_at_least_eight_times_in_its_first_second(talk: Conversation) -> None:
    await talk.page.evaluate(NOTE_GROWTH)
    await talk.ask("Tell me about tides [tokens=25 every=100]")
    await talk.ended()
    growths: list[list[float]] = await talk.page.evaluate("() => growths")
    first = growths[0][0]
    in_first_second = [length for at, length in growths if at < first + 1000]
    assert len(in_first_second) >= 8, growths
    assert in_first_second == sorted(in_first_second)


async def test_a_thought_grows_too_and_becomes_a_numbered_step(talk: Conversation) -> None:
    await talk.ask("Think hard [reasoning=40 every=50 tokens=3]")
    growing = talk.step("growing")
    await expect(growing).to_contain_text("idea3")
    await expect(talk.state).to_have_text("Thinking")
    await talk.ended()
    await expect(growing).to_have_count(0)
    await talk.open_outline()
    await talk.step("thought").locator("summary").click()
    await expect(talk.step("thought")).to_contain_text("idea39")


async def test_a_second_tab_shows_the_same_at_the_same_time(talk: Conversation, enter: Enter) -> None:
    other = await enter(f"/sessions/{talk.session_id}/")
    await other.is_live()
    await talk.ask("Both of you [tokens=40 every=50]")
    await expect(other.questions).to_have_text(["Both of you [tokens=40 every=50]"])
    await expect(other.answer).to_contain_text("word5")
    await expect(other.stop).to_be_visible()
    await other.ended()
    await talk.ended()
    assert await other.answer.inner_html() == await talk.answer.inner_html()
    assert await other.numbers() == await talk.numbers()


async def test_one_click_stops_and_the_models_connection_is_closed(talk: Conversation, model: ModelServer) -> None:
    await talk.ask("Never end [tokens=2000 every=50]")
    await expect(talk.answer).to_contain_text("word3")
    await talk.stop.click()
    await expect(talk.trouble).to_contain_text("What was written until then is kept.")
    await talk.ended("Stopped by mei")
    await expect(talk.log.get_by_text("Stopped by mei")).to_have_count(1)
    await model.until(lambda: model.requests[0].closed_at is not None)
    assert model.requests[0].finished_at is None
    await expect(talk.log.get_by_text("breaks off here")).to_be_visible()
    await expect(talk.stop).to_be_hidden()
    await talk.ask("And go on [tokens=3]")
    await talk.ended()
    await expect(talk.runs).to_have_count(2)


async def test_another_tab_can_stop_it(talk: Conversation, enter: Enter) -> None:
    other = await enter(f"/sessions/{talk.session_id}/")
    await other.is_live()
    await talk.ask("Never end [tokens=2000 every=50]")
    await other.stop.click()
    await talk.ended("Stopped by mei")
    await other.ended("Stopped by mei")


async def test_a_reload_in_mid_run_loses_nothing_and_doubles_nothing(talk: Conversation, api: Browser) -> None:
    await talk.ask('Take your time [tokens=120 every=50 reasoning=10 call=python:{"code": "6*7"}]')
    await expect(talk.step("call")).to_have_count(1)
    await expect(talk.answer).to_contain_text("42")
    await talk.ended()
    await talk.ask("And now at length [tokens=120 every=50]")
    await expect(talk.answer).to_contain_text("word10")
    before = await talk.numbers()
    await talk.page.reload()
    await expect(talk.answer).to_contain_text("word0 word1")
    length = len(await talk.answer.inner_text())
    assert (await talk.numbers())[: len(before)] == before
    await expect(talk.answer).not_to_have_text(re.compile(f"^.{{0,{length}}}$"))
    await talk.ended()
    text = await talk.answer.inner_text()
    assert text.split() == [f"word{number}" for number in range(120)]
    await expect(talk.questions).to_have_count(2)
    numbers = await talk.numbers()
    assert len(numbers) == len(set(numbers))
    answers = [
        e["data"]["content"] for e in await stored(api, talk.session_id) if e["data"].get("type") == "final_answer"
    ]
    assert answers[-1] == text


#: No frame is drawn before `draw()` is called.
DRAWS_LATER = """
const held = [];
const draw = window.requestAnimationFrame.bind(window);
window.requestAnimationFrame = (paint) => held.push(paint);
window.draw = () => { window.requestAnimationFrame = draw; for (const paint of held) draw(paint); };
"""


async def test_a_run_that_ends_before_the_page_is_first_drawn_is_shown_whole(enter: Enter, api: Browser) -> None:
    session = await api.new_session()
    talk = await enter("")
    await talk.page.add_init_script(DRAWS_LATER)
    ended = asyncio.Event()

    def note(payload: str | bytes) -> None:
        if b'"reasoning_complete"' in (payload.encode() if isinstance(payload, str) else payload):
            ended.set()

    talk.page.on("websocket", lambda socket: socket.on("framereceived", note))
    status, answer = await api.call(
        "POST", f"sessions/{session}/messages/", {"message": "Never end [tokens=2000 every=50]"}
    )
    assert status == 202
    await talk.page.goto(f"/sessions/{session}/")
    await expect(talk.questions).to_have_count(1)
    assert (await api.call("POST", f"runs/{answer['run_id']}/cancel/", {}))[0] == 202
    await asyncio.wait_for(ended.wait(), 20)
    await talk.page.evaluate("draw()")
    await talk.ended("Stopped by mei")


async def test_messages_wait_in_line_and_one_can_be_taken_out(talk: Conversation, api: Browser) -> None:
    await talk.ask("First [tokens=2000 every=20]")
    await talk.is_at_work()
    await talk.ask("Second [tokens=3]")
    await talk.ask("Third [tokens=3]")
    await expect(talk.waiting).to_have_count(2)
    await expect(talk.waiting.nth(0)).to_contain_text("Second")
    await talk.waiting.nth(0).get_by_role("button", name="Remove").click()
    await expect(talk.waiting).to_have_count(1)
    await expect(talk.waiting).to_contain_text("Third")
    await talk.stop.click()
    await expect(talk.questions.last).to_have_text("Third [tokens=3]")
    await talk.ended()
    await expect(talk.waiting).to_have_count(0)
    ends = [e["data"]["status"] for e in await stored(api, talk.session_id) if e["type"] == "reasoning_complete"]
    assert sorted(ends) == ["cancelled", "cancelled", "completed"]


async def test_a_message_that_nobody_takes_up_says_that_it_waits_for_room(talk: Conversation, api: Browser) -> None:
    busy = [await api.new_session() for _ in range(4)]
    for session in busy:
        status, _ = await api.call("POST", f"sessions/{session}/messages/", {"message": "Long [tokens=3000 every=30]"})
        assert status == 202
    await talk.page.clock.install()
    await talk.ask("One too many [tokens=2]")
    await expect(talk.waiting).to_contain_text("Next")
    await talk.page.clock.fast_forward(11_000)
    await expect(talk.waiting).to_contain_text("Waiting for a free slot")
    for session in busy:
        _, answer = await api.call("GET", f"sessions/{session}/events/")
        await api.call("POST", f"runs/{answer['run']['id']}/cancel/")
    await talk.page.clock.resume()
    await talk.ended()
    await expect(talk.waiting).to_have_count(0)


async def test_a_waiting_message_can_be_taken_back_and_edited(talk: Conversation) -> None:
    await talk.ask("First [tokens=2000 every=20]")
    await talk.is_at_work()
    files = talk.page.locator("#attachments > li")
    note: Any = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"Tea: 3"}
    await talk.page.locator("#attach-input").set_input_files(note)
    await expect(files).to_have_text([re.compile("notes.txt")])
    await expect(files.locator("[data-slot=state]")).to_be_empty()
    await talk.ask("Second, with a misteak")
    await expect(talk.waiting).to_have_count(1)
    await expect(files).to_have_count(0)
    await talk.message.press("ArrowUp")
    await expect(talk.message).to_have_value("Second, with a misteak")
    await expect(files).to_have_text([re.compile("notes.txt")])
    await expect(talk.waiting).to_have_count(0)
    await talk.stop.click()
    await expect(talk.endlines).to_have_text([re.compile("^Stopped by mei ·"), "Removed from the queue by mei"])


async def test_a_message_that_never_ran_stands_before_no_run(talk: Conversation) -> None:
    """The page's header still shows the run that was at work, which can be continued."""
    await talk.ask("First [tokens=2000 every=20]")
    await expect(talk.answer).to_contain_text("word3")
    await talk.ask("Never mind")
    await talk.waiting.get_by_role("button", name="Remove").click()
    await expect(talk.waiting).to_have_count(0)
    await talk.stop.click()
    await expect(talk.endlines.first).to_have_text(re.compile("^Stopped by mei ·"))
    for _ in range(2):
        await expect(talk.page.get_by_role("region", name="This run")).to_contain_text("Iteration 1 of 20")
        await expect(talk.runs.first.get_by_role("button", name="Continue")).to_be_visible()
        await talk.page.reload()


async def test_a_failed_model_is_told_in_words_and_can_be_tried_again(talk: Conversation, model: ModelServer) -> None:
    model.enqueue(Script(status=401), Script("Now it works."))
    await talk.ask("Are you there?")
    await expect(talk.trouble).to_contain_text("The model refused the key.")
    await talk.ended("Failed")
    await expect(talk.log).not_to_contain_text("Traceback")
    await talk.trouble.get_by_role("button", name="Continue").click()
    await talk.ended()
    await expect(talk.answer).to_have_text("Now it works.")
    await expect(talk.runs.last.get_by_role("link", name="continues the run before")).to_be_visible()


async def test_a_model_that_breaks_off_leaves_what_it_wrote(talk: Conversation) -> None:
    await talk.ask("Break [tokens=30 after=12 every=20 fault=cut]")
    await talk.ended("Failed")
    await expect(talk.trouble).to_contain_text("The model was cut off.")
    await expect(talk.answer).to_contain_text("word0 word1")


async def test_a_card_pairs_a_call_with_its_result(talk: Conversation, model: ModelServer) -> None:
    model.enqueue(
        Script(reasoning="Let me see.", calls=[Call("python", {"code": "print(6 * 7)"})]), Script("It is **42**.")
    )
    await talk.ask("What is six times seven?")
    await talk.ended()
    await talk.open_steps()
    card = talk.step("call")
    await expect(card).to_have_count(1)
    await expect(card.locator("[data-part=arguments]")).to_contain_text("print(6 * 7)")
    await expect(card.locator("[data-part=result] [data-slot=content]")).to_have_text(re.compile(r"^42\s*$"))
    await expect(talk.answer.locator("strong")).to_have_text("42")
    live = await card.inner_text()
    await talk.page.reload()
    await talk.is_live()
    await talk.open_steps()
    await expect(card.locator("[data-part=result] [data-slot=content]")).to_have_text(re.compile(r"^42\s*$"))
    assert await card.inner_text() == live


async def test_calls_at_once_each_get_their_own_result(talk: Conversation, model: ModelServer) -> None:
    calls = [Call("python", {"code": f"print({number} * 111)"}) for number in (1, 2)]
    model.enqueue(Script(calls=[*calls, Call("nonsense", {})]), Script("Done."))
    await talk.ask("Do three things")
    await talk.ended()
    await talk.open_outline()
    group = talk.step("calls")
    await expect(group).to_contain_text("3 calls at once")
    cards = group.locator("[data-call]")
    await expect(cards).to_have_count(3)
    for place, result in ((0, "111"), (1, "222")):
        await cards.nth(place).locator("summary").click()
        await expect(cards.nth(place).locator("[data-part=result] [data-slot=content]")).to_have_text(
            re.compile(rf"^{result}\s*$")
        )
    await expect(cards.nth(2)).to_have_attribute("data-state", "fail")
    await expect(cards.nth(2)).to_contain_text("nonsense")


async def test_an_answer_without_reasoning(talk: Conversation) -> None:
    await talk.page.get_by_role("switch", name="Show reasoning").uncheck()
    await talk.ask('Quietly [tokens=30 every=30 reasoning=5 call=python:{"code": "6*7"}]')
    await talk.ended()
    await expect(talk.answer).to_contain_text("The tools said: 42")
    await expect(talk.step("thought")).to_have_count(0)
    await expect(talk.step("call")).to_have_count(0)


async def test_a_draft_is_kept_over_a_reload(talk: Conversation) -> None:
    await talk.message.fill("Not finished ye")
    await talk.page.reload()
    await talk.is_live()
    await expect(talk.message).to_have_value("Not finished ye")


async def test_shift_enter_breaks_the_line_and_an_empty_message_is_not_sent(talk: Conversation) -> None:
    await talk.message.press("Enter")
    await talk.message.fill("One")
    await talk.message.press("Shift+Enter")
    await talk.message.press_sequentially("two [tokens=2]")
    await talk.message.press("Enter")
    await expect(talk.questions).to_have_text(["One\ntwo [tokens=2]"], use_inner_text=True)
    await talk.ended()
    await expect(talk.runs).to_have_count(1)


async def test_the_reader_is_followed_only_at_the_end(talk: Conversation) -> None:
    await talk.ask("Long [tokens=1500]")
    await talk.ended()
    scroll = talk.page.locator("#scroll")
    await scroll.hover()
    await talk.page.mouse.wheel(0, -2000)
    jump = talk.page.get_by_role("button", name=re.compile("Jump to live"))
    await expect(jump).to_be_visible()
    top = await scroll.evaluate("box => box.scrollTop")
    other = await talk.page.context.new_page()
    second = Conversation(other)
    await other.goto(talk.page.url)
    await second.is_live()
    await second.ask('More [tokens=200 reasoning=3 call=python:{"code": "1"}]')
    await second.ended()
    await other.close()
    await expect(jump).to_contain_text("new")
    assert await scroll.evaluate("box => box.scrollTop") == top
    await jump.click()
    await expect(jump).to_be_hidden()
    await expect(talk.endline).to_be_in_viewport()


async def test_who_leaves_the_end_by_a_key_is_shown_the_way_back(talk: Conversation) -> None:
    """The key event comes before the box scrolls; no text arrives afterwards. End is pressed while Home still scrolls the box smoothly."""
    await talk.ask("Long [tokens=1500]")
    await talk.ended()
    await talk.endline.click()
    jump = talk.page.get_by_role("button", name="Jump to live")
    for _ in range(5):
        await talk.page.keyboard.press("Home")
        await expect(jump).to_be_visible()
        await talk.page.keyboard.press("End")
        await expect(jump).to_be_hidden()


async def test_an_answer_that_the_length_limit_cut_says_so_and_can_be_gone_on_with(
    talk: Conversation, model: ModelServer
) -> None:
    model.enqueue(Script("The tides follow the moon, and", finish="length"), Script(" the sun."))
    await talk.ask("Tell me about tides")
    await talk.ended("Failed")
    await expect(talk.answer).to_have_text("The tides follow the moon, and")
    await expect(talk.trouble).to_contain_text("The model reached its length limit, so its answer breaks off here.")
    await talk.trouble.get_by_role("button", name="Continue").click()
    await expect(talk.answer).to_have_text("the sun.")
    await talk.ended()
    await talk.ask("And now?")
    await expect(talk.runs).to_have_count(3)
    await talk.ended()
    cut, gone_on = [[message["content"] for message in request.body["messages"][1:]] for request in model.requests[-2:]]
    assert cut == ["Tell me about tides", "The tides follow the moon, and", GO_ON]
    assert gone_on == ["Tell me about tides", "The tides follow the moon, and the sun.", "And now?"]


#: What is visible of child runs in their rows.
ROWS_WITHIN = """() => [...document.querySelectorAll("#log [data-child], #log [data-child] .step")].map((row) => [
  row.dataset.status ?? row.dataset.item, row.dataset.number ?? row.id, row.dataset.state ?? "",
  ...[...row.querySelectorAll("[data-slot]")].filter((part) => part.closest("[data-child], .step") === row)
    .filter((part) => /^(n|name|state|dur|out|child-agent|child-message|child-word|child-dur)$/.test(part.dataset.slot))
    .map((part) => part.textContent.trim()),
])"""


async def test_a_run_within_a_run_is_live_what_it_is_after_a_reload(talk: Conversation) -> None:
    await talk.ask('Hand on [reasoning=3 call=ask_developer:{"message":"Say something"} call=python:{"code":"6*7"}]')
    within = talk.log.locator("[data-child]")
    await expect(within).to_have_attribute("data-status", "completed")
    await talk.ended()
    live: list[list[str]] = await talk.page.evaluate(ROWS_WITHIN)
    asked = (await talk.step("calls").get_attribute("id") or "").removeprefix("s")
    assert [row[0] for row in live] == ["completed", "thought"]
    assert f"{asked}.1" in live[1], live
    await talk.page.reload()
    await talk.ended()
    assert await talk.page.evaluate(ROWS_WITHIN) == live
    await talk.open_outline()
    await within.locator("> summary").click()
    await expect(within.locator(".step-n")).to_have_text([f"{asked}.1"])


async def test_a_run_within_a_run_is_stopped_by_itself(talk: Conversation, model: ModelServer) -> None:
    def respond(body: dict[str, Any]) -> Script:
        asked = body["messages"][-1]
        if asked["role"] == "tool":
            return Script("Without it, then.")
        if asked["content"] == "Take your time":
            return Script(reasoning="Hm. " * 10, content="And so on. " * 400, every_s=0.05)
        return Script(calls=[Call("ask_developer", {"message": "Take your time"})])

    model.respond = respond
    await talk.ask("Hand on")
    within = talk.log.locator("[data-child]")
    await expect(within.locator("[data-item]").last).to_contain_text("And so on.")
    stop = within.get_by_role("button", name="Stop this agent")
    if folder := os.environ.get("SHOTS"):
        await talk.page.screenshot(path=f"{folder}/nested-live.png")
    await stop.click()
    await expect(within).to_have_attribute("data-status", "cancelled")
    await expect(stop).to_be_hidden()
    await expect(talk.answer).to_have_text("Without it, then.")
    await talk.ended()
