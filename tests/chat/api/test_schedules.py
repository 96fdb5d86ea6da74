"""The API's calls for schedules as documented, on the product as it is deployed: due schedules run, live, and send notifications."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.serving import Browser, Server

QUICK = "Add it up [reasoning=3 call=current_time:{}]"
CRON = {"message": QUICK, "cron": "0 9 * * 1-5", "time_zone": "Asia/Taipei"}


@pytest.fixture
async def cy(product: Server) -> AsyncIterator[Browser]:
    """Another user."""
    async with Browser.logged_in(product.url, "cy") as browser:
        yield browser


async def made(browser: Browser, **fields: Any) -> dict[str, Any]:
    status, schedule = await browser.call("POST", "schedules/", {**CRON, **fields})
    assert status == 201, schedule
    return dict(schedule)


async def settled(browser: Browser, schedule_id: str, number: int = 1) -> dict[str, Any]:
    """Wait until this many occurrences have ended; returns the schedule."""
    async with asyncio.timeout(20):
        while True:
            status, schedule = await browser.call("GET", f"schedules/{schedule_id}/")
            assert status == 200
            ended = [one for one in schedule["history"] if one["outcome"] not in ("started", "waiting")]
            if len(ended) >= number:
                return dict(schedule)
            await asyncio.sleep(0.05)


async def test_a_schedule_is_made_shown_changed_and_deleted(bo: Browser) -> None:
    began = time.time()
    schedule = await made(bo, name=" Morning  summary ")
    assert schedule["name"] == "Morning summary"
    assert schedule["words"] == "every weekday at 09:00, Taipei"
    assert (schedule["agent_name"], schedule["session_id"], schedule["enabled"]) == ("researcher", None, True)
    assert (schedule["at"], schedule["every_minutes"], schedule["cron"]) == (None, None, "0 9 * * 1-5")
    times = [datetime.fromtimestamp(moment, UTC) for moment in schedule["next"]]
    assert len(times) == 5
    assert times == sorted(times)
    assert {(moment.hour, moment.minute) for moment in times} == {(1, 0)}
    assert all(moment.timestamp() > began and moment.weekday() < 5 for moment in times)
    assert (schedule["missed"], schedule["overlap"], schedule["pause_after"]) == ("once", "queue", 5)
    assert len(schedule["rules"]) == 3
    assert (schedule["failures"], schedule["paused_because"], schedule["history"]) == (0, None, [])
    address = f"schedules/{schedule['id']}/"
    assert await bo.call("GET", address) == (200, schedule)
    status, listed = await bo.call("GET", "schedules/")
    assert status == 200
    assert schedule in listed["items"]
    status, changed = await bo.call("PATCH", address, {"every_minutes": 90, "overlap": "skip"})
    assert (status, changed["words"], changed["cron"], changed["overlap"]) == (200, "every 90 minutes", None, "skip")
    assert changed["name"] == "Morning summary"
    status, paused = await bo.call("PATCH", address, {"enabled": False})
    assert (paused["enabled"], paused["next"], paused["paused_because"]) == (False, [], "user")
    status, resumed = await bo.call("PATCH", address, {"enabled": True})
    assert (resumed["enabled"], len(resumed["next"]), resumed["paused_because"]) == (True, 5, None)
    assert await bo.call("PATCH", address, {}) == (200, resumed)
    assert await bo.call("DELETE", address) == (204, None)
    for method in ("GET", "PATCH", "DELETE"):
        assert (await bo.call(method, address, {}))[0] == 404


async def test_a_due_time_runs_live_in_its_session_and_its_end_is_told(bo: Browser) -> None:
    """A client with the session open receives the run from start to end; the owner's other pages receive the end."""
    session_id, other_id = await bo.new_session(), await bo.new_session()
    _, before = await bo.call("GET", "notifications/")
    assert before["items"] == []
    async with bo.socket(session_id) as here, bo.socket(other_id) as elsewhere:
        await here.receive()
        at = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        schedule = await made(bo, name="Sums", session_id=session_id, at=at, cron=None)
        began = await here.until_type("reasoning_start")
        assert (began["data"]["message"], began["data"]["user"]) == (QUICK, "bo")
        await here.until_type("reasoning_complete")
        assert [frame["seq"] for frame in here.stored()] == list(range(1, len(here.stored()) + 1))
        assert here.steps("tool_use")[0]["tool_name"] == "current_time"
        notification = await elsewhere.until_type("notification")
    assert (notification["data"]["title"], notification["data"]["status"]) == ("Sums", "completed")
    assert notification["data"]["text"].startswith("Finished · ")
    assert "kind" not in notification["data"], "by which a call that waits is told apart"
    assert (notification["data"]["session_id"], notification["data"]["run_id"]) == (session_id, began["run_id"])
    done = await settled(bo, schedule["id"])
    assert (done["enabled"], done["paused_because"], done["next"]) == (False, "done", [])
    (occurrence,) = done["history"]
    assert (occurrence["outcome"], occurrence["words"], occurrence["by_hand"]) == ("completed", "Finished", False)
    assert occurrence["run_id"] == began["run_id"]
    assert occurrence["duration_ms"] > 0
    _, run = await bo.call("GET", f"runs/{began['run_id']}/")
    assert (run["origin"], run["status"]) == ("schedule", "completed")
    assert run["client_message_id"].startswith("sched:")
    # A client that was not connected asks for it.
    _, missed = await bo.call("GET", f"notifications/?after={before['now']}")
    assert notification["data"] in missed["items"]
    assert missed["now"] > before["now"]


