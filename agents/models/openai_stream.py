"""The lean client of an OpenAI-compatible server: one streamed chat completion, read into a `Reply`.

No hidden retries: a request is made once, and what goes wrong is said. Leaving it in any way but the end of the
stream closes the connection, so that the server stops generating.
"""

import asyncio
import contextlib
import json
import logging
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from agents.errors import ModelError, ToolsRefused
from agents.events import Usage
from agents.models.reply import Reply
from agents.text import clean

log = logging.getLogger(__name__)

#: Bytes one event of a stream, or a whole unstreamed answer, may have.
EVENT_LIMIT = 4 << 20
_ERROR_BODY_LIMIT = 8 << 10
_REFUSING_TOOLS = (400, 404, 422, 500, 501)
_CONNECT_S = 15.0
# Servers close idle connections, the strictest after 5 s; a request sent just then would fail.
_KEEPALIVE_S = 4.0
_TAIL_S = 0.02
_USAGE_S = 5.0

_clients: dict[asyncio.AbstractEventLoop, tuple[aiohttp.ClientSession, AsyncIterator[aiohttp.ClientSession]]] = {}


async def _client() -> aiohttp.ClientSession:
    """The one client of the running event loop, with its pool of connections."""
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        lifetime = _lifetime(loop)
        # Begun, not awaited between: two runs starting at once share one.
        _clients[loop] = (_new_client(), lifetime)
        await anext(lifetime)
    return _clients[loop][0]


def _new_client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S, ttl_dns_cache=60),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def _lifetime(loop: asyncio.AbstractEventLoop) -> AsyncIterator[aiohttp.ClientSession]:
    """Closes the loop's client with the loop: loops end the async generators begun on them."""
    client = _clients[loop][0]
    try:
        yield client
    finally:
        del _clients[loop]
        await client.close()


async def stream_completion(url: str, api_key: str, body: bytes, reply: Reply, *, timeout_s: float) -> None:
    """Post ``body`` to ``url`` and read the answer into ``reply`` as it comes. Raises `ModelError`.

    ``timeout_s`` is the longest silence: of the server before the answer, or between two pieces of it.
    """
    try:
        async with asyncio.timeout(timeout_s) as timeout:
            await _exchange(url, api_key, body, reply, _Silence(timeout, timeout_s))
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # With the last word said, a missing end of the stream is no loss. (A timeout is an OSError.)
        if reply.finish_reason is None or not isinstance(error, (*_CUTS, TimeoutError)):
            log.warning("Model server %s: %s", place_of(url), _hide(repr(error), api_key))
            raise _in_words(error, url, timeout_s) from error
    if reply.finish_reason is None:
        raise _cut_off()


class _Silence:
    """Puts off the timeout as long as something is heard."""

    def __init__(self, timeout: asyncio.Timeout, longest_s: float) -> None:
        self.longest_s = longest_s
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._valid_until = 0.0

    def heard(self) -> None:
        """Something came. The timer is set anew now and then only: done for each token, it would cost more than the token."""
        now = self._loop.time()
        if now > self._valid_until:
            slack = self.longest_s / 20
            self._valid_until = now + slack
            self._timeout.reschedule(now + self.longest_s + slack)

    def at_most(self, seconds: float) -> None:
        """Nothing of worth is to come any more: wait no longer than this from now."""
        self._valid_until = math.inf
        when = self._loop.time() + min(seconds, self.longest_s)
        self._timeout.reschedule(min(when, self._timeout.when() or when))


async def _exchange(url: str, api_key: str, body: bytes, reply: Reply, silence: _Silence) -> None:
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream", "Accept-Encoding": "identity"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    client = await _client()
    response = await client.post(
        url,
        data=body,
        headers=headers,
        allow_redirects=False,  # a redirect would carry the key elsewhere
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(_CONNECT_S, silence.longest_s)),
    )
    # Closed before its end, the response takes its connection along.
    with contextlib.closing(response):
        if response.status != 200:
            raise await _refusal(response, api_key)
        if response.content_type == "application/json":  # a server that doesn't stream
            _add(orjson.loads(await _bounded(response, EVENT_LIMIT)), reply, api_key)
            reply.notify()
        else:
            await _read(response, reply, silence, api_key)


