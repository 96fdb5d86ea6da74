"""The process is killed while it copies a long session: nobody ever sees a partial copy, and nothing of it remains."""

import asyncio
import contextlib
import json
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from tests.faults.conftest import OpenWorld
from tests.faults.world import World, until
from tests.serving import Browser

pytestmark = pytest.mark.long

EVENTS = 6_000
MAKE = f"from tests.benchmarks import rows; rows.long_session({EVENTS})"


def copied_events(world: World, source: str) -> int:
    """How many events are in copies that are not finished."""
    counted = world.database.rows(
        "SELECT count(*) FROM chat_step step JOIN chat_session session ON session.id = step.session_id "
        "WHERE session.deleted_at IS NOT NULL AND session.id <> ?",
        UUID(source),
    )
    return int(counted[0][0])


async def seen(browser: Browser) -> list[dict[str, Any]]:
    status, listed = await browser.call("GET", "sessions/")
    assert status == 200, listed
    items: list[dict[str, Any]] = listed["items"]
    return items


@pytest.mark.parametrize("topology", ["sqlite", "postgres"])
async def test_a_process_is_killed_while_it_copies(open_world: OpenWorld, topology: str) -> None:
    """Killed early and late: there is no copy, and the source is unchanged; asked for again, there is one copy, and it is complete."""
    world = open_world(topology)
    victim, other = world.servers[0], len(world.servers) - 1
    source = str(UUID(json.loads(victim.manage("shell", "--no-imports", "--command", MAKE))))
    async with world.browser("ada") as ada:
        before = await seen(ada)
    assert [item["id"] for item in before] == [source]
    head = world.database.head(source)
    log = world.database.events(source)
    body, key = {"after_seq": head, "message": "And now? [tokens=2]"}, {"Idempotency-Key": "branch"}
    for share in (0.1, 0.7):
        left = copied_events(world, source)
        async with world.browser("ada") as ada:
            asking = asyncio.create_task(ada.call("POST", f"sessions/{source}/branch/", body, key))
            await until(lambda least=left + share * EVENTS: copied_events(world, source) >= least)  # type: ignore[misc]
            await world.kill(victim)
            with contextlib.suppress(aiohttp.ClientError):
                await asking
                raise AssertionError("the copy was whole before the process was killed")
        await world.start(victim)
        async with world.browser("ada", process=other) as ada:
            assert await seen(ada) == before, "a copy that is not whole is seen"
            status, _ = await ada.call("GET", f"sessions/{source}/")
            assert status == 200
    async with world.browser("ada", process=other) as ada:
        made = [await ada.call("POST", f"sessions/{source}/branch/", body, key) for _ in range(2)]
        assert [status for status, _ in made] == [201, 201]
        copy = made[0][1]["id"]
        assert made[1][1]["id"] == copy, "the same was made twice"
        assert {item["id"] for item in await seen(ada)} == {source, copy}
    await world.quiet(copy)
    assert len(world.database.runs(copy)) == len(world.database.runs(source)) + 1
    assert [(e.seq, e.event, e.data) for e in world.database.events(copy)[:head]] == [
        (e.seq, e.event, e.data) for e in log
    ]
    assert world.database.events(source) == log
    # An unfinished copy is deleted once no process can be working on it any more.
    world.database.rows("UPDATE chat_session SET deleted_at = created_at WHERE deleted_at IS NOT NULL")
    await until(lambda: copied_events(world, source) == 0, 60, "what was left of the copies to be removed")
