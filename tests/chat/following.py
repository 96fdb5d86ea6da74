"""Followers of a session in this process: a socket's subscription to a feed, the messages of a run, and misbehaving channel layers."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import InMemoryChannelLayer, channel_layers
from django.contrib.sessions.backends.db import SessionStore

from chat.live import registry as feed_registry
from chat.live.handshake import Login
from chat.live.subscriber import Subscriber
from chat.models import Run
from chat.protocol import WINDOW, encode_frame, group_messages
from chat.protocol.frame_data import SessionData
from chat.protocol.group_messages import TextWritten
from chat.runs.publisher import publish_events
from chat.runtime import background, database, groups
from chat.store import drafts
from tests import wire_types
from tests.chat import making


class Losing(InMemoryChannelLayer):
    """Loses half of the messages, duplicates some, and delivers others late and out of order."""

    def __init__(self, seed: int) -> None:
        super().__init__(capacity=5)
        self._random = random.Random(seed)
        self._late: list[tuple[str, dict[str, Any]]] = []

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send it, or misbehave."""
        fate = self._random.random()
        if fate < 0.5:
            return
        if fate < 0.7:
            self._late.append((group, message))
            return
        for late in self._random.sample(self._late, len(self._late)):
            await super().group_send(*late)
        self._late.clear()
        for _ in range(self._random.choice((1, 1, 2, 3))):
            await super().group_send(group, message)


class Silent(InMemoryChannelLayer):
    """Never delivers anything."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Discard it."""


class Broken(InMemoryChannelLayer):
    """Fails at everything."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Fail."""
        raise ConnectionError("the broker is away")

    async def group_add(self, group: str, channel: str) -> None:
        """Fail."""
        raise ConnectionError("the broker is away")


@pytest.fixture
def layer(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The channel layer of the test; the usual one unless it is parametrized."""
    chosen = getattr(request, "param", None) or InMemoryChannelLayer(capacity=2000)
    old = channel_layers.set("default", chosen)
    yield chosen
    channel_layers.backends.pop("default", None)
    if old is not None:
        channel_layers.set("default", old)


@pytest.fixture
async def watching(layer: Any) -> AsyncIterator[None]:
    """The periodic comparison with the log runs, as in a serving process."""
    # Subscriptions of an earlier test use its own layer, and would go on doing so.
    await background.drain(5)
    watch = background.spawn(feed_registry.poll_forever(), "watch")
    yield
    watch.cancel()
    for subscriber in feed_registry.all_subscribers():
        await feed_registry.leave_feed(subscriber)
    await background.drain(5)
    drafts.cells.clear()
    database.close()


class Client:
    """A socket's side of a feed: what it was sent, and what it keeps of that by the rules of the protocol."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.closed: int | None = None
        self.text: dict[int, str] = {}
        self.subscriber: Subscriber | None = None
        self.holds_up = False
        """Whether the network takes nothing at once."""
        self.together: list[int] = []
        """How many frames came in each piece that was sent without waiting."""
        self._changed = asyncio.get_running_loop().create_future()

    async def join(self, run: Run, login: Login, after: int = 0) -> "Client":
        """Subscribe to the feed."""
        self.subscriber, _ = await feed_registry.join_feed(
            run.session_id, login, self._send, self._end, send_now=self._send_now
        )
        self.subscriber.start(encode_frame({"type": "session", "data": _session(run)}), after)
        return self

    async def _send(self, frame: str) -> None:
        self._handle(frame)

    def _send_now(self, *frames: str) -> bool:
        if self.holds_up:
            return False
        self.together.append(len(frames))
        for frame in frames:
            self._handle(frame)
        return True

    async def _end(self, code: int) -> None:
        self.closed = code
        self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.get_running_loop().create_future()
        changed.set_result(None)

    def _handle(self, text: str) -> None:
        frame = wire_types.checked(json.loads(text))
        self.frames.append(frame)
        self._notify()
        data = frame["data"]
        if frame["type"] == "reasoning_delta":
            known = self.text.get(data["step"], "")
            assert data["offset"] in (0, len(known)), "a piece is missing"
            self.text[data["step"]] = known[: data["offset"]] + data["text"]

    @property
    def seqs(self) -> list[int]:
        """The numbers of the stored events received, in order of arrival."""
        return [frame["seq"] for frame in self.frames if "seq" in frame]

    async def until(self, condition: Callable[[], bool], timeout_s: float = 10) -> None:
        """Wait until a condition holds for what was received."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.shield(self._changed)


def _session(run: Run) -> SessionData:
    return {
        "session_id": str(run.session_id),
        "title": "",
        "agent": run.agent_name,
        "last_seq": 0,
        "role": "owner",
        "window": WINDOW,
        "run": None,
        "queue": [],
        "children": [],
        "steering": [],
        "notes": {"version": 0, "counts": {}, "verdicts": {}, "mine": {}},
    }


def _start() -> tuple[Run, Login]:
    user = making.user()
    store = SessionStore()
    store["_auth_user_id"] = str(user.pk)
    store["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
    store["_auth_user_hash"] = user.get_session_auth_hash()
    store.create()
    return making.run(making.session(user)), Login(user, store.session_key)


@pytest.fixture
async def started(watching: None) -> tuple[Run, Login]:
    """A run at work, and a login to watch it with."""
    return await sync_to_async(_start)()


async def store(run: Run, count: int, *, after: int = 0) -> None:
    """Store events and publish them, as a run does."""
    for number in range(after + 1, after + count + 1):
        stored = await database.write(making.append, run, making.thought(f"thought {number}", number))
        await publish_events(run.session_id, stored)


async def write_text(run: Run, text: str, offset: int, *, step: int = 1, attempt: int = 1) -> None:
    """Publish a piece of a text in progress to the group, as a run in another process does."""
    message: TextWritten = {
        "version": group_messages.VERSION,
        "type": "written",
        "run_id": str(run.pk),
        "step": step,
        "kind": "thought",
        "attempt": attempt,
        "offset": offset,
        "text": text[offset:],
        "tool_name": "",
    }
    await groups.publish(groups.of_session(run.session_id), message)
