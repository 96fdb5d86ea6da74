"""A run of a set is completed whatever process is killed: each case has one result, and is only asked again if its run was interrupted."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import OpenWorld
from tests.faults.world import SCALE, World, until
from tests.model_server import ModelServer
from tests.serving import Browser, Server, serving

CASES = 6


async def _begin(browser: Browser, cases: int) -> str:
    """Start a run of a set."""
    set_id = str((await browser.call("POST", "sets/", {"name": "Counting"}))[1]["id"])
    for n in range(cases):
        case = {"question": f"Count {n} [tokens=30 every=60]", "rule": "len(answer) > 20"}
        assert (await browser.call("POST", f"sets/{set_id}/cases/", case))[0] == 201
    assert (await browser.call("POST", f"sets/{set_id}/runs/", {}))[0] == 202
    return set_id


async def _results(browser: Browser, set_id: str) -> dict[str, Any]:
    return dict((await browser.call("GET", f"sets/{set_id}/runs/1/"))[1])


async def test_a_set_goes_on_after_a_kill_without_loss_or_duplicates(tmp_path: Path, model: ModelServer) -> None:
    llm = {"LLM_MODEL_SERVER": model.url, "LLM_MODEL": "stub", "LLM_API_KEY": "key", "MAX_MESSAGES_PER_MINUTE": "0"}
    with serving(tmp_path, "ada", "bo", **llm) as server:
        async with Browser.logged_in(server.url, "bo") as bo:
            set_id = await _begin(bo, CASES)
            async with asyncio.timeout(60):
                # One case has been judged, others are being answered.
                while not (await _results(bo, set_id))["totals"]["counts"].get("passed"):  # noqa: ASYNC110 - of another process
                    await asyncio.sleep(0.02)
        server.kill()
        server.start()
        async with Browser.logged_in(server.url, "bo") as bo, asyncio.timeout(90):
            while (results := await _results(bo, set_id))["state"] == "running":  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.05)
            listed = (await bo.call("GET", "sessions/"))[1]["items"]
    assert results["totals"]["counts"] == {"passed": CASES}
    assert listed == [], "what a set asks stands in no list"
    with sqlite3.connect(tmp_path / "thinkaloud.sqlite3") as stored:
        ends = stored.execute(
            "SELECT status, COUNT(DISTINCT message), COUNT(*) FROM chat_run GROUP BY status"
        ).fetchall()
    by_status = {status: (questions, runs) for status, questions, runs in ends}
    assert by_status.pop("completed") == (CASES, CASES)
    assert set(by_status) <= {"interrupted"}


def _executing(world: World) -> Server | None:
    """A process that is executing a case."""
    owners = [owner for (owner,) in world.database.rows("SELECT owner FROM chat_run WHERE status = 'running'")]
    return next((each for each in world.executors if any(f":{each.pid}:" in owner for owner in owners)), None)


@pytest.mark.long
@pytest.mark.parametrize("topology", ["postgres", SCALE])
async def test_a_set_goes_on_when_its_processes_are_killed_in_turn(open_world: OpenWorld, topology: str) -> None:
    """Twice one that is executing a case, then each that serves: no case is interrupted more often than it is asked again."""
    world, cases = open_world(topology), 3 * CASES
    async with world.browser() as bo:
        set_id = await _begin(bo, cases)
    for _ in range(2):
        await until(lambda: _executing(world) is not None, wanted="a case to be at work")
        victim = _executing(world)
        assert victim is not None
        await world.kill(victim)
        await world.start(victim)
    for server in world.servers if world.workers else ():
        await world.kill(server)
        await world.start(server)
    await until(lambda: world.database.rows("SELECT state FROM chat_setrun") == [("done",)], 90, "the set to be done")
    async with world.browser() as bo:
        assert (await _results(bo, set_id))["totals"]["counts"] == {"passed": cases}
    ended = world.database.rows("SELECT status, COUNT(DISTINCT message), COUNT(*) FROM chat_run GROUP BY status")
    by_status = {status: counts for status, *counts in ended}
    assert by_status.pop("completed") == [cases, cases], "a case was asked twice, or not at all"
    assert set(by_status) <= {"interrupted"}
    assert world.database.rows("SELECT count(*) FROM chat_caseresult") == [(cases,)]
