"""The page of schedules, and notifications of their runs' ends, wherever their owner is."""

import re
from typing import Any

from playwright.async_api import Page, expect

from tests.e2e.conftest import OTHER, Enter
from tests.e2e.test_look import PHONE, audit, axe
from tests.e2e.watch import ANSWERED, KEEP_SHOWN, UNSEEN, Watch
from tests.model_server import ModelServer
from tests.serving import Browser

__all__ = ["axe"]

TAIPEI = {"timezone_id": "Asia/Taipei"}


async def make(api: Browser, **fields: Any) -> dict[str, Any]:
    usual = {"name": "Morning summary", "message": "Sum up [tokens=3]", "cron": "0 9 * * 1-5"}
    status, schedule = await api.call("POST", "schedules/", {**usual, "time_zone": "Asia/Taipei", **fields})
    assert status == 201, schedule
    return dict(schedule)


def row(page: Page, name: str) -> Any:
    return page.locator(".schedule").filter(has=page.get_by_role("heading", name=name))


async def test_from_the_navigation_to_a_schedule_that_runs(enter: Enter, watch: Watch) -> None:
    """Made by keyboard and mouse with a mistake on the way, run now, paused, resumed, changed and deleted."""
    watch.allow(ANSWERED.format(status="400"))
    page = (await enter("/", **TAIPEI)).page
    await page.get_by_role("link", name="Schedules").click()
    await expect(page.get_by_role("heading", name="No schedules yet")).to_be_visible()
    await page.get_by_role("link", name="New schedule").click()
    await expect(page.get_by_label("Time zone")).to_have_value("Asia/Taipei")
    await page.get_by_label("Message").fill("Sum up [tokens=3]")
    await page.get_by_label("Name").fill("Morning summary")
    await page.get_by_label("Cron expression").fill("61 9 * * 1-5")
    await page.get_by_role("button", name="Schedule it").click()
    await expect(page.get_by_role("alert")).to_contain_text("The minute of")
    await expect(page.get_by_label("Message")).to_have_value("Sum up [tokens=3]")
    await page.get_by_label("Cron expression").fill("0 9 * * 1-5")
    await page.get_by_role("button", name="Schedule it").click()
    await expect(page).to_have_url(re.compile("/schedules/$"))
    await expect(page.get_by_role("status")).to_contain_text("“Morning summary” is scheduled.")
    mine = row(page, "Morning summary")
    await expect(mine).to_contain_text("every weekday at 09:00, Taipei")
    times = mine.locator("ol.num li")
    await expect(times).to_have_count(5)
    for text in await times.all_inner_texts():
        assert re.fullmatch(r"(Mon|Tue|Wed|Thu|Fri) \d+ \w+ \d{4}, 09:00", text), text
    for rule in ("made up for once", "the next one waits", "pauses after 5 failures"):
        await expect(mine.locator(".rules")).to_contain_text(rule)

    await mine.get_by_role("button", name="Run Morning summary now").click()
    await expect(page).to_have_url(re.compile(r"/sessions/[0-9a-f-]{36}/"))
    await expect(page.locator("#run-state")).to_have_text("Finished")
    await expect(page.locator("#title")).to_have_text("Morning summary")
    await page.get_by_role("link", name="Schedules").click()
    await expect(mine.locator(".history li")).to_have_count(1)
    await expect(mine.get_by_role("img")).to_have_attribute("aria-label", "Last 1: 1 finished")
    await mine.get_by_role("link", name="Finished").click()
    await expect(page).to_have_url(re.compile("/runs/"))
    await page.get_by_role("link", name="Schedules").click()

    await mine.get_by_role("button", name="Pause Morning summary").click()
    await expect(mine.locator(".next")).to_have_text("Paused.")
    await mine.get_by_role("button", name="Resume Morning summary").click()
    await expect(mine.locator(".next")).to_contain_text("09:00")

    await mine.get_by_role("link", name="Edit Morning summary").click()
    await page.get_by_label("Repeatedly").check()
    await expect(page.get_by_label("Cron expression")).to_be_hidden()
    await page.get_by_label("Minutes between").fill("45")
    await page.get_by_label("While the last run is in progress").select_option("skip")
    await page.get_by_role("button", name="Save").click()
    await expect(mine).to_contain_text("every 45 minutes")
    await expect(mine.locator(".rules")).to_contain_text("the next one is skipped")

    await mine.get_by_role("link", name="Delete Morning summary").click()
    await page.get_by_role("link", name="Keep it").click()
    await mine.get_by_role("link", name="Delete Morning summary").click()
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_role("heading", name="No schedules yet")).to_be_visible()


async def test_next_times_are_shown_while_typing(enter: Enter, api: Browser) -> None:
    page = (await enter("/", **TAIPEI)).page
    await page.goto("/schedules/new/")
    preview = page.get_by_role("status", name="Next five times")
    await expect(preview).to_be_hidden()
    await page.get_by_label("Cron expression").fill("0 9 * * 1-5")
    await expect(preview).to_contain_text("every weekday at 09:00, Taipei")
    await expect(preview.locator("li")).to_have_count(5)
    await page.get_by_label("Cron expression").fill("61 9 * * 1-5")
    await expect(preview).to_contain_text("The minute of")
    await page.get_by_label("Repeatedly").check()
    await expect(preview).to_be_hidden()
    await page.get_by_label("Minutes between").fill("90")
    await expect(preview).to_contain_text("every 90 minutes")
    await page.get_by_label("Once").check()
    await page.get_by_label("Date and time").fill("2020-01-01T09:30")
    await expect(preview).to_contain_text("past")
    # The value that is already there is shown at once.
    made = await make(api)
    await page.goto(f"/schedules/{made['id']}/")
    await expect(preview).to_contain_text("every weekday at 09:00, Taipei")


