"""A server is told to stop (SIGTERM) while it executes runs: each finishes its step, and no client misses anything."""

import asyncio
import contextlib
import errno
import signal
import socket as sockets
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from asgiref.sync import sync_to_async

from chat.models import RunStatus
from chat.runs import registry as run_registry
from chat.serving import supervisor
from tests import services
from tests.chat import making
from tests.faults import invariants, work
from tests.faults.world import SCALE, until
from tests.model_server import ModelServer
from tests.serving import USERNAME, Browser, Server, Socket, Worker

#: A second of text and no tool.
SHORT = "Tell [tokens=50 every=20]"
#: Text for much longer than the server waits.
ENDLESS = "Tell [tokens=3000 every=20]"
#: A tool call that takes a second, and text after it.
CALLING = 'Work [call=python:{"code": "n = 0\\nwhile n < 3000000: n += 1\\nn"}]'
#: SHUTDOWN_S, what follows it, and what a library gets to end by itself; the rest is for a busy machine.
ENDS_WITHIN_S = 15


@pytest.fixture
def stopping(tmp_path: Path, model: ModelServer) -> Any:
    """Makes a server with these settings, which is not yet started."""
    made: list[Server] = []

    def make(**environment: str) -> Server:
        llm = {"LLM_MODEL_SERVER": model.url, "LLM_MODEL": "stub", "LLM_API_KEY": "key"}
        server = Server(tmp_path / "data", **{"SHUTDOWN_S": "5", **llm, **environment})
        server.prepare()
        made.append(server)
        return server

    yield make
    for server in made:
        if server.process is not None:
            server.stop()


async def stop(server: Server, socket: Socket) -> float:
    """Send SIGTERM, and let a client follow until the end; returns how long that took."""
    began = time.monotonic()
    ending = asyncio.create_task(asyncio.to_thread(server.stop))
    assert await socket.closed() == 4012
    assert await ending == 0
    assert not [line for line in server.output if "Traceback" in line]
    return time.monotonic() - began


def end_of(socket: Socket) -> dict[str, Any]:
    """The data of the last run's last event."""
    return next(f["data"] for f in reversed(socket.frames) if f["type"] == "reasoning_complete")


@pytest.fixture
async def log_in() -> AsyncIterator[Any]:
    """Logs in to a server; logs out after the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def enter(server: Server) -> Browser:
            return await stack.enter_async_context(Browser.logged_in(server.url, USERNAME))

        yield enter


async def test_an_answer_that_is_nearly_done_is_finished_first(stopping: Any, log_in: Any) -> None:
    """SIGTERM in the middle of an answer that ends within the limit: the run completes, and the client receives all of it."""
    server = stopping().start()
    ada = await log_in(server)
    async with ada.socket(await ada.new_session()) as socket:
        await socket.send("chat", message=SHORT)
        await socket.until_type("reasoning_delta")
        await stop(server, socket)
    assert end_of(socket)["status"] == "completed"
    assert socket.steps("final_answer")[0].get("partial") is None
    assert [f["seq"] for f in socket.stored()] == list(range(1, len(socket.stored()) + 1))


async def test_a_call_at_work_gets_its_result_and_the_model_is_not_asked_again(
    stopping: Any, log_in: Any, model: ModelServer
) -> None:
    """SIGTERM during a tool call: the call is finished, the run is interrupted before the next model call and can be continued."""
    server = stopping().start()
    ada = await log_in(server)
    session = await ada.new_session()
    async with ada.socket(session) as socket:
        asked = len(model.requests)
        await socket.send("chat", message=CALLING)
        await socket.until_step("tool_use")
        await stop(server, socket)
    assert end_of(socket)["status"] == "interrupted"
    (result,) = socket.steps("tool_result")
    assert (result["ok"], result["content"]) == (True, "3000000")
    assert len(model.requests) == asked + 1
    last = socket.stored()[-1]
    server.start(server.port)
    async with ada.socket(session, f"?last_seq={last['seq']}&last_id={last['id']}") as again:
        hello = await again.receive()
        assert (hello["data"]["last_seq"], hello["data"]["run"]) == (last["seq"], None)
        await again.send("continue", run_id=last["run_id"])
        assert (await again.until_type("reasoning_complete"))["data"]["status"] == "completed"
        assert again.steps("final_answer")[0]["content"] == "The tools said: 3000000"
        assert not again.steps("tool_use")


async def test_a_run_that_exceeds_the_shutdown_limit_is_interrupted(
    stopping: Any, log_in: Any, model: ModelServer
) -> None:
    """SIGTERM during an answer that does not end: after the limit it is stored as partial, and the model's connection is closed."""
    server = stopping(SHUTDOWN_S="1").start()
    ada = await log_in(server)
    async with ada.socket(await ada.new_session()) as socket:
        asked = len(model.requests)
        await socket.send("chat", message=ENDLESS)
        await socket.until_type("reasoning_delta")
        took = await stop(server, socket)
    assert end_of(socket)["status"] == "interrupted"
    assert socket.steps("final_answer")[0]["partial"] is True
    assert took < 4
    await model.until(lambda: model.requests[asked].closed_at is not None)


