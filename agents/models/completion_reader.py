"""Reads the body of a streamed completion into a reply, however its bytes are cut: as an event stream, or as JSON where it is that.

What a token costs is mostly what is done here.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from agents.errors import ModelError
from agents.models.chunks import ServerError, add_chunk
from agents.models.reply import Reply
from agents.models.text_chunks import TextReader
from agents.sentence import Sentence

log = logging.getLogger(__name__)

#: The size limit in bytes of one event of a stream, or of a whole unstreamed answer.
EVENT_LIMIT = 4 << 20

_MARK = b"\xef\xbb\xbf"
_OBJECTS = (b"data: {", b"data:{")
_DONE = object()
#: How servers and proxies mark the end of a stream.
_ENDS = frozenset({b"[DONE]", b"[done]", b"[Done]", b"DONE", b'"[DONE]"'})
_LONGEST_END = 1 + max(map(len, _ENDS))
_KNOWN_KEYS = frozenset({"choices", "error", "errors"})
#: Keys in the answers of other APIs: Anthropic's, OpenAI's Responses, Ollama's, Gemini's, text-generation-inference's, lists of models.
_OTHER_KEYS = frozenset(
    {
        "delta",
        "content_block",
        "response",
        "output",
        "message",
        "candidates",
        "token",
        "generated_text",
        "data",
        "content",
        "models",
    }
)
_END_EVENTS = frozenset({b"done", b"end", b"close"})


class WebPage(ValueError):
    """The body is an HTML page."""


class OtherApi(ValueError):
    """The body is the answer of another API."""


class CompletionReader:
    """Fed with the pieces of a body, adds their content to a reply.

    Its methods raise `ModelError`, `ServerError`, or `ValueError` for a body that is not a completion.
    """

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._texts = TextReader()
        self._pending = bytearray()
        self._is_json: bool | None = None
        self._ends_in_return = False
        self._event = b""
        self._data: bytearray | None = None
        self._error: Any = None
        self._note = ""
        self._has_data = self._is_odd = self._is_foreign = False

    def feed(self, data: bytes) -> bool:
        """Add a piece of the body. Returns whether any of it was from the model; data that only keeps the connection open is not."""
        if self._is_json is None and not (data := self._sniff(data)):
            return False
        if self._is_json:
            self._pend(data, Sentence("The model server's answer was too large to read."))
            return True
        if b"\r" in data or self._ends_in_return:
            data = self._without_returns(data)
        end = data.rfind(b"\n") + 1
        if not end:
            self._pend(data, Sentence("The model server sent an event too large to read."))
            return False
        if self._pending or end < len(data):
            data, self._pending = bytes(self._pending) + data[:end], bytearray(data[end:])
        if self._reply.done:
            return False
        has_data = self._add_text_alone(data) or self._add_lines(data[:-1].split(b"\n"))
        self._has_data |= has_data
        return has_data

    def close(self) -> None:
        """Called when the body has ended."""
        if self._is_json:
            self._add_whole(bytes(self._pending))
        elif not self._reply.done:
            self._add_lines([bytes(self._pending)], is_all=True)
        if self._is_foreign and not self._reply.parts:
            raise OtherApi("an object without choices")
        if self._is_json or self._reply.finish_reason is not None:
            return
        if self._error is not None:
            raise ServerError(self._error)
        if self._note and not self._reply.parts:
            raise ServerError(self._note)
        if not self._has_data and self._is_odd:
            raise ValueError("not an event stream")

    # -- what kind of body ------------------------------------------------------------------------

    def _sniff(self, data: bytes) -> bytes:
        """The body so far, as soon as its kind is known: servers label it in many ways, or not at all."""
        self._pending += data
        begun = bytes(self._pending)
        text = begun.removeprefix(_MARK).lstrip()
        if not text or _MARK.startswith(begun):
            return b""
        if text.startswith(b"<"):
            raise WebPage("a web page")
        self._is_json = text.startswith((b"{", b"["))
        self._pending.clear()
        return begun.removeprefix(_MARK)

    def _pend(self, data: bytes, words: str) -> None:
        self._pending += data
        if len(self._pending) > EVENT_LIMIT:
            raise ModelError(words)

    def _without_returns(self, data: bytes) -> bytes:
        """The data with all line ends as line feeds: a carriage return alone ends a line, too."""
        if self._ends_in_return:
            data = b"\r" + data
        self._ends_in_return = data.endswith(b"\r")
        if self._ends_in_return:
            data = data[:-1]
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _add_whole(self, body: bytes) -> None:
        """Add the answer of a server that does not stream, or that sends a line of JSON for each chunk."""
        try:
            chunks = [_parsed(body)]
        except ValueError:
            chunks = _run_together(body.strip()) or [_parsed(line) for line in body.splitlines() if line.strip()]
        is_one = len(chunks) == 1
        for each in chunks:
            for chunk in each if isinstance(each, list) else [each]:
                if chunk is _DONE:
                    self._end()
                    continue
                self._look_at(chunk)
                if (other := add_chunk(chunk, self._reply)) is not None:
                    raise ServerError(other)
        if is_one and self._reply.finish_reason is None:
            self._end_unsaid()

    def _look_at(self, chunk: Any) -> None:
        """Raise `OtherApi` for an object of another API: without choices, and with a key of those."""
        if isinstance(chunk, dict) and not chunk.keys() & _KNOWN_KEYS:
            self._is_foreign |= bool(chunk.keys() & _OTHER_KEYS) or isinstance(chunk.get("message"), dict)

    def _end(self) -> None:
        """The server has marked the end of the stream."""
        self._reply.done = True
        if self._reply.finish_reason is None and self._error is None and (self._reply.parts or not self._note):
            self._end_unsaid()

    def _end_unsaid(self) -> None:
        """The body has ended without such a mark and without a finish reason."""
        log.info("A model server gave no finish reason; its answer counts as complete.")
        self._reply.end("stop")

    # -- the event stream -------------------------------------------------------------------------

    def _add_text_alone(self, events: bytes) -> bool:
        """Add events that contain only new text of one field, which nearly all do; False, with nothing added, for others."""
        reply = self._reply
        if reply.choice is None or self._event or self._data is not None:
            return False
        read = self._texts.read(events, reply.choice)
        if read is None or read[0] not in reply.texts.plain:
            return False
        reply.add_field_text(*read)
        return True

    def _add_lines(self, lines: Sequence[bytes], *, is_all: bool = False) -> bool:
        """Add lines of the stream; returns whether any was from the model. Lines that arrive together are parsed together."""
        has_data = False
        for chunk in self._parsed_together(lines) or self._parsed_one_by_one(lines, is_all=is_all):
            has_data = True
            if chunk is _DONE:
                self._end()
            else:
                self._look_at(chunk)
                self._error = add_chunk(chunk, self._reply) or self._error
        return has_data

    def _parsed_together(self, lines: Sequence[bytes]) -> list[Any] | None:
        """The data of the lines; None if any of them is unusual."""
        payloads = [line[5:] for line in lines if line.startswith(_OBJECTS)]
        if len(payloads) + lines.count(b"") != len(lines) or self._event or self._data is not None:
            return None
        try:
            chunks: list[Any] = orjson.loads(b"[%b]" % b",".join(payloads))
        except orjson.JSONDecodeError:
            return None
        return chunks if len(chunks) == len(payloads) else None

    def _parsed_one_by_one(self, lines: Sequence[bytes], *, is_all: bool) -> Iterator[Any]:
        """The same line by line, by the standard; but data that is valid JSON is not held back until its event ends."""
        for line in [*lines, b""] if is_all else lines:
            name, _, value = line.partition(b":")
            if not line:
                if self._data is not None:
                    yield from self._dispatched(bytes(self._data), is_cut=is_all and line is not lines[0])
                self._event, self._data = b"", None
            elif name == b"event":
                self._event = value.strip()
            elif name == b"error":  # llama.cpp's own field
                yield {"error": _parsed_or_text(value)}
            elif name == b"data":
                if not self._reply.done:
                    yield from self._data_line(value)
            elif line.startswith(b"{") and (error := _error_line(line)) is not None:
                yield error
            elif name not in (b"", b"id", b"retry") and line.strip():
                self._is_odd = True

    def _data_line(self, value: bytes) -> Iterator[Any]:
        if self._data is not None:
            self._data += b"\n" + value
            if len(self._data) > EVENT_LIMIT:
                raise ModelError(Sentence("The model server sent an event too large to read."))
        elif (value := _undoubled(value)) in _ENDS:
            yield _DONE
        elif value:
            try:
                chunk = _parsed(value)
            except ValueError:
                if several := _run_together(value):
                    for each in several:
                        yield from [_DONE] if each is _DONE else self._chunks(each)
                    return
                self._data = bytearray(value)
            else:
                yield from self._chunks(chunk)

    def _dispatched(self, data: bytes, *, is_cut: bool) -> Iterator[Any]:
        """The data of an event whose single lines were not JSON."""
        try:
            yield from self._chunks(_parsed(data))
        except ValueError:
            if data.lstrip().startswith((b"{", b"[")) and self._event != b"error":
                if is_cut:  # cut off, so not a complete event
                    return
                raise
            self._note = data.decode("utf-8", "replace").strip()
            if self._event == b"error":
                raise ServerError(self._note) from None

    def _chunks(self, chunk: Any) -> Iterator[Any]:
        if self._event == b"error" and isinstance(chunk, dict | str):
            raise ServerError(chunk)
        if self._event in _END_EVENTS and not chunk:
            yield _DONE
            return
        if isinstance(chunk, list):
            yield from chunk
        elif isinstance(chunk, dict):
            yield chunk


def _parsed(payload: bytes) -> Any:
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        # orjson refuses lone surrogates, which occur when a server splits its escapes anywhere.
        try:
            # It also refuses what some servers do not escape, as tabs and form feeds in strings.
            return json.loads(payload.removeprefix(_MARK).decode("utf-8", "replace"), strict=False)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


def _error_line(line: bytes) -> Any:
    """The error in a line that belongs to no event, as gateways write it into a broken stream; None for other lines."""
    try:
        parsed = _parsed(line)
    except ValueError:
        return None
    return parsed if parsed.get("error") else None


def _undoubled(value: bytes) -> bytes:
    """The data of a line, without the field name that some proxies repeat before it."""
    value = value.strip()
    for _ in range(_MOST_DOUBLED):
        if not value.startswith(b"data:"):
            break
        value = value[5:].strip()
    return value


_MOST_DOUBLED = 4


def _run_together(value: bytes) -> list[Any]:
    """The events in a line whose line ends are missing; None for other lines."""
    if value.count(b'{"') < 2 or not value.endswith((b"}", *_ENDS)):
        return []
    found: list[Any] = []
    text, at = value.decode("utf-8", "replace"), 0
    while at < len(text):
        if text.startswith("data:", at):
            at += len("data:")
        elif text[at].isspace():
            at += 1
        elif text[at : at + _LONGEST_END].encode("utf-8", "replace") in _ENDS:
            return [*found, _DONE]
        else:
            try:
                parsed, at = _DECODER.raw_decode(text, at)
            except (ValueError, RecursionError):
                return []
            found.append(parsed)
    return found


_DECODER = json.JSONDecoder(strict=False)


def _parsed_or_text(value: bytes) -> Any:
    try:
        return _parsed(value)
    except ValueError:
        return value.decode("utf-8", "replace").strip()
