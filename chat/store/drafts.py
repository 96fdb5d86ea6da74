"""The text of steps still being written, of the runs that this process executes.

One latest-state cell per run: the agent's growth replaces what is in it. Those who show it take what they have not seen yet; every
second the cells that changed are saved, all in one transaction, so that a crash loses no more than that.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast
from uuid import UUID

from django.db import Error, InterfaceError, InternalError, OperationalError
from django.utils import timezone

from agents.text import from_utf16, utf16_length
from chat import models
from chat.protocol.frames import DeltaData, DeltaType, ReasoningDeltaFrame
from chat.runtime import database
from chat.store import step_log

logger = logging.getLogger(__name__)

SAVE_EVERY_S = 1.0


@dataclass(slots=True)
class Draft:
    """What is written so far of one step, and how much of it in UTF-16 code units."""

    run_id: UUID
    step: int
    type: str
    attempt: int
    text: str
    tool_name: str = ""
    length: int = field(default=0)

    def __post_init__(self) -> None:
        self.length = utf16_length(self.text)

    def is_newer_than(self, other: "Draft | None") -> bool:
        """Whether this state supersedes another of the same run, or has nothing to compare with."""
        if other is None or other.run_id != self.run_id:
            return True
        return (self.step, self.attempt, self.length) > (other.step, other.attempt, other.length)

    def same_text(self, other: "Draft | None") -> bool:
        """Whether the other one is an earlier or equal state of the same text."""
        return (
            other is not None
            and (other.run_id, other.step, other.attempt) == (self.run_id, self.step, self.attempt)
            and other.length <= self.length
        )

    def frame(self, offset: int) -> ReasoningDeltaFrame:
        """The frame that tells of it from an offset on."""
        data: DeltaData = {
            "step": self.step,
            "type": cast(DeltaType, self.type),
            "attempt": self.attempt,
            "offset": offset,
            "text": from_utf16(self.text, offset),
        }
        if self.tool_name:
            data["tool_name"] = self.tool_name
        return {"type": "reasoning_delta", "run_id": str(self.run_id), "data": data}


Watcher = Callable[[Draft], None]

cells: dict[UUID, Draft] = {}
unsaved: set[UUID] = set()
watchers: dict[UUID, Watcher] = {}
_is_failing = False


def put(session_id: UUID, draft: Draft) -> None:
    """Replace what the session's live run is writing, and show it to who watches here."""
    cells[session_id] = draft
    unsaved.add(session_id)
    if (watcher := watchers.get(session_id)) is not None:
        watcher(draft)


def watch(session_id: UUID, watcher: Watcher) -> None:
    """Call for each new state of what the session's run in this process writes; one watcher per session."""
    watchers[session_id] = watcher


def unwatch(session_id: UUID, watcher: Watcher) -> None:
    """Call no more."""
    if watchers.get(session_id) == watcher:
        del watchers[session_id]


def of(session_id: UUID) -> Draft | None:
    """What the session's run in this process is writing now."""
    return cells.get(session_id)


def drop(session_id: UUID) -> None:
    """The step is stored, or the run has ended: nothing is being written."""
    cells.pop(session_id, None)
    unsaved.discard(session_id)


async def save_for_ever() -> None:
    """Save what changed, once a second, until cancelled."""
    while True:
        await asyncio.sleep(SAVE_EVERY_S)
        try:
            await save()
        except Exception:
            logger.exception("The text of steps in progress could not be saved")


async def save() -> None:
    """Save what changed since the last time, and what could not be saved then."""
    changed = {
        session_id: cells[session_id]
        for session_id in unsaved
        # How far a tool has come is nothing to go on from.
        if session_id in cells and cells[session_id].type != "tool_result"
    }
    unsaved.clear()
    if not changed:
        return
    now = timezone.now()
    rows = [
        models.Draft(
            run_id=draft.run_id,
            number=draft.step,
            type=draft.type,
            attempt=draft.attempt,
            text=draft.text,
            updated_at=now,
        )
        for draft in changed.values()
    ]
    saved: set[UUID] = set()
    try:
        saved = await _saved(rows)
    finally:
        unsaved.update(at for at, draft in changed.items() if draft.run_id not in saved and at in cells)


async def _saved(rows: Sequence[models.Draft]) -> set[UUID]:
    """Save rows; returns the runs whose text is saved. One that cannot be saved keeps none of the others from it."""
    global _is_failing
    try:
        saved = await database.write(step_log.save_drafts, rows)
    except Error as error:
        # Where the database is away, to ask for each alone would not help.
        if len(rows) > 1 and not isinstance(error, OperationalError | InterfaceError | InternalError):
            return {run_id for row in rows for run_id in await _saved([row])}
        if not _is_failing:
            logger.warning("The text of %d steps in progress could not be saved yet", len(rows), exc_info=True)
        _is_failing = True
        return set()
    _is_failing = False
    return saved
