"""What model servers send, and the resulting steps, however the bytes are split: the tables are in ``wire``."""

import asyncio
import gzip
import random
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, cast

import brotli
import pytest

from agents.models import compression
from agents.models.http import Connection
from tests.agents.conftest import MakeAgent, steps_of
from tests.agents.models.wire import calls, channels, endings, failures, framing, text_calls, thoughts
from tests.agents.models.wire.transcript import (
    Look,
    Python,
    Table,
    answers,
    body,
    call,
    chunk_of,
    ends,
    result_of,
    shown,
    whole,
)
from tests.model_server import Call, ModelServer, Script

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TRANSCRIPTS: Table = {
    f"{module.__name__.rpartition('.')[2]}: {name}": entry
    for module in (calls, channels, endings, failures, framing, text_calls, thoughts)
    for name, entry in module.TABLE.items()
}
#: Longer ones are split at this many places, evenly: more would show nothing else.
_MOST_CUTS = 500


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_a_body_becomes_the_same_steps_wherever_it_is_cut(name: str) -> None:
    data, expected = TRANSCRIPTS[name]
    assert result_of([data]) == expected, "it was read as something else"
    assert result_of(bytes([byte]) for byte in data) == expected
    for cut in range(1, len(data), 1 + len(data) // _MOST_CUTS):
        assert result_of([data[:cut], data[cut:]]) == expected, f"cut at {cut}: {data[:cut]!r}"
    chance = random.Random(name)
    for _ in range(20):
        edges = sorted({0, len(data), *(chance.randrange(len(data) + 1) for _ in range(chance.randrange(9)))})
        assert result_of([data[a:b] for a, b in pairwise(edges)]) == expected, edges


@pytest.mark.parametrize("name", text_calls.ASKED_FOR)
def test_a_call_within_a_thought_counts_where_it_was_asked_for_in_the_text(name: str) -> None:
    data, expected = text_calls.ASKED_FOR[name]
    assert result_of([data], asks_for_text_calls=True) == expected
    assert result_of((bytes([byte]) for byte in data), asks_for_text_calls=True) == expected


@asynccontextmanager
async def serving(*responses: bytes) -> AsyncIterator[str]:
    """A server that answers requests with these, byte for byte; the last of them is repeated."""
    waiting = list(responses)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
        writer.write(waiting.pop(0) if len(waiting) > 1 else waiting[0])
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


def response(data: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(data)}", "Connection: close"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


async def run_steps(make_agent: MakeAgent, *responses: bytes) -> list[str]:
    """The result of a run whose model calls are answered with these, in the form of `result_of`."""
    async with serving(*responses, response(answers("So."))) as address:
        run = make_agent(server=address, tools=[Python(), Look()]).start("?")
        steps = await steps_of(run)
    here = address.removesuffix("/v1")
    assert run.outcome is not None
    first = [step for step in steps if step["iteration"] == 1 and "step" in step and step["type"] != "tool_result"]
    assert run.outcome.status == ("failed" if run.outcome.error else "completed")
    return [
        *map(shown, first),
        *([f"fails: {run.outcome.error.replace(here, 'http://h')}"] if run.outcome.error else []),
    ]


@pytest.mark.parametrize("name", TRANSCRIPTS)
async def test_a_run_says_the_same(make_agent: MakeAgent, name: str) -> None:
    data, expected = TRANSCRIPTS[name]
    assert await run_steps(make_agent, response(data, "Content-Type: text/event-stream")) == expected


_HELLO = answers("Hello")
_JSON = whole({"content": "Hello"})
_GZIP, _STREAM, _IS_JSON = "Content-Encoding: gzip", "Content-Type: text/event-stream", "Content-Type: application/json"
_ANSWER = ["answer: Hello"]
_MOVED = "fails: The model server sends requests on to another address"


def _wide(data: bytes) -> bytes:
    """Compressed as with a window of 128 MiB."""
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    return packer.compress(data) + packer.flush()


#: Content types and encodings of answers, redirects and the like.
RESPONSES = {
    "packed": (response(gzip.compress(_HELLO), _STREAM, _GZIP), _ANSWER),
    "packed, as zlib does": (response(zlib.compress(_HELLO), _STREAM, "Content-Encoding: deflate"), _ANSWER),
    "packed JSON": (response(gzip.compress(_JSON), _IS_JSON, "content-encoding: GZIP"), _ANSWER),
    "packed twice over": (response(gzip.compress(_HELLO[:40]) + gzip.compress(_HELLO[40:]), _STREAM, _GZIP), _ANSWER),
    "packed, with nothing in it": (
        response(gzip.compress(b""), _STREAM, _GZIP),
        ["fails: The model's answer was cut off before its end."],
    ),
    "packed and cut": (
        response(gzip.compress(body(chunk_of("Hello"), done=False))[:-4], _STREAM, _GZIP),
        ["answer so far: Hello", "fails: The model's answer was cut off before its end."],
    ),
    "said to be packed": (
        response(_HELLO, _STREAM, _GZIP),
        ["fails: The model server's answer could not be understood."],
    ),
    "packed in another way": (
        response(b"\x1b", _STREAM, "Content-Encoding: dcb"),
        ["fails: The model server sent its answer compressed (dcb), though it was asked not to."],
    ),
    **{
        f"an error in {name}": (
            response('{"error": "Too warm 天"}'.encode(name), _IS_JSON, status="500 Oh"),
            ["fails: The model server failed (500): Too warm 天"],
        )
        for name in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")
    },
    "packed very often": (
        response(_HELLO, _STREAM, "Content-Encoding: br, br, br, br"),
        ["fails: The model server sent its answer compressed (br, br, br, br), though it was asked not to."],
    ),
    "not packed": (response(_HELLO, _STREAM, "Content-Encoding: identity"), _ANSWER),
    "packed by Brotli": (response(brotli.compress(_HELLO), _STREAM, "Content-Encoding: br"), _ANSWER),
    "packed by Zstandard": (response(zstd.compress(_HELLO), _STREAM, "Content-Encoding: zstd"), _ANSWER),
    "packed by Zstandard, twice over": (
        response(zstd.compress(_HELLO[:40]) + zstd.compress(_HELLO[40:]), _STREAM, "Content-Encoding: zstd"),
        _ANSWER,
    ),
    "packed by deflate alone": (
        response(zlib.compress(_HELLO, wbits=-15), _STREAM, "Content-Encoding: deflate"),
        _ANSWER,
    ),
    "packed, and packed again": (
        response(brotli.compress(gzip.compress(_HELLO)), _STREAM, "Content-Encoding: identity, gzip, br"),
        _ANSWER,
    ),
    **{
        f"packed and cut: {coding}": (
            response(pack(body(chunk_of("Hello"), done=False))[:-4], _STREAM, f"Content-Encoding: {coding}"),
            [*so_far, "fails: The model's answer was cut off before its end."],
        )
        for coding, pack, so_far in (
            ("br", brotli.compress, []),
            ("zstd", zstd.compress, []),
            ("gzip, zstd", lambda data: zstd.compress(gzip.compress(data)), ["answer so far: Hello"]),
        )
    },
    **{
        f"said to be packed: {coding}": (
            response(_HELLO, _STREAM, f"Content-Encoding: {coding}"),
            ["fails: The model server's answer could not be understood."],
        )
        for coding in ("br", "zstd", "deflate", "br, gzip")
    },
    "packed by Zstandard, for more memory than HTTP allows": (
        response(_wide(_HELLO), _STREAM, "Content-Encoding: zstd"),
        ["fails: The model server's answer could not be understood."],
    ),
    "a packed refusal": (
        response(gzip.compress(b'{"error": "Too warm"}'), _IS_JSON, _GZIP, status="500 Oh"),
        ["fails: The model server failed (500): Too warm"],
    ),
    **{
        f"answered by {status}": (response(_HELLO, _STREAM, status=status), _ANSWER)
        for status in ("201 Created", "202 Accepted", "203 Non-Authoritative", "206 Partial Content", "299 Odd")
    },
    "answered by 204": (
        response(b"", status="204 No Content"),
        ["fails: The model server refused the request (204)."],
    ),
    "rubbish behind the end": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\nzz\r\n" % (len(_HELLO), _HELLO),
        _ANSWER,
    ),
    "a refusal that repeats a long request": (
        response(
            b'{"detail":[{"loc":["body","x"],"msg":"No x","input":"%s"}]}' % (b"maximum context length " * 5_000),
            _IS_JSON,
            status="422 Oh",
        ),
        ["fails: The model server refused the request (422): x: No x"],
    ),
    "a stream called JSON": (response(_HELLO, _IS_JSON), _ANSWER),
    "a stream called text": (response(_HELLO, "Content-Type: text/plain"), _ANSWER),
    "a stream called nothing": (response(_HELLO), _ANSWER),
    "a stream called a page": (response(_HELLO, "Content-Type: text/html"), _ANSWER),
    "JSON called nothing": (response(_JSON), _ANSWER),
    "JSON called a stream": (response(_JSON, _STREAM), _ANSWER),
    "JSON called text": (response(_JSON, "Content-Type: text/plain; charset=utf-8"), _ANSWER),
    "moved": (
        response(b"", "Location: https://there.example/v1/chat/completions?key=sk-1", status="308 Moved"),
        [f"{_MOVED} (308). If that is the right one, set LLM_MODEL_SERVER=https://there.example/v1"],
    ),
    "moved, on this server": (
        response(b"", "Location: /api/v1/chat/completions", status="301 Moved"),
        [f"{_MOVED} (301). If that is the right one, set LLM_MODEL_SERVER=http://h/api/v1"],
    ),
    "moved, with a name in the address": (
        response(b"", "Location: https://mei:sesame@there.example/", status="302 Found"),
        [f"{_MOVED} (302). If that is the right one, set LLM_MODEL_SERVER=https://there.example/"],
    ),
    "moved, nobody knows where": (response(b"", status="307 Moved"), [f"{_MOVED} (307), and does not say which."]),
    "moved, to no address": (
        response(b"", "Location: http://[", status="307 Moved"),
        [f"{_MOVED} (307), and does not say which."],
    ),
}


