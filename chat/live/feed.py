"""One feed per session and process: receives what the session's group is sent, and lets each of the process's sockets take what it lacks.

A feed holds the newest frames and the latest state of the step being written, both encoded once. A `Subscriber` holds a cursor and takes
from the feed, or from the log where the feed does not have it; so a lost, doubled or late group message, or a slow socket, costs
time and never a step. Once a second the log itself is asked for its head, whatever the group said, and whoever still lacks something is
seen to again, whatever has failed.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from uuid import UUID

from chat.live.notes import NotePublisher
from chat.live.subscriber import READ_FRAMES, UNSENT, Subscriber
from chat.protocol import Close, encode, group_messages
from chat.protocol.frame_data import PendingWord, Person, QueuedRun
from chat.protocol.group_messages import TextWritten
from chat.runtime import background, database, groups, metrics
from chat.store import drafts, reconcile, selectors
from chat.store.drafts import Draft
from chat.store.event_window import NOT_KNOWN, EventWindow
from chat.store.step_log import Stored

logger = logging.getLogger(__name__)
PRESENCE_PAUSE_S = 0.2
KEPT_FRAMES = 250
#: So many of the runs that ended last are remembered: whole trees of them.
_ENDED_KEPT = 63
#: Whole texts come more often than this from a run at work in another process, as long as it writes.
_UNHEARD_S = 1.0

_UNREADABLE = "the log could not be read"


class Feed:
    """What this process knows of one session that somebody here is looking at."""

    __slots__ = (
        "_ended",
        "_fingerprint",
        "_grown_at",
        "_growth",
        "_heard_head",
        "_is_catching_up",
        "_notes",
        "_on_dropped",
        "_opening",
        "_people",
        "_people_due",
        "_queue_due",
        "_queue_sent",
        "_queue_unsure",
        "_reading",
        "_reported",
        "_sending_people",
        "_steering_sent",
        "_stored_steps",
        "_subscription",
        "drafts",
        "is_settled",
        "ready",
        "session_id",
        "subscribers",
        "told_at",
        "told_from",
        "view",
        "window",
    )

    def __init__(self, session_id: UUID, on_dropped: "Callable[[Feed], None]") -> None:
        self.session_id = session_id
        self._on_dropped = on_dropped
        #: What the log's newest events are, from where it was when this feed was opened.
        self.window = EventWindow(0, KEPT_FRAMES)
        #: The step being written, of each run at work: the root and those within it.
        self.drafts: dict[UUID, Draft] = {}
        self.subscribers: dict[Subscriber, None] = {}
        #: Done once the feed is open; an error where it could not be opened.
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        #: What the session was when it was opened, for whoever came first, and not kept after that.
        self.view: selectors.SessionView | None = None
        self._subscription = groups.GroupSubscription(groups.of_session(session_id), self._deliver)
        self._ended: list[UUID] = []
        self._stored_steps: dict[UUID, int] = {}
        #: When the newest events that the group has told of were stored (0: it did not say), and the number they begin with.
        self.told_at, self.told_from = 0.0, 0
        #: When a run in another process was last heard to write.
        self._grown_at = 0.0
        self._growth: dict[UUID, tuple[Draft | None, Draft, str]] = {}
        #: The queue, with it the words into the run at work, and the people as they were sent last; None: not yet, or not to everybody.
        self._queue_sent: list[QueuedRun] | None = None
        self._steering_sent: list[PendingWord] | None = None
        self._people: list[Person] | None = None
        #: Whether there is something about them that has not been read yet.
        self._queue_due = self._people_due = False
        #: Whether one socket may have been told of the queue something older than the others.
        self._queue_unsure = False
        self._sending_people = False
        self._fingerprint: reconcile.SessionFingerprint | None = None
        #: Whether nothing was left to do when it was compared with that, and nothing has come since.
        self.is_settled = False
        self._reading = asyncio.Lock()
        self._notes = NotePublisher(self)
        #: The highest number that anybody has told of.
        self._heard_head, self._is_catching_up = 0, False
        #: What went wrong here and was told in the log: once, until it has gone well again.
        self._reported: set[str] = set()
        # The feed's own task: whoever came first may go before it is open, and others wait for it too.
        self._opening = background.spawn(self._open(), "open feed")

    @property
    def head(self) -> int:
        """The number of the newest event that this feed knows."""
        return self.window.last

    @property
    def is_open(self) -> bool:
        """Whether it knows where the log is."""
        return self.ready.done() and not self.ready.cancelled() and self.ready.exception() is None

    async def _open(self) -> None:
        """Join the group first, then read: nothing can fall between."""
        try:
            await self._subscription.open()
            view, saved = await database.read(selectors.view_and_drafts, self.session_id)
        except BaseException as error:
            # Whoever comes later opens a feed anew; whoever waits for this one is told.
            self._on_dropped(self)
            self.ready.set_exception(
                error if isinstance(error, Exception) else ConnectionError("The session's feed was closed.")
            )
            self.ready.exception()
            if not isinstance(error, Exception):
                raise
            return
        self.window = EventWindow(view.last_seq if view else 0, KEPT_FRAMES)
        if view is None or view.run is None:
            # What another process wrote meanwhile is stored by now.
            self.drafts.clear()
        # Not before: a step that was being written while the log was read may be part of what was read.
        drafts.watch(self.session_id, self.take_draft)
        for draft in [*drafts.of(self.session_id), *saved]:
            self.take_draft(draft)
        self._notes.open(view.notes_version if view else 0)
        self.view = view
        self.ready.set_result(None)
        self._catch_up_soon(self._heard_head)

    async def close(self) -> None:
        """Nobody looks any more."""
        self._opening.cancel()
        drafts.unwatch(self.session_id, self.take_draft)
        await self._subscription.close()

    def add(self, subscriber: Subscriber) -> None:
        """A socket comes; it has not been told who is here."""
        self.subscribers[subscriber] = None
        self._people, self._people_due, self.is_settled = None, True, False

    def remove(self, subscriber: Subscriber) -> None:
        """A socket leaves."""
        self.subscribers.pop(subscriber, None)

    async def read(self, cursor: int, limit: int) -> list[Stored]:
        """Frames after a cursor from the log itself; a number that the log leaves out is told of, and passed over."""
        batch = await database.read(selectors.stored_after, self.session_id, cursor, limit)
        self._reported -= {_UNREADABLE, UNSENT}
        for before, stored in zip([cursor, *(each.seq for each in batch)], batch, strict=False):
            if stored.seq != before + 1:
                self.report(f"the log has no number {before + 1}; it goes on with {stored.seq}")
        return batch

    def report(self, trouble: str, error: Exception | None = None) -> None:
        """Tell of trouble with this session in the log, each kind once."""
        if trouble not in self._reported:
            self._reported.add(trouble)
            logger.warning("Session %s: %s", self.session_id, trouble, exc_info=error)

    def growth_frame(self, draft: Draft, shown: Draft | None) -> str:
        """The growth since what a socket has been shown, encoded once for all that were shown the same."""
        since, until, frame = self._growth.get(draft.run_id, (None, None, ""))
        if frame and since is shown and until is draft:
            return frame
        frame = encode(draft.frame(shown.length if shown else 0))
        self._growth[draft.run_id] = (shown, draft, frame)
        return frame

    def broadcast(self, frame: str) -> None:
        """Send a frame that is not part of the log to every socket here."""
        for subscriber in list(self.subscribers):
            subscriber.send_control(frame)

    def wake_all(self) -> None:
        """Let every socket take what it lacks."""
        for subscriber in list(self.subscribers):
            subscriber.schedule_flush()

    async def catch_up(self, head: int) -> None:
        """Take from the log what the group has not brought; and leave a log that is no longer the one this feed has read."""
        async with self._reading:
            while self.head < head:
                # From the last known one on, which must still be there: a database set back to an earlier state has another history.
                last = self.head
                known = self.window.at(last)
                batch = await self.read(last if known is NOT_KNOWN else last - 1, READ_FRAMES)
                if known is not NOT_KNOWN:
                    if batch[:1] != [known]:
                        self.invalidate()
                        return
                    del batch[0]
                if not batch:
                    self.report(f"the log has nothing after number {last}")
                    break
                for stored in batch:
                    self._take(stored)
        self.wake_all()

    def _catch_up_soon(self, head: int) -> None:
        """Catch up by itself, unless that is under way; what fails is tried again at the next poll."""
        self._heard_head = max(self._heard_head, head)
        if self.is_open and not self._is_catching_up and self._heard_head > self.head:
            self._is_catching_up = True
            background.spawn(self._catch_up_quietly(), "catch up")

    async def _catch_up_quietly(self) -> None:
        try:
            while (before := self.head) < self._heard_head:
                await self.catch_up(self._heard_head)
                if self.head == before:
                    # There is no more, whoever said so.
                    self._heard_head = before
        except Exception as error:  # noqa: BLE001 - logged once; the next poll begins anew
            self.report(_UNREADABLE, error)
        finally:
            self._is_catching_up = False

    def invalidate(self) -> None:
        """Send every socket to a new feed: there it says what it has, and is told to drop what is not in the log."""
        logger.warning(
            "The log of session %s is not the one that was read before; its clients start over", self.session_id
        )
        self._on_dropped(self)
        for subscriber in list(self.subscribers):
            subscriber.request_close(Close.RESTARTING)

    def mark_queue_sent(self, queue: list[QueuedRun], steering: list[PendingWord]) -> None:
        """A socket has been told of the queue with its session's frame, which may be older than what the others were told last."""
        self.is_settled = False
        if self._queue_sent is None:
            self._queue_sent, self._steering_sent = queue, steering
        elif (queue, steering) != (self._queue_sent, self._steering_sent):
            self._queue_due = self._queue_unsure = True
            self._publish_queue()

    def is_as_before(self, fingerprint: reconcile.SessionFingerprint) -> bool:
        """Whether there is nothing to take up: it looked the same the last time, with nothing left to do, and nothing has come since."""
        return self.is_settled and fingerprint == self._fingerprint

    def reconcile(self, fingerprint: reconcile.SessionFingerprint) -> None:
        """Take up what the group has not said, or what could not be done when it said so: events, the queue, the people, the draft."""
        known, self._fingerprint = self._fingerprint, fingerprint
        known_lines = (known.queue, known.words) if known else (reconcile.NOTHING, reconcile.NOTHING)
        # What was told last may have come and gone since the last poll, and the group's message of its going been lost.
        told = len(self._queue_sent or ()), len(self._steering_sent or ())
        lines, waiting = (fingerprint.queue, fingerprint.words), (fingerprint.queue[0], fingerprint.words[0])
        if lines != known_lines or waiting != told:
            self._queue_due = True
        # Nor does anybody know what has come and gone between what was read of the people and the first look.
        if self._people is None or known is None or fingerprint.people != known.people:
            self._people_due = True
        if self._queue_due:
            self._publish_queue()
        if self._people_due:
            self._announce_presence()
        if fingerprint.head > max(self.head, self._heard_head):
            metrics.healed_messages.inc()
        # Another feed of this session may have been closed after this one was opened, and have taken the watching with it.
        drafts.watch(self.session_id, self.take_draft)
        for draft in drafts.of(self.session_id):
            self.take_draft(draft)
        self._catch_up_soon(fingerprint.head)
        self._notes.reconcile(fingerprint.notes)
        is_due = self._queue_due or self._people_due or self._notes.is_behind or fingerprint.head != self.head
        is_alive = fingerprint.is_live or self.drafts or any(each.subscription is None for each in self.subscribers)
        self.is_settled = not (is_due or is_alive)

    def _deliver(self, received: groups.Message) -> None:
        self.is_settled = False
        message = group_messages.read_session_message(received)
        if message is None:
            return
        match message["type"]:
            case "events":
                self._take_all(
                    [
                        Stored(each["seq"], UUID(each["run_id"]), each["frame"], each["event"], each["number"])
                        for each in message["events"]
                    ],
                    message.get("at", 0.0),
                )
            case "written" | "child_written":
                self._take_written(message)
            case "queue":
                self._queue_due = True
                self._publish_queue()
            case "presence":
                self._announce_presence()
            case "noted":
                self._notes.take(message)
            case "activity":
                self._notes.pass_on(message)
            case "gone":
                for subscriber in list(self.subscribers):
                    subscriber.request_close(Close.NO_SUCH_SESSION)

    def _publish_queue(self) -> None:
        background.spawn(self._send_queue(), "queue")

    async def _send_queue(self) -> None:
        async with self._reading:  # one after the other, so that the last one told is the newest
            if not self._queue_due:
                return
            self._queue_due = False
            try:
                queue, steering = await database.read(selectors.lines, self.session_id)
            except Exception as error:  # noqa: BLE001 - logged once; the next poll tries again
                self._queue_due = True
                self.report("the queue could not be read", error)
                return
            finally:
                self.is_settled = False
            unsure, self._queue_unsure = self._queue_unsure, False
            if steering != self._steering_sent or unsure:
                self._steering_sent = steering
                self.broadcast(encode({"type": "steering", "data": steering}))
            if queue != self._queue_sent or unsure:
                self._queue_sent = queue
                self.broadcast(encode({"type": "queue", "data": queue}))

    def _take_all(self, events: list[Stored], at: float) -> None:
        if not events:
            return
        for stored in events:
            self._settle(stored)
        if events[0].seq > self.head:
            self.told_from, self.told_at = events[0].seq, at
        if not self.is_open or events[0].seq > self.head + 1:
            self._catch_up_soon(events[-1].seq)
        elif not self._have(events[-1]):
            for stored in events:
                self._take(stored)
            self.wake_all()

    def _have(self, stored: Stored) -> bool:
        """Whether an event is one of those this feed has read; one of another history makes it start over."""
        if stored.seq > self.head:
            return False
        if self.window.at(stored.seq) not in (stored, NOT_KNOWN):
            self.invalidate()
        return True

    def _take(self, stored: Stored) -> None:
        """Take an event that the log has; one that is known already is left."""
        if stored.seq <= self.head:
            return
        if stored.seq > self.head + 1:
            # The log leaves numbers out: who has not been sent what comes before reads it there.
            self.window = EventWindow(stored.seq - 1, KEPT_FRAMES)
        self.window.append(stored)
        self._settle(stored)

    def _settle(self, stored: Stored) -> None:
        """What is stored is being written no more."""
        if stored.event in ("reasoning_complete", "child_complete"):
            if stored.run_id not in self._ended:
                self._ended = [*self._ended[-_ENDED_KEPT:], stored.run_id]
            self._stored_steps.pop(stored.run_id, None)
        elif stored.number:
            self._stored_steps[stored.run_id] = max(stored.number, self._stored_steps.get(stored.run_id, 0))
        draft = self.drafts.get(stored.run_id)
        if draft is not None and self._is_over(draft):
            del self.drafts[draft.run_id]
            self._growth.pop(draft.run_id, None)

    def _take_written(self, message: TextWritten) -> None:
        """Apply a piece of a run in another process to what is known; what is executed here comes from `drafts` itself.

        Where a piece is missing nothing is shown until the whole text comes, which the run sends again and again.
        """
        if drafts.of(self.session_id):
            return
        self._grown_at = time.monotonic()
        run_id, step, attempt = UUID(message["run_id"]), message["step"], message["attempt"]
        text, offset = message["text"], message["offset"]
        known = self.drafts.get(run_id)
        if offset:
            if known is None or (known.step, known.attempt, known.length) != (step, attempt, offset):
                return
            text = known.text + text
        is_child = message["type"] == "child_written"
        self.take_draft(Draft(run_id, step, message["kind"], attempt, text, message["tool_name"], is_child))

    def misses_growth(self, now: float) -> bool:
        """Whether a run at work elsewhere has not been heard to write for so long that the group's messages may be getting lost."""
        if self._fingerprint is None or not self._fingerprint.is_live or now - self._grown_at <= _UNHEARD_S:
            return False
        return groups.reach_others() and not drafts.of(self.session_id)

    def take_draft(self, draft: Draft) -> None:
        """Show a state of the step that a run is writing, where it is newer than what is known."""
        if self._is_over(draft) or not draft.is_newer_than(self.drafts.get(draft.run_id)):
            return
        if not draft.is_child:
            # A session has one root at work: what another one wrote is over, whether its end has come or not.
            self._forget_other_roots(draft.run_id)
        self.drafts[draft.run_id] = draft
        self.is_settled = False
        self.wake_all()

    def _forget_other_roots(self, root: UUID) -> None:
        for run_id in [known.run_id for known in self.drafts.values() if not known.is_child and known.run_id != root]:
            del self.drafts[run_id]
            self._growth.pop(run_id, None)

    def _is_over(self, draft: Draft) -> bool:
        return draft.run_id in self._ended or 0 < draft.step <= self._stored_steps.get(draft.run_id, 0)

    def _announce_presence(self) -> None:
        self._people_due = True
        if not self._sending_people:
            self._sending_people = True
            background.spawn(self._send_presence(), "presence")

    async def _send_presence(self) -> None:
        try:
            # Many may come and go at once: one word about it is enough.
            await asyncio.sleep(PRESENCE_PAUSE_S)
            self._people_due = False
            people = await database.read(selectors.presence, self.session_id)
        except Exception as error:  # noqa: BLE001 - logged once; the next poll tries again
            self._people_due = True
            self.report("who is here could not be read", error)
            return
        finally:
            self._sending_people = self.is_settled = False
        if people != self._people:
            self._people = people
            self.broadcast(encode({"type": "presence", "data": people}))
