"""A session by server-sent events: the frames that a socket is sent, read by other people's clients."""

import asyncio
import json
import time
from uuid import uuid4

import pytest

from chat.protocol import Close
from tests.event_streams import client_of, following
from tests.serving import Browser, Server

ASK = "Add it up [reasoning=6 every=5 call=current_time:{}]"
SLOW = "Count [tokens=400 every=25]"


async def ask(browser: Browser, session_id: str, message: str = ASK) -> str:
    status, accepted = await browser.call("POST", f"sessions/{session_id}/messages/", {"message": message})
    assert status == 202
    return str(accepted["run_id"])


async def finished_session(browser: Browser) -> str:
    """A session with a run that has ended."""
    session_id = await browser.new_session()
    async with following(browser, session_id) as stream:
        await ask(browser, session_id)
        await stream.until_type("reasoning_complete")
    return session_id


async def test_a_stream_is_sent_what_a_socket_is(bo: Browser) -> None:
    session_id = await bo.new_session()
    async with bo.socket(session_id) as socket, following(bo, session_id) as stream:
        assert stream.response.status_code == 200
        headers = stream.response.headers
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert "no-transform" in headers["cache-control"]
        assert headers["x-accel-buffering"] == "no"
        assert "content-encoding" not in headers
        assert "content-length" not in headers
        await ask(bo, session_id, "Say [reasoning=20 tokens=30 every=20 call=current_time:{}]")
        await stream.until_type("reasoning_complete")
        await socket.until_type("reasoning_complete")
    assert stream.stored() == socket.stored()
    first = stream.events[0]
    assert (first.event, first.retry is not None) == ("session", True)
    assert 1_000 <= (first.retry or 0) <= 3_000
    kinds = {event.event for event in stream.events}
    assert {"reasoning_delta", "reasoning_step", "reasoning_start", "presence"} <= kinds
    last = ""
    for event, frame in zip(stream.events, stream.frames(), strict=True):
        if "seq" in frame:
            last = f"{frame['seq']}.{frame['id']}"
        # To a client, an event without an id has that of the one before.
        assert event.id == last


async def test_a_client_that_is_cut_off_after_each_event_loses_none_and_gets_none_twice(bo: Browser) -> None:
    session_id = await bo.new_session()
    await ask(bo, session_id, "Say [reasoning=5 tokens=40 every=10 call=current_time:{}]")
    got, last, ends = [], "", False
    while not ends:
        async with following(bo, session_id, last=last) as stream:
            event = await stream.until(lambda event: "seq" in json.loads(event.data))
            assert "reset" not in stream.frames()[0]["data"]
            got += stream.stored()
            last, ends = event.id, event.event == "reasoning_complete"
    assert [frame["seq"] for frame in got] == list(range(1, len(got) + 1))
    _, read = await bo.call("GET", f"sessions/{session_id}/events/?limit=1000")
    assert got == read["events"]


#: The client's last event id (``ID``: the third event's), and how the stream begins: the first event's number, whether after a reset.
PLACES: dict[str, tuple[str, str, int, bool]] = {
    "nothing": ("", "", 1, False),
    "a number": ("?after=5", "", 6, False),
    "nothing but a number of nothing": ("?after=0", "", 1, False),
    "an event": ("?after=ID", "", 4, False),
    "an event, as browsers say it": ("", "ID", 4, False),
    "an older one in the address that the browser came with": ("?after=1", "ID", 4, False),
    "the end": ("?after=HEAD", "", 0, False),
    "an event that is another one there": ("", f"3.{uuid4()}", 1, True),
    "a number above the head": ("?after=999", "", 1, True),
    "an event above the head": ("", f"999.{uuid4()}", 1, True),
    "something that no stream of ours has given": ("", "x", 1, True),
    "the name of an event of somebody else's": ("", "1696:0-abc", 1, True),
    "a number beyond all": ("", "9" * 400, 1, True),
    "no number at all, and no name": ("", ".", 1, True),
}