async def test_saving_what_was_not_changed_moves_no_time(enter: Enter, api: Browser) -> None:
    for when in ({"every_minutes": 50}, {"at": "2031-07-01T09:30"}, {}):
        made = await make(api, **({"cron": None, **when} if when else {}))
        page = (await enter(f"/schedules/{made['id']}/")).page
        await page.get_by_label("Name").fill("Another name")
        await page.get_by_role("button", name="Save").click()
        await expect(page).to_have_url(re.compile("/schedules/$"))
        _, after = await api.call("GET", f"schedules/{made['id']}/")
        assert (after["name"], after["next"], after["words"]) == ("Another name", made["next"], made["words"])
        await page.close()


async def test_schedules_work_without_scripts(enter: Enter, api: Browser) -> None:
    page = (await enter("/schedules/new/", java_script_enabled=False)).page
    await page.get_by_label("Message").fill("Sum up [tokens=3]")
    await page.get_by_label("Once").check()
    await page.get_by_label("Date and time").fill("2031-07-01T09:30")
    await page.get_by_label("Time zone").fill("Europe/Berlin")
    await page.get_by_role("button", name="Schedule it").click()
    await expect(row(page, "Sum up")).to_contain_text("once, on 2031-07-01 at 09:30, Berlin")
    (made,) = (await api.call("GET", "schedules/"))[1]["items"]
    assert made["at"] == 1_940_657_400


async def test_a_user_never_sees_schedules_of_another(enter: Enter, api: Browser, watch: Watch) -> None:
    watch.allow(ANSWERED.format(status="404"))
    made = await make(api, name="A secret heron")
    page = (await enter("/schedules/", user=OTHER)).page
    await expect(page.get_by_role("main")).not_to_contain_text("heron")
    for path in ("", "delete/"):
        answer = await page.goto(f"/schedules/{made['id']}/{path}")
        assert answer is not None
        assert answer.status == 404


async def test_an_end_is_told_on_the_other_pages(enter: Enter, api: Browser) -> None:
    """On another session's page at once, on a page without a connection a little later, on its own session's page not at all."""
    session = await api.new_session()
    made = await make(api, name="Price watch", session_id=session)
    own = await enter(f"/sessions/{session}/")
    await own.is_live()
    other = await enter(f"/sessions/{await api.new_session()}/")
    await other.is_live()
    plain = (await enter("/sessions/")).page
    assert (await api.call("POST", f"schedules/{made['id']}/run/"))[0] == 202
    await own.ended()
    for page in (other.page, plain):
        banner = page.locator(".banner", has_text="Price watch")
        await expect(banner).to_contain_text("Finished · ")
        link = banner.get_by_role("link", name="Open")
        await expect(link).to_have_attribute("href", re.compile(f"^/sessions/{session}/#run-"))
        await expect(banner).to_have_count(1)
    await expect(own.page.locator(".banner", has_text="Price watch")).to_have_count(0)


async def test_the_browser_tells_who_looks_elsewhere_and_has_allowed_it(enter: Enter, api: Browser) -> None:
    made = await make(api, name="Price watch")
    first = (await enter("/schedules/")).page
    await first.context.add_init_script(KEEP_SHOWN)
    await first.reload()
    switch = first.get_by_role("switch", name="Notify me in the browser")
    await expect(switch).not_to_be_checked()
    await switch.check()
    await first.reload()
    await expect(switch).to_be_checked()
    unseen = await first.context.new_page()
    await first.close()
    await unseen.goto(f"/sessions/{await api.new_session()}/")
    await expect(unseen.locator("#chip")).to_have_attribute("data-state", "live")
    await unseen.evaluate(UNSEEN)
    assert (await api.call("POST", f"schedules/{made['id']}/run/"))[0] == 202
    await expect(unseen.locator(".banner", has_text="Price watch")).to_contain_text("Finished · ")
    once = re.compile("^Price watch: Finished · [^;]+;$")
    await expect(unseen.locator("html")).to_have_attribute("data-shown", once)


async def test_the_schedules_page_fits_a_phone(enter: Enter, api: Browser, model: ModelServer) -> None:
    await make(api, name="A name without any space " + "x" * 120, message="m" * 600)
    await make(api, cron="5,10 4-6/2 1,15 2,3 5L")
    phone = await enter("/schedules/", **PHONE)
    await phone.fits()
    for summary in await phone.page.locator("details.schedule-more summary").all():
        await summary.tap()
    await phone.fits()
    for path in ("new/", ""):
        await phone.page.goto(f"/schedules/{path}")
        await phone.fits()
    await phone.page.get_by_role("link", name="Edit", exact=False).first.tap()
    await expect(phone.page.get_by_role("heading", name="Edit schedule")).to_be_visible()
    await phone.fits()


async def test_the_schedules_page_is_accessible(enter: Enter, api: Browser, axe: str) -> None:
    made = await make(api, session_id=await api.new_session(title="Flour"))
    assert (await api.call("POST", f"schedules/{made['id']}/run/"))[0] == 202
    await make(api, enabled=False)
    page = (await enter("")).page
    await page.add_init_script(axe)
    for path in ("", "new/", f"{made['id']}/", f"{made['id']}/delete/"):
        await page.goto(f"/schedules/{path}")
        closed = page.locator("details.schedule-more:not([open]) > summary")
        while await closed.count():
            await closed.first.click()
        await audit(page)
