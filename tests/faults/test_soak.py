"""Everything at once, for long: nothing grows but the log."""

import asyncio
import contextlib
import os
import random
import time
from statistics import median

import psutil
import pytest

from tests.faults import invariants
from tests.faults.conftest import OpenWorld
from tests.faults.oracle import Oracle, Refused
from tests.model_server import ModelServer

MINUTES = float(os.environ.get("SOAK_MINUTES", "2"))
MESSAGES = (
    "Say [tokens=30 every=10]",
    "Think [reasoning=20 tokens=20 every=10 call=current_time:{}]",
    'Add [call=python:{"code": "6*7"} tokens=10]',
    "Break [tokens=20 after=5 fault=reset]",
    "Break [status=500]",
    "Count [tokens=400 every=20]",
)


async def work(client: Oracle, draw: random.Random, ends_at: float) -> int:
    """Ask, stop and go on at random; returns how many runs it took to their end."""
    ended = 0
    while time.monotonic() < ends_at:
        try:
            run_id = await client.ask(draw.choice(MESSAGES))
            if draw.random() < 0.3:
                await asyncio.sleep(draw.uniform(0.0, 1.0))
                await client.send("cancel", run_id=run_id)
            status = await client.ended(run_id, 120)
            if status == "failed" and draw.random() < 0.5:
                await client.ended(await client.go_on(run_id), 120)
        except Refused as refused:
            # Somebody else's run stands in the line before it, or came after it.
            assert refused.code in ("queue_full", "not_continuable")  # noqa: PT017 - others are failures
            await asyncio.sleep(0.5)
        ended += 1
        await asyncio.sleep(draw.uniform(0.0, 1.0))
    return ended


@pytest.mark.long
@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
async def test_everything_at_once_for_long(open_world: OpenWorld, model: ModelServer, server: str) -> None:
    """Twenty sessions, sixty sockets that come and go, runs that are stopped, fail and go on: handles, threads and memory stay flat."""
    opened = open_world("sqlite", server=server)
    process = psutil.Process(opened.servers[0].pid)
    sessions = [await opened.new_session() for _ in range(20)]
    samples: list[tuple[int, int, float]] = []
    async with contextlib.AsyncExitStack() as until_done:
        clients = [
            await until_done.enter_async_context(opened.client(session, seed=seed, restless_s=10.0))
            for seed in range(3)
            for session in sessions
        ]
        ends_at = time.monotonic() + 60 * MINUTES
        # The first of each session asks, the others watch.
        working = [
            asyncio.create_task(work(client, random.Random(i), ends_at)) for i, client in enumerate(clients[:20])
        ]
        while time.monotonic() < ends_at:
            await asyncio.sleep(60 * MINUTES / 40)
            samples.append((process.num_fds(), process.num_threads(), process.memory_info().rss / 1e6))
        ended = sum(await asyncio.gather(*working))
        for number, session in enumerate(sessions):
            await invariants.check(opened, session, clients[number::20])
    early, late = samples[10:20], samples[30:]
    fds, threads, memory = zip(*samples, strict=True)
    grown = [
        f"{values[10]:.0f} to {values[-1]:.0f} {name}"
        for name, values in zip(("handles", "threads", "MB"), (fds, threads, memory), strict=True)
    ]
    figures = f"{ended} runs; {', '.join(grown)}"
    assert ended > 20 * MINUTES, figures
    assert median(s[0] for s in late) <= median(s[0] for s in early) + 10, figures
    assert median(s[1] for s in late) <= median(s[1] for s in early) + 8, figures
    # What the log grows by is in the database's cache and in clients' feeds.
    assert median(s[2] for s in late) <= median(s[2] for s in early) * 1.1 + 10, figures
