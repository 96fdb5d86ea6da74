"""What holds on every channel layer: in memory, both of Redis, one that loses and reorders, one that delivers nothing, one that fails."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from channels.layers import channel_layers
from channels_redis.core import RedisChannelLayer

from chat.live import registry as feed_registry
from chat.live.handshake import Login
from chat.models import Run, RunStatus
from chat.protocol import WINDOW
from chat.runs import executor, publisher, recorder
from chat.runs import registry as run_registry
from chat.runtime import groups
from chat.runtime.layers import ProcessChannelLayer
from chat.runtime.redis_layer import SharedChannelLayer
from chat.store.drafts import Draft
from tests.chat import making
from tests.chat.following import Broken, Client, Losing, Silent, started, store, watching
from tests.faults.world import until

__all__ = ["started", "watching"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]

LAYERS: dict[str, Callable[[str], Any]] = {
    "in memory": lambda _: ProcessChannelLayer(capacity=2_000),
    "in memory, nearly full": lambda _: ProcessChannelLayer(capacity=1),
    "Redis": lambda address: RedisChannelLayer(hosts=[address]),
    "Redis, nearly full": lambda address: RedisChannelLayer(hosts=[address], capacity=1),
    "Redis, published": lambda address: SharedChannelLayer(hosts=[address]),
    "loses and mixes up": lambda _: Losing(5),
    "never delivers": lambda _: Silent(),
    "fails": lambda _: Broken(),
}
DELIVERS = ("in memory", "Redis", "Redis, published")
#: If more than a window were sent, it would have arrived within this time.
MORE_WITHIN_S = 2.0


@pytest.fixture(params=LAYERS)
async def layer(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Any]:
    """The channel layer that the product uses in the test."""
    chosen = LAYERS[request.param](redis_url)
    old = channel_layers.set("default", chosen)
    yield chosen
    if hasattr(chosen, "close_pools"):
        await chosen.close_pools()
    elif isinstance(chosen, SharedChannelLayer):
        await chosen.flush()
    channel_layers.backends.pop("default", None)
    if old is not None:
        channel_layers.set("default", old)


def only(*names: str) -> pytest.MarkDecorator:
    """Run a test on some of the layers."""
    return pytest.mark.parametrize("layer", names, indirect=True)


async def test_each_event_comes_once_in_order_and_soon(started: tuple[Run, Login]) -> None:
    """Whatever the layer does with group messages: each event once, in order, within two seconds; for early and late clients alike."""
    run, login = started
    early = await Client().join(run, login)
    await store(run, 20)
    late = await Client().join(run, login, after=12)
    await store(run, 20, after=20)
    for client in (early, late):
        await client.until(lambda client=client: client.seqs[-1:] == [40], 2)  # type: ignore[misc]
    assert early.seqs == list(range(1, 41))
    assert late.seqs == list(range(13, 41))


@only("in memory", "Redis", "Redis, published", "loses and mixes up")
async def test_a_text_in_progress_is_put_together_and_repaired(started: tuple[Run, Login]) -> None:
    """Pieces of a text in progress are lost, duplicated and reordered: none is put in the wrong place, and the whole text comes again."""
    run, login = started
    client = await Client().join(run, login)
    drafts_abroad = publisher.DraftPublisher(run.session_id)
    text, whole = "", 0
    for number in range(200):
        text += f"{number} 天 "
        drafts_abroad.publish(Draft(run.pk, 1, "thought", 1, text))
        await asyncio.sleep(0.03)  # as fast as a model writes
        shown = client.text.get(1, "")
        assert text.startswith(shown)
        whole += shown == text
        if number >= 30 and whole:
            break
    assert whole, "what was missing never came"


@only(*DELIVERS)
async def test_group_members_receive_messages_until_they_leave(layer: Any, watching: None) -> None:
    """Two groups whose members come and go: each receives its own group's messages, from joining to leaving."""
    received: dict[str, list[int]] = {"a": [], "b": [], "late": []}
    members = {
        name: groups.GroupSubscription(name[0], lambda m, name=name: received[name].append(m["n"])) for name in received
    }  # type: ignore[misc]
    members["late"].group = "a"
    await members["a"].open()
    await members["b"].open()
    await groups.publish("a", {"type": "x", "n": 1})
    await until(lambda: received["a"] == [1])
    await members["late"].open()
    await groups.publish("a", {"type": "x", "n": 2})
    await until(lambda: received["a"] == [1, 2] and received["late"] == [2])
    await members["a"].close()
    await groups.publish("a", {"type": "x", "n": 3})
    await groups.publish("b", {"type": "x", "n": 4})
    await until(lambda: received["late"] == [2, 3] and received["b"] == [4])
    assert received["a"] == [1, 2]


