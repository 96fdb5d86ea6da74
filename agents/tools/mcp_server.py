"""One MCP server and the session with it: connected in the background, kept open, and connected again after a pause when it is lost.

Qwen-Agent's own bridge has no timeouts, cannot cancel a call, reports errors and pictures as "execute error", and loads a ``.env`` file
into the process. So sessions are managed here, with the `mcp` package. Everything runs on the one event loop of `agents.tools.mcp`.
"""

import asyncio
import contextlib
import logging
import os
import random
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TextIO
from urllib.parse import parse_qsl, urlsplit

import anyio
import httpx2
from mcp import ClientSession, MCPError, StdioServerParameters, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from agents.json_types import JsonObject
from agents.proxies import proxy_for
from agents.sentence import Sentence
from agents.tools import mcp_program
from agents.tools.mcp_bounds import PublicTransport, refuse_redirect
from agents.tools.mcp_config import CALL_S, BadConfig, ServerConfig, read_config
from agents.tools.mcp_content import failure_text, progress_text
from agents.tools.mcp_offer import Offer, read_offer
from agents.tools.server_state import ServerState, State
from agents.tools.tool import ToolError

log = logging.getLogger(__name__)

START_S = 30.0
_PING_S = 5.0
_CLOSE_S = 5.0
#: Pauses between attempts double from the first to the longest; a connection that lasted for so many seconds resets them to the first.
FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_HELD_S = 30.0
#: The shortest time, in seconds, between two reads of the tools of a server that keeps reporting that they have changed.
_REREAD_S = 1.0
#: The HTTP status codes of a server without streamable HTTP; the older transport (SSE) is tried then.
_NOT_STREAMABLE = frozenset({400, 404, 405, 406, 410, 415, 501})

OnProgress = Callable[[str], None]


def pause_after(attempts: int) -> float:
    """How many seconds to wait after so many failed attempts in a row: about twice as long after each, with some randomness."""
    pause: float = min(FIRST_PAUSE_S * 2 ** min(attempts, 10) / 2, _LONGEST_PAUSE_S)
    return pause * random.uniform(0.8, 1.2)  # noqa: S311 - it is no secret


class _Session(ClientSession):
    """The protocol's session, but without validation of results: a text for a model need not match the server's output schema.

    The validation would try regular expressions of the server, without a time limit, on the event loop of all sessions.
    """

    async def validate_tool_result(self, name: str, result: types.CallToolResult) -> None:
        """Accept the result."""


