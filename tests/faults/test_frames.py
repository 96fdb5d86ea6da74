"""What no proper client sends: broken framing, floods, nonsense in every field. Other clients of the server must not notice."""

import asyncio
import contextlib
import itertools
import json
import math
import os
import time
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat.protocol import COMMANDS, ERROR_CODES, STORED, UNSTORED
from tests.faults.bystander import Bystander
from tests.faults.invariants import MB, check_costs
from tests.faults.raw_socket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    NO_CLOSE_FRAME,
    PING,
    PONG,
    TEXT,
    RawSocket,
    frame,
)
from tests.serving import Browser, Server

#: They share a product: in two processes of the tests it would be started twice.
pytestmark = pytest.mark.xdist_group("served")

PING_COMMAND = json.dumps({"type": "ping"})
TOO_LARGE = 4413


async def works(bo: Browser) -> None:
    """Check that a run completes."""
    async with bo.socket(await bo.new_session()) as socket:
        await socket.send("chat", message="Say [tokens=2]")
        assert (await socket.until_type("reasoning_complete"))["data"]["status"] == "completed"


async def until_answer(raw: RawSocket, kind: str) -> dict[str, Any]:
    """Read frames until one has this type."""
    while True:
        answer = await raw.message()
        if answer["type"] == kind:
            return answer


