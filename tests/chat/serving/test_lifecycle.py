"""The process: killed, stopped, started twice, started on other data; nothing that was shown is lost, no run is stuck."""

import asyncio
import contextlib
import socket as sockets
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests import programs
from tests.model_server import ModelServer
from tests.serving import USERNAME, Browser, Server, Socket

LONG = "Tell [reasoning=8 tokens=400 every=20 call=current_time:{}]"


@pytest.fixture
def stopped_server(tmp_path: Path, model: ModelServer) -> Any:
    """A prepared server that is not running yet, and is ended after the test."""
    server = Server(tmp_path / "data", LLM_MODEL_SERVER=model.url, LLM_MODEL="stub", LLM_API_KEY="key")
    server.prepare()
    yield server
    if server.process is not None:
        server.stop()


def stored_in_file(server: Server, session: str) -> list[tuple[int, str]]:
    """The content of the database file, read without any code of the product."""
    with contextlib.closing(sqlite3.connect(server.data_dir / "thinkaloud.sqlite3")) as database:
        rows = database.execute(
            "SELECT seq, event_id FROM chat_step WHERE session_id = ? AND seq IS NOT NULL ORDER BY seq",
            [session.replace("-", "")],
        )
        return [(seq, event_id) for seq, event_id in rows]


def seen(socket: Socket) -> list[tuple[int, str]]:
    """The numbered events a client has received."""
    return [(frame["seq"], frame["id"].replace("-", "")) for frame in socket.stored()]


@pytest.mark.parametrize("at_seq", [*(pytest.param(seq, marks=pytest.mark.long) for seq in (1, 2, 6)), 4, 9])
async def test_killed_at_a_frame_it_is_stored_and_the_run_is_interrupted_at_the_next_start(
    stopped_server: Server, model: ModelServer, at_seq: int
) -> None:
    server = stopped_server.start()
    async with Browser.logged_in(server.url, USERNAME) as browser:
        session = await browser.new_session()
        async with browser.socket(session) as socket:
            await socket.send("chat", message=LONG)
            await socket.until(lambda f: f.get("seq") == at_seq)
            server.kill()
            await socket.closed()
        assert seen(socket) == stored_in_file(server, session)[: len(seen(socket))]
        port = server.port
        server.start(port)
        asked = len(model.requests)
        last = socket.stored()[-1]
        async with browser.socket(session, f"?last_seq={last['seq']}&last_id={last['id']}") as again:
            hello = await again.receive()
            # Before the first page is served: no page shows the run as at work.
            assert hello["data"]["run"] is None
            end = await again.until_type("reasoning_complete")
            assert end["data"]["status"] == "interrupted"
            numbers = [frame["seq"] for frame in socket.stored() + again.stored()]
            assert numbers == list(range(1, len(numbers) + 1))
            calls, results = (
                [step["tool_call_id"] for step in socket.steps(kind) + again.steps(kind)]
                for kind in ("tool_use", "tool_result")
            )
            assert calls == results
            await again.send("continue", run_id=end["run_id"])
            await again.until_step("iteration_start")
            await asyncio.to_thread(model.wait_for, lambda: len(model.requests) > asked)
            roles = [m["role"] for m in model.requests[asked].body["messages"]]
            assert roles[:2] == ["system", "user"]
            assert roles[2:] == ["assistant", "tool"] * bool(calls)
            await again.send("cancel")
            await again.until_type("reasoning_complete")
        assert server.stop() == 0


async def test_a_crash_loses_at_most_two_seconds_of_a_text_in_progress(stopped_server: Server) -> None:
    server = stopped_server.start()
    async with Browser.logged_in(server.url, USERNAME) as browser:
        session = await browser.new_session()
        async with browser.socket(session) as socket:
            await socket.send("chat", message="Tell [tokens=400 every=20]")
            text, shown_by = "", []
            while not shown_by or shown_by[-1][0] < shown_by[0][0] + 4:
                data = (await socket.until_type("reasoning_delta"))["data"]
                text = text[: data["offset"]] + data["text"]
                shown_by.append((socket.times[-1], text))
            server.kill()
        server.start(server.port)
        async with browser.socket(session) as again:
            await again.until_type("reasoning_complete")
            kept = again.steps("final_answer")[0]
        assert kept["partial"] is True
        two_seconds_ago = max(shown for at, shown in shown_by if at <= shown_by[-1][0] - 2)
        assert kept["content"].startswith(two_seconds_ago)


