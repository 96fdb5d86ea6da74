"""Tools of MCP servers from the configuration; see `agents.tools.mcp_config` for its formats.

Connections are made in the background, once for all runs of a process. A run gets the tools of servers that are connected, without waiting.
"""

import asyncio
import atexit
import concurrent.futures
import json
import logging
import os
import threading
import time
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from mcp import types

from agents.cancellation import CancelToken
from agents.json_types import JsonObject
from agents.sentence import Sentence
from agents.specs import McpChoice
from agents.tools.mcp_config import server_entries
from agents.tools.mcp_content import as_text
from agents.tools.mcp_names import ToolNames
from agents.tools.mcp_server import Server
from agents.tools.server_state import ServerState
from agents.tools.tool import ToolError

log = logging.getLogger(__name__)

_CLOSE_S = 6.0
#: A call ends after so many seconds, however often its server reports progress.
_LONGEST_CALL_S = 3_600.0
#: How many seconds the runner waits longer than this tool does: this tool's own error message is the better one.
_GRACE_S = 5.0

T = TypeVar("T")


class MCPTool:
    """One tool of one server."""

    output_limit = 50_000

    def __init__(self, server: Server, tool: types.Tool, name: str) -> None:
        self._server = server
        self._tool = tool.name
        self.name = name
        self.description = tool.description or tool.title or tool.name
        self.parameters: JsonObject = {"type": "object", "properties": {}, **tool.input_schema}
        self.timeout_s = server.call_s + _GRACE_S
        # By the protocol, a tool reaches an open world unless it declares otherwise; "read-only" says nothing about that.
        closed = tool.annotations is not None and tool.annotations.open_world_hint is False
        harmless = server.config is not None and server.config.calls_harmless(tool.name)
        self.reaches_outside = not (closed or harmless)

    def call(self, arguments: JsonObject, stop: CancelToken) -> str:
        """Make the call on the tool's server. A stop is passed on to the server; each progress report extends the time."""
        limit = self._server.call_s
        began = time.monotonic()
        deadline = began + limit

        def on_progress(text: str) -> None:
            nonlocal deadline
            deadline = min(time.monotonic() + limit, began + max(limit, _LONGEST_CALL_S))
            stop.progress(text)

        future = _loop.submit(self._server.call(self._tool, arguments, on_progress))
        remove_callback = stop.add_callback(lambda: _ignore(future.cancel()))
        try:
            while not future.done() and time.monotonic() < deadline:
                concurrent.futures.wait([future], max(0.0, deadline - time.monotonic()))
            return as_text(future.result(0))
        except concurrent.futures.CancelledError as error:
            raise ToolError(stop.reason or "The call was stopped.") from error
        except TimeoutError as error:
            future.cancel()
            raise ToolError(f"The MCP server “{self._server.name}” did not answer within {limit:g} seconds.") from error
        finally:
            remove_callback()


class _Loop:
    """The event loop of all MCP sessions, in a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._owner = 0

    def submit(self, work: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        with self._lock:
            # After a fork the child has the object, but not the thread.
            if self._loop is None or self._owner != os.getpid():
                self._loop, self._owner = asyncio.new_event_loop(), os.getpid()
                threading.Thread(target=self._loop.run_forever, name="mcp", daemon=True).start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def is_ours(self) -> bool:
        return self._loop is not None and self._owner == os.getpid()


@dataclass(frozen=True, slots=True)
class _Known:
    server: Server
    #: The server's entry as text, to detect a changed one.
    entry: str


class _Servers:
    """This process's MCP servers, by name. A changed configuration replaces the server of that name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._names: ToolNames | None = None

    def of(self, configured: Mapping[str, Any], reserved: Collection[str] = ()) -> tuple[list[Server], ToolNames]:
        """The servers of a configuration, which are connected from the first time they are seen; and the names of their tools."""
        entries = {str(name): entry for name, entry in server_entries(configured).items()}
        with self._lock:
            self._begin_anew_in_a_child()
            names = self._names = self._names or ToolNames((), reserved)
            names.add_servers(entries)
            return [self._server(name, entry) for name, entry in entries.items()], names

    def _server(self, name: str, entry: Any) -> Server:
        text = json.dumps(entry, sort_keys=True, default=repr)
        known = self._known.get(name)
        if known is not None and known.entry == text:
            return known.server
        if known is not None:
            _loop.submit(known.server.close())
        server = Server(name, entry)
        self._known[name] = _Known(server, text)
        _loop.submit(_started(server))
        return server

    def _begin_anew_in_a_child(self) -> None:
        """Start again in a forked child, which has the objects but no connections."""
        if not _loop.is_ours():
            self._known.clear()

    def all(self) -> list[Server]:
        """All servers that this process has used."""
        with self._lock:
            return [known.server for known in self._known.values()] if _loop.is_ours() else []

    def drop(self, name: str) -> None:
        """Close the session with a server that was removed; its running calls end, too."""
        with self._lock:
            known = self._known.pop(name, None)
        if known is not None:
            _loop.submit(known.server.close())

    def close(self) -> None:
        """Close all sessions. Called when the process ends."""
        closing = [_loop.submit(server.close()) for server in self.all()]
        with self._lock:
            self._known.clear()
            self._names = None
        concurrent.futures.wait(closing, _CLOSE_S)


