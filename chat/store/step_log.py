"""The only writer of the step log: numbers events and stores them. It publishes nothing.

``seq`` comes from a counter in the session's row, raised by the first statement of the transaction that inserts the events. The row
stays locked until the commit, so events become visible in the order of their numbers, and no number is skipped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast
from uuid import UUID, uuid4

import orjson
from django.db import connection, transaction
from django.db.models.functions import Length
from django.utils import timezone

from agents.events import OriginData
from agents.json_types import JsonObject
from agents.text import clean_text
from chat.models import LIVE, Draft, Origin, Run, Step, StepContent, StepOrigin
from chat.protocol import clean_json, stored_frame
from chat.protocol.frames import CHILD_TYPES, EventData, StoredType
from chat.runtime.db_values import datetime_param, uuid_param
from chat.store import search

# Raw SQL, because these are executed for every event: as querysets they cost twenty times as much.
_ADVANCE = "UPDATE chat_session SET last_seq = last_seq + %s WHERE id = %s AND deleted_at IS NULL RETURNING last_seq"
_OWNED = """SELECT (SELECT COALESCE(MAX(position), 0) FROM chat_step WHERE run_id = chat_run.id)
    FROM chat_run WHERE id = %s AND fence = %s AND status IN (%s, %s)"""
# If transactions are concurrent, every writer locks the run's row before its draft's, so that there is no deadlock. Saving drafts
# does not wait for locked runs: it is repeated soon.
_HOLD_RUN = " FOR NO KEY UPDATE"
_SHARE_RUN = " FOR SHARE SKIP LOCKED"
#: Below the number of values that databases accept in one statement.
_ROWS_AT_ONCE = 500
# Only for a live run: the draft of a deleted run must not keep the others from being saved, and nothing is kept of a run that
# has ended, even if its owner was suspended meanwhile and does not know. It cannot end between the check and the commit.
_SAVE_DRAFT = """INSERT INTO chat_draft (run_id, number, type, attempt, text, updated_at)
    SELECT id, %s, %s, %s, %s, %s FROM chat_run WHERE id = %s AND status IN (%s, %s){sharing}
    ON CONFLICT (run_id) DO UPDATE SET number = excluded.number, type = excluded.type, attempt = excluded.attempt,
    text = excluded.text, updated_at = excluded.updated_at"""
_FORGET_DRAFT = "DELETE FROM chat_draft WHERE run_id = %s"
_FORGET_ENDED = """DELETE FROM chat_draft WHERE NOT EXISTS (
    SELECT 1 FROM chat_run WHERE chat_run.id = chat_draft.run_id AND chat_run.status IN (%s, %s))"""
_END_DRAFT = "DELETE FROM chat_draft WHERE run_id = %s AND number <= %s"


class _Row(NamedTuple):
    """A row of the log, with its columns as the database takes them."""

    session_id: str | UUID
    run_id: str | UUID
    seq: int | None
    position: int
    event_id: str | UUID
    event: str
    type: str
    number: int | None
    iteration: int
    tool_name: str
    ok: bool | None
    duration_ms: int | None
    body: str
    created_at: str | None


_INSERT = f"INSERT INTO chat_step ({', '.join(_Row._fields)}) VALUES"
_PLACES = f"({', '.join(['%s'] * len(_Row._fields))})"


class Fenced(Exception):
    """The run does not belong to the writer any more: it has ended, or another process has taken it over."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An event to store, with the type that it has for a root run.

    ``numbered``: False for events that are stored with the run but never sent. ``origin`` is never sent either.
    """

    event: StoredType
    data: EventData
    full_content: str | None = None
    numbered: bool = True
    origin: OriginData | None = None
    id: UUID = field(default_factory=uuid4)


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored event to publish: its frame, and the draft that it replaces."""

    seq: int
    run_id: UUID
    frame: str
    event: StoredType
    number: int


@transaction.atomic(savepoint=False)
def append(run: Run, entries: Sequence[Entry]) -> list[Stored]:
    """Store events of a live run, in order, all or none. Returns those with a number.

    ``run`` must be as its owner has it. Raises `Fenced` if it isn't live any more, or if its fence has risen since.
    """
    numbered = _count_numbered(run, entries)
    last = _advance(run.session_id, numbered)
    position = _owned_position(run.pk, run.fence)
    return _insert(run, last - numbered, position, entries)


def hold(run: Run) -> None:
    """Lock a run for the rest of the transaction. Raises `Fenced` as `append` does."""
    _advance(run.session_id, 0)
    _owned_position(run.pk, run.fence)


@transaction.atomic(savepoint=False)
def append_again(run: Run, entries: Sequence[Entry]) -> list[Stored]:
    """`append` after a failed attempt, which may have been committed although its confirmation was lost."""
    # Locks the session's row, so that an attempt that is still under way has ended before the log is read.
    _advance(run.session_id, 0)
    rows = Step.objects.filter(run_id=run.pk, event_id__in=[entry.id for entry in entries]).order_by("position")
    found = rows.values_list("seq", "event_id", "event", "number", "body")
    if not found:
        return append(run, entries)
    return [
        Stored(seq, run.pk, stored_frame(event, seq, event_id, run.pk, text), cast(StoredType, event), number or 0)
        for seq, event_id, event, number, text in found
        if seq is not None
    ]