@pytest.mark.long
async def test_a_second_signal_interrupts_runs_at_once(stopping: Any, log_in: Any) -> None:
    """A second SIGTERM, or Ctrl-C twice: runs are interrupted at once."""
    server = stopping(SHUTDOWN_S="60").start()
    ada = await log_in(server)
    async with ada.socket(await ada.new_session()) as socket:
        await socket.send("chat", message=ENDLESS)
        await socket.until_type("reasoning_delta")
        server.process.send_signal(signal.SIGTERM)
        await nobody_listens(server)
        assert await stop(server, socket) < 3
    assert end_of(socket)["status"] == "interrupted"


def test_a_signal_before_the_first_request_ends_the_process_cleanly(stopping: Any) -> None:
    """SIGTERM just after the server has printed its address."""
    server = stopping().start()
    assert server.stop() == 0
    assert not [line for line in server.output if "Traceback" in line]


@pytest.mark.django_db(transaction=True)
async def test_a_run_let_in_at_the_last_moment_is_not_left_at_work() -> None:
    """SIGTERM between the commit that starts a run and its first step: the process itself marks the run as interrupted."""
    run = await sync_to_async(lambda: making.run(making.session(making.user()), owned_by=run_registry.PROCESS))()
    supervisor.start_clockwork()
    await supervisor.stop_clockwork()
    # The runs of later tests are executed by the same process.
    run_registry.start_accepting()
    await run.arefresh_from_db()
    assert run.status == RunStatus.INTERRUPTED


async def nobody_listens(server: Server) -> None:
    """Wait until new connections are refused."""

    def refuses() -> bool:
        with sockets.socket() as visitor:
            return visitor.connect_ex(("127.0.0.1", server.port)) == errno.ECONNREFUSED

    await until(refuses, 5, "new connections to be refused")


async def test_a_stopping_server_refuses_connections_and_queues_messages(stopping: Any, log_in: Any) -> None:
    """A new connection and a message between SIGTERM and the end: refused, and kept in the queue for the next start."""
    server = stopping(SHUTDOWN_S="60").start()
    ada = await log_in(server)
    session = await ada.new_session()
    async with ada.socket(session) as socket, ada.socket(await ada.new_session()) as other:
        await socket.send("chat", message=ENDLESS)
        await socket.until_type("reasoning_delta")
        server.process.send_signal(signal.SIGTERM)
        await nobody_listens(server)
        with pytest.raises(aiohttp.ClientConnectorError):
            async with aiohttp.ClientSession() as visitor, visitor.get(server.url + "/healthz"):
                pass
        await other.send("chat", message="Say [tokens=3]", client_message_id="late")
        accepted = await other.until_type("accepted")
        assert accepted["data"]["queued"] == 1
        await socket.send("cancel")
        cancelled = await socket.until_type("reasoning_complete")
        assert (cancelled["data"]["status"], cancelled["data"]["cancelled_by"]) == ("cancelled", USERNAME)
        await stop(server, other)
    assert not [f for f in other.frames if f["type"] == "reasoning_start"]
    server.start(server.port)
    async with ada.socket(other.frames[0]["data"]["session_id"]) as again:
        end = await again.until_type("reasoning_complete")
        assert (end["data"]["status"], end["run_id"]) == ("completed", accepted["data"]["run_id"])


