"""Processes die, freeze and come back: no client notices more than a pause."""

import contextlib

import pytest

from tests.faults.conftest import OpenWorld
from tests.faults.invariants import check
from tests.faults.work import keep_busy, rounds
from tests.faults.world import meanwhile
from tests.model_server import ModelServer


@pytest.mark.parametrize("topology", ["sqlite", "postgres"])
async def test_a_process_is_killed_in_the_middle_of_its_runs(
    open_world: OpenWorld, model: ModelServer, topology: str
) -> None:
    """Kill -9 of the web process, which carries the runs, mid-run; where there are two, of one after the other."""
    model.respond = rounds(15)
    world = open_world(topology)
    session = await world.new_session()
    async with contextlib.AsyncExitStack() as until_done:
        clients = [
            await until_done.enter_async_context(
                world.client(session, name=f"client {number}", restless_s=2.0 * number or None)
            )
            for number in range(3)
        ]
        turn = iter(range(1000))

        async def kill_one() -> None:
            server = world.servers[next(turn) % len(world.servers)]
            await world.kill(server)
            await world.start(server)

        async with meanwhile(kill_one, every_s=3.0) as killed:
            await keep_busy(clients[0], 150)
            await clients[0].until(lambda: len(killed) >= 2, 30)
        events = await check(world, session, clients)
    assert len(events) >= 150
