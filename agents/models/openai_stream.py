"""A client for OpenAI-compatible servers: one streamed chat completion, read into a `Reply`.

No hidden retries: a request is made once, and errors are raised. Leaving the stream before its end closes the connection, so that the
server stops generating.
"""

import asyncio
import contextlib
import json
import logging

from yarl import URL

from agents import shared_timers
from agents.addresses import mask_address
from agents.errors import ModelError
from agents.models import http
from agents.models.chunks import ServerError
from agents.models.completion_reader import CompletionReader, OtherApi, WebPage
from agents.models.compression import Body
from agents.models.http import Connection, ProxyRefused, Unreachable
from agents.models.refusals import Refused, explain_event, explain_refusal, hide_key, hide_secret
from agents.models.reply import Reply
from agents.sentence import Sentence
from agents.text import clean_text

log = logging.getLogger(__name__)

#: Some servers repeat the request in their error, which can only be parsed completely.
_ERROR_BODY_LIMIT = 256 << 10
#: Seconds that the rest of an error is waited for.
_ERROR_S = 5.0
_NO_CONTENT = 204
_CONNECT_S = 15.0
#: How long the end of the body is waited for after a mark of the stream's end.
_TAIL_S = 0.02
#: And after a finish reason that stands alone, or the usage.
_USAGE_S = 10.0


async def stream_completion(
    url: str, api_key: str, body: bytes, reply: Reply, *, timeout_s: float, public_only: bool = False
) -> None:
    """Post ``body`` to ``url`` and read the answer into ``reply`` as it arrives. Raises `ModelError`.

    ``timeout_s`` is the longest silence in seconds: before the answer, or between two pieces of it. ``public_only`` as for
    `agents.models.http.post`.
    """
    try:
        async with asyncio.timeout(timeout_s) as timeout:
            await _exchange(url, api_key, body, reply, _Silence(timeout, timeout_s), public_only=public_only)
    except (ServerError, OSError, ValueError) as error:
        # After the finish reason, a missing end of the stream loses nothing, and invalid data is ignored. (A timeout is an OSError.)
        is_loss = reply.finish_reason is None or (reply.has_resumed and not reply.done)
        if is_loss or not (reply.done or isinstance(error, OSError)):
            log.warning("Model server %s: %s", mask_address(url), hide_key(repr(error), api_key))
            raise _in_words(error, url, api_key, timeout_s) from error
    finally:
        reply.settle()
    if reply.finish_reason is None:
        raise _cut_off()


class _Silence:
    """Extends a timeout whenever something arrives."""

    def __init__(self, timeout: asyncio.Timeout, longest_s: float) -> None:
        self.longest_s = longest_s
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._valid_until = 0.0

    def touch(self) -> None:
        """Something arrived. The timer is only reset now and then: resetting it for each token would cost more than the token."""
        now = self._loop.time()
        if now > self._valid_until:
            slack = self.longest_s / 20
            self._valid_until = now + slack
            self._timeout.reschedule(now + self.longest_s + slack)

    def at_most(self, seconds: float) -> None:
        """Only the end is due: wait no longer than this from now, in seconds."""
        self._valid_until = 0.0
        when = self._loop.time() + min(seconds, self.longest_s)
        self._timeout.reschedule(min(when, self._timeout.when() or when))


async def _exchange(url: str, api_key: str, body: bytes, reply: Reply, silence: _Silence, *, public_only: bool) -> None:
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream", "Accept-Encoding": "identity"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    connect_s = min(_CONNECT_S, silence.longest_s)
    connection = await http.post(url, headers, body, connect_s=connect_s, public_only=public_only)
    # A connection that is closed before the answer's end cannot be used again.
    with contextlib.closing(connection):
        if 300 <= connection.status < 400:
            raise _sent_elsewhere(connection, url, api_key)
        if not 200 <= connection.status < 300 or connection.status == _NO_CONTENT:
            raise await _refusal(connection, api_key)
        await _read(connection, reply, silence)
        reply.notify()


def _in_words(error: Exception, url: str, api_key: str, timeout_s: float) -> ModelError:
    """The error for people. The order of the cases matters: some of these exceptions are subclasses of others."""
    if isinstance(error, ServerError):
        return explain_event(error.error, api_key)
    if isinstance(error, ProxyRefused):
        return ModelError(error.message, "model_unreachable")
    if isinstance(error, Unreachable):
        return ModelError(
            Sentence("No model server answers at %(address)s.", address=mask_address(url)), "model_unreachable"
        )
    if isinstance(error, WebPage):
        return ModelError(
            Sentence(
                "What answers at %(address)s is a web page, not a model server. "
                "LLM_MODEL_SERVER has to be the base URL of its API, which usually ends in /v1.",
                address=mask_address(url),
            )
        )
    if isinstance(error, OtherApi):
        return ModelError(
            Sentence(
                "What answers at %(address)s speaks another API than OpenAI's chat completions. "
                "LLM_MODEL_SERVER has to be the base URL of that one, which usually ends in /v1.",
                address=mask_address(url),
            )
        )
    if isinstance(error, TimeoutError):
        return ModelError(
            Sentence("The model was silent for %(n)s s, so the run ended.", n=f"{timeout_s:g}"), "model_timeout"
        )
    if isinstance(error, OSError):
        return _cut_off()
    return ModelError(Sentence("The model server's answer could not be understood."))