def append_unowned(run: Run, entries: Sequence[Entry], *, position: int = 0, findable: bool = True) -> list[Stored]:
    """Store events of a run within the transaction in which `runs.state` changes it: its first events, or those after ``position``.

    ``findable``: False keeps them out of searches of people and agents. Events of runs of sets are never found.
    """
    numbered = _count_numbered(run, entries)
    last = _advance(run.session_id, numbered)
    return _insert(run, last - numbered, position, entries, findable=findable)


def _is_numbered(run: Run, entry: Entry) -> bool:
    # Events of a run within another one are not sent if the root was asked without reasoning.
    return entry.numbered and (run.parent_id is None or run.enable_reasoning)


def _count_numbered(run: Run, entries: Sequence[Entry]) -> int:
    return sum(_is_numbered(run, entry) for entry in entries)


def _advance(session_id: UUID, count: int) -> int:
    """Raise the session's counter, which locks its row until the commit. Returns the number of the newest event."""
    with connection.cursor() as cursor:
        cursor.execute(_ADVANCE, [count, uuid_param(session_id)])
        row = cursor.fetchone()
    if row is None:
        raise Fenced(f"Session {session_id} was deleted.")
    head: int = row[0]
    return head


def _owned_position(run_id: UUID, fence: int) -> int:
    """The position of the run's last event. Raises `Fenced` unless the run is live and under this fence."""
    with connection.cursor() as cursor:
        cursor.execute(
            _OWNED + (_HOLD_RUN if connection.features.has_select_for_update else ""),
            [uuid_param(run_id), fence, *LIVE],
        )
        row = cursor.fetchone()
    if row is None:
        raise Fenced(f"Run {run_id} is no longer executed under fence {fence}.")
    position: int = row[0]
    return position


def _insert(run: Run, seq: int, position: int, entries: Sequence[Entry], *, findable: bool = True) -> list[Stored]:
    session, run_id, now = uuid_param(run.session_id), uuid_param(run.pk), datetime_param(timezone.now())
    rows: list[_Row] = []
    stored: list[Stored] = []
    for entry in entries:
        position += 1
        event_id, text = entry.id, clean_json(entry.data)
        # By columns: each type has them or not.
        data = cast(Mapping[str, Any], entry.data)
        number = data.get("step")
        event = entry.event if run.parent_id is None else CHILD_TYPES[entry.event]
        is_numbered = _is_numbered(run, entry)
        if is_numbered:
            seq += 1
            frame = stored_frame(event, seq, event_id, run.pk, text)
            stored.append(Stored(seq, run.pk, frame, event, number or 0))
        rows.append(
            _Row(
                session,
                run_id,
                seq if is_numbered else None,
                position,
                uuid_param(event_id),
                event,
                data.get("type", "") if entry.event == "reasoning_step" else "",
                number,
                data.get("iteration") or 0,
                clean_text(data.get("tool_name", ""))[:128],
                data.get("ok"),
                data.get("duration_ms"),
                text,
                now,
            )
        )
    step_ids = _store(rows)
    full_texts = [None if entry.full_content is None else clean_text(entry.full_content) for entry in entries]
    _store_beside(step_ids, entries, full_texts)
    last_number = max((row.number or 0 for row in rows), default=0)
    # With its last event a run ends, and `runs.state` deletes its draft.
    if last_number and entries[-1].event != "reasoning_complete":
        with connection.cursor() as cursor:
            cursor.execute(_END_DRAFT, [run_id, last_number])
    if findable and run.origin != Origin.SET:
        search.index(
            run.session_id,
            [
                search.Indexed(at, row.event, row.type, row.body, row.seq is not None, full_text)
                for at, row, full_text in zip(step_ids, rows, full_texts, strict=True)
            ],
        )
    return stored


def _store_beside(step_ids: Sequence[int], entries: Sequence[Entry], full_texts: Sequence[str | None]) -> None:
    """Store what has tables of its own: full texts of steps that were cut, and what a model or tool sent of them."""
    contents = [
        StepContent(step_id=at, content=text) for at, text in zip(step_ids, full_texts, strict=True) if text is not None
    ]
    if contents:
        StepContent.objects.bulk_create(contents)
    origins = [
        StepOrigin(step_id=at, data=clean_json(entry.origin))
        for at, entry in zip(step_ids, entries, strict=True)
        if entry.origin is not None
    ]
    if origins:
        StepOrigin.objects.bulk_create(origins)