async def test_stopped_it_interrupts_its_runs_and_tells_its_clients(stopped_server: Server) -> None:
    server = stopped_server.start()
    async with Browser.logged_in(server.url, USERNAME) as browser:
        session = await browser.new_session()
        async with browser.socket(session) as socket:
            await socket.send("chat", message=LONG)
            await socket.until_type("reasoning_delta")
            stopping = asyncio.create_task(asyncio.to_thread(server.stop))
            assert await socket.closed() == 4012
            assert await stopping == 0
        end = next(f for f in socket.frames if f["type"] == "reasoning_complete")
        assert end["data"]["status"] == "interrupted"
        assert seen(socket) == stored_in_file(server, session)
    assert not [line for line in server.output if "Traceback" in line]


def refused(server: Server, *arguments: str) -> str:
    """Start a second process on the same data; returns the line with which it ends."""
    done = programs.run_program(["manage.py", "serve", *arguments], server.environment, timeout=60)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


async def test_threads_of_a_process_share_one_heap(stopped_server: Server) -> None:
    """Memory that one thread frees can be used by all: otherwise the process grows because of free memory in other threads' heaps."""
    server = stopped_server.start()
    async with (
        Browser.logged_in(server.url, USERNAME) as browser,
        browser.socket(await browser.new_session()) as socket,
    ):
        await socket.send("chat", message="Add [call=current_time:{} tokens=10]")
        await socket.until_type("reasoning_complete")
    assert server.heaps_of_threads == 0


def test_a_second_server_on_the_same_data_refuses_to_start(stopped_server: Server) -> None:
    stopped_server.start()
    assert "Another Thinkaloud server uses the data folder" in refused(stopped_server, "--port", "0")
    assert stopped_server.stop() == 0
    stopped_server.start()


def test_a_port_that_is_taken_is_told_in_a_line(stopped_server: Server) -> None:
    with sockets.socket() as occupied:
        occupied.bind(("127.0.0.1", 0))
        occupied.listen()
        port = str(occupied.getsockname()[1])
        message = refused(stopped_server, "--port", port)
    assert message.endswith(f"CommandError: Port {port} on 127.0.0.1 is in use. Set PORT to another one.")


def test_tables_that_are_missing_are_told_in_a_line(tmp_path: Path) -> None:
    server = Server(tmp_path)
    assert "not up to date" in refused(server, "--port", "0")


async def test_large_frames_are_compressed_for_who_can_take_it_and_small_ones_never(stopped_server: Server) -> None:
    server = stopped_server.start()
    on_the_wire: list[tuple[bool, int, int]] = []
    async with Browser.logged_in(server.url, USERNAME) as browser:
        session = await browser.new_session()
        async with browser.socket(session, compression="deflate") as socket:
            (deflate,) = socket.connection.protocol.extensions
            decode = deflate.decode

            def watched(frame: Any, **options: Any) -> Any:
                decoded = decode(frame, **options)
                on_the_wire.append((frame.rsv1, len(frame.data), len(decoded.data)))
                return decoded

            deflate.decode = watched
            await socket.send("chat", message="Tell [tokens=3000 every=0]")  # which the client compresses
            await socket.until_type("reasoning_complete")
        async with browser.socket(session) as plain:
            await plain.until_type("reasoning_complete")
    assert socket.stored() == plain.stored()
    assert {is_compressed for is_compressed, _, _ in on_the_wire} == {True, False}
    for is_compressed, sent, whole in on_the_wire:
        assert is_compressed == (whole >= 4096 - 4), "a frame's header is four bytes"
        assert sent < whole / 2 if is_compressed else sent == whole