async def _started(server: Server) -> None:
    server.start()


_loop = _Loop()
connected_servers = _Servers()
atexit.register(connected_servers.close)


def connect_servers(configured: Mapping[str, Any], reserved: Collection[str] = ()) -> None:
    """Start connecting to these servers, in the background. ``reserved``: names that their tools may not have."""
    connected_servers.of(configured, reserved)


def connected_tools(
    configured: Mapping[str, Any], reserved: Collection[str] = (), choices: Sequence[McpChoice] | None = None
) -> tuple[list[MCPTool], list[str]]:
    """The chosen tools of the servers that are connected now, and a sentence about each chosen server and tool that is missing."""
    servers, names = connected_servers.of(configured, reserved)
    if choices is None:
        choices = [McpChoice(server.name) for server in servers]
    by_name = {server.name: server for server in servers}
    found: list[MCPTool] = []
    missing: list[str] = []
    for choice in choices:
        server = by_name.get(choice.server)
        if server is None:
            missing.append(Sentence("There is no MCP server “%(server)s” here.", server=choice.server))
        elif problem := server.problem:
            missing.append(problem)
        else:
            offered = _wanted(server)
            chosen = [tool for tool in offered if choice.tools is None or tool.name in choice.tools]
            found += [MCPTool(server, tool, names.name_of(server.name, tool.name)) for tool in chosen]
            lacking = set(choice.tools or ()) - {tool.name for tool in offered}
            missing += [
                Sentence("The MCP server “%(server)s” has no tool “%(tool)s” any more.", server=server.name, tool=name)
                for name in sorted(lacking)
            ]
            missing += [
                Sentence("The MCP server “%(server)s” %(what)s.", server=server.name, what=what)
                for what in server.offer.left_out
            ]
    return found, missing


def _wanted(server: Server) -> list[types.Tool]:
    """The tools of a server that its configuration allows."""
    return [tool for tool in server.offer.tools if server.config is not None and server.config.offers(tool.name)]


def server_states() -> list[ServerState]:
    """The state of each of this process's servers."""
    return [server.state for server in connected_servers.all()]


def offered_tools() -> dict[str, dict[str, str]]:
    """The tools of each connected server, as ``{server: {name: description}}``."""
    return {server.name: _described(server) for server in connected_servers.all() if not server.problem}


def restart_server(name: str) -> bool:
    """Connect a server again. Returns whether this process has one of that name."""
    found = [server for server in connected_servers.all() if server.name == name]
    for server in found:
        _loop.submit(server.restart())
    return bool(found)


def reconnect_server(name: str, entry: Any, reserved: Collection[str] = ()) -> None:
    """Connect a server again, with its new configuration."""
    before = connected_servers.all()
    (server,), _ = connected_servers.of({name: entry}, reserved)
    if server in before:
        restart_server(name)


def drop_server(name: str) -> None:
    """Close the session with a server that was removed."""
    connected_servers.drop(name)


def probe_server(name: str, entry: Any, within_s: float) -> tuple[dict[str, str], str]:
    """Connect to a server, apart from the sessions of runs, and disconnect. Returns its tools and a sentence about what is wrong.

    Blocks for up to ``within_s`` seconds.
    """
    return _loop.submit(_probe_server(Server(name, entry), within_s)).result()


async def _probe_server(server: Server, within_s: float) -> tuple[dict[str, str], str]:
    server.start()
    try:
        async with asyncio.timeout(within_s):
            await server.tried()
    except TimeoutError:
        return {}, f"The MCP server “{server.name}” did not answer within {within_s:g} seconds."
    finally:
        problem = server.problem
        await server.close()
    return ({}, problem) if problem else (_described(server), "")


def _described(server: Server) -> dict[str, str]:
    return {tool.name: tool.description or "" for tool in _wanted(server)}


def _ignore(_value: object) -> None:
    """Ignore the value of an expression, in a callback."""
