"""Verdicts and comments over two processes on PostgreSQL and Redis: written at one, received at the other, and by many at once."""

import asyncio

import pytest

from tests.faults.world import World
from tests.serving import Browser

pytestmark = [pytest.mark.xdist_group("pair"), pytest.mark.long]


async def judged_by(browser: Browser, run_id: str, words: list[str]) -> list[int]:
    """Change the verdict of a run again and again; returns the statuses."""
    return [(await browser.call("PUT", f"runs/{run_id}/verdict/", {"verdict": word}))[0] for word in words]


async def test_verdicts_and_comments_reach_the_other_process(two: World) -> None:
    async with two.browser("bo", process=0) as here, two.browser("bo", process=1) as there:
        session_id = await here.new_session()
        async with there.socket(session_id) as socket:
            await socket.send("chat", message="Say [tokens=2]")
            run_id = (await socket.until_type("reasoning_complete"))["run_id"]
            for number in range(3):
                body = {"seq": 1 + number, "text": f"comment {number}"}
                status, made = await here.call("POST", f"sessions/{session_id}/comments/", body)
                assert status == 201
                comment = (await socket.until_type("comment", 2))["data"]
                assert comment == {**made, "count": 1, "version": number + 1}
            # Both at once, on the same run: each change has its own number, and arrives once, in order.
            words = ["good", "bad"] * 5
            statuses = await asyncio.gather(judged_by(here, run_id, words), judged_by(there, run_id, words))
            assert statuses == [[200] * 10] * 2
            _, listed = await there.call("GET", f"runs/{run_id}/verdict/")
            assert [item["verdict"] for item in listed["items"]] == ["bad"]
            await here.call("PUT", f"runs/{run_id}/verdict/", {"verdict": None})
            last = await socket.until(lambda frame: frame["type"] == "verdict" and frame["data"]["verdict"] is None, 2)
            versions = [f["data"]["version"] for f in socket.frames if f["type"] in ("comment", "verdict")]
            assert versions == sorted(set(versions))
            assert last["data"]["version"] == versions[-1]
            # A change at one process is published to the other.
            async with here.socket(session_id) as typing:
                hello = await typing.receive()
                assert hello["data"]["notes"] == {
                    "version": versions[-1],
                    "counts": {"1": 1, "2": 1, "3": 1},
                    "verdicts": {},
                    "mine": {},
                }
                await typing.send("activity", seq=2, typing=True)
                assert (await socket.until_type("activity", 2))["data"] == {"user": "bo", "seq": 2, "typing": True}