def _store(rows: Sequence[tuple[Any, ...]], insert: str = _INSERT, places: str = _PLACES) -> list[int]:
    """Insert the rows. Returns their primary keys."""
    step_ids: list[int] = []
    with connection.cursor() as cursor:
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[start : start + _ROWS_AT_ONCE]
            cursor.execute(
                f"{insert} {', '.join([places] * len(some))} RETURNING id", [value for row in some for value in row]
            )
            step_ids += [step_id for (step_id,) in cursor.fetchall()]
    return step_ids


#: Types of events whose data name runs of the same session, or files.
_NAMES_RUNS = ("reasoning_start", "child_start")
_HAS_FILES = '"files":'


@dataclass(slots=True)
class Copied:
    """A batch of copied events."""

    wholes: list[tuple[int, int, int]]
    """For events with a full text: their primary key, the copy's, and the text's length."""
    files: set[UUID]
    """The files that the events name."""


@transaction.atomic(savepoint=False)
def copy_events(session_id: UUID, step_ids: Sequence[int], run_ids: Mapping[UUID, UUID]) -> Copied:
    """Copy events into a session that nobody can see yet, with their numbers and times, as events of the runs' copies.

    They are not indexed for search. Their full texts are copied by `copy_content`.
    """
    rows = Step.objects.filter(pk__in=step_ids).order_by("pk").values_list("pk", "event_id", *_COPIED)
    keys: list[int] = []
    copies: list[tuple[Any, ...]] = []
    files: set[UUID] = set()
    for key, event_id, run_id, created_at, event, text, *rest in rows:
        data_text = text
        if event in _NAMES_RUNS or _HAS_FILES in text:
            data = orjson.loads(text)
            files |= {UUID(file["id"]) for file in data.get("files", ())}
            data_text = clean_json(_about_copies(data, run_ids)) if event in _NAMES_RUNS else text
        keys.append(key)
        own = [uuid_param(session_id), uuid_param(uuid4()), uuid_param(event_id)]
        copies.append((*own, uuid_param(run_ids[run_id]), datetime_param(created_at), event, data_text, *rest))
    copied_as = dict(zip(keys, _store(copies, _INSERT_COPY, _COPY_PLACES), strict=True))
    origins = StepOrigin.objects.filter(step__in=keys).values_list("step_id", "data")
    StepOrigin.objects.bulk_create([StepOrigin(step_id=copied_as[key], data=data) for key, data in origins])
    wholes = StepContent.objects.filter(step__in=keys).values_list("step_id", Length("content"))
    return Copied([(key, copied_as[key], size) for key, size in wholes], files)


def copy_content(step_id: int, copy_id: int) -> None:
    """Copy the full text of an event to its copy."""
    with connection.cursor() as cursor:
        cursor.execute(_COPY_CONTENT, [copy_id, step_id])


#: Columns that an event and its copy share; the first event of a run also names runs, which are replaced.
_COPIED = (
    *("run_id", "created_at", "event", "body"),
    *("seq", "position", "type", "number", "iteration", "tool_name", "ok", "duration_ms"),
)
_COPY_COLUMNS = ("session_id", "event_id", "copied_from", *_COPIED)
_INSERT_COPY = f"INSERT INTO chat_step ({', '.join(_COPY_COLUMNS)}) VALUES"
_COPY_PLACES = f"({', '.join(['%s'] * len(_COPY_COLUMNS))})"
_COPY_CONTENT = (
    "INSERT INTO chat_stepcontent (step_id, content) SELECT %s, content FROM chat_stepcontent WHERE step_id = %s"
)


def _about_copies(data: JsonObject, run_ids: Mapping[UUID, UUID]) -> Any:
    """A run's first event, with the copies in place of the runs that it names."""
    if "continues" in data:
        data["continues"] = str(run_ids.get(UUID(data["continues"]), data["continues"]))
    if "parent" in data:
        data["parent"]["run_id"] = str(run_ids[UUID(data["parent"]["run_id"])])
    return data


@transaction.atomic
def save_drafts(drafts: Sequence[Draft]) -> set[UUID]:
    """Save drafts in one transaction. Returns the runs whose draft was saved.

    The other runs have ended, were deleted, or are being written to at this moment.
    """
    saved = set()
    statement = _SAVE_DRAFT.format(sharing=_SHARE_RUN if connection.features.has_select_for_update else "")
    with connection.cursor() as cursor:
        for draft in drafts:
            text, now = clean_text(draft.text), datetime_param(draft.updated_at)
            values = [draft.number, draft.type, draft.attempt, text, now, uuid_param(draft.run_id), *LIVE]
            cursor.execute(statement, values)
            if cursor.rowcount:
                saved.add(draft.run_id)
    return saved


def forget_draft(run_id: UUID) -> None:
    """Delete the draft of a run that has ended."""
    with connection.cursor() as cursor:
        cursor.execute(_FORGET_DRAFT, [uuid_param(run_id)])


def forget_ended_drafts() -> None:
    """Delete drafts of ended runs that an earlier version or a restored backup has left."""
    with connection.cursor() as cursor:
        cursor.execute(_FORGET_ENDED, [*LIVE])
