"""One client's subscription to a feed: what it was sent, what it has acknowledged, what is missing."""

import asyncio
import time
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol
from uuid import UUID

from chat.access import Role
from chat.live.connections import OpenSocket
from chat.live.handshake import Login
from chat.protocol import WINDOW, WINDOW_BYTES, Close
from chat.protocol.frame_data import PendingWord, QueuedRun
from chat.runtime import background, metrics
from chat.store.drafts import Draft
from chat.store.event_window import NOT_KNOWN, EventWindow
from chat.store.step_log import Stored

#: The socket is closed after so many seconds with a full window of unacknowledged frames, or with a frame that the network does not take.
STALL_S = 30.0
#: How many answers may be pending before the client's next command is handled.
_MOST_ANSWERS = 32
#: The socket is closed after so many seconds without a frame from the client.
SILENCE_S = 90.0
READ_FRAMES = 100
#: At most so many events, and characters, are sent in one piece.
_MOST_TOGETHER = 8
_LARGEST_TOGETHER = 32_768
UNSENT = "a client could not be sent what it lacks"

Send = Callable[[str], Awaitable[None]]
End = Callable[[int], Coroutine[Any, Any, None]]


class SendNow(Protocol):
    """Sends frames without waiting and returns true, or returns false, with nothing sent, if the network does not take them at once."""

    def __call__(self, *frames: str) -> bool:
        """Send the frames, in this order."""
        ...


class SessionEvents(Protocol):
    """The source of a subscriber's frames: `chat.live.feed.Feed`, which documents each method."""

    session_id: UUID
    window: EventWindow
    drafts: dict[UUID, Draft]
    stored_at: float
    stored_from: int

    @property
    def head(self) -> int:
        """The number of the newest known event."""

    async def read(self, cursor: int, limit: int) -> list[Stored]:
        """Events after a number, from the database."""

    async def catch_up(self, head: int) -> None:
        """Read from the database up to this number."""

    def growth_frame(self, draft: Draft, shown: Draft | None) -> str:
        """The frame with the part of a draft that was not shown yet."""

    def mark_queue_sent(self, queue: list[QueuedRun], steering: list[PendingWord]) -> None:
        """Note which queue the client was shown by a session's frame."""

    def report(self, trouble: str, error: Exception | None = None) -> None:
        """Log what went wrong."""

    def remove(self, subscriber: "Subscriber") -> None:
        """Send this subscriber nothing more."""


class Subscription(Protocol):
    """The subscription that a subscriber belongs to: `chat.live.subscriptions.SessionSubscription`."""

    open_socket: OpenSocket

    async def change_role(self, role: Role) -> None:
        """Notify the client, and others who have the session open, of another role."""


