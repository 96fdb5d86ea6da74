"""The record of each model call is complete and correct, whenever the process that made the call is killed."""

import asyncio
import time
from collections import Counter
from typing import Any

import orjson
import pytest

from chat.store.calls import INTERRUPTED
from tests.faults.conftest import OpenWorld
from tests.faults.world import World
from tests.model_server import Call, ModelServer, Script


def respond(body: dict[str, Any]) -> Script:
    """A tool call for a sum, twice, then the answer."""
    replies = sum(message["role"] == "assistant" for message in body["messages"])
    if replies < 2:
        return Script(reasoning="Let me see.", calls=[Call("python", {"code": f"{replies}+41"})])
    return Script("It is 42.")


class Patient:
    """Answers a run's call only when the earlier calls are recorded: an agent does not wait for the disk, and may be some calls ahead."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._asked: Counter[str] = Counter()

    def respond(self, body: dict[str, Any]) -> Script:
        """Then answer in the same way."""
        ((run,),) = self._world.database.rows("SELECT id FROM chat_run ORDER BY created_at DESC LIMIT 1")
        before = self._asked[run]
        self._asked[run] += 1
        process = self._world.servers[0].process
        while process is not None and process.poll() is None and self._kept(run) < before:
            time.sleep(0.01)
        return respond(body)

    def _kept(self, run: str) -> int:
        statement = "SELECT count(*) FROM chat_modelcall WHERE run_id = ? AND duration_ms IS NOT NULL"
        return int(self._world.database.rows(statement, run)[0][0])


async def recorded(world: World, run_id: str) -> list[tuple[dict[str, Any], bytes]]:
    """A run's model calls as the API returns them, each with all its messages."""
    async with world.browser() as browser:
        _, answer = await browser.call("GET", f"runs/{run_id}/calls/")
        found = []
        for number, call in enumerate(answer["calls"], start=1):
            _, whole = await browser.call("GET", f"runs/{run_id}/calls/{number}/messages/")
            found.append((call, orjson.dumps(whole["messages"])))
        return found


@pytest.mark.long
async def test_a_call_is_recorded_as_it_was_sent_wherever_the_process_is_killed(
    open_world: OpenWorld, model: ModelServer
) -> None:
    world = open_world("sqlite", DJANGO_SETTINGS_MODULE="tests.faults.dying_settings")
    model.respond = Patient(world).respond
    [server] = world.servers
    marker = server.data_dir / "dies_after"
    session = await world.new_session()
    async with world.client(session) as client:
        assert await client.ended(await client.ask("Work")) == "completed"
        length = client.state.seq
    for dies_after in range(1, length):
        session = await world.new_session()
        model.reset()
        model.respond = Patient(world).respond
        marker.write_text(f"{dies_after} {session}")
        async with world.client(session) as client:
            asking = asyncio.create_task(client.ask("Work"))
            await asyncio.to_thread(server.process.wait, 30)  # type: ignore[union-attr]
            marker.write_text("")
            await world.start(server)
            runs = [await asking]
            if await client.ended(runs[0]) == "interrupted":
                runs.append(await client.go_on(runs[0]))
                assert await client.ended(runs[1]) == "completed"
        of_runs = [await recorded(world, run_id) for run_id in runs]
        for run in of_runs:
            # When a run has ended, none of its calls is in progress: each has ended, or is marked as interrupted.
            assert all(call["duration_ms"] is not None for call, _ in run[:-1])
            assert all(call["duration_ms"] is not None or call["error"] == INTERRUPTED for call, _ in run[-1:])
        sent = [orjson.dumps(request.body["messages"]) for request in model.requests]
        kept = [messages for run in of_runs for _, messages in run]
        broken_off = len(of_runs[0]) if len(runs) == 2 else len(kept)
        # The last call may be recorded but not sent, or sent but not recorded; no earlier one may.
        ways = (kept, kept[: broken_off - 1] + kept[broken_off:])
        without = [sent[:at] + sent[at + 1 :] for at in (broken_off,)]
        assert sent in ways or any(one == kept for one in without), (dies_after, len(sent), len(kept))
