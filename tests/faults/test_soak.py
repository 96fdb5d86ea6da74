"""Many kinds of load at once, for a long time: nothing grows but the log.

``SOAK_MINUTES=30`` for the full test; by default it is a short one, which finds only what grows fast. Memory is checked in the full test
only: in its first five minutes a process has been seen to grow by 40 MB, and more slowly after that.
"""

import asyncio
import contextlib
import os
import random
import time
from dataclasses import dataclass
from statistics import linear_regression, median
from typing import Any

import psutil
import pytest

from tests.faults import invariants
from tests.faults.conftest import OpenWorld, Record
from tests.faults.oracle import Oracle
from tests.faults.world import LOOKED_INTO, World
from tests.model_server import ModelServer
from tests.serving import Browser

MINUTES = float(os.environ.get("SOAK_MINUTES", "2"))
SAMPLES = 120
#: The approximate length of a conversation in seconds.
TALK_S = 30.0
TALKS = 20
IS_LONG = MINUTES >= 20
#: The seconds before measurements count: caches fill, and threads and connections are opened when they are first needed.
WARM_S = 600.0 if IS_LONG else 60.0
#: Each number counts by the least of it in each twelfth of the time: what is held for a moment, as the 100 MB that checking a password
#: takes, is not what grows. By how much of it the last third may have more than the first, and what the slope may come to.
WINDOWS = 12
FLAT = {"handles": 8, "threads": 3, "tasks": 12, "kept": 12, "objects": 20, "MB": 10}
#: What may be there, once all have gone, that was not there before they came. Handles on the database's file are apart: where a
#: connection ends while another holds a lock, SQLite keeps its handle for the next one.
LEFT = {"other handles": 4, "tasks": 2, "kept": 0, "objects": 0}
SETTLED_WITHIN_S, REST_S = 60.0, 5.0
MESSAGES = (
    "Say [tokens=30 every=10]",
    "Think [reasoning=20 tokens=20 every=10 call=current_time:{}]",
    'Add [call=python:{"code": "6*7"} tokens=10]',
    "Break [tokens=20 after=5 fault=reset]",
    "Break [status=500]",
    "Count [tokens=400 every=20]",
)


