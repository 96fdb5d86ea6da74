"""The process cannot open another file or connection: existing connections go on, and new ones are accepted as soon as possible."""

import contextlib
import resource
import socket
from pathlib import Path

import pytest

from tests.faults.invariants import check
from tests.faults.work import rounds
from tests.faults.world import World

#: What the log may contain meanwhile.
EXPECTED_LOGS = "Too many open files|unable to open database file|could not be"


@pytest.mark.xdist_group("alone")
async def test_open_connections_keep_working_when_no_file_can_be_opened(shared: World) -> None:
    """A run at work completes, and its socket stays open; as soon as the other connections are closed, new ones are accepted."""
    world, (server,) = shared, shared.servers
    world.model.respond = rounds(60, every_s=0.01)
    session = await world.new_session()
    usual = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    async with world.client(session, name="here") as here:
        run_id = await here.ask("Go on")
        await here.until(lambda: here.state.seq > 20)
        with contextlib.ExitStack() as until_they_go:
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (_open_files(server.pid) + 5, usual[1]))
            until_they_go.callback(resource.prlimit, server.pid, resource.RLIMIT_NOFILE, usual)
            for _ in range(40):
                until_they_go.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            before = here.state.seq
            await here.until(lambda: here.state.seq > before + 60)
        async with world.browser("cy") as browser:
            assert (await browser.call("GET", "sessions/"))[0] == 200
        assert await here.ended(run_id) == "completed"
        await check(world, session, [here], logs_may=EXPECTED_LOGS)
    assert here.connections == 1


def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