# Comments, which keep the connection open, and fields that say nothing here.
_OTHER_LINES = (b":", b"event:", b"id:", b"retry:")
_CUTS = (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError)
_UNREACHABLE = (
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientConnectorError,
    aiohttp.ClientConnectorCertificateError,
    aiohttp.InvalidURL,
)


def _in_words(error: Exception, url: str, timeout_s: float) -> ModelError:
    """What went wrong, for people. The order matters: some of these errors are special cases of others."""
    if isinstance(error, _UNREACHABLE):
        return ModelError(f"No model server answers at {place_of(url)}.", "model_unreachable")
    if isinstance(error, TimeoutError):
        return ModelError(f"The model was silent for {timeout_s:g} seconds, so the run ended.", "model_timeout")
    if isinstance(error, _CUTS):
        return _cut_off()
    return ModelError("The model server's answer could not be understood.")


def _cut_off() -> ModelError:
    return ModelError("The model's answer was cut off before its end.", "model_cut_off")


async def _read(response: aiohttp.ClientResponse, reply: Reply, silence: _Silence, api_key: str) -> None:
    pending = bytearray()
    async for data in response.content.iter_any():
        if b"\n" not in data:
            pending += data
            if len(pending) > EVENT_LIMIT:
                raise ModelError("The model server sent an event too large to read.")
            continue
        *lines, rest = (bytes(pending) + data).split(b"\n")
        pending = bytearray(rest)
        if _add_lines(lines, reply, api_key):
            silence.heard()
            reply.notify()
        if reply.finish_reason is not None:
            # Only the usage and the body's end are due; without the latter the connection is of no further use.
            silence.at_most(_TAIL_S if reply.done else _USAGE_S)
        elif (pause := reply.pause()) and response.connection and (transport := response.connection.transport):
            # The machine is busy: what comes meanwhile waits in the socket, and is read at one go.
            transport.pause_reading()
            await asyncio.sleep(pause)
            transport.resume_reading()
            reply.resume()
    if not pending.startswith(b"data"):  # else an event that was cut off
        _add_lines([bytes(pending)], reply, api_key)


def _add_lines(lines: Sequence[bytes], reply: Reply, api_key: str) -> bool:
    """Add what lines of the stream say; whether any was from the model.

    Lines that come together are parsed together, and chunks that hold text alone, which is nearly all of them, are added
    together: what a token costs is mostly this.
    """
    heard = False
    text: list[str] = []
    try:
        for chunk in _parsed_together(lines) or _parsed_one_by_one(lines, reply):
            heard = True
            if piece := _text_alone(chunk):
                text.append(piece)
                continue
            if text:
                reply.add_content("".join(text))
                text.clear()
            _add(chunk, reply, api_key)
    finally:  # what stood before a line that can't be read has been said all the same
        if text:
            reply.add_content("".join(text))
    return heard


_OBJECTS = (b"data: {", b"data:{")


def _parsed_together(lines: Sequence[bytes]) -> list[Any] | None:
    """What the lines carry; nothing where any is out of the ordinary."""
    payloads = [line[5:] for line in lines if line.startswith(_OBJECTS)]
    if len(payloads) + lines.count(b"") + lines.count(b"\r") != len(lines):
        return None
    try:
        chunks: list[Any] = orjson.loads(b"[%b]" % b",".join(payloads))
    except orjson.JSONDecodeError:
        return None
    return chunks if len(chunks) == len(payloads) else None


def _parsed_one_by_one(lines: Sequence[bytes], reply: Reply) -> Iterator[Any]:
    for line in lines:
        payload = _payload(line, reply)
        if payload is not None:
            yield _parsed(payload)


def _payload(line: bytes, reply: Reply) -> bytes | None:
    """The JSON that a line of the stream carries, if it is one that does."""
    if not line.startswith(b"data:"):
        if line.strip() and not line.startswith(_OTHER_LINES):
            raise ValueError("not an event stream")
        return None
    payload = line[5:]
    if payload.strip() == b"[DONE]":
        reply.done = True
        if reply.finish_reason is None:
            raise _cut_off()
        return None
    return payload


_TEXT_DELTA = frozenset({"content", "role"})


