"""Asks a server for its health from a process of its own, so that the time which the test itself needs is not counted."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

#: The program: asks again and again until its input is closed, and prints how long each answer took.
_PROBE = """
import http.client, select, sys, time
while not select.select([sys.stdin], [], [], 0.02)[0]:
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    print(time.monotonic() - began, flush=True)
"""


@contextlib.asynccontextmanager
async def probed(port: int) -> AsyncIterator[list[float]]:
    """How long the server's answers took during a block, in seconds; filled and sorted at its end."""
    waited: list[float] = []
    probe = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROBE, str(port), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert probe.stdout is not None
    await probe.stdout.readline()
    yield waited
    said, _ = await probe.communicate(b"")
    assert probe.returncode == 0
    waited += sorted(float(line) for line in said.split())
