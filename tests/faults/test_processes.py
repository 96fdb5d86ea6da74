"""Processes are killed, frozen and restarted: clients notice no more than a pause."""

import asyncio
import contextlib
import itertools
import signal
from collections import Counter
from collections.abc import Sequence

import pytest

from tests.faults.conftest import OpenWorld, Record
from tests.faults.invariants import check, idle_database
from tests.faults.oracle import Oracle
from tests.faults.work import keep_busy, rounds
from tests.faults.world import FAULTY_LAYER, SCALE, World, meanwhile, until
from tests.model_server import ModelServer
from tests.serving import Server


def killing(
    world: World, victims: Sequence[Server | str], *, every_s: float = 4.0, times: int = 1_000, seed: int = 0
) -> contextlib.AbstractAsyncContextManager[list[float]]:
    """Kill one process after the other, every few seconds, and restart it; given a session, kill the process that executes its run."""
    turns = itertools.cycle(victims)

    async def kill_one() -> bool:
        victim: Server | str | None = next(turns)
        if isinstance(victim, str):
            victim = await asyncio.to_thread(world.executing_server, victim)
        if victim is None:
            # Between two runs, or after the last one: no process executes a run of it.
            return False
        await world.kill(victim)
        await world.start(victim)
        return True

    return meanwhile(kill_one, every_s=every_s, times=times, seed=seed)


def prey(world: World, session: str) -> Sequence[Server | str]:
    """The processes to kill: all that serve, or, with workers, the one that executes the session's run."""
    return [session, *world.servers] if world.workers else world.servers


@pytest.mark.parametrize("topology", ["sqlite", pytest.param("postgres", marks=pytest.mark.long), SCALE])
async def test_a_process_is_killed_in_the_middle_of_its_runs(
    open_world: OpenWorld, model: ModelServer, topology: str
) -> None:
    """SIGKILL of the process that executes the runs, mid-run; where there are several, of one after the other."""
    model.respond = rounds(15, every_s=0.01)
    world = open_world(topology)
    session = await world.new_session()
    async with (
        world.client(session, name="patient") as patient,
        world.client(session, name="restless", restless_s=1.5) as restless,
    ):
        async with killing(world, prey(world, session), every_s=2.0, times=2) as killed:
            while len(killed) < 2:
                await keep_busy(patient, patient.state.seq + 50)
        events = await check(world, session, [patient, restless])
    # Killed while it executed a run, at least once.
    assert [event for event in events if event.data.get("status") == "interrupted"]
    assert not list(idle_database(world.database, session))


@pytest.mark.long
@pytest.mark.parametrize("topology", ["sqlite", "postgres", SCALE])
async def test_everything_breaks_at_once_for_a_thousand_events(
    open_world: OpenWorld, model: ModelServer, record_property: Record, topology: str
) -> None:
    """Five clients that reconnect, a thousand events, each process killed every few seconds, half the group messages lost."""
    model.respond = rounds(30)
    world = open_world(topology, **FAULTY_LAYER, GROUP_MESSAGES="lost=0.5 doubled=0.1 late=0.1")
    session = await world.new_session()
    async with contextlib.AsyncExitStack() as until_done:
        clients = [
            await until_done.enter_async_context(
                world.client(session, name=f"client {number}", seed=number, restless_s=number * 1.5 or None)
            )
            for number in range(5)
        ]
        async with contextlib.AsyncExitStack() as until_enough:
            # Each independently, so that now and then no process is running.
            killed = [
                await until_enough.enter_async_context(killing(world, [victim], seed=seed))
                for seed, victim in enumerate(prey(world, session))
            ]
            # A kill between two runs interrupts none.
            while (
                clients[0].state.seq < 1_000 or min(map(len, killed)) < 4 or statuses(world, session)["interrupted"] < 3
            ):
                assert clients[0].state.seq < 10_000, (list(map(len, killed)), statuses(world, session))
                await keep_busy(clients[0], clients[0].state.seq + 50, timeout_s=120)
        events = await check(world, session, clients)
    record_property(
        "took part",
        f"{len(events)} events, {dict(statuses(world, session))} runs, processes killed {[len(times) for times in killed]} times, "
        f"{[client.connections for client in clients]} connections",
    )