def _text_alone(chunk: Any) -> str | None:
    """The text of a chunk that says nothing else; nothing of any other, nor of what is no chunk."""
    try:
        (choice,) = chunk["choices"]
        delta = choice["delta"]
        if choice.get("finish_reason") or chunk.get("usage") or "error" in chunk or not _TEXT_DELTA.issuperset(delta):
            return None
        text = delta.get("content")
    except (AttributeError, LookupError, TypeError, ValueError):
        return None
    return text if isinstance(text, str) else None


def _parsed(payload: bytes) -> Any:
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        # orjson refuses halves of surrogate pairs, which come where a server cuts its escapes anywhere.
        return json.loads(payload)


def _add(chunk: Any, reply: Reply, api_key: str) -> None:
    """Add one chunk of the stream to the reply. Raises `ModelError`, or `ValueError` for what is no chunk."""
    try:
        _add_chunk(chunk, reply, api_key)
    except (TypeError, AttributeError, LookupError) as error:
        raise ValueError(f"no chunk of a completion: {error!r}") from error


def _add_chunk(chunk: dict[str, Any], reply: Reply, api_key: str) -> None:
    if error := chunk.get("error"):
        raise ModelError(_with_reason("The model server reported an error", error, api_key))
    if usage := chunk.get("usage"):
        reply.usage = Usage(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))
    choices = chunk.get("choices")
    if not choices:
        return
    choice = choices[0]
    _add_delta(choice.get("delta") or choice.get("message") or {}, reply)
    if reason := choice.get("finish_reason"):
        reply.finish(str(reason))


def _add_delta(delta: dict[str, Any], reply: Reply) -> None:
    for name in ("reasoning_content", "reasoning"):
        if isinstance(text := delta.get(name), str) and text:
            reply.reasoning_field = name
            reply.add_reasoning(text)
            break
    if text := delta.get("content"):
        reply.add_content(text)
    for call in delta.get("tool_calls") or ():
        function = call.get("function") or {}
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        reply.add_call_delta(call.get("index"), call.get("id") or "", function.get("name") or "", arguments)


async def _refusal(response: aiohttp.ClientResponse, api_key: str) -> ModelError:
    """What a status other than 200 means, in words."""
    status = response.status
    body = clean((await _bounded(response, _ERROR_BODY_LIMIT, cut=True)).decode("utf-8", "replace"))
    log.warning("Model server answered %s: %s", status, _hide(body[:1000], api_key))
    if status in (401, 403):
        return ModelError(f"The model server did not accept the API key ({status}).", "model_auth")
    if status == 429:
        wait = response.headers.get("Retry-After", "")
        hint = f" Try again in {wait} seconds." if wait.isdigit() else " Try again in a while."
        return ModelError(f"The model server has had too many requests (429).{hint}", "model_rate_limited")
    try:
        error = orjson.loads(body)
    except orjson.JSONDecodeError:
        error = None
    if status == 404:
        words = "The model server does not know this model or address (404)"
    elif status >= 500:
        words = f"The model server failed ({status})"
    else:
        words = f"The model server refused the request ({status})"
    # "auto" tool choice requires …; … does not support tools; tools param requires …; no endpoints that support tool use
    kind = ToolsRefused if status in _REFUSING_TOOLS and "tool" in body.lower() else ModelError
    return kind(_with_reason(words, error, api_key))


def _with_reason(words: str, error: Any, api_key: str) -> str:
    """The words with the server's own reason, if it gave one fit for people."""
    while isinstance(error, dict):
        error = error.get("error") or error.get("message") or error.get("detail")
    reason = " ".join(clean(error).split()) if isinstance(error, str) else ""
    if not reason or "Traceback" in reason:
        return words + "."
    reason = _hide(reason, api_key)
    return f"{words}: {reason if len(reason) <= 300 else reason[:299] + '…'}"


def _hide(text: str, secret: str) -> str:
    return text.replace(secret, "…") if secret else text


def place_of(url: str) -> str:
    """The address as people may see it: no user, password or query."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return "the configured address"


async def _bounded(response: aiohttp.ClientResponse, limit: int, *, cut: bool = False) -> bytes:
    """The body up to ``limit`` bytes; more is an error, or left unread with ``cut``."""
    body = bytearray()
    async for data in response.content.iter_any():
        body += data
        if len(body) > limit:
            if cut:
                break
            raise ModelError("The model server's answer was too large to read.")
    return bytes(body[:limit])
