"""Sessions of ten thousand steps: opened, resumed, and watched by many."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.benchmarks.measuring import percentile
from tests.faults.bystander import Bystander
from tests.faults.conftest import Record
from tests.faults.invariants import MB, check_costs
from tests.faults.rows import make_long_session
from tests.faults.world import USUAL
from tests.model_server import ModelServer
from tests.serving import ACK_EVERY, Browser, Server, serving

STEPS, CHARACTERS = 10_000, 3_000


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The product on one process."""
    with ModelServer() as model:
        llm = {"LLM_MODEL_SERVER": model.url, "LLM_MODEL": "stub", "LLM_API_KEY": "key"}
        with serving(tmp_path_factory.mktemp("long"), "ada", "bo", **USUAL, **llm) as server:
            yield server
            assert "Traceback" not in "".join(server.output), "".join(server.output)


@pytest.fixture(scope="module")
def session(product: Server) -> str:
    """A session of 10,000 steps and 30 MB."""
    return make_long_session(product, "bo", STEPS, CHARACTERS)


@pytest.fixture(scope="module")
async def bo(product: Server) -> AsyncIterator[Browser]:
    """Its owner."""
    async with Browser.logged_in(product.url, "bo") as browser:
        yield browser


async def read(bo: Browser, session: str, after: int = 0) -> float:
    """Read from after a number to the last event; returns the seconds from opening the socket to the last frame.

    The frames are checked afterwards, so that reading takes no longer than it must.
    """
    texts: list[str] = []
    began = time.monotonic()
    async with bo.socket(session, f"?last_seq={after}") as socket:
        head = (await socket.receive())["data"]["last_seq"]
        assert head >= STEPS
        async for text in socket.connection:
            # Frames of presence come in between.
            if '"seq":' not in text[:60]:
                continue
            texts.append(text)
            if len(texts) % ACK_EVERY == 0:
                await socket.send("ack", seq=after + len(texts))
            if after + len(texts) == head:
                break
        took = time.monotonic() - began
    assert [json.loads(text)["seq"] for text in texts] == list(range(after + 1, head + 1))
    return took


@pytest.mark.long
async def test_ten_thousand_steps_replay_in_two_seconds(bo: Browser, session: str, record_property: Record) -> None:
    """A late joiner: all of a session of 10,000 steps and 30 MB, three times; the median counts."""
    took = percentile([await read(bo, session) for _ in range(3)], 0.5)
    record_property("s", round(took, 2))
    assert took <= 2.0


@pytest.mark.long
async def test_a_client_five_events_behind_resumes_at_once(bo: Browser, session: str, record_property: Record) -> None:
    """Resume deep in a long session: five events before its end, twenty times; the median counts."""
    took = percentile([await read(bo, session, STEPS - 5) for _ in range(20)], 0.5)
    record_property("ms", round(1000 * took))
    assert took <= 0.05


@pytest.mark.long
async def test_fifty_viewers_replay_a_long_session_at_once(
    product: Server, bo: Browser, session: str, record_property: Record
) -> None:
    """Fifty viewers open the same long session at once: each gets all of it, memory stays bounded, others are served."""
    await read(bo, session)
    async with Bystander.beside(bo) as others:
        product.rest()
        await asyncio.gather(*(read_with_patience(bo, session) for _ in range(50)))
        await check_costs(product, 50, others)
    record_property("MB", round(product.most_taken / MB))


async def read_with_patience(bo: Browser, session: str) -> None:
    """Read all of it, keeping only the numbers; the time limit allows for fifty clients in one process."""
    expected = 0
    async with bo.socket(session, ping_interval=None) as socket:
        head = (await socket.receive(60))["data"]["last_seq"]
        while expected < head:
            frame = await socket.receive(60)
            socket.frames.clear()
            if "seq" in frame:
                expected += 1
                assert frame["seq"] == expected


@pytest.mark.long
async def test_a_session_grows_while_it_is_replayed(bo: Browser, session: str) -> None:
    """A late joiner while a run writes: the replay goes over into live events without a gap or a duplicate."""
    async with bo.socket(session, f"?last_seq={STEPS}") as asking:
        await asking.send("chat", message="Tell [reasoning=10 tokens=100 every=5 call=current_time:{}]")
        await asking.until_type("reasoning_start")
        async with bo.socket(session) as late:
            end = await asking.until_type("reasoning_complete")
            await late.until(lambda f: f.get("seq") == end["seq"], 30)
            assert [f["seq"] for f in late.stored()] == list(range(1, end["seq"] + 1))
