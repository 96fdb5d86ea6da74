"""What a feed tells beside the log: verdicts and comments, each change once and in order, and what people do just now.

Changes of verdicts and comments are numbered in their session. One that the group has not brought is found by the number that the poll
of every second sees, and read from the tables; what people do just now may be lost.
"""

import time
from typing import TYPE_CHECKING

from chat.protocol import encode
from chat.protocol.frames import UnstoredFrame
from chat.protocol.group_messages import ActivityChanged, Noted
from chat.runtime import background, database, metrics
from chat.store import notes

if TYPE_CHECKING:
    from chat.live.feed import Feed

_READ_FRAMES = 100
#: So many words of what people do are passed on in a second to all who look at a session; more would be too many to be seen.
_MOST_ACTIVITY_PER_S = 20


class NotePublisher:
    """Verdicts, comments and activity of the session that a feed is about."""

    __slots__ = ("_activity", "_activity_since", "_feed", "_heard", "_is_reading", "_told")

    def __init__(self, feed: "Feed") -> None:
        self._feed = feed
        #: Up to which change everybody here has been told; None: the feed is not open yet.
        self._told: int | None = None
        #: The newest change that anybody has told of.
        self._heard = 0
        self._is_reading = False
        self._activity, self._activity_since = 0, 0.0

    def open(self, version: int) -> None:
        """Tell what comes after this change."""
        self._told = version
        self._read_soon()

    def take(self, message: Noted) -> None:
        """A change was told by the group: pass it on, or read what lies between."""
        version = message["notes_version"]
        if self._told is not None and version == self._told + 1:
            self._told = version
            self._feed.broadcast(message["frame"])
            return
        self._heard = max(self._heard, version)
        self._read_soon()

    def reconcile(self, version: int) -> None:
        """Take up what the group has not told."""
        if self._told is not None and version > max(self._told, self._heard):
            metrics.healed_messages.inc()
        self._heard = max(self._heard, version)
        self._read_soon()

    @property
    def is_behind(self) -> bool:
        """Whether there are changes of which not everybody here has been told."""
        return self._told is None or self._heard > self._told

    def pass_on(self, message: ActivityChanged) -> None:
        """Tell everybody here what somebody does just now, unless that is too much at once."""
        now = time.monotonic()
        if now - self._activity_since >= 1:
            self._activity, self._activity_since = 0, now
        self._activity += 1
        if self._activity <= _MOST_ACTIVITY_PER_S:
            frame: UnstoredFrame = {"type": "activity", "data": message["data"]}
            self._feed.broadcast(encode(frame))

    def _read_soon(self) -> None:
        if self._told is not None and self.is_behind and not self._is_reading:
            self._is_reading = True
            background.spawn(self._read(), "verdicts and comments")

    async def _read(self) -> None:
        try:
            while self._told is not None and (since := self._told) < (heard := self._heard):
                frames = await database.read(notes.frames_after, self._feed.session_id, since, _READ_FRAMES)
                for version, frame in frames:
                    # Meanwhile the group may have brought some of it.
                    if version > self._told:
                        self._told = version
                        self._feed.broadcast(frame)
                if len(frames) < _READ_FRAMES:
                    # What lies between was changed again since, or has gone with an account.
                    self._told = max(self._told, heard)
        except Exception as error:  # noqa: BLE001 - logged once; the next poll tries again
            self._feed.report("verdicts and comments could not be read", error)
        finally:
            self._is_reading = False