@only(*DELIVERS)
async def test_a_group_message_of_a_thread_arrives_at_once(layer: Any, watching: None) -> None:
    """A thread sends to a group while the loop is idle: the message arrives at once, and not when the next timer fires."""
    received: list[float] = []
    loop = asyncio.get_running_loop()
    member = groups.GroupSubscription("quiet", lambda _: received.append(loop.time()))
    await member.open()
    began = loop.time()
    threading.Thread(target=groups.publish_from_thread, args=(loop, "quiet", {"type": "x"})).start()
    await until(lambda: bool(received))
    assert received[0] - began < 0.3


@only(*DELIVERS)
async def test_a_stop_reaches_the_process_that_executes_the_run(layer: Any, started: tuple[Run, Login]) -> None:
    """A stop of a run that this process does not execute: every process receives it, with its reason."""
    received: list[tuple[str, str]] = []
    member = groups.GroupSubscription(groups.EVERYONE, lambda m: received.append((m["run_id"], m["because"])))
    await member.open()
    run, _ = started
    await run_registry.stop_run(run.pk, "Stopped by Mei.")
    await until(lambda: received == [(str(run.pk), "Stopped by Mei.")])


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polls are rarer than the test is long: an event that no group message has announced does not arrive."""
    monkeypatch.setattr(feed_registry, "POLL_S", 3_600.0)


@only(*DELIVERS)
async def test_an_event_stored_while_a_client_joins_is_not_missed(
    seldom: None, layer: Any, started: tuple[Run, Login]
) -> None:
    """An event is stored and published just before the feed has joined its group: it is in what is read then, without a poll."""
    run, login = started
    joining = layer.group_add

    async def join_late(group: str, channel: str) -> None:
        if group == groups.of_session(run.session_id):
            layer.group_add = joining
            await store(run, 1)
        await joining(group, channel)

    layer.group_add = join_late
    client = await Client().join(run, login)
    with contextlib.suppress(TimeoutError):
        await client.until(lambda: client.seqs == [1], 2)
    assert client.seqs == [1], "what was stored while it joined is missing"


@only("in memory")
async def test_a_client_that_acknowledges_nothing_is_sent_one_window(started: tuple[Run, Login]) -> None:
    """A client acknowledges nothing of a long log: it is sent one window of it, whatever else happens."""
    run, login = started
    await store(run, WINDOW + 50)
    client = await Client().join(run, login)
    await client.until(lambda: len(client.seqs) >= WINDOW)
    await feed_registry.poll_once()
    with contextlib.suppress(TimeoutError):
        await client.until(lambda: len(client.seqs) > WINDOW, MORE_WITHIN_S)
    assert len(client.seqs) == WINDOW, "more was sent than one window"


@only("in memory")
async def test_an_end_that_is_not_published_is_found(started: tuple[Run, Login]) -> None:
    """The process ends a run and dies before it publishes that: sockets receive the end all the same."""
    run, login = started
    client = await Client().join(run, login)
    await asyncio.to_thread(_end, run)
    await client.until(lambda: [frame["type"] for frame in client.frames][-1] == "reasoning_complete", 2)


def _end(run: Run) -> None:
    recorder.end_run(run, [making.thought("last")], executor.End(RunStatus.COMPLETED))
    executor.database.close()