def statuses(world: World, session: str) -> Counter[str]:
    """How many of a session's runs have each status."""
    return Counter(run.status for run in world.database.runs(session))


@pytest.mark.parametrize("topology", ["postgres", SCALE])
async def test_the_owner_of_a_run_freezes_and_wakes(open_world: OpenWorld, model: ModelServer, topology: str) -> None:
    """A zombie: the process is frozen for longer than its lease during a run, and resumes when another process has ended that run."""
    model.respond = rounds(200, every_s=0.01)
    world = open_world(topology, RUN_LEASE_S="2")
    session = await world.new_session()
    first, other = world.servers
    async with _at(world, session, first) as before, _at(world, session, other) as watching:
        run_id = await before.ask("Go on")
        await watching.until(lambda: watching.state.seq > 50)
        frozen = await asyncio.to_thread(world.executing_server, session)
        assert frozen is not None
        frozen.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
        try:
            # The lease, a sweep, and the time until PostgreSQL ends a frozen connection that holds a lock.
            assert await watching.ended(run_id, 30) == "interrupted"
            ended_at = watching.state.seq
        finally:
            frozen.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]
        await until(lambda: any("is no longer executed here" in line for line in frozen.output), wanted="it to notice")
        assert await asyncio.to_thread(world.database.head, session) == ended_at
        model.respond = rounds(3)
        assert await watching.ended(await before.ask("And now?")) == "completed"
        await check(world, session, [before, watching], logs_may="could not be")
    assert not list(idle_database(world.database, session))


@pytest.mark.long
async def test_the_sockets_of_a_dead_process_are_forgotten(open_world: OpenWorld) -> None:
    """SIGKILL of a web process that is not restarted: when its lease has expired, its sockets no longer count as present."""
    world = open_world("postgres", RUN_LEASE_S="2", MAX_SOCKETS_PER_USER="2")
    session = await world.new_session()
    dying, other = world.servers
    async with _at(world, session, other) as here:
        async with _at(world, session, dying):
            await here.until(lambda: [person["sockets"] for person in here.state.people] == [2])
            await world.kill(dying)
        await here.until(lambda: [person["sockets"] for person in here.state.people] == [1], 20)
        # The dead sockets do not count towards limits.
        async with _at(world, session, other) as another:
            await another.until(lambda: another.is_connected)
            await here.until(lambda: [person["sockets"] for person in here.state.people] == [2])
    assert 4429 not in another.closes


def _at(world: World, session: str, server: Server) -> Oracle:
    return world.client(session, name=f"at {server.port}", at=lambda: [server.url])


@pytest.mark.parametrize(
    "ahead_s", ["120", pytest.param("-120", marks=pytest.mark.long), pytest.param("86400", marks=pytest.mark.long)]
)
async def test_a_process_whose_clock_is_wrong_ends_nobodys_run(
    open_world: OpenWorld, model: ModelServer, ahead_s: str
) -> None:
    """One of two processes has a clock that is fast or slow: each executes a run for several leases, and neither ends the other's."""
    model.respond = rounds(6, every_s=0.1)
    world = open_world("postgres", RUN_LEASE_S="2")
    wrong = world.servers[1]
    await asyncio.to_thread(wrong.stop)
    wrong.environment |= {"DJANGO_SETTINGS_MODULE": "tests.faults.skewed_settings", "CLOCK_AHEAD_S": ahead_s}
    await world.start(wrong)
    sessions = [await world.new_session() for _ in world.servers]
    async with contextlib.AsyncExitStack() as until_done:
        clients = [
            await until_done.enter_async_context(_at(world, session, server))
            for session, server in zip(sessions, world.servers, strict=True)
        ]
        run_ids = [await client.ask("Go on") for client in clients]
        ends = [await client.ended(run_id, 60) for client, run_id in zip(clients, run_ids, strict=True)]
        assert ends == ["completed", "completed"], "a live run was ended by who takes it for a silent one"
        for session, client in zip(sessions, clients, strict=True):
            await check(world, session, [client], logs_may="This machine's clock")
    assert any("This machine's clock is" in line for line in wrong.output)
    assert not any("This machine's clock is" in line for line in world.servers[0].output)