def _cut_off() -> ModelError:
    return ModelError(Sentence("The model's answer was cut off before its end."), "model_cut_off")


async def _read(connection: Connection, reply: Reply, silence: _Silence) -> None:
    body, reader = Body(connection), CompletionReader(reply)
    reading = _Reading(body, reader, reply, silence)
    while data := await body.read():
        if pause := reading.add(data):
            await reading.pause(pause)
    reader.close()


class _Reading:
    """Adds the body of an answer to a reply as it arrives, and no sooner than it can be shown."""

    def __init__(self, body: Body, reader: CompletionReader, reply: Reply, silence: _Silence) -> None:
        self._body, self._reader, self._reply, self._silence = body, reader, reply, silence

    def add(self, data: bytes) -> float:
        """Add a piece. Returns for how many seconds to read no more."""
        reply, silence = self._reply, self._silence
        has_content = self._reader.feed(data)
        if has_content:
            reply.notify()
        if reply.done:
            # Only the end of the body is due; without it the connection cannot be used again.
            silence.at_most(_TAIL_S)
        elif reply.end_is_sure:
            silence.at_most(_USAGE_S)
        elif has_content:
            silence.touch()
        return reply.pause() if reply.finish_reason is None else 0.0

    async def pause(self, pause_s: float) -> None:
        """The machine is busy: data that arrives meanwhile waits in the socket, and is read at once afterwards.

        If there is any, and the next pause follows, the task is not woken between the two: that would cost as much as reading.
        """
        self._over = asyncio.get_running_loop().create_future()
        self._wait(pause_s)
        try:
            await self._over
        finally:
            self._timer.cancel()

    def _wait(self, pause_s: float) -> None:
        self._body.pause()
        self._timer = shared_timers.call_later(pause_s, self._read_on)

    def _read_on(self) -> None:
        if self._over.done():  # cancelled
            return
        try:
            self._reply.resume()
            data = self._body.read_now()
            pause = self.add(data) if data else 0.0
        except Exception as error:  # noqa: BLE001 - raised where the task waits
            self._over.set_exception(error)
            return
        if pause:
            self._wait(pause)
        else:
            self._over.set_result(None)


def _sent_elsewhere(connection: Connection, url: str, api_key: str) -> ModelError:
    """The error for a redirect, with its target. Redirects are not followed: that would send the key along."""
    try:
        target = URL(connection.headers.get("location", ""))
        target = (URL(url).join(target)).with_user(None).with_query(None).with_fragment(None)
        base = str(target).removesuffix("/chat/completions")
    except ValueError:
        base = ""
    if not base or base == url.removesuffix("/chat/completions"):
        return ModelError(
            Sentence(
                "The model server sends requests on to another address (%(status)d), and does not say which.",
                status=connection.status,
            )
        )
    return ModelError(
        Sentence(
            "The model server sends requests on to another address (%(status)d). "
            "If that is the right one, set LLM_MODEL_SERVER=%(address)s",
            status=connection.status,
            address=hide_secret(base[:300], api_key),
        )
    )


async def _refusal(connection: Connection, api_key: str) -> Refused:
    """The error in an answer with a status other than 200."""
    data = await _bounded(connection, _ERROR_BODY_LIMIT)
    # Gateways on Windows send UTF-16.
    body = clean_text(data.decode(json.detect_encoding(data) if b"\0" in data else "utf-8", "replace"))
    log.warning("Model server answered %s: %s", connection.status, hide_key(body[:1000], api_key))
    return explain_refusal(connection.status, connection.headers, body, api_key)


async def _bounded(connection: Connection, limit: int) -> bytes:
    """At most ``limit`` bytes of the body; the rest is left unread, and an incomplete body is used as it is."""
    body = bytearray()
    unpacked = Body(connection)
    with contextlib.suppress(OSError, ValueError):  # a timeout is an OSError, too
        async with asyncio.timeout(_ERROR_S):
            while data := await unpacked.read():
                body += data
                if len(body) > limit:
                    break
    return bytes(body[:limit])