# What a process holds


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds at one time."""

    numbers: dict[str, float]
    inside: dict[str, Any]


async def look(browser: Browser, process: psutil.Process) -> Held:
    """Measure it from outside and from inside."""
    async with browser.http.get("/inside") as answer:
        figures = await answer.json()
    handles = process.num_fds()
    return Held(
        {
            "handles": handles,
            "other handles": handles - sum(".sqlite3" in file.path for file in process.open_files()),
            "threads": process.num_threads(),
            "tasks": sum(figures["tasks"].values()),
            "kept": sum(figures["kept"].values()),
            "objects": sum(figures["objects"].values()),
            "MB": process.memory_info().rss / 1e6,
        },
        figures,
    )


async def at_rest(browser: Browser, process: psutil.Process) -> Held:
    """What a process holds once that has not changed for some seconds."""
    held, since = await look(browser, process), time.monotonic()
    ends_at = since + SETTLED_WITHIN_S
    while time.monotonic() - since < REST_S and time.monotonic() < ends_at:
        await asyncio.sleep(0.5)
        now = await look(browser, process)
        if any(now.numbers[name] != held.numbers[name] for name in LEFT):
            held, since = now, time.monotonic()
    return held


async def when_all_have_gone(browser: Browser, process: psutil.Process, before: Held) -> Held:
    """What a process holds once that is no more than before; or, after a time limit, what it holds then."""
    ends_at = time.monotonic() + SETTLED_WITHIN_S
    while True:
        held = await look(browser, process)
        if not more_than(before, held) or time.monotonic() > ends_at:
            return held
        await asyncio.sleep(0.5)


def more_than(before: Held, after: Held) -> dict[str, tuple[float, float]]:
    """What there is more of than allowed."""
    return {
        name: (before.numbers[name], after.numbers[name])
        for name, more in LEFT.items()
        if after.numbers[name] > before.numbers[name] + more
    }


def grown_figures(samples: list[Held]) -> tuple[list[str], list[str]]:
    """How each number has developed, as text; and which of them have grown_figures."""
    size = len(samples) // WINDOWS
    windows = [samples[start : start + size] for start in range(0, size * WINDOWS, size)]
    words, not_flat = [], []
    for name, bound in FLAT.items():
        values = [min(sample.numbers[name] for sample in window) for window in windows]
        first, last = median(values[: WINDOWS // 3]), median(values[-WINDOWS // 3 :])
        slope = linear_regression(range(len(values)), values).slope * len(values)
        words.append(f"{name} {first:.0f} to {last:.0f}, slope {slope:+.1f}")
        if (IS_LONG or name != "MB") and (last - first > bound or slope > bound):
            not_flat.append(words[-1])
    return words, not_flat


# What clients do


async def ask_and_stop(client: Oracle, draw: random.Random, until: float) -> int:
    """Send, stop and continue at random; returns how many runs have ended."""
    ended = 0
    while time.monotonic() < until:
        run_id = await client.ask(draw.choice(MESSAGES))
        if draw.random() < 0.3:
            await asyncio.sleep(draw.uniform(0.0, 1.0))
            await client.send("cancel", run_id=run_id)
        if await client.ended(run_id, 120) == "failed" and draw.random() < 0.5:
            await client.ended(await client.go_on(run_id), 120)
        ended += 1
        await asyncio.sleep(draw.uniform(0.0, 1.0))
    return ended


async def talk(world: World, browser: Browser, draw: random.Random, ends_at: float) -> tuple[int, int, int]:
    """One conversation after the other, each on three sockets that reconnect; returns how many, their runs and their connections.

    A new session now and then, because a run reads its session's history, which should not grow longer than people's sessions do.
    """
    talks = runs = connections = 0
    while time.monotonic() < ends_at:
        session = await browser.new_session()
        async with contextlib.AsyncExitStack() as until_done:
            clients = [
                await until_done.enter_async_context(world.client(session, seed=seed, restless_s=10.0))
                for seed in range(3)
            ]
            runs += await ask_and_stop(
                clients[0], draw, min(ends_at, time.monotonic() + draw.uniform(0.5, 1.5) * TALK_S)
            )
            await invariants.check(world, session, clients, sockets=3 * TALKS)
        connections += sum(client.connections for client in clients)
        talks += 1
    return talks, runs, connections


async def leaf_through(browser: Browser, draw: random.Random, ends_at: float) -> int:
    """Open pages, search, and call the API at random; returns how often."""
    looked = 0
    while time.monotonic() < ends_at:
        _, found = await browser.call("GET", "sessions/")
        session = draw.choice(found["items"])["id"]
        paths = ("/", "/sessions/?q=word1", f"/sessions/{session}/", f"/api/sessions/{session}/events/?limit=100")
        async with browser.http.get(draw.choice(paths)) as answer:
            # It may have been deleted since it was listed.
            assert answer.status in (200, 404)
            await answer.read()
        looked += 1
        await asyncio.sleep(draw.uniform(0.0, 2.0))
    return looked


async def come_and_go(world: World, browser: Browser, draw: random.Random, ends_at: float) -> int:
    """Open sessions, ask, and delete them while the run is at work and a socket is open; returns how many."""
    gone = 0
    while time.monotonic() < ends_at:
        session = await browser.new_session()
        async with world.client(session) as client:
            run_id = await client.ask(draw.choice(MESSAGES))
            await client.until(lambda client=client, run_id=run_id: run_id in client.state.runs)  # type: ignore[misc]
            await asyncio.sleep(draw.uniform(0.0, 1.0))
            assert (await browser.call("DELETE", f"sessions/{session}/"))[0] == 204
            await client.until(lambda client=client: client.is_refused)  # type: ignore[misc]
        gone += 1
        await asyncio.sleep(draw.uniform(0.0, 2.0))
    return gone


async def meanwhile(people: list[asyncio.Task[Any]], seconds: float) -> None:
    """Wait, unless a client has failed: then the measurements are worthless."""
    done, _ = await asyncio.wait(people, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


@pytest.mark.long
async def test_everything_at_once_for_long(open_world: OpenWorld, model: ModelServer, record_property: Record) -> None:
    """Twenty sessions, sixty sockets that reconnect, runs that are stopped, fail and continue: what the process holds does not grow.

    Handles, threads, tasks, what is kept of sockets, sessions and runs, and memory; and when all clients have left, nothing of them
    remains.
    """
    world = open_world("sqlite", **LOOKED_INTO)
    process = psutil.Process(world.servers[0].pid)
    samples: list[Held] = []
    async with world.browser() as browser, world.browser() as looker:
        # What is opened on first use stays open.
        async with world.client(await browser.new_session()) as first:
            for asked in MESSAGES:
                await first.ended(await first.ask(asked))
        before = await at_rest(looker, process)
        ends_at = time.monotonic() + WARM_S + 60 * MINUTES
        talking = [asyncio.create_task(talk(world, browser, random.Random(i), ends_at)) for i in range(TALKS)]
        looking = asyncio.create_task(leaf_through(browser, random.Random(TALKS), ends_at))
        leaving = asyncio.create_task(come_and_go(world, browser, random.Random(TALKS + 1), ends_at))
        everybody = [*talking, looking, leaving]
        await meanwhile(everybody, WARM_S)
        while time.monotonic() < ends_at:
            samples.append(await look(looker, process))
            await meanwhile(everybody, 60 * MINUTES / SAMPLES)
        talks, runs, connections = map(sum, zip(*await asyncio.gather(*talking), strict=True))
        looked, gone = await looking, await leaving
        after = await when_all_have_gone(looker, process, before)
    words, not_flat = grown_figures(samples)
    left = ", ".join(f"{name} {before.numbers[name]:.0f} before, {after.numbers[name]:.0f} after" for name in LEFT)
    record_property(
        f"{MINUTES:g} min",
        f"{talks} sessions, {runs} runs, {connections} connections, {gone} sessions deleted at work, {looked} pages; "
        f"{'; '.join(words)}; all gone: {left}",
    )
    assert runs > 20 * MINUTES
    assert not not_flat
    assert not more_than(before, after), (before.inside, after.inside)