class Server:
    """A configured server and the session with it. Used on the event loop of `agents.tools.mcp` except for its properties."""

    def __init__(self, name: str, config: Any) -> None:
        self.name = name
        self.config: ServerConfig | None = None
        self.offer = Offer()
        self._state: State = "connecting"
        self._last_error = ""
        self._attempts = 0
        self._since = time.time()
        try:
            self.config = read_config(config)
        except BadConfig as error:
            self._state, self._last_error = "unusable", f"its configuration {error}"
            log.warning("The MCP server %s can't be used: %s", name, self._last_error)
        self._changed = asyncio.Event()
        self._wanted = asyncio.Event()
        self._end = asyncio.Event()
        self._session: ClientSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._life: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._offer_is_old = False
        self._calls = 0
        self._was_connected = False
        self._works_by_sse = False
        self._last_words = ""
        self._refusal = ""
        self._refusal_status = 0

    @property
    def call_s(self) -> float:
        """The longest time, in seconds, that a call may take without progress from the server."""
        return self.config.call_s if self.config else CALL_S

    @property
    def state(self) -> ServerState:
        """The state of the connection, for pages and logs."""
        place = self.config.place if self.config else ""
        connected = self._state == "connected"
        tools, attempts = (len(self.offer.tools), 0) if connected else (0, self._attempts)
        return ServerState(self.name, place, self._state, tools, attempts, self._last_error, self._since)

    @property
    def problem(self) -> str:
        """Why the server can't be used now, as a sentence; empty while it is connected."""
        if self._state == "connected":
            return ""
        if self._last_error:
            return Sentence(
                "The MCP server “%(server)s” could not be started: %(error)s.", server=self.name, error=self._last_error
            )
        return Sentence("The MCP server “%(server)s” is still being connected.", server=self.name)

    # -- keeping the connection -------------------------------------------------------------------

    def start(self) -> None:
        """Connect, and stay connected. Returns at once."""
        if self._task is None and self.config is not None:
            self._task = asyncio.create_task(self._keep(self.config), name=f"mcp {self.name}")

    async def tried(self) -> None:
        """Wait until the server is connected, or has failed."""
        while self._state == "connecting":
            await self._changed.wait()

    async def restart(self) -> None:
        """Close the session, and connect again at once."""
        self._attempts = 0
        self._stop_life()
        self._wanted.set()

    async def close(self) -> None:
        """Close the session for good, and end the server's process."""
        is_connecting = self._state == "connecting"
        self._set_state("closed")
        self._stop_life(at_once=is_connecting)
        self._wanted.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_CLOSE_S)

    def _is_closed(self) -> bool:
        return self._state == "closed"

    def _stop_life(self, *, at_once: bool = False) -> None:
        self._end.set()
        if self._life is not None and (at_once or self._state == "connecting"):
            self._life.cancel()

    async def _keep(self, config: ServerConfig) -> None:
        while not self._is_closed():
            self._wanted.clear()
            self._was_connected = False
            self._set_state("connecting")
            began = time.monotonic()
            self._end = asyncio.Event()
            # A task of its own: a session must be exited by the task that entered it.
            self._life = asyncio.create_task(self._live(config))
            await asyncio.wait({self._life})
            if self._is_closed():
                return
            held = self._was_connected and (self._end.is_set() or time.monotonic() - began > _HELD_S)
            self._attempts = 0 if held else self._attempts + 1
            self._set_state("waiting")
            if self._end.is_set():
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), pause_after(self._attempts))

    async def _live(self, config: ServerConfig) -> None:
        """One connection, from its opening to its end."""
        self._refusal, self._refusal_status = "", 0
        try:
            await self._converse(config, by_sse=config.transport == "sse" or self._works_by_sse)
        except Exception as error:  # noqa: BLE001 - whatever a transport raises, the server is unusable, not we
            if self._may_speak_sse(config):
                log.info("The MCP server %s does not speak streamable HTTP (%s); trying SSE", self.name, self._refusal)
                first = self._refusal
                try:
                    await self._converse(config, by_sse=True)
                except Exception as second:  # noqa: BLE001 - likewise
                    self._refusal = self._refusal if self._refusal_status not in _NOT_STREAMABLE else first
                    self._failed(config, second)
            else:
                self._failed(config, error)
        finally:
            self._session = None
            if self._state == "connected":
                self._set_state("waiting")

    def _may_speak_sse(self, config: ServerConfig) -> bool:
        return (
            config.transport == "http-or-sse"
            and self._state == "connecting"
            and self._refusal_status in _NOT_STREAMABLE
        )

    async def _converse(self, config: ServerConfig, *, by_sse: bool) -> None:
        clock = asyncio.timeout(START_S)
        try:
            async with (
                clock,
                self._streams(config, by_sse) as (read, write),
                _Session(read, write, logging_callback=self._on_log, message_handler=self._on_message) as session,
            ):
                await session.initialize()
                self.offer = await read_offer(session)
                clock.reschedule(None)
                self._works_by_sse = by_sse and config.transport == "http-or-sse"
                self._session = session
                self._last_error = ""
                self._was_connected = True
                self._set_state("connected")
                log.info("The MCP server %s is connected: %d tools", self.name, len(self.offer.tools))
                await self._end.wait()
        except Exception as error:
            if clock.expired():
                raise TimeoutError(f"it did not answer within {START_S:g} seconds") from error
            raise

    def _failed(self, config: ServerConfig, error: Exception) -> None:
        answer = f"it answered {self._refusal}" if self._refusal else ""
        reason = failure_text(error, answer, _secrets(config))
        if reason != self._last_error:
            # What a program writes when it fails may contain anything, so it is only logged.
            log.warning(
                "The MCP server %s can't be reached: %s. The end of its output: %s",
                self.name,
                reason,
                self._last_words or "none",
            )
        self._last_error = reason

    def _set_state(self, state: State) -> None:
        if self._state != state:
            self._since = time.time()
        self._state = state
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    # -- calls ------------------------------------------------------------------------------------

    async def call(self, tool: str, arguments: JsonObject, on_progress: OnProgress) -> types.CallToolResult:
        """Call a tool of the server. If cancelled, tells the server so."""
        await self._make_sure()
        session, life = self._session, self._life
        if session is None or life is None:
            raise ToolError(f"The MCP server “{self.name}” has ended.")

        async def pass_on_progress(progress: float, total: float | None, message: str | None) -> None:
            on_progress(progress_text(progress, total, message))

        self._calls += 1
        call = asyncio.ensure_future(session.call_tool(tool, arguments, progress_callback=pass_on_progress))
        try:
            # Callers of a session that ends would wait for ever, so wait for either of them.
            await asyncio.wait({call, life}, return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                raise ToolError(f"The MCP server “{self.name}” ended during the call.")
            return call.result()
        except MCPError as error:
            if error.error.code == types.CONNECTION_CLOSED:
                self._end.set()
                raise ToolError(f"The MCP server “{self.name}” ended during the call.") from error
            raise ToolError(error.error.message) from error
        except (anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            self._end.set()
            raise ToolError(f"The MCP server “{self.name}” has ended.") from error
        except (RuntimeError, ValueError, OSError, httpx2.HTTPError) as error:
            failure = failure_text(error, "", _secrets(self.config))
            raise ToolError(f"The MCP server “{self.name}” gave an answer that can't be used: {failure}") from error
        finally:
            self._calls -= 1
            call.cancel()  # where it is still at work, the session tells the server

    async def _make_sure(self) -> None:
        """Check that the server still answers, unless another call is under way; connect again if it does not."""
        await self._connected()
        if self._calls or self._session is None or self._life is None:
            return
        ping = asyncio.ensure_future(self._session.send_ping())
        await asyncio.wait({ping, self._life}, timeout=_PING_S, return_when=asyncio.FIRST_COMPLETED)
        if ping.done() and not ping.cancelled() and ping.exception() is None:
            return
        ping.cancel()
        log.info("The MCP server %s does not answer any more; connecting again", self.name)
        lost = self._life
        await self.restart()
        await asyncio.wait({lost}, timeout=_CLOSE_S)
        await self._connected()

    async def _connected(self) -> None:
        """Wait until the server is connected, which is tried at once. Raises `ToolError` with the reason if that fails."""
        if self._session is not None and self._state == "connected":
            return
        tried = False
        self._wanted.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                while self._state not in ("connected", "closed", "unusable") and not (
                    tried and self._state == "waiting"
                ):
                    changed = self._changed
                    tried = tried or self._state == "connecting"
                    await changed.wait()
        if self._session is None:
            raise ToolError(self.problem or f"The MCP server “{self.name}” has ended.")

    # -- what the server says by itself -----------------------------------------------------------

    async def _on_message(self, message: Any) -> None:
        """When the server reports that its tools have changed, read them again. Only runs that begin later use them."""
        if isinstance(message, types.ToolListChangedNotification):
            self._offer_is_old = True
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read_tools_again())

    async def _read_tools_again(self) -> None:
        """Read the tools; once more if they changed meanwhile, however often that was reported."""
        while self._offer_is_old and (session := self._session) is not None:
            self._offer_is_old = False
            try:
                self.offer = await read_offer(session)
            except (MCPError, anyio.ClosedResourceError, anyio.BrokenResourceError, httpx2.HTTPError):
                log.info("The tools of the MCP server %s could not be read again", self.name)
            await asyncio.sleep(_REREAD_S)

    async def _on_log(self, params: types.LoggingMessageNotificationParams) -> None:
        log.debug("MCP server %s: %s", self.name, str(params.data)[:300])

    # -- transports -------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _streams(self, config: ServerConfig, by_sse: bool) -> AsyncIterator[tuple[Any, Any]]:
        if config.transport == "stdio":
            # Added to PATH, HOME and the like: the program gets nothing else of our environment.
            parameters = StdioServerParameters(command=config.command, args=config.args, env=config.env, cwd=config.cwd)
            with self._listen() as errors:
                async with mcp_program.stdio_client(parameters, errors) as (read, write):
                    yield read, write
        elif by_sse:
            make_client = self._client_factory(config)
            async with sse_client(
                config.url, config.headers, sse_read_timeout=config.silence_s, httpx_client_factory=make_client
            ) as (read, write):
                yield read, write
        else:
            timeout = httpx2.Timeout(START_S, read=config.silence_s)
            async with (
                self._client_factory(config)(config.headers, timeout) as client,
                streamable_http_client(config.url, http_client=client) as (read, write),
            ):
                yield read, write

    def _client_factory(self, config: ServerConfig) -> Callable[..., httpx2.AsyncClient]:
        """A factory of clients that use the environment's proxies, and that note what the server says when it refuses."""
        parts = urlsplit(config.url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        proxy = proxy_for(parts.scheme, parts.hostname or "", port)

        def make(
            headers: dict[str, str] | None = None,
            timeout: httpx2.Timeout | None = None,
            auth: httpx2.Auth | None = None,
        ) -> httpx2.AsyncClient:
            certificates = ssl.create_default_context()
            hooks = [self._note_refusal] if config.follows_redirects else [refuse_redirect, self._note_refusal]
            return httpx2.AsyncClient(
                headers=headers,
                timeout=timeout or httpx2.Timeout(START_S),
                auth=auth,
                # With a proxy, the proxy resolves the host's name.
                transport=PublicTransport(certificates) if config.public_only and not proxy else None,
                proxy=proxy.url if proxy else None,
                trust_env=False,
                verify=certificates,
                event_hooks={"response": hooks},
            )

        return make

    async def _note_refusal(self, response: httpx2.Response) -> None:
        if response.status_code < 400 or self._state == "connected":
            return
        body = b""
        with contextlib.suppress(httpx2.HTTPError, TimeoutError):
            async with asyncio.timeout(_PING_S):
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > 2_000:
                        break
        text = " ".join(body[:2_000].decode("utf-8", "replace").split())
        self._refusal_status = response.status_code
        self._refusal = f"{response.status_code} {response.reason_phrase}" + (
            f": {text}" if text and text[0] != "<" else ""
        )

    @contextlib.contextmanager
    def _listen(self) -> Iterator[TextIO]:
        """A file for the server's stderr, whose lines are logged; the last one is kept to explain a failure."""
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


def _secrets(config: ServerConfig | None) -> list[str]:
    """The values of a configuration that must not be repeated in errors of a server or a library."""
    if config is None:
        return []
    values = [
        *config.headers.values(),
        *config.env.values(),
        *(value for _, value in parse_qsl(urlsplit(config.url).query)),
    ]
    return [part for value in values for part in (value, *value.split()) if len(part) >= 6]
