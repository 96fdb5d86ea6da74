"""The lean client of an OpenAI-compatible server: one streamed chat completion, read into a `Reply`.

No hidden retries: a request is made once, and what goes wrong is said. Leaving it in any way but the end of the
stream closes the connection, so that the server stops generating.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from agents.errors import ModelError
from agents.events import Usage
from agents.models.reply import Reply
from agents.text import clean

log = logging.getLogger(__name__)

#: Bytes one event of a stream, or a whole unstreamed answer, may have.
EVENT_LIMIT = 4 << 20
_ERROR_BODY_LIMIT = 8 << 10
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
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream", "Accept-Encoding": "identity"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    client = await _client()
    place = _place(url)
    try:
        async with asyncio.timeout(timeout_s) as silence:
            response = await client.post(
                url,
                data=body,
                headers=headers,
                allow_redirects=False,  # a redirect would carry the key elsewhere
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(_CONNECT_S, timeout_s)),
            )
            try:
                if response.status != 200:
                    raise await _refusal(response, api_key)
                await _read(response, reply, silence, timeout_s, api_key)
            except BaseException:
                response.close()
                raise
    except aiohttp.ConnectionTimeoutError as error:
        raise ModelError(f"No model server answers at {place}.", "model_unreachable") from error
    except TimeoutError as error:
        if reply.finish_reason is not None:  # all was said; only the end of the stream is missing
            return
        raise ModelError(f"The model was silent for {timeout_s:g} seconds, so the run ended.", "model_timeout") from error
    except (aiohttp.ClientConnectorError, aiohttp.ClientConnectorCertificateError, aiohttp.InvalidURL) as error:
        log.warning("Model server %s unreachable: %s", place, _hide(str(error), api_key))
        raise ModelError(f"No model server answers at {place}.", "model_unreachable") from error
    except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError) as error:
        log.warning("Model server %s cut the connection: %s", place, _hide(repr(error), api_key))
        if reply.finish_reason is not None:
            return
        raise _cut_off() from error
    except (aiohttp.ClientError, ValueError, TypeError, AttributeError, LookupError) as error:
        log.warning("Model server %s: %s", place, _hide(repr(error), api_key))
        raise ModelError("The model server's answer could not be understood.") from error
    if reply.finish_reason is None:
        raise _cut_off()


def _cut_off() -> ModelError:
    return ModelError("The model's answer was cut off before its end.", "model_cut_off")


async def _read(
    response: aiohttp.ClientResponse, reply: Reply, silence: asyncio.Timeout, timeout_s: float, api_key: str
) -> None:
    loop = asyncio.get_running_loop()
    if response.content_type == "application/json":  # a server that doesn't stream
        body = await _bounded(response, EVENT_LIMIT)
        _add(orjson.loads(body), reply, api_key)
        reply.notify()
        return
    pending = bytearray()
    async for data in response.content.iter_any():
        pending += data
        if b"\n" not in data:
            if len(pending) > EVENT_LIMIT:
                raise ModelError("The model server sent an event too large to read.")
            continue
        *lines, rest = pending.split(b"\n")
        pending = rest
        heard = done = False
        for line in lines:
            if not line.startswith(b"data:"):  # blank lines, comments that keep the connection open, event names
                continue
            payload = line[5:].strip()
            if payload == b"[DONE]":
                done = True
                continue
            heard = True
            _add(_parsed(payload), reply, api_key)
        if heard:
            reply.notify()
        if heard or done:
            # After the model's last word only the body's end is due, without which the connection is of no further use.
            patience = _TAIL_S if done else timeout_s if reply.finish_reason is None else min(_USAGE_S, timeout_s)
            silence.reschedule(loop.time() + patience)


def _parsed(payload: bytes) -> Any:
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        # orjson refuses halves of surrogate pairs, which come where a server cuts its escapes anywhere.
        return json.loads(payload)


def _add(chunk: Any, reply: Reply, api_key: str) -> None:
    """Add one chunk of the stream to the reply. Raises `ModelError`, or `ValueError` for what is no chunk."""
    if not isinstance(chunk, dict):
        raise ValueError("not an object")
    if error := chunk.get("error"):
        raise ModelError(_with_reason("The model server reported an error", error, api_key))
    if usage := chunk.get("usage"):
        reply.usage = Usage(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))
    choices = chunk.get("choices")
    if not choices:
        return
    choice = choices[0]
    delta = choice.get("delta") or choice.get("message") or {}
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
    if reason := choice.get("finish_reason"):
        reply.finish(str(reason))


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
    return ModelError(_with_reason(words, error, api_key))


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


def _place(url: str) -> str:
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
