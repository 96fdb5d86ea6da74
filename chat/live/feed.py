"""One feed per session and process: receives the session's group messages, and sends each socket of the process the events it lacks.

A feed keeps the newest frames and the latest state of the step being written, both encoded once. A `Subscriber` has a cursor, and reads
from the feed, or from the log if the feed no longer has an event. So a lost, repeated or late group message, or a slow socket, costs time,
but never a step. Once a second the log's newest number is read, whatever group messages there were, and every subscriber that still lacks
something is flushed again. Call all methods on the event loop.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from uuid import UUID

from chat.live.notes import NotePublisher
from chat.live.subscriber import READ_FRAMES, UNSENT, Subscriber
from chat.protocol import Close, encode_frame, group_messages
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
#: How many ended runs are remembered: enough for whole trees of runs.
_ENDED_KEPT = 63
#: While a run in another process writes, it publishes its whole text more often than every so many seconds.
_UNHEARD_S = 1.0
_UNREADABLE = "the log could not be read"


class Feed:
    """What this process knows about one session that has sockets here."""

    __slots__ = (
        "_announced_head",
        "_ended",
        "_fingerprint",
        "_grown_at",
        "_growth",
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
        "stored_at",
        "stored_from",
        "subscribers",
        "view",
        "window",
    )

    def __init__(self, session_id: UUID, on_dropped: "Callable[[Feed], None]") -> None:
        self.session_id = session_id
        self._on_dropped = on_dropped
        #: The newest events of the log, from the number that was the newest when this feed was opened.
        self.window = EventWindow(0, KEPT_FRAMES)
        #: The steps being written, by run: of the running root and of runs within it.
        self.drafts: dict[UUID, Draft] = {}
        self.subscribers: dict[Subscriber, None] = {}
        #: Done once the feed is open; has an exception if it could not be opened.
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        #: The session as it was read when the feed was opened; for the first subscriber only.
        self.view: selectors.SessionView | None = None
        self._subscription = groups.GroupSubscription(groups.of_session(session_id), self._deliver)
        self._ended: list[UUID] = []
        self._stored_steps: dict[UUID, int] = {}
        #: When the newest events of a group message were stored (0: not in the message), and the number of the first of them.
        self.stored_at, self.stored_from = 0.0, 0
        #: When text of a run in another process last arrived.
        self._grown_at = 0.0
        self._growth: dict[UUID, tuple[Draft | None, Draft, str]] = {}
        #: The queue, the steering words and the people as they were last sent; None: not yet, or not to every socket.
        self._queue_sent: list[QueuedRun] | None = None
        self._steering_sent: list[PendingWord] | None = None
        self._people: list[Person] | None = None
        #: Whether the queue or the people have changed and have not been read yet.
        self._queue_due = self._people_due = False
        #: Whether a socket may have been sent an older queue than the others.
        self._queue_unsure = False
        self._sending_people = False
        self._fingerprint: reconcile.SessionFingerprint | None = None
        #: Whether nothing was left to do at the last comparison with the log, and nothing has arrived since.
        self.is_settled = False
        self._reading = asyncio.Lock()
        self._notes = NotePublisher(self)
        #: The highest number in a group message.
        self._announced_head, self._is_catching_up = 0, False
        #: Problems that were logged; each is logged once, until it is solved.
        self._reported: set[str] = set()
        # A task of the feed, not of the first subscriber, who may leave before the feed is open while others wait for it.
        self._opening = background.spawn(self._open(), "open feed")

    @property
    def head(self) -> int:
        """The number of the newest known event."""
        return self.window.last

    @property
    def is_open(self) -> bool:
        """Whether the newest event of the log is known."""
        return self.ready.done() and not self.ready.cancelled() and self.ready.exception() is None

    async def _open(self) -> None:
        """Join the group first, then read the log, so that no event is missed in between."""
        try:
            await self._subscription.open()
            view, saved = await database.read(selectors.view_and_drafts, self.session_id)
        except BaseException as error:
            # Later subscribers open a new feed; those that wait for this one get the exception.
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
            # What another process was writing is stored by now.
            self.drafts.clear()
        # Only now: a step that was being written while the log was read may already be in the log.
        drafts.watch(self.session_id, self.show_draft)
        for draft in [*drafts.of_session(self.session_id), *saved]:
            self.show_draft(draft)
        self._notes.open(view.notes_version if view else 0)
        self.view = view
        self.ready.set_result(None)
        self._catch_up_soon(self._announced_head)

    async def close(self) -> None:
        """Leave the group. Called when the last subscriber has gone."""
        self._opening.cancel()
        drafts.unwatch(self.session_id, self.show_draft)
        await self._subscription.close()

    def add(self, subscriber: Subscriber) -> None:
        """Add a subscriber. Presence is sent to everyone again, because this one has not got it."""
        self.subscribers[subscriber] = None
        self._people, self._people_due, self.is_settled = None, True, False

    def remove(self, subscriber: Subscriber) -> None:
        """Remove a subscriber."""
        self.subscribers.pop(subscriber, None)

    async def read(self, cursor: int, limit: int) -> list[Stored]:
        """At most ``limit`` events after a cursor, from the database. A number that is missing in the log is logged and skipped."""
        batch = await database.read(selectors.stored_after, self.session_id, cursor, limit)
        self._reported -= {_UNREADABLE, UNSENT}
        for before, stored in zip([cursor, *(each.seq for each in batch)], batch, strict=False):
            if stored.seq != before + 1:
                self.report(f"the log has no number {before + 1}; it goes on with {stored.seq}")
        return batch

    def report(self, trouble: str, error: Exception | None = None) -> None:
        """Log a problem of this session, each kind once until it is solved."""
        if trouble not in self._reported:
            self._reported.add(trouble)
            logger.warning("Session %s: %s", self.session_id, trouble, exc_info=error)

    def growth_frame(self, draft: Draft, shown: Draft | None) -> str:
        """The text that was added since what a socket was shown; encoded once for all sockets that were shown the same."""
        since, until, frame = self._growth.get(draft.run_id, (None, None, ""))
        if frame and since is shown and until is draft:
            return frame
        frame = encode_frame(draft.frame(shown.length if shown else 0))
        self._growth[draft.run_id] = (shown, draft, frame)
        return frame

    def broadcast(self, frame: str) -> None:
        """Send a frame that is not part of the log to every socket of this feed."""
        for subscriber in list(self.subscribers):
            subscriber.send_control(frame)

    def wake_all(self) -> None:
        """Have every subscriber sent what it lacks."""
        for subscriber in list(self.subscribers):
            subscriber.schedule_flush()

    async def catch_up(self, head: int) -> None:
        """Read events up to ``head`` that no group message has brought. If the log was replaced, start over."""
        async with self._reading:
            while self.head < head:
                # Begin with the last known event, which must still be there: a restored database may have another history.
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
                    self._add_event(stored)
        self.wake_all()

    def _catch_up_soon(self, head: int) -> None:
        """Catch up in a task, unless one is running. If it fails, the next poll tries again."""
        self._announced_head = max(self._announced_head, head)
        if self.is_open and not self._is_catching_up and self._announced_head > self.head:
            self._is_catching_up = True
            background.spawn(self._catch_up_quietly(), "catch up")

    async def _catch_up_quietly(self) -> None:
        try:
            while (before := self.head) < self._announced_head:
                await self.catch_up(self._announced_head)
                if self.head == before:
                    # The log has no more events, whatever the message said.
                    self._announced_head = before
        except Exception as error:  # noqa: BLE001 - logged once; the next poll begins anew
            self.report(_UNREADABLE, error)
        finally:
            self._is_catching_up = False

    def invalidate(self) -> None:
        """Close every socket: clients reconnect to a new feed, name their last event, and are told to drop what is not in the log."""
        logger.warning(
            "The events of session %s have changed in the database; its clients load it again", self.session_id
        )
        self._on_dropped(self)
        for subscriber in list(self.subscribers):
            subscriber.request_close(Close.RESTARTING)

    def mark_queue_sent(self, queue: list[QueuedRun], steering: list[PendingWord]) -> None:
        """Note that a socket was sent this queue with its session's frame; it may be older than what others were sent last."""
        self.is_settled = False
        if self._queue_sent is None:
            self._queue_sent, self._steering_sent = queue, steering
        elif (queue, steering) != (self._queue_sent, self._steering_sent):
            self._queue_due = self._queue_unsure = True
            self._publish_queue()

    def is_as_before(self, fingerprint: reconcile.SessionFingerprint) -> bool:
        """Whether nothing has to be reconciled: fingerprint as last time, nothing was left to do then, nothing has arrived since."""
        return self.is_settled and fingerprint == self._fingerprint

    def reconcile(self, fingerprint: reconcile.SessionFingerprint) -> None:
        """Catch up on what group messages have not brought, or what failed when they came: events, queue, people, drafts."""
        known, self._fingerprint = self._fingerprint, fingerprint
        known_lines = (known.queue, known.words) if known else (reconcile.NOTHING, reconcile.NOTHING)
        # What was sent last may be outdated since the last poll, and the group message about that may have been lost.
        sent = len(self._queue_sent or ()), len(self._steering_sent or ())
        lines, waiting = (fingerprint.queue, fingerprint.words), (fingerprint.queue[0], fingerprint.words[0])
        if lines != known_lines or waiting != sent:
            self._queue_due = True
        # The same for people who came and went between the last read and the first poll.
        if self._people is None or known is None or fingerprint.people != known.people:
            self._people_due = True
        if self._queue_due:
            self._publish_queue()
        if self._people_due:
            self._announce_presence()
        if fingerprint.head > max(self.head, self._announced_head):
            metrics.healed_messages.inc()
        # Another feed of this session may have been closed after this one was opened, which has ended the watch.
        drafts.watch(self.session_id, self.show_draft)
        for draft in drafts.of_session(self.session_id):
            self.show_draft(draft)
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
                self._add_events(
                    [
                        Stored(each["seq"], UUID(each["run_id"]), each["frame"], each["event"], each["number"])
                        for each in message["events"]
                    ],
                    message.get("at", 0.0),
                )
            case "written" | "child_written":
                self._apply_text(message)
            case "queue":
                self._queue_due = True
                self._publish_queue()
            case "presence":
                self._announce_presence()
            case "noted":
                self._notes.apply(message)
            case "activity":
                self._notes.pass_on(message)
            case "gone":
                for subscriber in list(self.subscribers):
                    subscriber.request_close(Close.NO_SUCH_SESSION)

    def _publish_queue(self) -> None:
        background.spawn(self._send_queue(), "queue")

    async def _send_queue(self) -> None:
        async with self._reading:  # one at a time, so that the last one sent is the newest
            if not self._queue_due:
                return
            self._queue_due = False
            try:
                queue, steering = await database.read(selectors.pending_messages, self.session_id)
            except Exception as error:  # noqa: BLE001 - logged once; the next poll tries again
                self._queue_due = True
                self.report("the queue could not be read", error)
                return
            finally:
                self.is_settled = False
            unsure, self._queue_unsure = self._queue_unsure, False
            if steering != self._steering_sent or unsure:
                self._steering_sent = steering
                self.broadcast(encode_frame({"type": "steering", "data": steering}))
            if queue != self._queue_sent or unsure:
                self._queue_sent = queue
                self.broadcast(encode_frame({"type": "queue", "data": queue}))

    def _add_events(self, events: list[Stored], at: float) -> None:
        if not events:
            return
        for stored in events:
            self._settle(stored)
        if events[0].seq > self.head:
            self.stored_from, self.stored_at = events[0].seq, at
        if not self.is_open or events[0].seq > self.head + 1:
            self._catch_up_soon(events[-1].seq)
        elif not self._have(events[-1]):
            for stored in events:
                self._add_event(stored)
            self.wake_all()

    def _have(self, stored: Stored) -> bool:
        """Whether this feed already has an event. If its number belongs to another event, start over."""
        if stored.seq > self.head:
            return False
        if self.window.at(stored.seq) not in (stored, NOT_KNOWN):
            self.invalidate()
        return True

    def _add_event(self, stored: Stored) -> None:
        """Add an event of the log; a known one is ignored."""
        if stored.seq <= self.head:
            return
        if stored.seq > self.head + 1:
            # Numbers are missing in the log: subscribers that lack the events before this one read them from the log.
            self.window = EventWindow(stored.seq - 1, KEPT_FRAMES)
        self.window.append(stored)
        self._settle(stored)

    def _settle(self, stored: Stored) -> None:
        """Drop the draft of a step that is stored now."""
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

    def _apply_text(self, message: TextWritten) -> None:
        """Apply a piece of text of a run in another process; for runs in this process `drafts` itself has the text.

        If a piece was lost, nothing is shown until the whole text comes, which the run publishes regularly.
        """
        if drafts.of_session(self.session_id):
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
        self.show_draft(Draft(run_id, step, message["kind"], attempt, text, message["tool_name"], is_child))

    def misses_growth(self, now: float) -> bool:
        """Whether text of a run in another process has been missing for so long that messages may be getting lost. ``now``: `monotonic`."""
        if self._fingerprint is None or not self._fingerprint.is_live or now - self._grown_at <= _UNHEARD_S:
            return False
        return groups.reach_others() and not drafts.of_session(self.session_id)

    def show_draft(self, draft: Draft) -> None:
        """Show a newer state of the step that a run is writing; an older one is ignored."""
        if self._is_over(draft) or not draft.is_newer_than(self.drafts.get(draft.run_id)):
            return
        if not draft.is_child and draft.run_id not in self.drafts:
            # A session runs one root at a time, so any other one has ended, whether its last event has arrived or not.
            self._forget_other_roots(draft.run_id)
        self.drafts[draft.run_id] = draft
        self.is_settled = False
        for subscriber in list(self.subscribers):
            subscriber.show_draft(draft)

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
            # Many people may come and go at once: one frame is sent for all of them.
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
            self.broadcast(encode_frame({"type": "presence", "data": people}))