class Subscriber:
    """One client's subscription to a feed: what it was sent, what it has acknowledged, what is missing. Use it on the event loop.

    A client that cannot send anything, such as the reader of an event stream, acknowledges nothing: it is sent what the network takes,
    and the rest stays in the log.
    """

    # Thousands of subscribers are idle most of the time: they and their feeds should need little memory.
    __slots__ = (
        "_acknowledges",
        "_begun",
        "_closing",
        "_drained",
        "_end",
        "_flushing",
        "_growth_bytes",
        "_held",
        "_queue",
        "_replayed",
        "_send",
        "_send_now",
        "_sending_since",
        "_shown",
        "_stalled_at",
        "_task",
        "_unacked",
        "_unacked_bytes",
        "_waked",
        "cursor",
        "feed",
        "last_received",
        "login",
        "subscription",
    )

    def __init__(
        self,
        feed: SessionEvents,
        login: Login,
        send: Send,
        end: End,
        *,
        acknowledges: bool = True,
        send_now: SendNow | None = None,
    ) -> None:
        self.feed = feed
        self.login = login
        #: The subscription that it belongs to; None if the feed is followed from within the process.
        self.subscription: Subscription | None = None
        self._acknowledges = acknowledges
        self.cursor = 0
        self.last_received = time.monotonic()
        self._send, self._send_now = send, send_now
        self._end = end
        self._queue: list[str] = []
        self._held = 0
        #: Events up to this number were stored before it subscribed.
        self._replayed = 0
        self._begun = False
        self._closing: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._waked = False
        self._flushing = False
        #: For each run, what was sent of the step that it is writing.
        self._shown: dict[UUID, Draft] = {}
        self._unacked: list[tuple[int, int]] = []
        self._unacked_bytes = 0
        self._growth_bytes = 0
        self._stalled_at: float | None = None
        self._sending_since: float | None = None
        self._drained: asyncio.Future[None] | None = None

    def start(self, session_frame: str, cursor: int) -> None:
        """Send the session's frame, replay events after ``cursor``, then go live. Called again when the client sends `resume`."""
        if self._begun:
            self._queue.append(session_frame)
        else:
            # Frames that were queued since it subscribed may be newer than this one's data, so they come after it.
            self._queue.insert(0, session_frame)
            self._begun = True
        self.cursor, self._replayed = cursor, self.feed.head
        self._unacked.clear()
        self._unacked_bytes = self._growth_bytes = 0
        self._stalled_at = None
        self._shown.clear()
        self.schedule_flush()

    def cork(self) -> None:
        """Hold the log back until `uncork`, so that an answer to a command is sent before the events that it causes."""
        self._held += 1

    def uncork(self) -> None:
        """Let the log be sent again."""
        self._held -= 1
        self.schedule_flush()

    def send_control(self, frame: str) -> None:
        """Send a frame that is not part of the log.

        While the network takes nothing, at most `WINDOW_BYTES` are queued; beyond that the socket is closed.
        """
        self._queue.append(frame)
        if self._sending_since is not None and sum(map(len, self._queue)) > WINDOW_BYTES:
            self.request_close(Close.TOO_SLOW)
        else:
            self.schedule_flush()

    async def wait_drained(self) -> None:
        """Wait until the client has read most of its answers. Until then no further command is handled."""
        while len(self._queue) > _MOST_ANSWERS and self._closing is None:
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def request_close(self, code: int) -> None:
        """Close the socket with ``code`` once everything queued was sent; at once if the network takes nothing."""
        if self._closing is not None:
            return
        self._closing = code
        if self._sending_since is None or self._task is None:
            self.schedule_flush()
            return
        self._task.cancel()
        self._queue.clear()
        self._notify_drained()
        background.spawn(self._end(code), "close")

    def touch(self) -> None:
        """Note that the client has sent something: it is alive, and has read the drafts that it was sent."""
        self.last_received = time.monotonic()
        self._growth_bytes = 0

    def acknowledge(self, seq: int) -> None:
        """Note that the client has applied all events up to ``seq``."""
        read = bisect_right(self._unacked, seq, key=lambda sent: sent[0])
        self._unacked_bytes -= sum(size for _, size in self._unacked[:read])
        del self._unacked[:read]
        if self._has_credit():
            self._stalled_at = None
            self.schedule_flush()

    def overdue(self, now: float) -> int | None:
        """The close code for a client that is silent or does not read, else None. ``now`` is `time.monotonic`."""
        stalled_at, sending_since = self._stalled_at, self._sending_since
        if stalled_at is not None and now - stalled_at > STALL_S:
            return Close.TOO_SLOW
        if sending_since is not None and now - sending_since > STALL_S:
            return Close.TOO_SLOW
        if self._acknowledges and now - self.last_received > SILENCE_S:
            return Close.SILENT
        return None

    def schedule_flush(self) -> None:
        """Send what is pending, in a task."""
        self._waked = True
        if not self._flushing:
            self._flushing = True
            self._task = background.spawn_eagerly(self._flush(), "socket")

    def show_draft(self, draft: Draft) -> None:
        """Send a newer state of a draft: at once if nothing else is pending and the network takes it, else with what is pending."""
        if self._send_now is None or self._flushing or self._queue or self._held or not self._may_show(draft):
            self.schedule_flush()
            return
        shown = self._shown.get(draft.run_id)
        if shown and not draft.is_newer_than(shown):
            return
        frame = self.feed.growth_frame(draft, shown if draft.same_text(shown) else None)
        try:
            is_sent = self._send_now(frame)
        except Exception as error:  # noqa: BLE001 - as in a task: logged by the feed, and the client reconnects
            self._give_up()
            self.feed.report(UNSENT, error)
            return
        if is_sent:
            self._note_shown(draft, frame)
        else:
            self.schedule_flush()

    @property
    def flushing(self) -> asyncio.Task[None] | None:
        """The task that is sending; None if nothing is pending."""
        return self._task

    def detach(self) -> None:
        """Stop sending: the socket is gone."""
        if self._task is not None:
            self._task.cancel()
        self.feed.remove(self)

    @property
    def is_behind(self) -> bool:
        """Whether something is pending and no task is sending it."""
        if self._flushing:
            return False
        if self._closing is not None or not self._begun:
            return self._closing is not None
        if self._queue or self._held or not self._has_credit():
            return bool(self._queue)
        feed = self.feed
        if self.cursor < feed.window.last:
            return True
        return bool(feed.drafts) and any(draft is not self._shown.get(run) for run, draft in feed.drafts.items())

    async def _flush(self) -> None:
        try:
            while self._waked:
                self._waked = False
                try:
                    await self._send_all()
                except Exception as error:  # noqa: BLE001 - logged by the feed; a subscriber that is behind is flushed again within a second
                    self.feed.report(UNSENT, error)
        finally:
            self._flushing = False
            self._task = None

    async def _send_all(self) -> None:
        while self._begun and self._queue:
            await self._put(self._queue.pop(0))
        self._notify_drained()
        if self._closing is not None:
            await self._end(self._closing)
        elif self._begun and not self._held and await self._send_log():
            await self._send_growth()

    async def _put(self, frame: str) -> None:
        """Send a frame, and wait until the network has taken it."""
        self._sending_since = time.monotonic()
        try:
            await self._send(frame)
        except Exception:
            self._give_up()
            raise
        self._sending_since = None

    def _give_up(self) -> None:
        """It is not known whether a frame arrived: the client reconnects, and says which event it has."""
        self._sending_since = None
        self._queue.clear()
        self.request_close(Close.INTERNAL)

    def _notify_drained(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    async def _send_log(self) -> bool:
        """Send the events after the cursor; returns whether all were sent."""
        while self.cursor < self.feed.head:
            batch = self.feed.window.after(self.cursor)
            if batch is NOT_KNOWN:
                batch = await self.feed.read(self.cursor, READ_FRAMES)
                if not batch:
                    self.feed.report(f"the log has nothing after number {self.cursor}")
                    return False
            for stored in batch[self._send_together(batch) :]:
                if self._queue or self._held or self._closing is not None:
                    self._waked = True
                    return False
                if not self._has_credit():
                    self._stalled_at = self._stalled_at or time.monotonic()
                    return False
                self._note_sent(stored)
                await self._put(stored.frame)
                self._observe_delay(stored)
        return True

    def _send_together(self, batch: Sequence[Stored]) -> int:
        """Send the first events of a batch in one piece, if there is more than one, and the network takes them; returns how many."""
        if self._send_now is None or len(batch) < 2 or self._queue or self._held or self._closing is not None:
            return 0
        together = batch[: max(0, min(_MOST_TOGETHER, WINDOW - len(self._unacked)))]
        size = sum(len(stored.frame) for stored in together)
        if len(together) < 2 or size > _LARGEST_TOGETHER or self._unacked_bytes + size > WINDOW_BYTES:
            return 0
        if not self._send_now(*(stored.frame for stored in together)):
            return 0
        for stored in together:
            self._note_sent(stored)
            self._observe_delay(stored)
        return len(together)

    def _note_sent(self, stored: Stored) -> None:
        self.cursor = stored.seq
        if self._acknowledges:
            self._unacked.append((stored.seq, len(stored.frame)))
            self._unacked_bytes += len(stored.frame)

    def _observe_delay(self, stored: Stored) -> None:
        if stored.seq > self._replayed and stored.seq >= self.feed.stored_from and self.feed.stored_at:
            metrics.step_delay_seconds.observe(max(0.0, time.time() - self.feed.stored_at))

    async def _send_growth(self) -> None:
        for draft in list(self.feed.drafts.values()):
            if not self._has_draft_credit():
                return
            if self.cursor < self.feed.head or self._queue:
                # Something was stored meanwhile; that is sent first.
                self._waked = True
                return
            if draft.after > self.feed.head:
                # Events that its run stored before are still on their way: clients cannot use a draft of a run whose beginning is missing.
                continue
            shown = self._shown.get(draft.run_id)
            if self.feed.drafts.get(draft.run_id) is not draft or (shown and not draft.is_newer_than(shown)):
                continue
            frame = self.feed.growth_frame(draft, shown if draft.same_text(shown) else None)
            self._note_shown(draft, frame)
            await self._put(frame)
        if len(self._shown) > len(self.feed.drafts):
            self._shown = {run_id: shown for run_id, shown in self._shown.items() if run_id in self.feed.drafts}

    def _may_show(self, draft: Draft) -> bool:
        """Whether a draft is what the client lacks next: it has everything that was stored before."""
        head = self.feed.window.last
        is_next = self.cursor >= head and draft.after <= head
        return is_next and self._begun and self._closing is None and self._has_draft_credit()

    def _note_shown(self, draft: Draft, frame: str) -> None:
        self._shown[draft.run_id] = draft
        if self._acknowledges:
            self._growth_bytes += len(frame)

    def _has_draft_credit(self) -> bool:
        return self._growth_bytes < WINDOW_BYTES and self._has_credit()

    def _has_credit(self) -> bool:
        return len(self._unacked) < WINDOW and self._unacked_bytes < WINDOW_BYTES
