"""Tools that hang, ignore signals, leave children behind or flood: the run goes on or can be stopped, and nothing else is affected."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults import invariants, world
from tests.faults.bystander import Bystander
from tests.faults.oracle import Oracle
from tests.faults.world import World
from tests.http_proxy import proxying
from tests.model_server import Call, ModelServer, Script

#: How long a tool has to end after a stop.
FORCED_S = 10.0
PROGRAM = str(Path(__file__).with_name("hostile_tools.py"))


@pytest.fixture
def hostile(tmp_path: Path, model: ModelServer) -> Iterator[World]:
    """One process on SQLite with tools that misbehave."""
    servers = {"bad": {"command": sys.executable, "args": [PROGRAM, str(tmp_path / "pids")], "timeout": 3_600}}
    with world.alone(tmp_path / "data", model, MCP_SERVERS=json.dumps(servers)) as opened:
        wait_connected(opened)
        yield opened


def wait_connected(opened: World, *names: str) -> None:
    """Wait until the MCP server is connected: runs only have the tools that are connected."""
    ends_at = time.monotonic() + 60
    wanted = ("The agents are loaded", *(f"The MCP server {name} is connected" for name in names or ("bad",)))
    while not all(any(words in line for line in opened.output) for words in wanted):
        assert time.monotonic() < ends_at, "the tools' server was never connected"
        time.sleep(0.05)


def processes(tmp_path: Path) -> list[psutil.Process]:
    """The tools' processes, and their children, that are alive."""
    pids = [int(line) for line in (tmp_path / "pids").read_text().splitlines()]
    return [
        psutil.Process(pid)
        for pid in pids
        if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    ]


def results(client: Oracle, run_id: str) -> list[dict[str, Any]]:
    """The results of a run's tool calls."""
    found = [entry["data"] for entry in client.state.runs[run_id].entries]
    return [data for data in found if data.get("type") == "tool_result"]


def begun(client: Oracle, run_id: str) -> bool:
    """Whether a run has called a tool."""
    run = client.state.runs.get(run_id)
    return run is not None and any(entry["data"].get("type") == "tool_use" for entry in run.entries)


@pytest.mark.parametrize("kind", [*(pytest.param(kind, marks=pytest.mark.long) for kind in ("hang", "deaf")), "fork"])
async def test_a_tool_that_never_ends(hostile: World, model: ModelServer, tmp_path: Path, kind: str) -> None:
    """A tool hangs, ignores all signals, or forks children that do: a stop ends the run at once, the server's shutdown all of them."""
    model.enqueue(Script(calls=[Call(f"bad-{kind}")]))
    session = await hostile.new_session()
    async with hostile.client(session) as client, hostile.client(await hostile.new_session()) as other:
        run_id = await client.ask("Use it")
        await client.until(lambda: begun(client, run_id))
        assert await other.ended(await other.ask("Say [tokens=3]")) == "completed"
        asked_at = time.monotonic()
        await client.send("cancel")
        assert await client.ended(run_id) == "cancelled"
        assert time.monotonic() - asked_at < 1
        assert [(result["ok"], result["content"]) for result in results(client, run_id)] == [(False, "Stopped by bo.")]
        model.enqueue(Script("Yes."))
        assert await client.ended(await client.ask("Are you there?")) == "completed"
        await invariants.check(hostile, session, [client])
    assert processes(tmp_path)
    began = time.monotonic()
    assert hostile.servers[0].stop() == 0
    assert time.monotonic() - began < 12
    await world.until(lambda: not processes(tmp_path), 5, "the tools' processes to be gone")


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("fork", "killed"),
        ("escape", "stopped"),
        *(pytest.param(*both, marks=pytest.mark.long) for both in (("fork", "stopped"), ("escape", "killed"))),
    ],
)
async def test_processes_of_tools_end_with_their_server(
    hostile: World, model: ModelServer, tmp_path: Path, kind: str, end: str
) -> None:
    """However the server ends: its tools' processes end with it, their children too, and interpreters that are working."""
    calls = [Call(f"bad-{kind}"), Call("python", {"code": "while True: pass"})]
    model.enqueue(Script(calls=calls))
    async with hostile.client(await hostile.new_session()) as client:
        run_id = await client.ask("Use it")
        await client.until(lambda: begun(client, run_id))
        await world.until(lambda: len(processes(tmp_path)) >= 2, 10, "the tool's children to be there")
        server = psutil.Process(hostile.servers[0].pid)
        await world.until(lambda: "monty" in repr(descendants(server)), 10, "an interpreter to be at work")
        left = [*descendants(server), *processes(tmp_path)]
        if end == "killed":
            await hostile.kill(hostile.servers[0])
        else:
            hostile.servers[0].stop()
    await world.until(lambda: not [each for each in left if alive(each)], 5, "all that it had started to be gone")


