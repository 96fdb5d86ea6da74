"""A set with as many cases as one may have: run with the demo model to its end, and stopped. The time taken is recorded as a figure."""

import asyncio
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Record
from tests.serving import Browser, serving

CASES = 1_000
#: As many at a time as one process executes well; the limit of a user must not be what is measured.
AT_ONCE = {"MAX_CASES_AT_ONCE": "40", "MAX_ACTIVE_RUNS_PER_USER": "0", "MAX_MESSAGES_PER_MINUTE": "0"}
LINES = "\n".join(
    json.dumps({"question": f"What is {n} * 7?", "rule": f"'{n * 7}' in answer.replace(',', '')"})
    for n in range(1, CASES + 1)
)


async def _filled(bo: Browser) -> str:
    """A set with all the cases."""
    set_id = str((await bo.call("POST", "sets/", {"name": "Sevens"}))[1]["id"])
    headers = {"X-CSRFToken": bo.cookie("csrftoken"), "Referer": f"{bo.url}/"}
    async with bo.http.post(f"/api/sets/{set_id}/import/", data=LINES, headers=headers) as answer:
        assert answer.status == 201
    return set_id


async def _counts(bo: Browser, set_id: str, number: int) -> tuple[str, dict[str, int]]:
    answer: dict[str, Any] = (await bo.call("GET", f"sets/{set_id}/runs/{number}/"))[1]
    return answer["state"], answer["totals"]["counts"]


async def _page_ms(bo: Browser, path: str) -> int:
    """How long a page takes in milliseconds, the median of five."""
    took = []
    for _ in range(5):
        began = time.monotonic()
        async with bo.http.get(path) as answer:
            assert answer.status == 200
            await answer.read()
        took.append(time.monotonic() - began)
    return round(sorted(took)[2] * 1_000)


@pytest.mark.long
async def test_a_thousand_cases_are_each_asked_once_and_judged(tmp_path: Path, record_property: Record) -> None:
    with serving(tmp_path, "ada", "bo", **AT_ONCE) as server:
        async with Browser.logged_in(server.url, "bo") as bo:
            set_id = await _filled(bo)
            server.rest()
            reached: dict[int, float] = {}
            began = time.monotonic()
            assert (await bo.call("POST", f"sets/{set_id}/runs/", {}))[0] == 202
            state = "running"
            while state == "running":
                state, counts = await _counts(bo, set_id, 1)
                done = CASES - counts.get("waiting", 0) - counts.get("asked", 0)
                for quarter in (1, 2, 3, 4):
                    if done >= quarter * CASES // 4:
                        reached.setdefault(quarter, round(time.monotonic() - began, 1))
                await asyncio.sleep(0.25)
            record_property("done by quarters, s", list(reached.values()))
            record_property("memory beyond what it had at rest, MB", round(server.most_taken / 1e6))
            record_property("page of the set, ms", await _page_ms(bo, f"/sets/{set_id}/"))
            record_property("its last page, ms", await _page_ms(bo, f"/sets/{set_id}/?page=20"))
            record_property("list of sets, ms", await _page_ms(bo, "/sets/"))
            assert counts == {"passed": CASES}
    with sqlite3.connect(tmp_path / "thinkaloud.sqlite3") as stored:
        runs = stored.execute("SELECT status, COUNT(DISTINCT message), COUNT(*) FROM chat_run GROUP BY status")
        assert runs.fetchall() == [("completed", CASES, CASES)]
        steps = stored.execute("SELECT COUNT(*) FROM chat_step").fetchone()[0]
    record_property("rows of the log", steps)


@pytest.mark.long
async def test_a_thousand_cases_are_stopped_in_one_act(tmp_path: Path, record_property: Record) -> None:
    with serving(tmp_path, "ada", "bo", **AT_ONCE) as server:
        async with Browser.logged_in(server.url, "bo") as bo:
            set_id = await _filled(bo)
            assert (await bo.call("POST", f"sets/{set_id}/runs/", {}))[0] == 202
            while not (await _counts(bo, set_id, 1))[1].get("passed"):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.05)
            began = time.monotonic()
            assert (await bo.call("POST", f"sets/{set_id}/runs/1/stop/"))[0] == 202
            record_property("stopped after, s", round(time.monotonic() - began, 3))
            state, counts = await _counts(bo, set_id, 1)
            assert state == "stopped"
            assert set(counts) == {"passed", "stopped"}
            assert sum(counts.values()) == CASES
            while await _unfinished(tmp_path):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.05)
            record_property("nothing at work after, s", round(time.monotonic() - began, 3))
            # Another one can be started at once.
            assert (await bo.call("POST", f"sets/{set_id}/runs/", {}))[0] == 202


async def _unfinished(folder: Path) -> int:
    with sqlite3.connect(folder / "thinkaloud.sqlite3") as stored:
        found = stored.execute("SELECT COUNT(*) FROM chat_run WHERE ended_at IS NULL").fetchone()
    return int(found[0])
