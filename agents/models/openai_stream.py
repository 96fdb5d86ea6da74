"""The lean client of an OpenAI-compatible server: one streamed chat completion, read into a `Reply`.

No hidden retries: a request is made once, and what goes wrong is said. Leaving it in any way but the end of the
stream closes the connection, so that the server stops generating.
"""

import asyncio
import contextlib
import json
import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from agents.addresses import mask_address, mask_text
from agents.errors import ModelError, ToolsRefused
from agents.events import Usage
from agents.models import connections
from agents.models.connections import Connection, ProxyRefused, Unreachable
from agents.models.reply import Reply
from agents.text import clean

log = logging.getLogger(__name__)

#: Bytes one event of a stream, or a whole unstreamed answer, may have.
EVENT_LIMIT = 4 << 20
_ERROR_BODY_LIMIT = 8 << 10
_REFUSING_TOOLS = (400, 404, 422, 500, 501)
_CONNECT_S = 15.0
_TAIL_S = 0.02
_USAGE_S = 5.0


async def stream_completion(url: str, api_key: str, body: bytes, reply: Reply, *, timeout_s: float) -> None:
    """Post ``body`` to ``url`` and read the answer into ``reply`` as it comes. Raises `ModelError`.

    ``timeout_s`` is the longest silence: of the server before the answer, or between two pieces of it.
    """
    try:
        async with asyncio.timeout(timeout_s) as timeout:
            await _exchange(url, api_key, body, reply, _Silence(timeout, timeout_s))
    except (OSError, ValueError) as error:
        # With the last word said, a missing end of the stream is no loss. (A timeout is an OSError.)
        if reply.finish_reason is None or not isinstance(error, OSError):
            log.warning("Model server %s: %s", mask_address(url), _hide(repr(error), api_key))
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
    connect_s = min(_CONNECT_S, silence.longest_s)
    connection = await connections.post(url, headers, body, connect_s=connect_s)
    # Closed before the answer's end, it is of no further use.
    with contextlib.closing(connection):
        if connection.status != 200:
            raise await _refusal(connection, api_key)
        if connection.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
            # A server that doesn't stream.
            _add(orjson.loads(await _bounded(connection, EVENT_LIMIT)), reply, api_key)
            reply.notify()
        else:
            await _read(connection, reply, silence, api_key)


# Comments, which keep the connection open, and fields that say nothing here.
_OTHER_LINES = (b":", b"event:", b"id:", b"retry:")


def _in_words(error: Exception, url: str, timeout_s: float) -> ModelError:
    """What went wrong, for people. The order matters: some of these errors are special cases of others."""
    if isinstance(error, ProxyRefused):
        return ModelError(str(error), "model_unreachable")
    if isinstance(error, Unreachable):
        return ModelError(f"No model server answers at {mask_address(url)}.", "model_unreachable")
    if isinstance(error, TimeoutError):
        return ModelError(f"The model was silent for {timeout_s:g} seconds, so the run ended.", "model_timeout")
    if isinstance(error, OSError):
        return _cut_off()
    return ModelError("The model server's answer could not be understood.")


def _cut_off() -> ModelError:
    return ModelError("The model's answer was cut off before its end.", "model_cut_off")


async def _read(connection: Connection, reply: Reply, silence: _Silence, api_key: str) -> None:
    pending = bytearray()
    repeated = _Repeated()
    while data := await connection.read():
        end = data.rfind(b"\n") + 1
        if not end:
            pending += data
            if len(pending) > EVENT_LIMIT:
                raise ModelError("The model server sent an event too large to read.")
            continue
        events, pending = bytes(pending) + data[:end], bytearray(data[end:])
        if repeated.add(events, reply) or _add_lines(events.split(b"\n"), reply, api_key):
            silence.heard()
            reply.notify()
        if reply.finish_reason is not None:
            # Only the usage and the body's end are due; without the latter the connection is of no further use.
            silence.at_most(_TAIL_S if reply.done else _USAGE_S)
        elif pause := reply.pause():
            # The machine is busy: what comes meanwhile waits in the socket, and is read at one go.
            connection.pause()
            await asyncio.sleep(pause)
            reply.resume()
    if not pending.startswith(b"data"):  # else an event that was cut off
        _add_lines([bytes(pending)], reply, api_key)


_PROBE = "\ue000probe\ue001"
#: Times that something new is learned without any use, until a server's events are taken to differ always.
_TRIES = 10


