"""Frames of a feed that are not part of the log: verdicts and comments, each change once and in order, and activity.

Changes of verdicts and comments are numbered per session. If a group message is missed, the number that is polled every second shows it,
and the changes are read from the tables. Activity (what people are doing now) may be lost.
"""

import time
from typing import Protocol
from uuid import UUID

from chat.protocol import encode_frame
from chat.protocol.frames import UnstoredFrame
from chat.protocol.group_messages import ActivityChanged, Noted
from chat.runtime import background, database, metrics
from chat.store import notes

_READ_FRAMES = 100
#: The most activity frames that are sent per second to everyone in a session; people could not follow more.
_MOST_ACTIVITY_PER_S = 20


class NoteReaders(Protocol):
    """The receivers of a session's notes: the sockets of its feed."""

    session_id: UUID

    def broadcast(self, frame: str) -> None:
        """Send a frame to each of them."""

    def report(self, trouble: str, error: Exception | None = None) -> None:
        """Log what went wrong."""


class NotePublisher:
    """Sends verdicts, comments and activity of a feed's session. Its methods are called on the event loop."""

    __slots__ = ("_activity", "_activity_since", "_announced", "_is_reading", "_published", "_readers")

    def __init__(self, readers: NoteReaders) -> None:
        self._readers = readers
        #: The number of the last change that was sent; None before the feed is open.
        self._published: int | None = None
        #: The newest change that is known to exist.
        self._announced = 0
        self._is_reading = False
        self._activity, self._activity_since = 0, 0.0

    def open(self, version: int) -> None:
        """Send the changes after this one from now on."""
        self._published = version
        self._read_soon()

    def apply(self, message: Noted) -> None:
        """Handle a group message about a change: send it, or first read the changes before it that are missing."""
        version = message["notes_version"]
        if self._published is not None and version == self._published + 1:
            self._published = version
            self._readers.broadcast(message["frame"])
            return
        self._announced = max(self._announced, version)
        self._read_soon()

    def reconcile(self, version: int) -> None:
        """Catch up on changes that no group message brought; ``version`` is the number of the newest stored one."""
        if self._published is not None and version > max(self._published, self._announced):
            metrics.healed_messages.inc()
        self._announced = max(self._announced, version)
        self._read_soon()

    @property
    def is_behind(self) -> bool:
        """Whether there are changes that were not sent yet."""
        return self._published is None or self._announced > self._published

    def pass_on(self, message: ActivityChanged) -> None:
        """Send what somebody is doing now, unless too many such frames were sent within the last second."""
        now = time.monotonic()
        if now - self._activity_since >= 1:
            self._activity, self._activity_since = 0, now
        self._activity += 1
        if self._activity <= _MOST_ACTIVITY_PER_S:
            frame: UnstoredFrame = {"type": "activity", "data": message["data"]}
            self._readers.broadcast(encode_frame(frame))

    def _read_soon(self) -> None:
        if self._published is not None and self.is_behind and not self._is_reading:
            self._is_reading = True
            background.spawn(self._read(), "verdicts and comments")

    async def _read(self) -> None:
        try:
            while self._published is not None and (since := self._published) < (newest := self._announced):
                frames = await database.read(notes.frames_after, self._readers.session_id, since, _READ_FRAMES)
                for version, frame in frames:
                    # A group message may have brought some of them meanwhile.
                    if version > self._published:
                        self._published = version
                        self._readers.broadcast(frame)
                if len(frames) < _READ_FRAMES:
                    # Missing ones were changed again since, or deleted with an account.
                    self._published = max(self._published, newest)
        except Exception as error:  # noqa: BLE001 - logged once; the next poll tries again
            self._readers.report("verdicts and comments could not be read", error)
        finally:
            self._is_reading = False