BROKEN = {
    "not masked": frame(PING_COMMAND, masked=False),
    "reserved bit": frame(PING_COMMAND, reserved=4),
    "all reserved bits": frame(PING_COMMAND, reserved=7),
    "reserved opcode of data": frame(b"", 3),
    "reserved opcode of control": frame(b"", 11),
    "continuation of nothing": frame(b"x", CONTINUATION),
    "text within a message": frame(b"x", fin=False) + frame(b"y"),
    "ping in pieces": frame(b"x", PING, fin=False),
    "ping too long": frame(b"x" * 126, PING),
    "close too long": frame(b"x" * 126, CLOSE),
    "close of one byte": frame(b"\x03", CLOSE),
    "close with a code that is none": frame((999).to_bytes(2, "big"), CLOSE),
    "close with a reserved code": frame((1005).to_bytes(2, "big"), CLOSE),
    "close with words that are no UTF-8": frame((1000).to_bytes(2, "big") + b"\xff", CLOSE),
    "text that is no UTF-8": frame(b"\xc3\x28"),
    "UTF-8 of a surrogate": frame(b"\xed\xa0\x80"),
    "UTF-8 that breaks off": frame(b"\xf0\x9f\x99", fin=False) + frame(b"", CONTINUATION),
    "length of 2^62": frame(b"", length=1 << 62),
    "length of 2^63 - 1": frame(b"", BINARY, length=(1 << 63) - 1),
    "length with the highest bit": frame(b"", length=1 << 63),
    "one byte over 1 MiB": frame(b"x" * (MB + 1)),
    "over 1 MiB in pieces": frame(b"x" * MB, fin=False) + frame(b"xx", CONTINUATION),
    "no WebSocket at all": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_framing_that_is_broken_ends_that_connection_alone(bo: Browser, kind: str) -> None:
    """Frame fuzz: one violation of the WebSocket protocol on one connection, while another goes on."""
    session = await bo.new_session()
    async with bo.socket(session) as other, RawSocket.open(bo, session) as raw:
        await until_answer(raw, "session")
        await raw.write(BROKEN[kind])
        assert await raw.ending() in (1002, 1005, 1007, 1009, 1000, TOO_LARGE, NO_CLOSE_FRAME)
        await other.send("ping")
        await other.until_type("pong")


@pytest.mark.parametrize("pieces", [1, 50])
async def test_a_small_message_that_unfolds_to_very_much(
    served: Server, bo: Browser, others: Bystander, pieces: int
) -> None:
    """Huge message: 256 MB of zeros, compressed to a thousandth; sent by a client with negotiated compression, if the server offers it."""
    packer = zlib.compressobj(wbits=-15)
    packed = b"".join(packer.compress(b"\x00" * MB) for _ in range(256)) + packer.flush(zlib.Z_SYNC_FLUSH)
    size = len(packed) // pieces + 1
    parts = [packed[start : start + size] for start in range(0, len(packed), size)]
    bomb = b"".join(
        frame(part, CONTINUATION if number else TEXT, fin=part is parts[-1], reserved=0 if number else 4)
        for number, part in enumerate(parts)
    )
    session = await bo.new_session()
    served.rest()
    async with RawSocket.open(
        bo, session, extensions="permessage-deflate; client_no_context_takeover; server_no_context_takeover"
    ) as raw:
        await raw.write(frame(PING_COMMAND))
        with contextlib.suppress(ConnectionError):
            await raw.write(bomb)
        assert await raw.ending() in (1002, 1009, TOO_LARGE, NO_CLOSE_FRAME)
    await check_costs(served, 1, others)
    await works(bo)


async def test_framing_that_is_odd_but_allowed(bo: Browser) -> None:
    """Frame fuzz: fragments, empty fragments, pings between them, unsolicited pongs, one byte at a time."""
    async with RawSocket.open(bo, await bo.new_session()) as raw:
        await raw.write(frame(b"unasked", PONG) + frame(PING_COMMAND[:5], fin=False) + frame(b"", PING))
        await raw.write(frame(b"", CONTINUATION, fin=False) + frame(PING_COMMAND[5:], CONTINUATION))
        await until_answer(raw, "pong")
        for byte in frame(PING_COMMAND):
            await raw.write(bytes([byte]))
        await until_answer(raw, "pong")
        in_pieces = [frame(PING_COMMAND[:1], fin=False)]
        in_pieces += [frame(character, CONTINUATION, fin=False) for character in PING_COMMAND[1:]]
        await raw.write(
            b"".join([*in_pieces, *[frame(b"", CONTINUATION, fin=False)] * 10_000, frame(b"", CONTINUATION)])
        )
        await until_answer(raw, "pong")
        await raw.write(frame((1000).to_bytes(2, "big"), CLOSE))
        assert await raw.ending() == 1000


async def test_half_a_frame_hinders_nobody(bo: Browser) -> None:
    """Frame fuzz: connections that begin a frame and never finish it stay open and do not disturb others."""
    session = await bo.new_session()
    async with RawSocket.open(bo, session) as one, RawSocket.open(bo, session) as two:
        await one.write(frame(PING_COMMAND)[:1])
        await two.write(frame(b"x" * 1000, length=MB)[:500])
        await works(bo)
        await one.write(frame(PING_COMMAND)[1:])
        await until_answer(one, "pong")


FLOODS: dict[str, bytes] = {
    "small commands": frame(PING_COMMAND) * 1_000,
    "large commands": frame(json.dumps({"type": "chat", "payload": {"message": "x" * 60_000}})) * 16,
    "messages of 1 MiB": frame(json.dumps({"type": "ping", "payload": {"x": "y" * (MB - 100)}})),
    "a message without end": frame(b"x" * 65_000, fin=False) + frame(b"x" * 65_000, CONTINUATION, fin=False) * 100,
    "a message of endless empty pieces": frame(b"x", fin=False) + frame(b"", CONTINUATION, fin=False) * 50_000,
    "pings": frame(b"x" * 125, PING) * 1_000,
    "pongs": frame(b"", PONG) * 20_000,
    "deep nesting": frame('{"type":"chat","payload":' + "[" * 1_000_000),
    "many small values": frame('{"type":"chat","payload":{"message":"x","y":[' + "0," * 500_000 + "0]}}"),
    "frames that are no commands": frame("{") * 1_000,
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_costs_bounded_memory_and_nobody_elses_time(
    served: Server, bo: Browser, others: Bystander, kind: str
) -> None:
    """Flood: one client sends up to 400 MB as fast as it can and reads the answers; others are served as quickly as before."""
    async with RawSocket.open(bo, await bo.new_session()) as raw:
        served.rest()
        others.begin_anew()
        reading = asyncio.create_task(raw.ending())
        assert await raw.flood(FLOODS[kind], total=400 * MB, within_s=0.5) > 0
        await check_costs(served, 1, others)
        reading.cancel()


@pytest.mark.long
async def test_thirty_floods_at_once(served: Server, bo: Browser, others: Bystander) -> None:
    """Flood: thirty clients at once, of different kinds, for ten seconds."""
    served.rest()
    others.begin_anew()
    kinds = [*FLOODS.values()] * 3

    async def flood(data: bytes) -> None:
        async with RawSocket.open(bo, await bo.new_session()) as raw:
            reading = asyncio.create_task(raw.ending())
            await raw.flood(data, total=1 << 40, within_s=10.0)
            reading.cancel()

    await asyncio.gather(*(flood(data) for data in kinds))
    await check_costs(served, len(kinds), others)
    await works(bo)


# JSON

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**30, -(10**400), 2**53, 2**63, -(2**63), math.nan, math.inf, 1e308, -0.0])
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["__proto__", "constructor", "", "\x00", "a", "\ud800"]), inner, max_size=4)
    ),
    max_leaves=10,
)
FIELDS = [
    "message",
    "agent_name",
    "enable_reasoning",
    "client_message_id",
    "run_id",
    "all",
    "last_seq",
    "last_id",
    "seq",
]
payloads = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), json_values, max_size=5) | json_values
#: A command that would start a run is fuzzed too, but with a message that is refused.
commands = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from([*COMMANDS, "other", "toString"]) | json_values,
        "payload": payloads,
        "": json_values,
    },
)
texts = (
    commands.map(lambda value: json.dumps(value).encode())
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.text(max_size=60).map(str.encode)
    | st.sampled_from(
        [
            b"",
            b"[" * 100_000,
            b'{"a":' * 50_000,
            b'{"type":"ping","payload":{"n":' + b"9" * 5_000 + b"}}",
            b'{"type":"ping","type":"ack","type":"dance"}',
            b'{"type":"ack","payload":{"seq":1,"seq":-1}}',
            b'{"type":"ack","payload":{"seq":1e400}}',
            b'{"type":"resume","payload":{"last_seq":9223372036854775808}}',
            b'{"type":"resume","payload":{"last_seq":"\xd9\xa3"}}',
            b'{"type":"resume","payload":{"last_seq":1,"last_id":{"a":[]}}}',
            b'{"type":"chat","payload":{"message":"\\ud83d"}}',
            b'{"type":"chat","payload":{"message":"\\u0000"}}',
            b'\xef\xbb\xbf{"type":"ping"}',
            b'{"type":"cancel","payload":{"run_id":"' + b"x" * 60_000 + b'"}}',
        ]
    )
)


