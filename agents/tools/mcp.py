"""Tools of MCP servers, named by configuration in the form of Qwen-Agent's ``mcpServers``.

Qwen-Agent's own bridge has no timeouts, cannot cancel a call, takes errors and pictures for "execute error",
and loads a ``.env`` file into the process; so the sessions are kept here, on the `mcp` package itself.
Each server is connected to once and stays connected between runs. One that has died is started again by the next call.
"""

import asyncio
import atexit
import concurrent.futures
import contextlib
import json
import logging
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from typing import Any, TextIO, TypeVar

import anyio
import httpx
from mcp import ClientSession, McpError, StdioServerParameters, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from pydantic import BaseModel, ValidationError

from agents.tools import mcp_program
from agents.tools.stop import Stop
from agents.tools.tool import Tool, ToolError

log = logging.getLogger(__name__)

_START_S = 30.0
_PING_S = 5.0
_CALL_S = 60.0
_CLOSE_S = 5.0
_SILENCE_S = 300.0
#: How long a server that failed to start is left alone.
_RETRY_S = 30.0

T = TypeVar("T")


class MCPTool:
    """One tool of one server."""

    output_limit = 50_000

    def __init__(self, server: "_Server", tool: types.Tool) -> None:
        self._server = server
        self._tool = tool.name
        # Models accept nothing else in a function's name.
        self.name = re.sub(r"[^A-Za-z0-9_-]", "_", f"{server.name}-{tool.name}")[:64]
        self.description = tool.description or tool.title or tool.name
        self.parameters: dict[str, Any] = {"type": "object", "properties": {}, **tool.inputSchema}
        self.timeout_s = server.call_s

    def call(self, arguments: dict[str, Any], stop: Stop) -> str:
        """Call it on its server; a stop is passed on to the server."""
        future = _loop.submit(self._server.call(self._tool, arguments))
        forget = stop.on_set(lambda: _ignore(future.cancel()))
        try:
            return _as_text(future.result(self.timeout_s))
        except concurrent.futures.CancelledError as error:
            raise ToolError(stop.because or "The call was stopped.") from error
        except TimeoutError as error:
            future.cancel()
            raise ToolError(
                f"The MCP server “{self._server.name}” did not answer within {self.timeout_s:g} seconds."
            ) from error
        finally:
            forget()


class UnavailableTool:
    """Stands for a server that could not be started, so that the model, and whoever reads the run, learns of it."""

    timeout_s = 5.0
    output_limit = 1_000

    def __init__(self, server: str, why: str) -> None:
        self.name = re.sub(r"[^A-Za-z0-9_-]", "_", server)[:64]
        self._why = why
        self.parameters: dict[str, Any] = {"type": "object", "properties": {}}
        self.description = f"Not usable now. {why}"

    def call(self, arguments: dict[str, Any], stop: Stop) -> str:
        """Say why there is nothing to call."""
        raise ToolError(self._why)


def tools(servers: Mapping[str, Any]) -> list[Tool]:
    """All tools of these servers. Connects to those not yet connected to, all at once; blocks meanwhile."""
    if set(servers) == {"mcpServers"}:  # as the files of other programs have it
        servers = servers["mcpServers"]
    starts = {name: _loop.submit(_servers.get(name, config).list()) for name, config in servers.items()}
    found: list[Tool] = []
    for name, start in starts.items():
        try:
            found.extend(start.result())
        except ToolError as error:
            found.append(UnavailableTool(name, str(error)))
    return found


class _Loop:
    """The event loop, on a thread of its own, that all sessions live on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._owner = 0

    def submit(self, work: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        with self._lock:
            # A forked child has the object, but not the thread.
            if self._loop is None or self._owner != os.getpid():
                self._loop, self._owner = asyncio.new_event_loop(), os.getpid()
                threading.Thread(target=self._loop.run_forever, name="mcp", daemon=True).start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def is_ours(self) -> bool:
        return self._loop is not None and self._owner == os.getpid()


class _Config(BaseModel):
    """A server's entry in ``mcpServers``."""

    command: str = ""
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str = ""
    type: str = "sse"
    headers: dict[str, str] = {}
    timeout: float = _CALL_S
    """Longest time that a call may take."""
    sse_read_timeout: float = _SILENCE_S


