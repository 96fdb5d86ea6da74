"""A session shared with a user who has it open: what they may do changes, and ends, without a reload."""

import re

from playwright.async_api import expect

from tests.e2e.conftest import OTHER, READER, Enter
from tests.e2e.test_waiting import photograph
from tests.e2e.watch import ANSWERED, Watch
from tests.serving import Browser

COUNT = "Count [tokens=3000 every=20]"


async def test_a_changed_role_applies_to_the_open_page(enter: Enter, api: Browser, watch: Watch) -> None:
    """By the page's forms: shared to watch, to drive, to watch again, and withdrawn, while a run is at work."""
    watch.allow(ANSWERED.format(status="404"))
    mine = await enter(f"/sessions/{await api.new_session(title='Rivers')}/")
    await mine.is_live()
    await mine.ask(COUNT)
    await mine.is_at_work()
    owner = (await enter(f"/sessions/{mine.session_id}/share/")).page
    await owner.get_by_label("Username").fill(OTHER)
    await owner.get_by_role("button", name="Share", exact=True).click()
    row = owner.locator(".shares li", has_text=OTHER)
    await expect(row).to_have_count(1)
    await photograph(owner, "share")

    theirs = await enter(f"/sessions/{mine.session_id}/", user=OTHER)
    other = theirs.page
    await theirs.is_live()
    await expect(theirs.message).to_have_count(0)
    await expect(theirs.stop).to_be_hidden()
    await expect(other.get_by_role("link", name="Share")).to_have_count(0)
    # Who is present, and in which role.
    people = mine.page.locator("#people")
    await expect(people).to_have_attribute("title", re.compile(f"{OTHER} · watches"))
    await people.click()
    await expect(mine.page.locator("#people-list li")).to_have_text([re.compile("owner"), re.compile("watches")])
    await photograph(other, "watches")

    await row.get_by_role("button", name="Watches · let drive").click()
    await expect(theirs.message).to_be_visible()
    await expect(theirs.stop).to_be_visible()
    await theirs.is_live()
    await theirs.message.fill("And then?")
    await expect(people).to_have_attribute("title", re.compile(f"{OTHER} · may ask"))

    await row.get_by_role("button", name="Drives · let only watch").click()
    await expect(theirs.message).to_have_count(0)
    await theirs.is_live()
    await expect(theirs.state).to_contain_text("Answering")

    await row.get_by_role("button", name="Withdraw").click()
    await theirs.link_is("gone")
    await photograph(other, "withdrawn")
    length = len(await theirs.log.inner_text())
    # The run goes on, but is no longer shown there.
    await mine.stop.click()
    await mine.ended("Stopped by mei")
    assert len(await theirs.log.inner_text()) == length
    await other.reload()
    await expect(other.get_by_role("heading", level=1)).to_have_text("There is nothing here")


async def test_a_link_is_joined_listed_and_left(enter: Enter, api: Browser, accounts: dict[str, Browser]) -> None:
    """Shown once, accepted by a button, listed under shared sessions, copied, and left."""
    session = await api.new_session(title="Lakes")
    owner = (await enter(f"/sessions/{session}/share/")).page
    await owner.get_by_text("A link", exact=True).click()
    await owner.get_by_role("button", name="Share", exact=True).click()
    address = await owner.get_by_label("Link", exact=True).last.input_value()
    other = (await enter(address, user=OTHER)).page
    await photograph(other, "join")
    await expect(other.locator("body")).to_contain_text(f"{READER} shares this session")
    await other.get_by_role("button", name="Join as a watcher").click()
    await expect(other).to_have_url(re.compile(f"/sessions/{session}/"))
    await other.goto("/sessions/?shared=true")
    await expect(other.locator(".line-row", has_text="Lakes")).to_have_count(1)
    await photograph(other, "shared-with-me")
    await other.goto("/sessions/")
    await expect(other.locator(".line-row", has_text="Lakes")).to_have_count(0)
    status, _ = await accounts[OTHER].call("POST", f"sessions/{session}/leave/")
    assert status == 204
    await other.goto("/sessions/?shared=true")
    await expect(other.locator(".line-row", has_text="Lakes")).to_have_count(0)


async def test_a_former_owner_drives_the_session_on_the_open_page(
    enter: Enter, api: Browser, accounts: dict[str, Browser]
) -> None:
    """Actions of the owner are no longer offered there; typed text stays."""
    mine = await enter(f"/sessions/{await api.new_session(title='Hills')}/")
    await mine.is_live()
    share = mine.page.locator(f"a[href='/sessions/{mine.session_id}/share/']")
    await expect(share).to_have_count(1)
    await mine.message.fill("Half a question")
    assert (await api.call("POST", f"sessions/{mine.session_id}/owner/", {"user": OTHER}))[0] == 201
    assert (await accounts[OTHER].call("POST", f"sessions/{mine.session_id}/owner/accept/"))[0] == 200
    await expect(share).to_have_count(0)
    await mine.is_live()
    await expect(mine.message).to_have_value("Half a question")
