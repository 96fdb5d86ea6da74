"""Publishes to a session's clients, in every process: stored events, drafts, and changes of the queue."""

import asyncio
import time
from collections.abc import Sequence
from uuid import UUID

from agents.text import from_utf16
from chat.protocol import group_messages
from chat.protocol.group_messages import EventsStored, TextWritten
from chat.runtime import background, groups
from chat.store.drafts import Draft
from chat.store.step_log import Stored

#: After how many seconds a draft's whole text is published again, for processes that missed a piece, and to see whether any listens.
WHOLE_EVERY_S = 1.5


async def publish_queue(session_id: UUID) -> None:
    """Publish to a session's group that its queue has changed."""
    await groups.publish(groups.of_session(session_id), group_messages.QUEUE_CHANGED)


class DraftPublisher:
    """Publishes drafts of this process to other processes, in pieces. While one is being sent, newer text replaces what is pending.

    While no other process listens, only whole texts are published: a process that joins later starts with the next one.
    """

    def __init__(self, session_id: UUID) -> None:
        self._group = groups.of_session(session_id)
        self._published: Draft | None = None
        self._whole_at = 0.0
        self._next: Draft | None = None
        self._publishing = False
        self._has_subscribers = True

    def publish(self, draft: Draft) -> None:
        """Publish a new state, at once or after the piece that is being sent."""
        if not self._has_subscribers and asyncio.get_running_loop().time() - self._whole_at <= WHOLE_EVERY_S:
            return
        self._next = draft
        if not self._publishing:
            self._publishing = True
            background.spawn(self._publish_all(), "publish partial text")

    async def _publish_all(self) -> None:
        try:
            while (draft := self._next) is not None:
                self._next = None
                self._has_subscribers = await groups.publish_counted(self._group, self._piece(draft)) != 0
        finally:
            self._publishing = False

    def _piece(self, draft: Draft) -> TextWritten:
        now = asyncio.get_running_loop().time()
        published = self._published
        offset = published.length if published is not None and draft.same_text(published) else 0
        if offset and now - self._whole_at > WHOLE_EVERY_S:
            offset = 0
        if not offset:
            self._whole_at = now
        self._published = draft
        return {
            "version": group_messages.VERSION,
            "type": "child_written" if draft.is_child else "written",
            "run_id": str(draft.run_id),
            "step": draft.step,
            "kind": draft.type,
            "attempt": draft.attempt,
            "offset": offset,
            "text": from_utf16(draft.text, offset),
            "tool_name": draft.tool_name,
        }


async def publish_events(session_id: UUID, events: Sequence[Stored]) -> None:
    """Publish stored events to a session's group."""
    if not events:
        return
    message: EventsStored = {
        "version": group_messages.VERSION,
        "type": "events",
        "events": [
            {"seq": e.seq, "run_id": str(e.run_id), "frame": e.frame, "event": e.event, "number": e.number}
            for e in events
        ],
        "at": time.time(),
    }
    await groups.publish(groups.of_session(session_id), message)
