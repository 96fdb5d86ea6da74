"""Many messages at the same time: on one session, from several clients and processes, the same message and different ones."""

import asyncio
import contextlib
from typing import Any

import pytest

from tests.faults import invariants
from tests.faults.conftest import OpenWorld
from tests.faults.oracle import Oracle, Refused
from tests.faults.world import World


async def ask_all(opened: World, clients: list[Oracle]) -> dict[str, list[str]]:
    """Each client sends two messages of its own and, twice, one with an id that all share; returns the runs by message."""
    answers: dict[str, list[str]] = {}

    async def ask(client: Oracle, *own_ids: str) -> None:
        for own_id in own_ids:
            run_id = await client.ask(f"Say {own_id} [tokens=2 every=10]", client_message_id=own_id)
            answers.setdefault(own_id, []).append(run_id)

    for_each = (
        (client, own_ids) for i, client in enumerate(clients) for own_ids in ([f"{i} a"], ["same"] * 2, [f"{i} b"])
    )
    for client in clients:
        client.shared.add("same")
    async with asyncio.timeout(60):
        await asyncio.gather(*(ask(client, *own_ids) for client, own_ids in for_each))
    return answers


async def test_messages_of_many_clients_at_once_become_one_run_each(on_each_topology: World) -> None:
    """Six clients send a dozen messages at once, and all of them the same one twice: one run each, one at a time, in the queue's order."""
    opened = on_each_topology
    session = await opened.new_session()
    async with contextlib.AsyncExitStack() as until_done:
        clients = [await until_done.enter_async_context(opened.client(session, seed=i)) for i in range(6)]
        for client in clients:
            await client.until(lambda client=client: client.is_connected)  # type: ignore[misc]
        answers = await ask_all(opened, clients)
        assert len(answers) == 13
        assert {message: len(set(run_ids)) for message, run_ids in answers.items()} == dict.fromkeys(answers, 1), (
            "a message became several runs"
        )
        await invariants.check(opened, session, clients)
    runs = opened.database.runs(session)
    assert [run.status for run in runs] == ["completed"] * 13
    began = [event.run_id for event in opened.database.events(session) if event.event == "reasoning_start"]
    assert began == [run.id for run in sorted(runs, key=lambda run: run.number)]
    assert len(opened.model.requests) == 13


@pytest.mark.long
async def test_a_full_queue_refuses_messages_and_goes_on(open_world: OpenWorld) -> None:
    """Ten messages at once where two may be queued: three are accepted and answered, the others are refused because the queue is full."""
    opened = open_world("sqlite", MAX_QUEUED_RUNS="2")
    session = await opened.new_session()
    async with opened.client(session) as client:
        await client.until(lambda: client.is_connected)
        answers: list[Any] = await asyncio.gather(
            *(client.ask(f"Say {n} [tokens=5 every=100]") for n in range(10)), return_exceptions=True
        )
        refused = [answer.code for answer in answers if isinstance(answer, Refused)]
        assert refused == ["queue_full"] * 7
        await invariants.check(opened, session, [client])
    assert [run.status for run in opened.database.runs(session)] == ["completed"] * 3
