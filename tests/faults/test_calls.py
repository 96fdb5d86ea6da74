"""The record of what the model saw, wherever the process that asked it is killed: whole, and true."""

import asyncio
from typing import Any

import orjson
import pytest

from chat.store.calls import INTERRUPTED
from tests.faults.conftest import OpenWorld
from tests.faults.world import World
from tests.model_server import Call, ModelServer, Script


def respond(body: dict[str, Any]) -> Script:
    """A sum by a tool, twice, then the answer."""
    replies = sum(message["role"] == "assistant" for message in body["messages"])
    if replies < 2:
        return Script(reasoning="Let me see.", calls=[Call("python", {"code": f"{replies}+41"})])
    return Script("It is 42.")


async def recorded(world: World, run_id: str) -> list[tuple[dict[str, Any], bytes]]:
    """A run's calls as the API tells them, each with its messages in full."""
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
    model.respond = respond
    world = open_world("sqlite", DJANGO_SETTINGS_MODULE="tests.faults.dying_settings")
    [server] = world.servers
    told = server.data_dir / "dies_after"
    session = await world.new_session()
    async with world.client(session) as client:
        assert await client.ended(await client.ask("Work")) == "completed"
        length = client.state.seq
    for dies_after in range(1, length):
        session = await world.new_session()
        model.reset()
        model.respond = respond
        told.write_text(f"{dies_after} {session}")
        async with world.client(session) as client:
            asking = asyncio.create_task(client.ask("Work"))
            await asyncio.to_thread(server.process.wait, 30)  # type: ignore[union-attr]
            told.write_text("")
            await world.start(server)
            runs = [await asking]
            if await client.ended(runs[0]) == "interrupted":
                runs.append(await client.go_on(runs[0]))
                assert await client.ended(runs[1]) == "completed"
        of_runs = [await recorded(world, run_id) for run_id in runs]
        for run in of_runs:
            # Of a run that has ended nothing is under way: a call has come to its end, or says that it was broken off.
            assert all(call["duration_ms"] is not None for call, _ in run[:-1])
            assert all(call["duration_ms"] is not None or call["error"] == INTERRUPTED for call, _ in run[-1:])
        sent = [orjson.dumps(request.body["messages"]) for request in model.requests]
        kept = [messages for run in of_runs for _, messages in run]
        broken_off = len(of_runs[0]) if len(runs) == 2 else len(kept)
        # The last before the end may have been kept and not sent yet, or sent and not kept yet; no other may.
        ways = (kept, kept[: broken_off - 1] + kept[broken_off:])
        without = [sent[:at] + sent[at + 1 :] for at in (broken_off,)]
        assert sent in ways or any(one == kept for one in without), (dies_after, len(sent), len(kept))
