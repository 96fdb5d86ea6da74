"""Tells the clients of a session, in every process, what was stored, what is being written, and that its queue has changed."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from chat.runtime import background, groups
from chat.store.drafts import Draft
from chat.store.step_log import Stored

#: Whole texts of growth are sent again this often, for whoever missed a piece.
WHOLE_EVERY_S = 1.5


async def publish_queue(session_id: UUID) -> None:
    """Tell a session's group that its queue has changed."""
    await groups.publish(groups.of_session(session_id), {"type": "queue"})


class DraftPublisher:
    """Tells other processes what grows here, in pieces; while one is on its way, what comes gives way to what is newer."""

    def __init__(self, session_id: UUID) -> None:
        self._group = groups.of_session(session_id)
        self._published: Draft | None = None
        self._whole_at = 0.0
        self._next: Draft | None = None
        self._publishing = False

    def publish(self, draft: Draft) -> None:
        """Tell of a new state, at once or after the piece that is on its way."""
        self._next = draft
        if not self._publishing:
            self._publishing = True
            background.spawn(self._publish_all(), "growth")

    async def _publish_all(self) -> None:
        try:
            while (draft := self._next) is not None:
                self._next = None
                await groups.publish(self._group, self._piece(draft))
        finally:
            self._publishing = False

    def _piece(self, draft: Draft) -> groups.Message:
        now = asyncio.get_running_loop().time()
        published = self._published
        offset = published.length if published is not None and draft.same_text(published) else 0
        if offset and now - self._whole_at > WHOLE_EVERY_S:
            offset = 0
        if not offset:
            self._whole_at = now
        self._published = draft
        text = draft.data(offset)["text"]
        growth = [draft.step, draft.type, draft.attempt, offset, text, draft.tool_name]
        return {"type": "growth", "run_id": str(draft.run_id), "growth": growth}


async def publish_events(session_id: UUID, events: Sequence[Stored]) -> None:
    """Tell a session's group of events that are stored."""
    if events:
        published = [[e.seq, str(e.run_id), e.frame, e.event, e.number] for e in events]
        await groups.publish(groups.of_session(session_id), {"type": "stored", "events": published})