async def answers_to(raw: RawSocket, text: bytes, number: int) -> list[dict[str, Any]]:
    """Send a frame and then an unknown command; returns the answers that come before the refusal of the latter."""
    behind = f"behind {number}"
    await raw.write(frame(text) + frame(json.dumps({"type": behind})))
    answers: list[dict[str, Any]] = []
    while True:
        answer = await raw.message()
        if answer["type"] == "error" and behind in answer["data"]["message"]:
            return answers
        answers.append(answer)


async def fuzz(bo: Browser, examples: int) -> None:
    """Send this many frames of nonsense on one socket; each is answered by an error or not at all, and none closes the socket."""
    async with RawSocket.open(bo, await bo.new_session()) as raw:
        await until_answer(raw, "session")
        loop = asyncio.get_running_loop()
        numbers = itertools.count()

        @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(texts)
        def one(text: bytes) -> None:
            answers = asyncio.run_coroutine_threadsafe(answers_to(raw, text, next(numbers)), loop).result(30)
            for answer in answers:
                assert answer["type"] in (*STORED, *UNSTORED), (text, answer)
                if answer["type"] == "error":
                    assert answer["data"]["code"] in ERROR_CODES, (text, answer)
                    assert answer["data"]["code"] not in ("internal", "storage"), (text, answer)
                    assert answer["data"]["message"], (text, answer)

        await asyncio.to_thread(one)
    await works(bo)


async def test_nonsense_gets_an_error_and_the_socket_stays_open(bo: Browser) -> None:
    """JSON fuzz: depth, huge numbers, NaN, duplicate keys, lone surrogates, NUL, wrong types, unknown commands."""
    await fuzz(bo, 80)


@pytest.mark.long
async def test_two_thousand_pieces_of_nonsense(bo: Browser) -> None:
    """JSON fuzz: the same, 2,000 times."""
    await fuzz(bo, 2_000)


async def test_bytes_at_random(bo: Browser) -> None:
    """Frame fuzz: connections that send random bytes after a valid handshake."""
    for seed in range(20):
        async with RawSocket.open(bo, await bo.new_session()) as raw:
            await raw.write(os.urandom(200 * (1 + seed % 5)) + b"\x00" * 4096)
            began = time.monotonic()
            async with asyncio.timeout(5):
                await raw.ending()
            assert time.monotonic() - began < 5
    await works(bo)
