"""Group messages are lost, duplicated, delayed and reordered: that delays events, and never loses one."""

import asyncio
import contextlib

import pytest

from tests.faults.conftest import OpenWorld
from tests.faults.invariants import check
from tests.faults.work import keep_busy, rounds
from tests.faults.world import FAULTY_LAYER
from tests.model_server import ModelServer

#: The product polls its log this often, whatever group messages say; plus what a busy machine adds.
LATEST_S = 1.0 + 0.2


@pytest.mark.parametrize(
    ("topology", "fate", "capacity"),
    [
        ("sqlite", "lost=0.5 doubled=0.2 late=0.2", "2"),
        pytest.param("postgres", "lost=0.5 doubled=0.2 late=0.2", "100", marks=pytest.mark.long),
        pytest.param("sqlite", "lost=1", "100", marks=pytest.mark.long),
        pytest.param("postgres", "lost=1", "100", marks=pytest.mark.long),
    ],
)
async def test_group_messages_are_lost_doubled_late_and_out_of_order(
    open_world: OpenWorld, model: ModelServer, topology: str, fate: str, capacity: str
) -> None:
    """Half of the group messages lost, others duplicated, delayed and reordered, with a capacity of two messages; and all of them lost."""
    model.respond = rounds(20, every_s=0.005)
    world = open_world(topology, **FAULTY_LAYER, GROUP_MESSAGES=fate, LAYER_CAPACITY=capacity)
    session = await world.new_session()
    async with contextlib.AsyncExitStack() as until_done:
        clients = [
            await until_done.enter_async_context(
                world.client(session, name=f"client {number}", at=lambda server=server: [server.url])
            )
            for number, server in enumerate(world.servers * 2)
        ]
        # A queue, which is published by group messages too; each of its runs is requested at another process.
        asking = [asyncio.create_task(client.ask("Go on")) for client in clients]
        runs = [await one for one in asking]
        for run in runs:
            await clients[0].ended(run)
        await keep_busy(clients[-1], clients[-1].state.seq + 100)
        await check(world, session, clients)
        for client in clients:
            await client.until(lambda client=client: _here(client.state.people) == len(clients))  # type: ignore[misc]
    for client in clients:
        assert client.connections == 1
        late = sorted(client.delays)
        assert late[int(len(late) * 0.99)] < LATEST_S


def _here(people: list[dict[str, int]]) -> int:
    return sum(person["sockets"] for person in people)
