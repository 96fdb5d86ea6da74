"""A feed on which nothing happens is not compared in full with the database; new rows, or failures, are noticed all the same."""

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from uuid import uuid4

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.db import OperationalError

from chat.access import Role
from chat.live import connections, registry, subscriptions
from chat.live.feed import Feed
from chat.live.handshake import Login
from chat.models import Connection, Run, Session
from chat.protocol import Close
from chat.runtime import database
from chat.store import selectors
from tests.chat import making
from tests.chat.following import Silent, layer

__all__ = ["layer"]

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.asyncio,
    # What must be noticed is only in the database: no group message announces it.
    pytest.mark.parametrize("layer", [Silent()], indirect=True),
]
PATIENCE_S = 10


class Watcher:
    """An owner's subscription to a session on which nothing happens, and the frames that it was sent."""

    def __init__(self, session: Session, login: Login) -> None:
        self.session, self.login = session, login
        self.frames: list[dict[str, object]] = []
        self.closed: int | None = None

    async def send(self, frame: str) -> None:
        """Record a frame."""
        self.frames.append(json.loads(frame))

    async def end(self, code: int) -> None:
        """Record the close code."""
        self.closed = code

    @property
    def feed(self) -> Feed:
        """The feed of its session."""
        return registry.open_feeds[self.session.pk]

    async def poll_until(self, is_so: Callable[[], bool]) -> None:
        """Compare with the database again and again until a condition holds."""
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                await registry.poll_once()
                await asyncio.sleep(0.01)

    def has(self, kind: str, data: object = None) -> bool:
        """Whether a frame was sent."""
        return any(frame["type"] == kind and data in (None, frame["data"]) for frame in self.frames)


def _prepare() -> tuple[Session, Login]:
    user = making.user()
    store = SessionStore()
    store["_"] = 1
    store.save()
    return making.session(user), Login(user, str(store.session_key))


@pytest.fixture
async def settled(layer: object) -> AsyncIterator[Watcher]:
    """A subscription whose session was compared, with no difference left."""
    session, login = await database.write(_prepare)
    watcher = Watcher(session, login)
    grant = connections.Grant(Role.OWNER, 0)
    subscription, view = await subscriptions.open_subscription("p", session.pk, login, grant, watcher.send, watcher.end)
    await subscription.begin(0, None, view)
    await watcher.poll_until(lambda: watcher.has("presence") and watcher.feed.is_settled)
    watcher.frames.clear()
    yield watcher
    await subscription.leave()


def _ask(session: Session) -> None:
    making.run(session, owned_by="")


def _store(session: Session) -> None:
    making.append(making.run(session), making.thought("tea"))


def _join(session: Session) -> None:
    Connection.objects.create(id=uuid4(), process="q", session=session, user=making.user("bo"), role="watcher")


def _hand_over(session: Session) -> None:
    Session.objects.filter(pk=session.pk).update(owner=making.user("bo"))


def _delete(session: Session) -> None:
    Run.objects.filter(session=session).delete()
    session.delete()


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (_store, lambda watcher: watcher.has("reasoning_step")),
        (_ask, lambda watcher: watcher.has("queue")),
        (_join, lambda watcher: watcher.has("presence")),
        (_hand_over, lambda watcher: watcher.closed == Close.WITHDRAWN),
        (_delete, lambda watcher: watcher.closed == Close.NO_SUCH_SESSION),
    ],
)
async def test_stored_changes_are_noticed(
    settled: Watcher, change: Callable[[Session], None], seen: Callable[[Watcher], bool]
) -> None:
    await registry.poll_once()
    assert not settled.frames
    assert settled.feed.is_settled
    await database.write(change, settled.session)
    await settled.poll_until(lambda: seen(settled))


async def test_a_lost_change_is_sent_again(settled: Watcher) -> None:
    settled.feed.mark_queue_sent([{"run_id": "one that has begun meanwhile"}], [])  # type: ignore[typeddict-item]
    await settled.poll_until(lambda: settled.has("queue", []))


async def test_a_failed_read_is_repeated_by_the_next_poll(settled: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    read, fails = selectors.presence, True

    def presence(session_id: object) -> object:
        if fails:
            raise OperationalError("away")
        return read(session_id)  # type: ignore[arg-type]

    monkeypatch.setattr(selectors, "presence", presence)
    await database.write(_join, settled.session)
    await settled.poll_until(lambda: "who is here could not be read" in settled.feed._reported)
    for _ in range(3):
        await registry.poll_once()
    assert not settled.feed.is_settled
    fails = False
    await settled.poll_until(lambda: settled.has("presence"))


async def test_a_failed_notice_of_another_owner_is_repeated_by_the_next_poll(
    settled: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_roles: Callable[..., Awaitable[None]] = registry._change_roles

    async def fail(*_: object) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(registry, "_change_roles", fail)
    await database.write(_hand_over, settled.session)
    for _ in range(3):
        await registry.poll_once()
    assert settled.closed is None
    monkeypatch.setattr(registry, "_change_roles", change_roles)
    await settled.poll_until(lambda: settled.closed == Close.WITHDRAWN)


async def test_a_session_in_use_is_compared_in_full(settled: Watcher) -> None:
    await database.write(making.run, settled.session)
    await settled.poll_until(lambda: not settled.feed.is_settled)
    await registry.poll_once()
    assert not settled.feed.is_settled


async def test_a_client_that_has_left_is_freed_at_once(layer: object) -> None:
    """A client that has disconnected is freed at once; the garbage collector would only do so minutes later."""
    session, login = await database.write(_prepare)
    watcher = Watcher(session, login)
    freed = asyncio.Event()
    weakref.finalize(watcher, asyncio.get_running_loop().call_soon_threadsafe, freed.set)
    grant = connections.Grant(Role.OWNER, 0)
    subscription, view = await subscriptions.open_subscription("p", session.pk, login, grant, watcher.send, watcher.end)
    await subscription.begin(0, None, view)
    await watcher.poll_until(partial(watcher.has, "session"))
    gc.disable()
    try:
        await subscription.leave()
        del subscription, watcher
        # A database thread may still be about to release it.
        await asyncio.wait_for(freed.wait(), PATIENCE_S)
    finally:
        gc.enable()
