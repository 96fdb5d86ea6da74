"""Asks a server how it is, from a process of its own: what a test itself is busy with is no time that the server took."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

#: Asks again and again until there is no more to read; tells how long each answer took.
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
    """How long the server's answers to somebody else took during a block, in seconds, sorted at its end."""
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
