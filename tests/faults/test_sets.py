"""A set is asked to its end whatever is killed: each case has one result, and none is asked twice but where its run was cut off."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

from tests.model_server import ModelServer
from tests.serving import Browser, serving

CASES = 6


async def _results(browser: Browser, set_id: str) -> dict[str, Any]:
    return dict((await browser.call("GET", f"sets/{set_id}/runs/1/"))[1])


async def test_killed_midway_it_goes_on_and_nothing_is_doubled_or_lost(tmp_path: Path, model: ModelServer) -> None:
    llm = {"LLM_MODEL_SERVER": model.url, "LLM_MODEL": "stub", "LLM_API_KEY": "key", "MAX_MESSAGES_PER_MINUTE": "0"}
    with serving(tmp_path, "ada", "bo", **llm) as server:
        async with Browser.logged_in(server.url, "bo") as bo:
            set_id = (await bo.call("POST", "sets/", {"name": "Counting"}))[1]["id"]
            for n in range(CASES):
                case = {"question": f"Count {n} [tokens=30 every=60]", "rule": "len(answer) > 20"}
                assert (await bo.call("POST", f"sets/{set_id}/cases/", case))[0] == 201
            assert (await bo.call("POST", f"sets/{set_id}/runs/", {}))[0] == 202
            async with asyncio.timeout(60):
                # One has been judged, others are being answered.
                while not (await _results(bo, set_id))["totals"]["counts"].get("passed"):  # noqa: ASYNC110 - of another process
                    await asyncio.sleep(0.02)
        server.kill()
        server.start()
        async with Browser.logged_in(server.url, "bo") as bo, asyncio.timeout(90):
            while (told := await _results(bo, set_id))["state"] == "running":  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.05)
            listed = (await bo.call("GET", "sessions/"))[1]["items"]
    assert told["totals"]["counts"] == {"passed": CASES}
    assert listed == [], "what a set asks stands in no list"
    with sqlite3.connect(tmp_path / "thinkaloud.sqlite3") as stored:
        ends = stored.execute(
            "SELECT status, COUNT(DISTINCT message), COUNT(*) FROM chat_run GROUP BY status"
        ).fetchall()
    by_status = {status: (questions, runs) for status, questions, runs in ends}
    assert by_status.pop("completed") == (CASES, CASES)
    assert set(by_status) <= {"interrupted"}
