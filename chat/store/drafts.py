"""The text of steps that are still being written by runs of this process.

There is one cell per run, also for a run within another, with its latest state. Readers take what they have not shown
yet. Every second the changed cells are saved, all in one transaction, so that a crash loses no more than that.
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
from chat.protocol.frame_data import DeltaData, DeltaType
from chat.protocol.frames import ChildDeltaFrame, ReasoningDeltaFrame
from chat.runtime import database
from chat.store import step_log

logger = logging.getLogger(__name__)

SAVE_EVERY_S = 1.0


@dataclass(slots=True)
class Draft:
    """The text of a step that is being written, and its length in UTF-16 code units."""

    run_id: UUID
    step: int
    type: str
    attempt: int
    text: str
    tool_name: str = ""
    is_child: bool = False
    after: int = 0
    """The ``seq`` of the run's last stored event, which has to be shown before; 0 if it is not known."""
    length: int = field(default=0)

    def __post_init__(self) -> None:
        self.length = utf16_length(self.text)

    def is_newer_than(self, other: "Draft | None") -> bool:
        """Whether this state replaces another one of the same run; true if there is none."""
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

    def frame(self, offset: int) -> ReasoningDeltaFrame | ChildDeltaFrame:
        """The frame with its text from an offset on."""
        data: DeltaData = {
            "step": self.step,
            "type": cast(DeltaType, self.type),
            "attempt": self.attempt,
            "offset": offset,
            "text": from_utf16(self.text, offset),
        }
        if self.tool_name:
            data["tool_name"] = self.tool_name
        if self.is_child:
            return {"type": "child_delta", "run_id": str(self.run_id), "data": data}
        return {"type": "reasoning_delta", "run_id": str(self.run_id), "data": data}


Watcher = Callable[[Draft], None]

#: By session, then by run.
cells: dict[UUID, dict[UUID, Draft]] = {}
#: Runs whose draft has changed since it was saved.
unsaved: set[UUID] = set()
watchers: dict[UUID, Watcher] = {}
_is_failing = False


def put(session_id: UUID, draft: Draft) -> None:
    """Replace the draft of a run of this process, and pass it to the session's watcher."""
    cells.setdefault(session_id, {})[draft.run_id] = draft
    unsaved.add(draft.run_id)
    if (watcher := watchers.get(session_id)) is not None:
        watcher(draft)


def watch(session_id: UUID, watcher: Watcher) -> None:
    """Call ``watcher`` for each new draft of the session's runs in this process. One watcher per session."""
    watchers[session_id] = watcher


def unwatch(session_id: UUID, watcher: Watcher) -> None:
    """Stop calling the watcher."""
    if watchers.get(session_id) == watcher:
        del watchers[session_id]


def of_session(session_id: UUID) -> list[Draft]:
    """The drafts of a session's runs in this process, one for each run that is writing."""
    return list(cells.get(session_id, {}).values())


def drop(session_id: UUID, run_id: UUID) -> None:
    """Drop the draft of a run whose step is stored, or that has ended."""
    unsaved.discard(run_id)
    at_work = cells.get(session_id, {})
    at_work.pop(run_id, None)
    if not at_work:
        cells.pop(session_id, None)


async def save_for_ever() -> None:
    """Save changed drafts once a second, until cancelled."""
    while True:
        await asyncio.sleep(SAVE_EVERY_S)
        try:
            await save()
        except Exception:
            logger.exception("The text of steps in progress could not be saved")


async def save() -> None:
    """Save drafts that have changed since the last time, or could not be saved then."""
    changed = {
        draft.run_id: session_id
        for session_id, at_work in cells.items()
        for draft in at_work.values()
        # The progress of a tool is not worth saving.
        if draft.run_id in unsaved and draft.type != "tool_result"
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
        for draft in (cells[session_id][run_id] for run_id, session_id in changed.items())
    ]
    saved: set[UUID] = set()
    try:
        saved = await _saved(rows)
    finally:
        unsaved.update(run_id for run_id, at in changed.items() if run_id not in saved and run_id in cells.get(at, ()))


async def _saved(rows: Sequence[models.Draft]) -> set[UUID]:
    """Save rows. Returns the runs whose draft was saved. One that cannot be saved does not stop the others."""
    global _is_failing
    try:
        saved = await database.write(step_log.save_drafts, rows)
    except Error as error:
        # If the database does not answer, saving each one alone would not help.
        if len(rows) > 1 and not isinstance(error, OperationalError | InterfaceError | InternalError):
            return {run_id for row in rows for run_id in await _saved([row])}
        if not _is_failing:
            logger.warning("The text of %d steps in progress could not be saved yet", len(rows), exc_info=True)
        _is_failing = True
        return set()
    _is_failing = False
    return saved
