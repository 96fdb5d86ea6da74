"""What a fault costs: the server's memory, and other people's time."""

import asyncio
import time

from tests.faults.world import resident
from tests.serving import Browser, Server

MB = 1024 * 1024


async def settled_memory(server: Server) -> int:
    """Its memory once it has not grown for half a second; the most it had meanwhile."""
    most, since = resident(server), time.monotonic()
    async with asyncio.timeout(20):
        while time.monotonic() - since < 0.5:
            await asyncio.sleep(0.05)
            now = resident(server)
            if now > most + MB // 4:
                most, since = now, time.monotonic()
    return most


async def slowest_pong(browser: Browser, session: str, for_s: float) -> float:
    """For how long someone's pings waited for their answers during some seconds, at most."""
    slowest, until = 0.0, time.monotonic() + for_s
    async with browser.socket(session) as socket:
        await socket.receive()
        while time.monotonic() < until:
            began = time.monotonic()
            await socket.send("ping")
            await socket.until_type("pong")
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.02)
    return slowest
