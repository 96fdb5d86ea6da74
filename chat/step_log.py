"""The only writer of the step log: numbers events, stores them, and tells nobody.

``seq`` comes from a counter on the session's row, raised as the first statement of the transaction that inserts the events. The row
stays locked until the commit, so events become visible in the order of their numbers and no number is ever left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.utils import timezone

from chat import search
from chat.database import key, moment
from chat.models import LIVE, Draft, Run, Step, StepContent
from chat.protocol import body, clean, stored_frame

# Written out, because they run for every event: as querysets they cost twenty times as much.
_ADVANCE = "UPDATE chat_session SET last_seq = last_seq + %s WHERE id = %s RETURNING last_seq"
_OWNED = """SELECT (SELECT COALESCE(MAX(position), 0) FROM chat_step WHERE run_id = chat_run.id)
    FROM chat_run WHERE id = %s AND fence = %s AND status IN (%s, %s)"""
_COLUMNS = "session_id, run_id, seq, position, event_id, event, type, number, iteration, tool_name, ok, duration_ms, body, created_at"
_INSERT = f"INSERT INTO chat_step ({_COLUMNS}) VALUES"
_PLACES = f"({', '.join(['%s'] * len(_COLUMNS.split(', ')))})"
#: Within what databases take as values of one statement.
_ROWS_AT_ONCE = 500
# Where the run still exists: what one that was deleted is writing must not keep the others' text from being saved.
_SAVE_DRAFT = """INSERT INTO chat_draft (run_id, number, type, attempt, text, updated_at)
    SELECT id, %s, %s, %s, %s, %s FROM chat_run WHERE id = %s
    ON CONFLICT (run_id) DO UPDATE SET number = excluded.number, type = excluded.type, attempt = excluded.attempt,
    text = excluded.text, updated_at = excluded.updated_at"""
_FORGET_DRAFT = "DELETE FROM chat_draft WHERE run_id = %s"
_END_DRAFT = "DELETE FROM chat_draft WHERE run_id = %s AND number <= %s"


class Fenced(Exception):
    """The run no longer belongs to the writer: it ended, or another process has taken it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An event to store. ``numbered`` is false for what is kept with the run but never sent."""

    event: str
    data: dict[str, Any]
    full_content: str | None = None
    numbered: bool = True


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored event as those who forward it need it: its frame, and what it supersedes."""

    seq: int
    run_id: UUID
    frame: str
    event: str
    number: int


@transaction.atomic
def append(run: Run, entries: Sequence[Entry]) -> list[Stored]:
    """Store events of a live run, in order, all or none; returns those that are numbered.

    ``run`` is as its owner knows it. Raises `Fenced` where it isn't live any more or its fence has risen since.
    """
    numbered = sum(entry.numbered for entry in entries)
    last = _advance(run.session_id, numbered)
    position = _owned_position(run.pk, run.fence)
    return _insert(run.pk, run.session_id, last - numbered, position, entries)


def append_unowned(run: Run, entries: Sequence[Entry]) -> list[Stored]:
    """Store the first events of a run, within the transaction in which `run_state` moves it."""
    numbered = sum(entry.numbered for entry in entries)
    last = _advance(run.session_id, numbered)
    return _insert(run.pk, run.session_id, last - numbered, 0, entries)


def _advance(session_id: UUID, count: int) -> int:
    """Raise the session's counter and lock its row until the commit; returns the new head."""
    with connection.cursor() as cursor:
        cursor.execute(_ADVANCE, [count, key(session_id)])
        row = cursor.fetchone()
    if row is None:
        raise Fenced(f"Session {session_id} is gone.")
    head: int = row[0]
    return head


def _owned_position(run_id: UUID, fence: int) -> int:
    """The place of the run's last event, if the run is live and under this fence; else raises `Fenced`."""
    with connection.cursor() as cursor:
        cursor.execute(_OWNED, [key(run_id), fence, *LIVE])
        row = cursor.fetchone()
    if row is None:
        raise Fenced(f"Run {run_id} is no longer carried under fence {fence}.")
    position: int = row[0]
    return position


def _insert(run_id: UUID, session_id: UUID, seq: int, position: int, entries: Sequence[Entry]) -> list[Stored]:
    now = timezone.now()
    steps: list[Step] = []
    stored: list[Stored] = []
    for entry in entries:
        position += 1
        step = _row(entry, run_id, session_id, position, now)
        if entry.numbered:
            seq += 1
            step.seq = seq
            frame = stored_frame(step.event, seq, step.event_id, run_id, step.body)
            stored.append(Stored(seq, run_id, frame, step.event, step.number or 0))
        steps.append(step)
    _store(steps)
    whole = [
        StepContent(step=step, content=clean(entry.full_content))
        for step, entry in zip(steps, entries, strict=True)
        if entry.full_content is not None
    ]
    if whole:
        StepContent.objects.bulk_create(whole)
    last_number = max((step.number or 0 for step in steps), default=0)
    if last_number:
        with connection.cursor() as cursor:
            cursor.execute(_END_DRAFT, [key(run_id), last_number])
    search.index(steps, [entry.full_content for entry in entries])
    return stored


def _store(steps: Sequence[Step]) -> None:
    """Insert the rows, and give each its primary key."""
    with connection.cursor() as cursor:
        for start in range(0, len(steps), _ROWS_AT_ONCE):
            some = steps[start : start + _ROWS_AT_ONCE]
            cursor.execute(
                f"{_INSERT} {', '.join([_PLACES] * len(some))} RETURNING id",
                [
                    value
                    for step in some
                    for value in (
                        key(step.session_id),
                        key(step.run_id),
                        step.seq,
                        step.position,
                        key(step.event_id),
                        step.event,
                        step.type,
                        step.number,
                        step.iteration,
                        step.tool_name,
                        step.ok,
                        step.duration_ms,
                        step.body,
                        moment(step.created_at),
                    )
                ],
            )
            for step, (step_id,) in zip(some, cursor.fetchall(), strict=True):
                step.pk = step_id


def _row(entry: Entry, run_id: UUID, session_id: UUID, position: int, now: datetime) -> Step:
    data = entry.data
    return Step(
        session_id=session_id,
        run_id=run_id,
        position=position,
        event_id=uuid4(),
        event=entry.event,
        type=data.get("type", "") if entry.event == "reasoning_step" else "",
        number=data.get("step"),
        iteration=data.get("iteration") or 0,
        tool_name=clean(data.get("tool_name", ""))[:128],
        ok=data.get("ok"),
        duration_ms=data.get("duration_ms"),
        body=body(data),
        created_at=now,
    )


@transaction.atomic
def save_drafts(drafts: Sequence[Draft]) -> None:
    """Keep the text of steps in progress, all in one transaction."""
    with connection.cursor() as cursor:
        cursor.executemany(
            _SAVE_DRAFT,
            [
                (
                    draft.number,
                    draft.type,
                    draft.attempt,
                    clean(draft.text),
                    moment(draft.updated_at),
                    key(draft.run_id),
                )
                for draft in drafts
            ],
        )


def forget_draft(run_id: UUID) -> None:
    """Drop what was kept of a step in progress: its run has ended."""
    with connection.cursor() as cursor:
        cursor.execute(_FORGET_DRAFT, [key(run_id)])