@pytest.mark.parametrize("case", PLACES)
async def test_a_stream_begins_after_what_the_client_has(bo: Browser, product: Server, case: str) -> None:
    query, last, begins, reset = PLACES[case]
    session_id = await finished_session(bo)
    _, read = await bo.call("GET", f"sessions/{session_id}/events/")
    third = read["events"][2]
    named = {"ID": f"{third['seq']}.{third['id']}", "HEAD": str(read["last_seq"])}
    for name, value in named.items():
        query, last = query.replace(name, value), last.replace(name, value)
    async with following(bo, session_id, query, last=last) as stream:
        assert (await stream.next()).event == "session"
        assert stream.frames()[0]["data"].get("reset", False) is reset
        if begins:
            await stream.until(lambda event: "seq" in json.loads(event.data))
            assert stream.stored()[0]["seq"] == begins
        else:
            # Presence is sent in any case; of the log nothing is.
            assert (await stream.until_type("presence")).id == ""
            assert stream.stored() == []


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "9" * 30, "1.zz", "٣", "1%00", "1.2.3"])
async def test_an_address_that_names_no_event_is_refused(bo: Browser, after: str) -> None:
    session_id = await bo.new_session()
    status, answer = await bo.call("GET", f"sessions/{session_id}/stream/?after={after}")
    assert (status, answer["error"]["code"]) == (400, "bad_last_seq")


async def test_a_stream_of_another_users_session_is_refused_by_a_status(product: Server, bo: Browser) -> None:
    session_id = await bo.new_session()
    async with Browser.logged_in(product.url, "cy") as another:
        for asking, session, expected in (
            (another, session_id, 404),
            (bo, str(uuid4()), 404),
            (bo, "x", 404),
            (Browser(product.url), session_id, 401),
        ):
            status, answer = await asking.call("GET", f"sessions/{session}/stream/")
            assert status == expected
            assert set(answer["error"]) == {"code", "message", "id"}
            if asking.username == "":
                await asking.http.close()


async def test_a_reader_is_seen_by_others_until_it_leaves(bo: Browser) -> None:
    session_id = await bo.new_session()

    def sockets(frame: dict[str, object]) -> int:
        return sum(person["sockets"] for person in frame["data"]) if frame["type"] == "presence" else 0  # type: ignore[attr-defined]

    async with bo.socket(session_id) as socket:
        await socket.until(lambda frame: sockets(frame) == 1)
        async with following(bo, session_id) as stream:
            await stream.next()
            await socket.until(lambda frame: sockets(frame) == 2)
        await socket.until(lambda frame: sockets(frame) == 1)


async def test_a_stream_ends_with_the_session_and_with_the_login(product: Server) -> None:
    async with Browser.logged_in(product.url, "bo") as own:
        session_id, other = await own.new_session(), await own.new_session()
        async with following(own, session_id) as stream:
            await stream.next()
            assert (await own.call("DELETE", f"sessions/{session_id}/"))[0] == 204
            assert await stream.closed() == Close.NO_SUCH_SESSION
        async with following(own, other) as stream, client_of(own) as client:
            await stream.next()
            form = {"csrfmiddlewaretoken": own.cookie("csrftoken")}
            left = await client.post("/accounts/logout/", data=form, headers={"Referer": f"{own.url}/"})
            assert left.status_code == 302
            async with asyncio.timeout(5):
                assert await stream.closed() == Close.NOT_LOGGED_IN


async def test_a_run_goes_on_when_its_reader_leaves(bo: Browser) -> None:
    session_id = await bo.new_session()
    run_id = await ask(bo, session_id, "Say [tokens=60 every=20]")
    async with following(bo, session_id) as stream:
        await stream.until_type("reasoning_delta")
    async with following(bo, session_id) as again:
        delta = json.loads((await again.until_type("reasoning_delta")).data)
        assert delta["data"]["offset"] == 0
        await again.until_type("reasoning_complete")
    assert (await bo.call("GET", f"runs/{run_id}/"))[1]["status"] == "completed"


@pytest.mark.long
async def test_a_stream_on_which_nothing_happens_is_kept_open(bo: Browser) -> None:
    """For half a minute only comments are sent, often enough for every proxy's timeout; then an event arrives at once."""
    session_id = await bo.new_session()
    async with bo.http.get(f"/api/sessions/{session_id}/stream/") as answer:
        came, comments = time.monotonic(), 0
        while comments < 3:
            line = await asyncio.wait_for(answer.content.readline(), 20)
            came, silence = time.monotonic(), time.monotonic() - came
            comments += line == b":\n"
            assert silence < 16
        assert await bo.call("POST", f"sessions/{session_id}/messages/", {"message": "Say [tokens=2]"})
        while not (await asyncio.wait_for(answer.content.readline(), 10)).startswith(b"event: reasoning_complete"):
            pass
