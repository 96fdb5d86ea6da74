"""One feed per session and process: hears the session's group once, and lets each of the process's sockets take what it lacks.

A feed holds the newest frames and the latest state of the step being written, both encoded once. A `Subscriber` holds a cursor and takes
from the feed, or from the log where the feed no longer has it; so a lost, doubled or late group message, or a slow socket, costs
time and never a step. Once a second the log itself is asked for its head, whatever the group said.
"""

import asyncio
import logging
import time
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from uuid import UUID

from chat import background, database, drafts, groups, selectors
from chat.drafts import Draft
from chat.protocol import WINDOW, WINDOW_BYTES, Close, encode
from chat.sockets import Login, expired, withdrawn
from chat.step_log import Stored

logger = logging.getLogger(__name__)

POLL_S = 1.0
#: An unread window, or a frame that the network doesn't take, this old closes the socket.
STALL_S = 30.0
#: Answers that may wait to be sent before the client's next command is taken up.
_MOST_ANSWERS = 32
#: Without a frame from the client for this long, the socket is closed.
SILENCE_S = 90.0
PRESENCE_PAUSE_S = 0.2
_KEPT_FRAMES = 250
_READ_FRAMES = 100
#: Feeds that are compared with the database at a time: what that takes is not to grow with their number.
_LOOKED_AT_ONCE = 50

Send = Callable[[str], Awaitable[None]]
End = Callable[[int], Coroutine[Any, Any, None]]