@pytest.mark.long
async def test_the_next_start_continues_runs_with_auto_continue(stopping: Any, log_in: Any, model: ModelServer) -> None:
    """SIGTERM during a tool call without side effects, with AUTO_CONTINUE: the next start continues after the result, repeating no call."""
    server = stopping(AUTO_CONTINUE="true").start()
    ada = await log_in(server)
    session = await ada.new_session()
    async with ada.socket(session) as socket:
        await socket.send("chat", message=CALLING)
        await socket.until_step("tool_use")
        await stop(server, socket)
    interrupted = end_of(socket)
    assert interrupted["status"] == "interrupted"
    server.start(server.port)
    async with ada.socket(session, f"?last_seq={socket.stored()[-1]['seq']}") as again:
        start = await again.until_type("reasoning_start")
        assert start["data"]["continues"] == socket.stored()[-1]["run_id"]
        assert (await again.until_type("reasoning_complete"))["data"]["status"] == "completed"
        assert not again.steps("tool_use")


@pytest.mark.long
@pytest.mark.scale
def test_a_worker_ends_soon_though_its_broker_no_longer_answers(
    postgres_server: str, ready: str, tmp_path: Path
) -> None:
    """SIGTERM after Redis has frozen, which Celery waits for again and again: nobody has to kill the worker."""
    with (
        services.own_redis() as redis,
        services.database(postgres_server, f"test_{uuid.uuid4().hex}", template=ready) as database,
    ):
        worker = Worker(tmp_path, DATABASE_URL=database, REDIS_URL=redis.url, BROKER_URL=redis.url)
        worker.start()
        assert worker.loaded.wait(60)
        redis.signal(signal.SIGSTOP)
        began = time.monotonic()
        try:
            assert worker.stop() == 0
        finally:
            redis.signal(signal.SIGCONT)
    assert time.monotonic() - began < ENDS_WITHIN_S
    assert not [line for line in worker.output if "Traceback" in line]


@pytest.mark.long
@pytest.mark.parametrize("topology", ["postgres", SCALE])
async def test_restarted_one_after_the_other_under_load(open_world: Any, model: ModelServer, topology: str) -> None:
    """SIGTERM to each process in turn, again and again, while four clients work: they reconnect at once, runs continue by themselves."""
    opened = open_world(topology, AUTO_CONTINUE="true", SHUTDOWN_S="2")
    model.respond = work.rounds(12, every_s=0.01)
    sessions = [await opened.new_session() for _ in range(4)]
    times: list[float] = []
    async with contextlib.AsyncExitStack() as clients:
        watching = [await clients.enter_async_context(opened.client(s, seed=i)) for i, s in enumerate(sessions * 2)]
        busy = [asyncio.create_task(work.keep_busy(client, 250)) for client in watching[:4]]
        for turn in range(6):
            process = opened.processes[turn % len(opened.processes)]
            began = time.monotonic()
            assert await asyncio.to_thread(process.stop) == 0
            times.append(time.monotonic() - began)
            await asyncio.to_thread(process.start, process.port)
        await asyncio.gather(*busy)
        for session, pair in zip(sessions, zip(watching[:4], watching[4:], strict=True), strict=True):
            await invariants.check(opened, session, pair)
    closes = [code for client in watching for code in client.closes]
    assert 4012 in closes
    away = sorted(back for client in watching for back in client.away)
    assert away[-1] < 2
    assert max(times) < 2 + 3