async def test_others_are_told_nothing(bo: Browser, cy: Browser) -> None:
    _, before = await cy.call("GET", "notifications/")
    async with cy.socket(await cy.new_session()) as socket:
        await socket.receive()
        schedule = await made(bo)
        assert (await bo.call("POST", f"schedules/{schedule['id']}/run/"))[0] == 202
        await settled(bo, schedule["id"])
        await socket.send("ping")
        await socket.until_type("pong")
        assert [frame for frame in socket.frames if frame["type"] == "notification"] == []
    assert (await cy.call("GET", f"notifications/?after={before['now']}"))[1]["items"] == []
    assert schedule["id"] not in [one["id"] for one in (await cy.call("GET", "schedules/"))[1]["items"]]
    address = f"schedules/{schedule['id']}/"
    nowhere = f"schedules/{uuid4()}/"
    for method, end in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "run/")):
        theirs, none = await cy.call(method, address + end, {}), await cy.call(method, nowhere + end, {})
        assert theirs[0] == none[0] == 404
        assert theirs[1]["error"]["message"] == none[1]["error"]["message"]


async def test_run_now(bo: Browser) -> None:
    schedule = await made(bo, message="Count [tokens=200 every=20]", enabled=False)
    address = f"schedules/{schedule['id']}/"
    status, started = await bo.call("POST", f"{address}run/", {})
    assert status == 202
    assert set(started) >= {"run_id", "queued"}
    status, refused = await bo.call("POST", f"{address}run/")
    assert (status, refused["error"]["code"]) == (409, "conflict")
    assert (await bo.call("POST", f"runs/{started['run_id']}/cancel/", {}))[0] == 202
    done = await settled(bo, schedule["id"])
    assert [(one["outcome"], one["by_hand"]) for one in done["history"]] == [("cancelled", True)]
    assert done["failures"] == 0


async def test_failures_pause_it_and_are_told(bo: Browser) -> None:
    schedule = await made(bo, message="Break [status=401]", pause_after=2)
    async with bo.socket(await bo.new_session()) as socket:
        for number in (1, 2):
            assert (await bo.call("POST", f"schedules/{schedule['id']}/run/"))[0] == 202
            notification = await socket.until_type("notification")
            assert (notification["data"]["status"], notification["data"]["paused"]) == ("failed", number == 2)
    assert "Paused after 2 failures in a row." in notification["data"]["text"]
    paused = await settled(bo, schedule["id"], 2)
    assert (paused["enabled"], paused["paused_because"], paused["failures"]) == (False, "failures", 2)
    assert paused["paused_words"] == "Paused after 2 failures in a row."


async def test_a_time_may_be_said_in_three_ways(bo: Browser) -> None:
    moment = datetime(2031, 7, 1, 1, 30, tzinfo=UTC)
    for at in (moment.timestamp(), moment.isoformat(), "2031-07-01T09:30"):
        schedule = await made(bo, at=at, cron=None)
        assert schedule["at"] == moment.timestamp()
        assert schedule["next"] == [moment.timestamp()]
        assert schedule["words"] == "once, on 2031-07-01 at 09:30, Taipei"