@pytest.mark.parametrize("name", RESPONSES)
async def test_how_an_answer_is_labelled_and_packed(make_agent: MakeAgent, name: str) -> None:
    data, expected = RESPONSES[name]
    assert await run_steps(make_agent, data) == expected


#: Small bodies that unpack to very much: the encoding, and the function that packs them.
PACKERS = {"gzip": gzip.compress, "br": brotli.compress, "zstd": zstd.compress}


@pytest.mark.parametrize("coding", PACKERS)
@pytest.mark.parametrize("filler", [b"\n", b": wait\n\n", b'data: {"choices":[]}\n\n', b" "])
async def test_a_body_that_unpacks_to_very_much_is_refused(
    make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch, coding: str, filler: bytes
) -> None:
    monkeypatch.setattr(compression, "MOST_UNPACKED", 2 << 20)
    bomb = response(PACKERS[coding](filler * ((3 << 20) // len(filler))), _STREAM, f"Content-Encoding: {coding}")
    assert await run_steps(make_agent, bomb) == ["fails: The model server's answer was too large to read."]


class _Arrived:
    """A connection whose data have all arrived."""

    def __init__(self, coding: str, data: bytes) -> None:
        self.headers = {"content-encoding": coding}
        self._data = [data]

    def pause(self) -> None: ...

    async def read(self) -> bytes:
        return self._data.pop() if self._data else b""


@pytest.mark.parametrize("coding", PACKERS)
async def test_others_have_their_turn_between_the_pieces_of_what_unpacks_to_much(coding: str) -> None:
    arrived = _Arrived(coding, PACKERS[coding](b"\n" * (1 << 20)))
    unpacked = compression.Body(cast(Connection, arrived))
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    other = asyncio.create_task(take_turns())
    pieces = [piece async for piece in _pieces(unpacked)]
    other.cancel()
    assert len(pieces) >= 8
    assert max(map(len, pieces)) <= 1 << 18  # Brotli finishes a piece that it has begun
    assert turns >= len(pieces) - 1


async def _pieces(unpacked: compression.Body) -> AsyncIterator[bytes]:
    while piece := await unpacked.read():
        yield piece


async def test_some_of_very_many_calls_are_run_and_the_model_is_told(make_agent: MakeAgent) -> None:
    data = body(*(call("{}", name="look", id=f"c{n}", index=n) for n in range(10_000)), ends("tool_calls"))
    async with serving(response(data), response(answers("So."))) as address:
        run = make_agent(server=address, tools=[Python(), Look()]).start("?")
        results = [step for step in await steps_of(run) if step["type"] == "tool_result"]
    assert sum(step["ok"] for step in results) == 64
    (refused,) = [step["content"] for step in results if not step["ok"]]
    assert refused.startswith("A turn may hold 64 calls, and this one held 10,000.")
    assert refused in [message["content"] for message in run.messages]


@pytest.mark.parametrize("dialect", ["native", "template"])
async def test_sixty_four_calls_are_all_run(server: ModelServer, make_agent: MakeAgent, dialect: Any) -> None:
    server.enqueue(Script(calls=[Call("echo", {"text": str(n)}) for n in range(64)], dialect=dialect), Script("So."))
    results = [step["ok"] for step in await steps_of(make_agent().start("?")) if step["type"] == "tool_result"]
    assert results == [True] * 64
