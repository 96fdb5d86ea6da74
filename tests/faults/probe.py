"""Asks a server for its health from a process of its own, so that the time which the test itself needs is not counted."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tests.serving import Server

#: The program: asks again and again until its input is closed, and prints how long each answer took, and how much of that the machine is
#: to blame for: both processes were ready to run, and others had the CPU. Of the server's threads the one that waited longest counts.
_PROBE = """
import contextlib, http.client, os, select, sys, time

port, pid = map(int, sys.argv[1:])

def waits():
    found = {}
    for folder in [f"/proc/{pid}/task/{thread}" for thread in os.listdir(f"/proc/{pid}/task")] + ["/proc/self"]:
        with contextlib.suppress(OSError), open(f"{folder}/schedstat") as file:
            found[folder] = int(file.read().split()[1]) / 1e9
    return found

while not select.select([sys.stdin], [], [], 0.02)[0]:
    before, began = waits(), time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
    took = time.monotonic() - began
    waited = {name: total - before.get(name, 0.0) for name, total in waits().items()}
    print(took, waited.pop("/proc/self") + max(waited.values()), flush=True)
"""
#: What others may wait while a server has much to do.
SOON_S = 0.2


@dataclass(slots=True)
class Probe:
    """How long answers took, in seconds, shortest first: by the clock, and without what the machine is to blame for."""

    by_clock: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)

    def assert_soon(self) -> None:
        """Assert that nobody waited."""
        assert self.by_clock[len(self.by_clock) * 95 // 100] < SOON_S, f"others waited: {self.words}"
        assert self.took[-1] < SOON_S, f"somebody waited: {self.words}"

    @property
    def words(self) -> str:
        """For a report."""
        slowest, at_95 = self.by_clock[-1], self.by_clock[len(self.by_clock) * 95 // 100]
        return (
            f"95 % of {len(self.took)} in {at_95 * 1000:.0f} ms, all in {slowest * 1000:.0f} ms, "
            f"and in {self.took[-1] * 1000:.0f} ms without the machine's share"
        )


@contextlib.asynccontextmanager
async def probed(server: Server) -> AsyncIterator[Probe]:
    """How long a server's answers took during a block; filled at its end."""
    started = Probe()
    program = (sys.executable, "-c", _PROBE, str(server.port), str(server.pid))
    probe = await asyncio.create_subprocess_exec(
        *program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert probe.stdout is not None
    await probe.stdout.readline()
    yield started
    output, _ = await probe.communicate(b"")
    assert probe.returncode == 0
    lines = [tuple(map(float, line.split())) for line in output.splitlines()]
    started.by_clock += sorted(took for took, _ in lines)
    started.took += sorted(took - late for took, late in lines)