class Subscriber:
    """One socket's place in a feed: what it has been sent, what it has acknowledged, what it lacks."""

    # Thousands of them do nothing most of the time: neither they nor their feeds hold more than they need.
    __slots__ = (
        "_begun",
        "_closing",
        "_end",
        "_flushing",
        "_growth_bytes",
        "_held",
        "_queue",
        "_room",
        "_send",
        "_sending_since",
        "_shown",
        "_stalled_at",
        "_task",
        "_unacked",
        "_unacked_bytes",
        "_waked",
        "cursor",
        "feed",
        "last_heard",
        "login",
    )

    def __init__(self, feed: "Feed", login: Login, send: Send, end: End) -> None:
        self.feed = feed
        self.login = login
        self.cursor = 0
        self.last_heard = time.monotonic()
        self._send = send
        self._end = end
        self._queue: list[str] = []
        self._held = 0
        self._begun = False
        self._closing: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._waked = False
        self._flushing = False
        self._shown: Draft | None = None
        self._unacked: list[tuple[int, int]] = []
        self._unacked_bytes = 0
        self._growth_bytes = 0
        self._stalled_at: float | None = None
        self._sending_since: float | None = None
        self._room: asyncio.Future[None] | None = None

    def begin(self, session_frame: str, cursor: int) -> None:
        """Send the session's frame, replay from after the cursor, then go live; also anew, for a client that resumes."""
        if self._begun:
            self._queue.append(session_frame)
        else:
            # What was told since the socket took its place may be newer than what this frame was made of: it comes after.
            self._queue.insert(0, session_frame)
            self._begun = True
        self.cursor = cursor
        self._unacked.clear()
        self._unacked_bytes = self._growth_bytes = 0
        self._stalled_at = None
        self._shown = None
        self.wake()

    def hold(self) -> None:
        """Keep the log back until `release`, so that an answer to a command comes before what it causes."""
        self._held += 1

    def release(self) -> None:
        """Let the log flow again."""
        self._held -= 1
        self.wake()

    def tell(self, frame: str) -> None:
        """Send a frame that is not part of the log. Where the network takes nothing, no more is kept than the log's window has room for."""
        self._queue.append(frame)
        if self._sending_since is not None and sum(map(len, self._queue)) > WINDOW_BYTES:
            self.end(Close.TOO_SLOW)
        else:
            self.wake()

    async def room(self) -> None:
        """Wait until the client has read its answers, or most of them: until then it gets no more."""
        while len(self._queue) > _MOST_ANSWERS and self._closing is None:
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            await self._room

    def end(self, code: int) -> None:
        """Close the socket once what is already queued for it is sent; at once where the network takes nothing."""
        if self._closing is not None:
            return
        self._closing = code
        if self._sending_since is None or self._task is None:
            self.wake()
            return
        self._task.cancel()
        self._queue.clear()
        self._make_room()
        background.spawn(self._end(code), "close")

    def heard(self) -> None:
        """The client has sent something: it is alive, and has read its growth."""
        self.last_heard = time.monotonic()
        self._growth_bytes = 0

    def acknowledge(self, seq: int) -> None:
        """Everything up to ``seq`` is in the client's state."""
        read = bisect_right(self._unacked, seq, key=lambda sent: sent[0])
        self._unacked_bytes -= sum(size for _, size in self._unacked[:read])
        del self._unacked[:read]
        if self._has_credit():
            self._stalled_at = None
            self.wake()

    def overdue(self, now: float) -> int | None:
        """The code to close with where the client reads nothing or is silent."""
        if any(since is not None and now - since > STALL_S for since in (self._stalled_at, self._sending_since)):
            return Close.TOO_SLOW
        if now - self.last_heard > SILENCE_S:
            return Close.SILENT
        return None

    def wake(self) -> None:
        """Something may be there to send."""
        self._waked = True
        if not self._flushing:
            self._flushing = True
            self._task = background.spawn_eagerly(self._flush(), "socket")

    @property
    def flushing(self) -> asyncio.Task[None] | None:
        """The task that is sending, if there is something to send."""
        return self._task

    def leave(self) -> None:
        """The socket is gone."""
        if self._task is not None:
            self._task.cancel()
        self.feed.remove(self)

    async def _flush(self) -> None:
        try:
            while self._waked:
                self._waked = False
                await self._send_all()
        finally:
            self._flushing = False
            self._task = None

    async def _send_all(self) -> None:
        while self._begun and self._queue:
            await self._put(self._queue.pop(0))
        self._make_room()
        if self._closing is not None:
            await self._end(self._closing)
        elif self._begun and not self._held and await self._send_log():
            await self._send_growth()

    async def _put(self, frame: str) -> None:
        """Send, and wait until the network has taken it."""
        self._sending_since = time.monotonic()
        await self._send(frame)
        self._sending_since = None

    def _make_room(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    async def _send_log(self) -> bool:
        """Send what the log has after the cursor; whether all of it went out."""
        while self.cursor < self.feed.head:
            batch = self.feed.kept_after(self.cursor)
            if batch is None:
                batch = await self.feed.read(self.cursor, _READ_FRAMES)
            if not batch:
                return False
            for stored in batch:
                if self._queue or self._held or self._closing is not None:
                    self._waked = True
                    return False
                if not self._has_credit():
                    self._stalled_at = self._stalled_at or time.monotonic()
                    return False
                self.cursor = stored.seq
                self._unacked.append((stored.seq, len(stored.frame)))
                self._unacked_bytes += len(stored.frame)
                await self._put(stored.frame)
        return True

    async def _send_growth(self) -> None:
        draft = self.feed.draft
        if draft is None or not self._has_credit() or self._growth_bytes >= WINDOW_BYTES:
            return
        shown = self._shown
        if shown is not None and shown.run_id == draft.run_id and not draft.is_newer_than(shown):
            return
        frame = self.feed.growth_frame(shown if draft.same_text(shown) else None)
        self._shown = draft
        self._growth_bytes += len(frame)
        await self._put(frame)

    def _has_credit(self) -> bool:
        return len(self._unacked) < WINDOW and self._unacked_bytes < WINDOW_BYTES


class Feed:
    """What this process knows of one session that somebody here is looking at."""

    __slots__ = (
        "_ended",
        "_growth",
        "_kept",
        "_line",
        "_membership",
        "_people",
        "_presence_due",
        "_reading",
        "_shape",
        "_stored_steps",
        "draft",
        "head",
        "ready",
        "session_id",
        "subscribers",
    )

    def __init__(self, session_id: UUID) -> None:
        self.session_id = session_id
        self.head = 0
        self.draft: Draft | None = None
        self.subscribers: dict[Subscriber, None] = {}
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._membership = groups.Membership(groups.of_session(session_id), self._deliver)
        self._kept: list[Stored] = []
        self._ended: list[UUID] = []
        self._stored_steps: dict[UUID, int] = {}
        self._growth: tuple[Draft | None, Draft | None, str] = (None, None, "")
        self._presence_due = False
        #: The line and the people as they were told last; None: they are to be told whatever they are.
        self._line: list[dict[str, Any]] | None = None
        self._people: list[dict[str, Any]] | None = None
        self._shape: selectors.Shape | None = None
        self._reading = asyncio.Lock()

    async def open(self) -> None:
        """Join the group first, then read: nothing can fall between."""
        await self._membership.join()
        drafts.watch(self.session_id, self._take_draft)
        head, saved = await database.read(selectors.head_and_draft, self.session_id)
        self.head = max(self.head, head)
        if self.draft is None:
            self._take_draft(drafts.of(self.session_id) or saved)
        self.ready.set_result(None)

    async def close(self) -> None:
        """Nobody looks any more."""
        drafts.unwatch(self.session_id, self._take_draft)
        await self._membership.leave()

    def add(self, subscriber: Subscriber) -> None:
        """A socket comes; it has not been told who is here."""
        self.subscribers[subscriber] = None
        self._people = None

    def remove(self, subscriber: Subscriber) -> None:
        """A socket leaves."""
        self.subscribers.pop(subscriber, None)

    def kept_after(self, cursor: int) -> list[Stored] | None:
        """The frames after a cursor, where the feed still holds all of them."""
        if not self._kept or self._kept[0].seq > cursor + 1 or self._kept[-1].seq < self.head:
            return None
        skip = cursor + 1 - self._kept[0].seq
        return self._kept[skip:]

    async def read(self, cursor: int, limit: int) -> list[Stored]:
        """Frames after a cursor from the log itself."""
        return await database.read(selectors.stored_after, self.session_id, cursor, limit)

    def growth_frame(self, shown: Draft | None) -> str:
        """The growth since what a socket has been shown, encoded once for all that were shown the same."""
        since, until, frame = self._growth
        draft = self.draft
        assert draft is not None  # noqa: S101 - callers hold a draft
        if frame and since is shown and until is draft:
            return frame
        frame = encode("reasoning_delta", draft.data(shown.length if shown else 0), run_id=str(draft.run_id))
        self._growth = (shown, draft, frame)
        return frame

    def tell(self, frame: str) -> None:
        """Send a frame that is not part of the log to every socket here."""
        for subscriber in list(self.subscribers):
            subscriber.tell(frame)

    def wake(self) -> None:
        """Let every socket take what it lacks."""
        for subscriber in list(self.subscribers):
            subscriber.wake()

    async def catch_up(self, head: int) -> None:
        """Take from the log what the group has not brought; and leave a log that is no longer the one this feed has read."""
        async with self._reading:
            while self.head < head:
                # From the last known one on, which must still be there: a database set back to an earlier state has another history.
                known = self._kept[-1:]
                batch = await self.read(self.head - len(known), _READ_FRAMES)
                if batch[: len(known)] != known:
                    self.start_over()
                    return
                if len(batch) == len(known):
                    return
                for stored in batch:
                    self._take(stored)
        self.wake()

    def start_over(self) -> None:
        """Send every socket to a new feed: there it says what it has, and is told to drop what is not in the log."""
        logger.warning(
            "The log of session %s is not the one that was read before; its clients start over", self.session_id
        )
        if _feeds.get(self.session_id) is self:
            del _feeds[self.session_id]
            background.spawn(self.close(), "close feed")
        for subscriber in list(self.subscribers):
            subscriber.end(Close.RESTARTING)

    def has_told_line(self, line: list[dict[str, Any]]) -> None:
        """A socket has been told of the line with its session's frame; an empty one needs no looking after."""
        if line:
            self._line = line

    def look_at(self, shape: selectors.Shape) -> None:
        """Tell of the line and of the people, where they have changed and the group has not said so."""
        known, self._shape = self._shape, shape
        # What was told last may have come and gone since the last look, and the group's word of its going been lost.
        if shape.line != (known.line if known else selectors.NOTHING) or shape.line[0] != len(self._line or ()):
            background.spawn(self._tell_queue(), "queue")
        if self._people is None or (known is not None and shape.people != known.people):
            self._announce_presence()

    def _deliver(self, message: groups.Message) -> None:
        match message["type"]:
            case "stored":
                self._take_all([Stored(seq, UUID(run), *rest) for seq, run, *rest in message["events"]])
            case "growth":
                self._take_growth(message)
            case "queue":
                background.spawn(self._tell_queue(), "queue")
            case "presence":
                self._announce_presence()
            case "error":
                self.tell(message["frame"])
            case "gone":
                for subscriber in list(self.subscribers):
                    subscriber.end(Close.NO_SUCH_SESSION)

    async def _tell_queue(self) -> None:
        async with self._reading:  # one after the other, so that the last one told is the newest
            line = await database.read(selectors.queue, self.session_id)
            if line != self._line:
                self._line = line
                self.tell(encode("queue", line))

    def _take_all(self, events: list[Stored]) -> None:
        if not events or self._have(events[-1]):
            return
        if events[0].seq > self.head + 1:
            background.spawn(self.catch_up(events[-1].seq), "catch up")
            return
        for stored in events:
            self._take(stored)
        self.wake()

    def _have(self, stored: Stored) -> bool:
        """Whether an event is one of those this feed has read; one of another history makes it start over."""
        if stored.seq > self.head:
            return False
        kept = self.kept_after(stored.seq - 1)
        if kept and kept[0] != stored:
            self.start_over()
        return True

    def _take(self, stored: Stored) -> None:
        if stored.seq != self.head + 1:
            return
        self.head = stored.seq
        self._kept.append(stored)
        if len(self._kept) > 2 * _KEPT_FRAMES:
            del self._kept[:_KEPT_FRAMES]
        if stored.event == "reasoning_complete":
            self._ended = [*self._ended[-15:], stored.run_id]
            self._stored_steps.pop(stored.run_id, None)
        elif stored.number:
            self._stored_steps[stored.run_id] = max(stored.number, self._stored_steps.get(stored.run_id, 0))
        if self.draft is not None and self._is_over(self.draft):
            self.draft = None

    def _take_growth(self, message: groups.Message) -> None:
        """Apply a piece of a run in another process to what is known; what is carried here comes from `drafts` itself.

        Where a piece is missing nothing is shown until the whole text comes, which the run sends again and again.
        """
        if drafts.of(self.session_id) is not None:
            return
        run_id = UUID(message["run_id"])
        step, kind, attempt, offset, text, tool_name = message["growth"]
        known = self.draft
        if offset:
            if known is None or (known.run_id, known.step, known.attempt, known.length) != (
                run_id,
                step,
                attempt,
                offset,
            ):
                return
            text = known.text + text
        self._take_draft(Draft(run_id, step, kind, attempt, text, tool_name))

    def _take_draft(self, draft: Draft | None) -> None:
        if draft is not None and not self._is_over(draft) and draft.is_newer_than(self.draft):
            self.draft = draft
            self.wake()

    def _is_over(self, draft: Draft) -> bool:
        return draft.run_id in self._ended or 0 < draft.step <= self._stored_steps.get(draft.run_id, 0)

    def _announce_presence(self) -> None:
        if not self._presence_due:
            self._presence_due = True
            background.spawn(self._tell_presence(), "presence")

    async def _tell_presence(self) -> None:
        # Many may come and go at once: one word about it is enough.
        await asyncio.sleep(PRESENCE_PAUSE_S)
        self._presence_due = False
        people = await database.read(selectors.presence, self.session_id)
        if people != self._people:
            self._people = people
            self.tell(encode("presence", people))


_feeds: dict[UUID, Feed] = {}


async def join(session_id: UUID, login: Login, send: Send, end: End) -> Subscriber:
    """Give a socket its place in the session's feed, which is opened for the first one."""
    feed = _feeds.get(session_id)
    is_first = feed is None
    if feed is None:
        feed = _feeds[session_id] = Feed(session_id)
    subscriber = Subscriber(feed, login, send, end)
    feed.add(subscriber)
    try:
        await (feed.open() if is_first else asyncio.shield(feed.ready))
    except BaseException:
        feed.remove(subscriber)
        if is_first:
            # Who comes later opens a feed anew; who waits for this one is told.
            _feeds.pop(session_id)
            await feed.close()
            feed.ready.set_exception(ConnectionError("The session's feed could not be opened."))
            feed.ready.exception()
        raise
    return subscriber


async def leave(subscriber: Subscriber) -> None:
    """Take a socket out; the last one closes the feed."""
    subscriber.leave()
    feed = subscriber.feed
    if not feed.subscribers and _feeds.get(feed.session_id) is feed:
        del _feeds[feed.session_id]
        await feed.close()


def subscribers() -> list[Subscriber]:
    """Every socket of this process."""
    return [subscriber for feed in _feeds.values() for subscriber in feed.subscribers]


def tell_everyone(frame: str) -> None:
    """Send a frame to every socket of this process."""
    for subscriber in subscribers():
        subscriber.tell(frame)


def tell_user(user_id: int, frame: str) -> None:
    """Send a frame to every socket that a user has in this process."""
    for subscriber in subscribers():
        if subscriber.login.user.pk == user_id:
            subscriber.tell(frame)


async def watch_for_ever() -> None:
    """Compare every feed with the log once a second, and close sockets that are silent or read nothing."""
    while True:
        await asyncio.sleep(POLL_S)
        try:
            await watch()
        except Exception:
            logger.exception("The feeds could not be compared with the log")


async def watch() -> None:
    """One comparison of every feed with the log."""
    now = time.monotonic()
    for subscriber in subscribers():
        code = subscriber.overdue(now)
        if code is not None:
            subscriber.end(code)
    await check_logins()
    waiting = list(_feeds.values())
    for start in range(0, len(waiting), _LOOKED_AT_ONCE):
        await _look_at(waiting[start : start + _LOOKED_AT_ONCE])


async def _look_at(feeds: list[Feed]) -> None:
    known = [feed.head for feed in feeds]
    shapes = await database.read(selectors.shapes, [feed.session_id for feed in feeds])
    for feed, head in zip(feeds, known, strict=True):
        shape = shapes.get(feed.session_id)
        if shape is None:
            for subscriber in list(feed.subscribers):
                subscriber.end(Close.NO_SUCH_SESSION)
            continue
        feed.look_at(shape)
        if shape.head < head:
            feed.start_over()
        elif shape.head > feed.head:
            await feed.catch_up(shape.head)


async def check_logins() -> None:
    """Close the sockets whose login has ended (logged out, deactivated, deleted, password changed) or whose right was withdrawn."""
    seated = subscribers()
    if not seated:
        return
    seats = [(each.feed.session_id, each.login) for each in seated]
    ended, lost = await database.read(lambda: (expired(login for _, login in seats), withdrawn(seats)))
    for subscriber in seated:
        if subscriber.login.session_key in ended:
            subscriber.end(Close.NOT_LOGGED_IN)
        elif (subscriber.feed.session_id, subscriber.login.user.pk) in lost:
            subscriber.end(Close.WITHDRAWN)


async def close_all(code: int, timeout_s: float) -> None:
    """Close every socket of this process, and wait until each has been told what was left to tell."""
    closing = subscribers()
    for subscriber in closing:
        subscriber.end(code)
    flushing = [task for subscriber in closing if (task := subscriber.flushing) is not None]
    if flushing:
        await asyncio.wait(flushing, timeout=timeout_s)


def stats() -> dict[str, Any]:
    """How many sessions are looked at here, and by how many sockets."""
    return {"feeds": len(_feeds), "sockets": len(subscribers())}