class _Repeated:
    """What stands around the text of a stream's events. Most servers repeat it to the byte, and then only the text need be read."""

    def __init__(self) -> None:
        self._field = ""
        self._before = self._between = self._after = b""
        self._tries = _TRIES

    def add(self, events: bytes, reply: Reply) -> bool:
        """Add the text of events that repeat the last one learned, and say whether these do; from others learn."""
        if (text := self._text(events)) is None:
            self._learn(events)
            return False
        _say(self._field, text, reply)
        return True

    def _text(self, events: bytes) -> str | None:
        before, after = self._before, self._after
        if not before or not events.startswith(before) or not events.endswith(after):
            return None
        # With no quote in any of the texts, each ends where the next event seems to begin, and is the whole of its string.
        if len(events) < len(before) + len(after) or b'\\"' in events:
            return None
        text = b"".join(events[len(before) : -len(after)].split(self._between))
        if b'"' in text:
            return None
        try:
            found: str = orjson.loads(b'"%b"' % text)
        except orjson.JSONDecodeError:
            return None
        self._tries = _TRIES
        return found

    def _learn(self, events: bytes) -> None:
        self._before = b""
        if not self._tries:
            return
        self._tries -= 1
        lines = events.rstrip(b"\r\n")
        last, end = lines[lines.rfind(b"\n") + 1 :], events[len(lines) :]
        said = _text_of(last[5:])
        if said is None or not last.startswith(_OBJECTS) or end not in (b"\n\n", b"\r\n\r\n"):
            return
        self._field, text = said
        before, found, after = last.partition(orjson.dumps(text))
        # That string may stand elsewhere, too.
        if found and _text_of(before[5:] + orjson.dumps(_PROBE) + after) == (self._field, _PROBE):
            self._before, self._after = before + b'"', b'"' + after + end
            self._between = self._after + self._before


def _text_of(payload: bytes) -> tuple[str, str] | None:
    try:
        return _text_alone(orjson.loads(payload))
    except orjson.JSONDecodeError:
        return None


def _add_lines(lines: Sequence[bytes], reply: Reply, api_key: str) -> bool:
    """Add what lines of the stream say; whether any was from the model.

    Lines that come together are parsed together, and chunks that hold text alone, which is nearly all of them, are added
    together: what a token costs is mostly this.
    """
    heard = False
    field = ""
    texts: list[str] = []
    try:
        for chunk in _parsed_together(lines) or _parsed_one_by_one(lines, reply):
            heard = True
            said = _text_alone(chunk)
            if texts and (said is None or said[0] != field):
                _say(field, "".join(texts), reply)
                texts.clear()
            if said is None:
                _add(chunk, reply, api_key)
            else:
                field = said[0]
                texts.append(said[1])
    finally:  # what stood before a line that can't be read has been said all the same
        if texts:
            _say(field, "".join(texts), reply)
    return heard


def _say(field: str, text: str, reply: Reply) -> None:
    if field == "content":
        reply.add_content(text)
    else:
        reply.reasoning_field = field
        reply.add_reasoning(text)


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


_REASONING = ("reasoning_content", "reasoning")
_TEXTS = frozenset({"content", *_REASONING})


def _text_alone(chunk: Any) -> tuple[str, str] | None:
    """The text of a chunk that says nothing else, and its field; nothing of any other, nor of what is no chunk."""
    try:
        (choice,) = chunk["choices"]
        if choice.get("finish_reason") or chunk.get("usage") or "error" in chunk:
            return None
        ((field, text),) = [said for said in choice["delta"].items() if said[1] and said[0] != "role"]
    except (AttributeError, LookupError, TypeError, ValueError):
        return None
    return (field, text) if field in _TEXTS and isinstance(text, str) else None


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
    for name in _REASONING:
        if isinstance(text := delta.get(name), str) and text:
            _say(name, text, reply)
            break
    if text := delta.get("content"):
        reply.add_content(text)
    for call in delta.get("tool_calls") or ():
        function = call.get("function") or {}
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        reply.add_call_delta(call.get("index"), call.get("id") or "", function.get("name") or "", arguments)


async def _refusal(connection: Connection, api_key: str) -> ModelError:
    """What a status other than 200 means, in words."""
    status = connection.status
    body = clean((await _bounded(connection, _ERROR_BODY_LIMIT, cut=True)).decode("utf-8", "replace"))
    log.warning("Model server answered %s: %s", status, _hide(body[:1000], api_key))
    if status in (401, 403):
        return ModelError(f"The model server did not accept the API key ({status}).", "model_auth")
    if status == 429:
        wait = connection.headers.get("retry-after", "")
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
    return mask_text(text.replace(secret, "…") if secret else text)


async def _bounded(connection: Connection, limit: int, *, cut: bool = False) -> bytes:
    """The body up to ``limit`` bytes; more is an error, or left unread with ``cut``."""
    body = bytearray()
    while data := await connection.read():
        body += data
        if len(body) > limit:
            if cut:
                break
            raise ModelError("The model server's answer was too large to read.")
    return bytes(body[:limit])
