"""The channel layer of processes that share a Redis: concurrent messages are sent together, and senders know whether anybody subscribes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import redis
from channels.layers import channel_layers
from channels_redis.pubsub import RedisPubSubChannelLayer
from redis.asyncio.connection import AbstractConnection

from chat.runs.publisher import WHOLE_EVERY_S, DraftPublisher
from chat.runtime import groups
from chat.runtime.redis_layer import SharedChannelLayer
from chat.store.drafts import Draft
from tests import services
from tests.faults.proxy import Proxy
from tests.faults.world import until

pytestmark = pytest.mark.asyncio


@pytest.fixture
async def layer(redis_url: str) -> AsyncIterator[SharedChannelLayer]:
    """This process's layer."""
    chosen = SharedChannelLayer(hosts=[redis_url])
    old = channel_layers.set("default", chosen)
    yield chosen
    await chosen.flush()
    channel_layers.backends.pop("default", None)
    if old is not None:
        channel_layers.set("default", old)


class Elsewhere:
    """Another process that subscribes to a group."""

    def __init__(self, redis_url: str) -> None:
        self.layer = RedisPubSubChannelLayer(hosts=[redis_url])
        self.channel = ""

    async def join(self, group: str) -> None:
        """Subscribe."""
        self.channel = await self.layer.new_channel()
        await self.layer.group_add(group, self.channel)

    async def next(self) -> dict[str, object]:
        """The next message."""
        async with asyncio.timeout(5):
            received: dict[str, object] = await self.layer.receive(self.channel)
            return received


@pytest.fixture
async def elsewhere(redis_url: str) -> AsyncIterator[Elsewhere]:
    """Another process."""
    other = Elsewhere(redis_url)
    yield other
    await other.layer.flush()


async def test_a_sender_knows_how_many_others_subscribe(layer: SharedChannelLayer, elsewhere: Elsewhere) -> None:
    """None, then one; this process itself does not count, whether it subscribes or not."""
    assert await groups.publish_counted("a", {"type": "x"}) == 0
    here: list[int] = []
    member = groups.GroupSubscription("a", lambda message: here.append(message["n"]))
    await member.open()
    assert await groups.publish_counted("a", {"type": "x", "n": 1}) == 0
    await elsewhere.join("a")
    assert await groups.publish_counted("a", {"type": "x", "n": 2}) == 1
    assert (await elsewhere.next())["n"] == 2
    await member.close()
    assert await groups.publish_counted("a", {"type": "x", "n": 3}) == 1
    assert here == [1, 2]


async def test_concurrent_messages_are_sent_together_and_in_order(redis_url: str, elsewhere: Elsewhere) -> None:
    """On a connection on which each answer takes 0.1 s, fifty messages take the time of a few answers, and not of fifty."""
    parts = urlsplit(redis_url)
    async with Proxy.before(str(parts.hostname), int(parts.port or 0)) as proxy:
        layer = SharedChannelLayer(hosts=[proxy.instead_of(redis_url)])
        await elsewhere.join("a")
        await layer.group_send("a", {"n": -1})
        proxy.latency_s = 0.05
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(layer.group_send("a", {"n": n}) for n in range(50)))
        assert asyncio.get_running_loop().time() - began < 50 * 0.1 / 2
        assert [(await elsewhere.next())["n"] for _ in range(51)] == list(range(-1, 50))
        await layer.flush()


@pytest.mark.parametrize("closing_fails", [False, True])
async def test_a_cancelled_sender_loses_no_message_of_others(
    redis_url: str, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch, closing_fails: bool
) -> None:
    """The task that sends for all is cancelled: the others' messages arrive, in their order, also if closing the connection fails."""
    closed = []
    disconnect = AbstractConnection.disconnect

    async def fail_once(self: Any, *args: Any, **options: Any) -> None:
        await disconnect(self, *args, **options)
        closed.append(self)
        if closing_fails and len(closed) == 1:
            raise TimeoutError("it took too long to close")

    parts = urlsplit(redis_url)
    async with Proxy.before(str(parts.hostname), int(parts.port or 0)) as proxy:
        layer = SharedChannelLayer(hosts=[proxy.instead_of(redis_url)])
        await elsewhere.join("a")
        await layer.group_send("a", {"n": 0})
        for line in proxy.lines:
            line.freeze()
        sending = [asyncio.create_task(layer.group_send("a", {"n": n})) for n in range(1, 5)]
        (shard,) = layer._get_layer()._shards
        await until(lambda: len(shard._outgoing) == 3)
        monkeypatch.setattr(AbstractConnection, "disconnect", fail_once)
        sending[0].cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        assert closed
        assert sending[0].cancelled()
        assert [task.exception() for task in sending[1:]] == [None] * 3
        assert [(await elsewhere.next())["n"] for _ in range(4)] == [0, 2, 3, 4]
        await layer.flush()


async def test_a_text_that_nobody_elsewhere_reads_is_told_now_and_then(
    layer: SharedChannelLayer, elsewhere: Elsewhere, redis_url: str
) -> None:
    """Of a text in many pieces only some are sent; a later subscriber soon has the whole text, and every piece from then on."""
    session_id, run_id = uuid4(), uuid4()
    received: list[dict[str, object]] = []
    member = groups.GroupSubscription(groups.of_session(session_id), received.append)  # type: ignore[arg-type]
    await member.open()
    publisher, text = DraftPublisher(session_id), ""

    async def write(pieces: int) -> None:
        nonlocal text
        for _ in range(pieces):
            text += "more "
            publisher.publish(Draft(run_id, 1, "thought", 1, text))
            await asyncio.sleep(0.01)

    await write(50)
    assert 1 <= len(received) <= 2
    await elsewhere.join(groups.of_session(session_id))
    reading = asyncio.create_task(elsewhere.next())
    began = asyncio.get_running_loop().time()
    while not reading.done():
        await write(1)
    assert asyncio.get_running_loop().time() - began < WHOLE_EVERY_S + 0.5
    first = reading.result()
    assert (first["offset"], str(first["text"])) == (0, text[: len(str(first["text"]))])
    seen = str(first["text"])
    await write(20)
    while len(seen) < len(text):
        piece = await elsewhere.next()
        assert piece["offset"] in (0, len(seen))
        seen = seen[: int(str(piece["offset"]))] + str(piece["text"])
    assert seen == text
    await member.close()


async def test_a_password_that_is_changed_meanwhile_is_logged_once_and_can_be_changed_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with services.own_redis() as server, redis.Redis.from_url(server.url) as client:

        def set_password(text: str) -> None:
            client.execute_command("ACL", "SETUSER", "us", "reset", "on", f">{text}", "~*", "&*", "+@all")
            client.client_kill_filter(skipme=True)

        set_password("old")
        elsewhere = Elsewhere(server.url.replace("redis://", "redis://us:old@"))
        await elsewhere.join("g")
        set_password("new")
        await until(lambda: sum(int(entry["count"]) for entry in client.acl_log()) >= 2)
        set_password("old")
        sent = elsewhere.layer.serialize({"type": "x"})
        await until(lambda: bool(client.publish("asgi__group__g", sent)))
        assert (await elsewhere.next())["type"] == "x"
        await elsewhere.layer.flush()
    records = [
        record for record in caplog.records if "invalid username-password" in str((record.exc_info or [0, 0])[1])
    ]
    assert len(records) == 1