def alive(process: psutil.Process) -> bool:
    """Whether a process is still running."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def descendants(server: psutil.Process) -> list[psutil.Process]:
    """The children of a process, and their children."""
    return server.children(recursive=True)


@pytest.mark.long
async def test_a_tool_that_cannot_be_stopped(tmp_path: Path, model: ModelServer) -> None:
    """A tool in the product's own process ignores a stop: after ten seconds the run ends without it and says so, and all else goes on."""
    settings = {"DJANGO_SETTINGS_MODULE": "tests.faults.deaf_settings"}
    with world.alone(tmp_path / "data", model, **settings) as opened:
        session = await opened.new_session()
        async with opened.client(session) as client, opened.client(await opened.new_session()) as other:
            for _ in range(2):  # the second time with one thread already lost
                model.enqueue(Script(calls=[Call("deaf"), Call("current_time")]))
                run_id = await client.ask("Use it")
                # The first tool has ended, the second does not.
                await client.until(lambda: begun(client, run_id) and len(results(client, run_id)) == 1)  # noqa: B023 - waited for at once
                asked_at = time.monotonic()
                await client.send("cancel")
                assert await other.ended(await other.ask("Say [tokens=3]")) == "completed"
                assert not client.state.runs[run_id].ended
                assert await client.ended(run_id) == "cancelled"
                assert FORCED_S <= time.monotonic() - asked_at < FORCED_S + 1
                assert [
                    (result["ok"], result["content"]) for result in results(client, run_id) if not result["ok"]
                ] == [(False, "Stopped by bo. The tool did not stop within 10 seconds, so it was abandoned.")]
                assert client.state.runs[run_id].entries[-1]["data"]["cancelled_by"] == "bo"
            model.enqueue(Script("Yes."))
            assert await client.ended(await client.ask("Are you there?")) == "completed"
            await invariants.check(opened, session, [client])
        began = time.monotonic()
        assert opened.servers[0].stop() == 0
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("kind", ["flood", pytest.param("babble", marks=pytest.mark.long)])
async def test_a_tool_that_floods(hostile: World, model: ModelServer, kind: str) -> None:
    """A tool returns 100 MB, or writes 100 MB that are no answer: what is stored is cut, and other clients are answered meanwhile."""
    session = await hostile.new_session()
    async with (
        hostile.browser() as browser,
        Bystander.beside(browser) as others,
        hostile.client(session) as client,
        hostile.client(await hostile.new_session()) as other,
    ):
        await other.until(lambda: other.is_connected)
        assert await other.ended(await other.ask("Say [tokens=3]")) == "completed"
        model.enqueue(Script(calls=[Call(f"bad-{kind}", {"megabytes": 100})]))
        run_id = await client.ask("Use it")
        await client.until(lambda: begun(client, run_id))
        while not client.state.runs[run_id].ended:
            assert await other.ended(await other.ask("Say [tokens=3]")) == "completed"
        assert await client.ended(run_id) == "completed"
        (result,) = results(client, run_id)
        assert result["ok"] is (kind == "babble")
        assert result["content_length"] < 200_000
        await invariants.check(hostile, session, [client], others=others)


async def test_tools_whose_names_become_one_are_told_apart(model: ModelServer, tmp_path: Path) -> None:
    """Two servers whose names differ only in a character that models do not accept: each tool is called on the right server."""
    servers = {
        name: {"command": sys.executable, "args": [PROGRAM, str(tmp_path / "pids"), name]} for name in ("a.b", "a_b")
    }
    with world.alone(tmp_path / "data", model, MCP_SERVERS=json.dumps(servers)) as opened:
        wait_connected(opened, *servers)
        async with opened.client(await opened.new_session()) as client:
            model.enqueue(Script(calls=[Call("a_b-which"), Call("a_b_2-which")]), Script("Done."))
            run_id = await client.ask("Use them")
            assert await client.ended(run_id) == "completed"
            contents = {result["tool_name"]: result["content"] for result in results(client, run_id)}
    assert contents == {"a_b-which": "a.b", "a_b_2-which": "a_b"}, "another tool was called than was meant"


async def test_a_proxy_is_not_asked_for_what_is_inside(model: ModelServer, tmp_path: Path) -> None:
    """With an outgoing proxy, which could reach internal addresses: only public addresses are requested from it."""
    with proxying(9, refusal=b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as proxy:
        egress = {"HTTP_PROXY": f"http://{proxy.address}", "NO_PROXY": "127.0.0.1,localhost"}
        with world.alone(tmp_path / "data", model, **egress) as opened:
            async with opened.client(await opened.new_session()) as client:
                inside = ["http://10.0.0.1/", "http://169.254.169.254/", "http://intranet/", "http://db.internal/"]
                model.enqueue(Script(calls=[Call("fetch_page", {"url": url}) for url in inside]), Script("Done."))
                assert await client.ended(await client.ask("Read them")) == "completed"
                assert proxy.asked == [], "a proxy was asked for an address inside"
                model.enqueue(Script(calls=[Call("fetch_page", {"url": "http://public.test/"})]), Script("Done."))
                assert await client.ended(await client.ask("Read it")) == "completed"
                assert proxy.asked == ["GET http://public.test/ HTTP/1.1"]
