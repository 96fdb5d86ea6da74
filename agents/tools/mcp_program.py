"""MCP over a program's stdin and stdout, as the protocol's own client does it, but with a limit to the size of a message."""

import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator
from typing import Any, TextIO

import anyio
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp import StdioServerParameters, types
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from agents.tools.supervised import supervised_command

log = logging.getLogger(__name__)

#: The most bytes of one message; a program that writes more is ended.
MESSAGE_LIMIT = 16 << 20
_PATIENCE_S = 2.0


class TooMuch(Exception):
    """The program wrote a message above the limit."""


@contextlib.asynccontextmanager
async def stdio_client(
    parameters: StdioServerParameters, errors: TextIO
) -> AsyncIterator[tuple[MemoryObjectReceiveStream[Any], MemoryObjectSendStream[SessionMessage]]]:
    """Run the program for the length of a block; yields the streams that a session reads from and writes to."""
    received, reading = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    env = {**get_default_environment(), **(parameters.env or {})}
    writing, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
    async with (
        received,
        reading,
        writing,
        outgoing,
        await anyio.open_process(
            supervised_command(parameters.command, parameters.args, env, str(parameters.cwd or ".")),
            env=env,
            stderr=errors,
            cwd=parameters.cwd,
            start_new_session=True,
        ) as process,
        anyio.create_task_group() as group,
    ):
        group.start_soon(_listen, process, received)
        group.start_soon(_speak, process, outgoing)
        try:
            yield reading, writing
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)
            group.cancel_scope.cancel()


async def _listen(process: Process, received: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
    """Pass on the program's messages until its output ends."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        async with received:
            async for line in _lines(process.stdout):
                try:
                    message: SessionMessage | Exception = SessionMessage(
                        types.jsonrpc_message_adapter.validate_json(line, by_name=False)
                    )
                except ValidationError as error:
                    log.warning(
                        "An MCP server wrote a line of %d bytes that is not a valid message; the line is ignored",
                        len(line),
                    )
                    message = error
                await received.send(message)


async def _lines(output: ByteReceiveStream) -> AsyncIterator[bytes]:
    pieces: list[bytes] = []
    size = 0
    async for data in output:
        *lines, rest = data.split(b"\n")
        for line in lines:
            yield b"".join([*pieces, line])
            pieces, size = [], 0
        pieces.append(rest)
        size += len(rest)
        if size > MESSAGE_LIMIT:
            raise TooMuch(f"it sent a message of more than {MESSAGE_LIMIT >> 20} MB")


async def _speak(process: Process, outgoing: MemoryObjectReceiveStream[SessionMessage]) -> None:
    """Pass on the session's messages to the program."""
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        async with outgoing:
            async for message in outgoing:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                await process.stdin.send(text.encode() + b"\n")


async def _end(process: Process) -> None:
    """End the program and its children: close its input, then ask it, then have its supervisor end all of them, then kill."""
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    with contextlib.suppress(Exception):
        await process.stdin.aclose()
    with anyio.move_on_after(_PATIENCE_S):
        await process.wait()
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL):
        try:
            os.killpg(process.pid, number) if number != signal.SIGUSR1 else os.kill(process.pid, number)
        except (ProcessLookupError, PermissionError):
            return
        with anyio.move_on_after(_PATIENCE_S / 2):
            await process.wait()