class _Server:
    """A configured server and, while it lives, the session with it."""

    def __init__(self, name: str, config: Any) -> None:
        self.name = name
        self._config: _Config | None = None
        self._problem = ""
        try:
            self._config = _Config.model_validate(config)
        except ValidationError as error:
            # The field only: its value may be a secret.
            field = ".".join(map(str, error.errors()[0]["loc"]))
            self._problem = f"its configuration can't be used{f' ({field})' if field else ''}"
        self.call_s = self._config.timeout if self._config else _CALL_S
        self._lock = asyncio.Lock()
        self._session: ClientSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._end = asyncio.Event()
        self._tools: list[Tool] = []
        self._calls = 0
        self._failed_at = float("-inf")
        self._failure = ""
        self._last_words = ""

    async def list(self) -> Sequence[Tool]:
        """Its tools; connects if need be. Raises `ToolError` with why it can't."""
        await self._connect()
        return self._tools

    async def call(self, tool: str, arguments: dict[str, Any]) -> types.CallToolResult:
        """Call one of its tools; when cancelled, tells the server so."""
        await self._wake()
        session, task = self._session, self._task
        if session is None or task is None:
            raise ToolError(f"The MCP server “{self.name}” has ended.")
        self._calls += 1
        # The session counts its requests itself and tells nobody; the number is what a cancellation has to name.
        request_id = session._request_id  # noqa: SLF001
        call = asyncio.ensure_future(session.call_tool(tool, arguments))
        try:
            # A session that ends leaves its callers waiting, so the wait is for either.
            await asyncio.wait({call, task}, return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                raise ToolError(f"The MCP server “{self.name}” ended during the call.")
            return call.result()
        except asyncio.CancelledError:
            await self._tell_cancelled(session, request_id)
            raise
        except McpError as error:
            if error.error.code == types.CONNECTION_CLOSED:
                self._end.set()
                raise ToolError(f"The MCP server “{self.name}” ended during the call.") from error
            raise ToolError(error.error.message) from error
        except (anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            self._end.set()
            raise ToolError(f"The MCP server “{self.name}” has ended.") from error
        except (RuntimeError, ValueError, OSError, httpx.HTTPError) as error:
            raise ToolError(f"The MCP server “{self.name}” gave an answer that can't be used: {error}") from error
        finally:
            self._calls -= 1
            call.cancel()

    async def close(self) -> None:
        """End the session, and with it the server's process."""
        self._end.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_CLOSE_S)

    async def _wake(self) -> None:
        """Make sure that the server is there, where that isn't plain from another call on its way."""
        await self._connect()
        if self._calls or self._session is None or self._task is None:
            return
        ping = asyncio.ensure_future(self._session.send_ping())
        await asyncio.wait({ping, self._task}, timeout=_PING_S, return_when=asyncio.FIRST_COMPLETED)
        if ping.done() and not ping.cancelled() and ping.exception() is None:
            return
        ping.cancel()
        log.info("The MCP server %s does not answer any more; connecting anew", self.name)
        await self.close()
        await self._connect()

    async def _connect(self) -> None:
        async with self._lock:
            if self._session is not None and self._task is not None and not self._task.done():
                return
            if time.monotonic() - self._failed_at < _RETRY_S:
                raise ToolError(self._failure)
            self._end = asyncio.Event()
            ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            # A task of its own, because a session must be left by the task that entered it.
            self._task = asyncio.create_task(self._live(ready))
            await asyncio.wait({ready, self._task}, timeout=_START_S, return_when=asyncio.FIRST_COMPLETED)
            if ready.done() and ready.exception() is None:
                return
            if not ready.done():
                self._task.cancel()
                reason = f"it did not answer within {_START_S:g} seconds"
            else:
                reason = _plain(ready.exception())
            self._failure = f"The MCP server “{self.name}” could not be started: {reason}."
            self._failed_at = time.monotonic()
            # What a program says when it fails may be anything, so it is for the log alone.
            log.warning("%s Its last words: %s", self._failure, self._last_words or "none")
            raise ToolError(self._failure)

    async def _live(self, ready: "asyncio.Future[None]") -> None:
        try:
            async with self._streams() as (read, write), ClientSession(read, write) as session:
                await session.initialize()
                self._tools = [MCPTool(self, tool) for tool in await _list_tools(session)]
                self._session = session
                ready.set_result(None)
                await self._end.wait()
        except Exception as error:  # noqa: BLE001 - whatever a transport raises, the server is unusable, not we
            if ready.done():
                log.info("The MCP server %s has ended: %s", self.name, _plain(error))
            else:
                ready.set_exception(error)
        finally:
            self._session = None

    @contextlib.asynccontextmanager
    async def _streams(self) -> AsyncIterator[tuple[Any, Any]]:
        config = self._config
        if config is None:
            raise ValueError(self._problem)
        if config.command:
            # The environment comes on top of PATH, HOME and the like: what else is in ours is none of its business.
            parameters = StdioServerParameters(command=config.command, args=config.args, env=config.env, cwd=config.cwd)
            with self._listen() as errors:
                async with mcp_program.started(parameters, errors) as (read, write):
                    yield read, write
        elif config.url and config.type in ("streamable-http", "streamable_http", "http"):
            timeout = httpx.Timeout(_START_S, read=config.sse_read_timeout)
            async with (
                create_mcp_http_client(config.headers, timeout) as client,
                streamable_http_client(config.url, http_client=client) as (read, write, _),
            ):
                yield read, write
        elif config.url:
            async with sse_client(config.url, config.headers, sse_read_timeout=config.sse_read_timeout) as (
                read,
                write,
            ):
                yield read, write
        else:
            raise ValueError("its configuration names neither a command nor a url")

    @contextlib.contextmanager
    def _listen(self) -> Iterator[TextIO]:
        """A file for the server's stderr whose lines go to our log; the last is kept for the case that it fails."""
        reading, writing = os.pipe()

        def read() -> None:
            with os.fdopen(reading, encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    if line.strip():
                        self._last_words = line.strip()[:300]
                        log.debug("MCP server %s: %s", self.name, self._last_words)

        self._last_words = ""
        thread = threading.Thread(target=read, name=f"mcp-{self.name}-stderr", daemon=True)
        thread.start()
        try:
            with os.fdopen(writing, "w", encoding="utf-8") as errors:
                yield errors
        finally:
            thread.join(0.5)

    async def _tell_cancelled(self, session: ClientSession, request_id: int) -> None:
        notice = types.CancelledNotification(
            params=types.CancelledNotificationParams(requestId=request_id, reason="Stopped by the user.")
        )
        # The caller is gone already; a server that can't be told is not its concern.
        with contextlib.suppress(Exception):
            await asyncio.wait_for(session.send_notification(types.ClientNotification(notice)), 1)


class _Servers:
    """All servers known to this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._servers: dict[str, _Server] = {}

    def get(self, name: str, config: Any) -> _Server:
        key = json.dumps([os.getpid(), name, config], sort_keys=True, default=str)
        with self._lock:
            if key not in self._servers:
                self._servers[key] = _Server(name, config)
            return self._servers[key]

    def close(self) -> None:
        """End all sessions; called when the process ends."""
        if not _loop.is_ours():
            return
        with self._lock:
            closing = [_loop.submit(server.close()) for server in self._servers.values()]
            self._servers.clear()
        concurrent.futures.wait(closing, _CLOSE_S + 1)


_loop = _Loop()
_servers = _Servers()
atexit.register(_servers.close)


async def _list_tools(session: ClientSession) -> list[types.Tool]:
    found: list[types.Tool] = []
    cursor: str | None = None
    while True:
        page = await session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
        found.extend(page.tools)
        cursor = page.nextCursor
        if not cursor or len(found) > 1_000:
            return found


def _as_text(result: types.CallToolResult) -> str:
    """The result for a model that reads text; what isn't text is described."""
    parts = [_block(block) for block in result.content]
    if not parts and result.structuredContent is not None:
        parts = [json.dumps(result.structuredContent, ensure_ascii=False, indent=1)]
    text = "\n\n".join(part for part in parts if part)
    if result.isError:
        raise ToolError(text or "The tool failed and did not say why.")
    return text or "The tool returned nothing."


def _block(block: types.ContentBlock) -> str:
    if isinstance(block, types.TextContent):
        return block.text
    if isinstance(block, types.ImageContent | types.AudioContent):
        return f"[{block.type}, {block.mimeType}, {_size(block.data)}: not shown]"
    if isinstance(block, types.ResourceLink):
        return f"[link: {block.title or block.name}, {block.uri}]"
    resource = block.resource
    if isinstance(resource, types.TextResourceContents):
        return f"{resource.uri}:\n{resource.text}"
    return f"[file {resource.uri}, {resource.mimeType or 'unknown type'}, {_size(resource.blob)}: not shown]"


def _size(base64: str) -> str:
    return f"{len(base64) * 3 // 4 / 1000:.1f} kB"


def _plain(error: BaseException | None) -> str:
    """An exception's own words; of a group, its first's."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, FileNotFoundError):
        return f"there is no program “{error.filename}”"
    # By what it is met depends on how far the greeting had come.
    if isinstance(error, anyio.BrokenResourceError | anyio.ClosedResourceError | BrokenPipeError):
        return "it ended at once"
    if isinstance(error, McpError) and error.error.code == types.CONNECTION_CLOSED:
        return "it ended at once"
    if isinstance(error, httpx.ConnectError):
        return "nothing answers at its address"
    return str(error).rstrip(".") or type(error).__name__


def _ignore(_value: object) -> None:
    """Turn an expression into a callback's empty result."""