@pytest.mark.parametrize(
    ("fields", "status", "code", "why"),
    [
        ({"cron": "61 * * * *"}, 400, "bad_frame", "minute"),
        ({"cron": "* * * * * *"}, 400, "bad_frame", "every minute"),
        ({"cron": "0 0 30 2 *"}, 400, "bad_frame", "never comes"),
        ({"cron": 5}, 400, "bad_frame", "cron"),
        ({"cron": None}, 400, "bad_frame", "Say when"),
        ({"cron": None, "every_minutes": 0.5}, 400, "bad_frame", "every_minutes"),
        ({"cron": None, "every_minutes": 0}, 400, "bad_frame", "from 1"),
        ({"cron": None, "every_minutes": 10**12}, 400, "bad_frame", "from 1"),
        ({"cron": None, "every_minutes": True}, 400, "bad_frame", "every_minutes"),
        ({"cron": None, "at": 1}, 400, "bad_frame", "past"),
        ({"cron": None, "at": 1e300}, 400, "bad_frame", "at"),
        ({"cron": None, "at": "tomorrow"}, 400, "bad_frame", "at"),
        ({"cron": None, "at": "2020-01-01T00:00"}, 400, "bad_frame", "past"),
        ({"every_minutes": 5}, 400, "bad_frame", "one way only"),
        ({"time_zone": "Mars/Olympus"}, 400, "bad_frame", "no time zone"),
        ({"time_zone": "../etc/passwd"}, 400, "bad_frame", "no time zone"),
        ({"agent_name": "nobody"}, 400, "unknown_agent", "no agent"),
        ({"session_id": "5"}, 404, "not_found", "no such session"),
        ({"session_id": str(uuid4())}, 404, "not_found", "no such session"),
        ({"message": " "}, 400, "empty_message", "empty"),
        ({"message": "x" * 40_000}, 413, "too_large", "40,000"),
        ({"message": "a\x00b"}, 400, "bad_text", "character"),
        ({"name": "x" * 201}, 400, "bad_frame", "201"),
        ({"enabled": "yes"}, 400, "bad_frame", "enabled"),
        ({"missed": "twice"}, 400, "bad_frame", "missed: One of skip, once"),
        ({"pause_after": 101}, 400, "bad_frame", "pause_after: It must be a whole number from 0"),
    ],
)
async def test_bad_input(bo: Browser, fields: dict[str, Any], status: int, code: str, why: str) -> None:
    before = len((await bo.call("GET", "schedules/"))[1]["items"])
    answered, answer = await bo.call("POST", "schedules/", {**CRON, **fields})
    assert (answered, answer["error"]["code"]) == (status, code), answer
    assert why in answer["error"]["message"]
    assert answer["error"]["id"]
    assert len((await bo.call("GET", "schedules/"))[1]["items"]) == before


async def test_an_empty_body_and_an_anonymous_caller(bo: Browser, product: Server) -> None:
    status, answer = await bo.call("POST", "schedules/", {})
    assert (status, answer["error"]["code"]) == (400, "bad_frame")
    assert "message" in answer["error"]["message"]
    nobody = Browser(product.url)
    try:
        for method, path in (("GET", "schedules/"), ("POST", "schedules/"), ("GET", "notifications/")):
            status, answer = await nobody.call(method, path, CRON if method == "POST" else None)
            assert (status, answer["error"]["code"]) == (401, "not_allowed")
    finally:
        await nobody.http.close()
    assert (await bo.call("GET", "notifications/?after=yesterday"))[0] == 400
    assert (await bo.call("GET", "schedules/?cursor=x"))[0] == 400


async def test_there_are_only_so_many(cy: Browser) -> None:
    """A hundred by the setting's default; the list has more than one page."""
    for number in range(100):
        await made(cy, name=f"Number {number}")
    status, answer = await cy.call("POST", "schedules/", CRON)
    assert (status, answer["error"]["code"]) == (429, "rate_limited")
    assert "The limit on schedules is 100" in answer["error"]["message"]
    status, page = await cy.call("GET", "schedules/")
    assert len(page["items"]) == 100
    assert page["next"] is None
    _, rest = await cy.call("GET", f"schedules/?cursor={page['items'][29]['id']}")
    assert rest["items"] == page["items"][30:]
