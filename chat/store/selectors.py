"""Queries about sessions, runs and events. Nothing in here writes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import starmap
from typing import Any, NamedTuple, cast
from uuid import UUID

import orjson
from django.db import connection
from django.db.models import Count, Q, QuerySet

from agents.json_types import JsonObject
from agents.steps import ContextUse
from chat.accounts.models import User
from chat.models import (
    AT_WORK_SQL,
    CURRENT,
    HAS_NOT_ENDED,
    IS_QUEUED,
    UNFINISHED_SQL,
    Announcement,
    Run,
    RunStatus,
    Session,
    Step,
)
from chat.protocol import stored_frame
from chat.protocol.frame_data import (
    AnnouncementData,
    ChildRun,
    LevelName,
    LiveRun,
    LiveStatus,
    Parent,
    PendingWord,
    Person,
    QueuedRun,
    RoleName,
)
from chat.protocol.frames import CHILD_TYPES, KeptFrame, StoredFrame
from chat.runtime.db_values import uuid_from_db, uuid_param
from chat.runtime.prepared import PreparedQuery
from chat.store import steering
from chat.store.drafts import Draft
from chat.store.step_log import Stored

#: How many steps a page's HTML contains.
PAGE_STEPS = 200


_AFTER = """SELECT seq, event_id, run_id, event, number, body, copied_from FROM chat_step
    WHERE session_id = %s AND seq > %s AND seq <= %s ORDER BY seq LIMIT %s"""


def stored_after(session_id: UUID, after: int, limit: int, up_to: int | None = None) -> list[Stored]:
    """The session's numbered events after a number, in order, ready to be sent."""
    # Raw SQL: it is executed whenever a client joins an active session.
    with connection.cursor() as cursor:
        cursor.execute(_AFTER, [uuid_param(session_id), after, _NO_NUMBER if up_to is None else up_to, limit])
        return list(starmap(_as_sent, cursor.fetchall()))


def stored_of(run: Run) -> list[Stored]:
    """A run's numbered events, in order, ready to be sent."""
    steps: QuerySet[Step, Any] = Step.objects.filter(run=run, seq__isnull=False).order_by("position")
    return list(
        starmap(_as_sent, steps.values_list("seq", "event_id", "run_id", "event", "number", "body", "copied_from"))
    )


def _as_sent(seq: int, event_id: Any, of_run: Any, event: Any, number: int | None, body: str, copied: Any) -> Stored:
    run_id = uuid_from_db(of_run)
    frame = stored_frame(event, seq, uuid_from_db(event_id), run_id, body, copied and uuid_from_db(copied))
    return Stored(seq, run_id, frame, event, number or 0)


@dataclass(slots=True)
class Stretch:
    """The events of one run on a page, from the number ``first`` to ``last``."""

    run_id: UUID
    first: int
    last: int
    #: The identifier of its last event, which no other log has.
    last_id: UUID
    #: Whether its first event is the run's first, and its last the run's end.
    begins: bool
    ends: bool


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a session's events on a page: whole model calls, in order, grouped by run."""

    stretches: list[Stretch]
    #: How many numbered events come before it.
    earlier: int

    @property
    def first(self) -> int:
        """The number of its first event; 0 if it is empty."""
        return self.stretches[0].first if self.stretches else 0

    @property
    def newest(self) -> Stretch | None:
        """The stretch of its last event's run. Stretches may overlap: a queued run can be removed while another is running."""
        return max(self.stretches, key=lambda stretch: stretch.last, default=None)


_NEWEST = """SELECT seq, event_id, run_id, event, type FROM chat_step
    WHERE session_id = %s AND seq IS NOT NULL AND seq < %s ORDER BY seq DESC LIMIT %s"""


def window(session_id: UUID, *, before: int | None = None, limit: int = PAGE_STEPS) -> Window:
    """A session's latest events, or the latest before a number, without their data.

    It begins with a model call or a run, so that no tool's result is separated from its call.
    """
    most = limit + PAGE_STEPS
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST, [uuid_param(session_id), _NO_NUMBER if before is None else before, most])
        rows: list[tuple[int, Any, Any, str, str]] = cursor.fetchall()
    last = limit
    while last < len(rows) and not _begins(rows[last - 1][3], rows[last - 1][4]):
        last += 1
    rows = rows[: last if last < len(rows) or len(rows) < most else limit]
    stretches: dict[Any, Stretch] = {}
    roots = _roots_of({run_id for _, _, run_id, event, _ in rows if event in CHILD_TYPES.values()})
    for seq, event_id, own_id, event, _ in reversed(rows):
        # Events of runs within a run come between its own.
        run_id = roots.get(own_id, own_id)
        stretch = stretches.get(run_id)
        if stretch is None:
            begins = event == "reasoning_start"
            stretch = stretches[run_id] = Stretch(uuid_from_db(run_id), seq, seq, event_id, begins, ends=False)
        stretch.last, stretch.last_id, stretch.ends = seq, event_id, event == "reasoning_complete"
    for stretch in stretches.values():
        stretch.last_id = uuid_from_db(stretch.last_id)
    return Window(list(stretches.values()), rows[-1][0] - 1 if rows else 0)


#: A run within another one has its root's number.
_ROOTS = """SELECT child.id, root.id FROM chat_run child
    JOIN chat_run root ON root.session_id = child.session_id AND root.number = child.number AND root.parent_id IS NULL
    WHERE child.id IN ({places})"""


def _roots_of(run_ids: Collection[Any]) -> dict[Any, Any]:
    """The roots of runs within runs, by primary keys as the database has them."""
    if not run_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_ROOTS.format(places=", ".join(["%s"] * len(run_ids))), [*run_ids])
        return dict(cursor.fetchall())


#: Larger than every number of an event.
_NO_NUMBER = 2**63 - 1


def frames_between(session_id: UUID, first: int, last: int) -> list[StoredFrame]:
    """The events between two numbers, inclusive, as they are sent."""
    return _frames(Step.objects.filter(session_id=session_id, seq__range=(first, last)).order_by("seq"))


def _frames(steps: QuerySet[Step]) -> list[StoredFrame]:
    return [
        cast(
            StoredFrame,
            {
                "type": event,
                "seq": seq,
                "id": str(event_id),
                "run_id": str(run_id),
                **_copied(copied_from),
                "data": orjson.loads(body),
            },
        )
        for seq, event_id, run_id, event, body, copied_from in steps.values_list(
            "seq", "event_id", "run_id", "event", "body", "copied_from"
        )
    ]


def _copied(copied_from: UUID | None) -> dict[str, str]:
    return {} if copied_from is None else {"copied_from": str(copied_from)}


def steps_outside(run_id: UUID, first: int, last: int) -> dict[str, int]:
    """Counts of a run's steps before and after two numbers of its events."""
    steps = Step.objects.filter(run_id=run_id, event__in=("reasoning_step", "child_step")).exclude(
        seq__range=(first, last)
    )
    return steps.aggregate(
        steps=Count("pk", filter=Q(type__in=("thought", "tool_use", "final_answer"))),
        thoughts=Count("pk", filter=Q(type="thought")),
        tools=Count("pk", filter=Q(type="tool_use")),
        failed=Count("pk", filter=Q(type="tool_result", ok=False)),
    )


def beginning_of(run_id: UUID) -> list[StoredFrame]:
    """A run's first event, as it is sent; runs of earlier versions may have none."""
    return _frames(Step.objects.filter(run_id=run_id, event="reasoning_start", seq__isnull=False))


def _begins(event: str, kind: str) -> bool:
    return event == "reasoning_start" or (event == "reasoning_step" and kind == "iteration_start")


def run_frames(run: Run) -> list[KeptFrame]:
    """All events of a run and of those within it, in order, including those without a number."""
    runs = [run.pk, *(each.pk for each in runs_within(run))]
    # In the order in which they were stored: events without a number have their place, too.
    return cast(list[KeptFrame], _frames(Step.objects.filter(run__in=runs).order_by("pk")))


def runs_within(run: Run) -> list[Run]:
    """The runs within a run, at every depth, in the order in which they began."""
    found: list[Run] = []
    level = [run.pk]
    while level:
        children = list(Run.objects.filter(parent__in=level).order_by("created_at"))
        level = [child.pk for child in children]
        found += children
    return found


def event_id_at(session_id: UUID, seq: int) -> UUID | None:
    """The identifier of the event with a number, by which a client proves that it has this very log."""
    return Step.objects.filter(session_id=session_id, seq=seq).values_list("event_id", flat=True).first()


def live_run(session_id: UUID) -> LiveRun | None:
    """The running or waiting root, as frames have it."""
    return at_work(session_id)[0]


class _Current(NamedTuple):
    """A current run, as frames have it, from its columns."""

    id: UUID
    status: LiveStatus
    started_at: datetime | None
    parent_id: UUID | None
    parent_call_id: str
    depth: int


_current = PreparedQuery(
    lambda session_id: (
        Run.objects.filter(HAS_NOT_ENDED, session_id=session_id, status__in=CURRENT)
        .order_by("depth", "created_at")
        .values_list(*_Current._fields)
    ),
    UUID,
    make=_Current,
)


def at_work(session_id: UUID) -> tuple[LiveRun | None, list[ChildRun]]:
    """The running or waiting root and the runs within it, as frames have them."""
    root: LiveRun | None = None
    children: list[ChildRun] = []
    for run in _current.rows(session_id):
        live: LiveRun = {
            "id": str(run.id),
            "status": run.status,
            "started_at": run.started_at.timestamp() if run.started_at else None,
        }
        if run.parent_id is None:
            root = live
        else:
            children.append({**live, "parent": parent_of(run)})
    return root, children


def parent_of(run: Run | _Current) -> Parent:
    """Which call of which run has started a run within it, as frames have it."""
    return {"run_id": str(run.parent_id), "tool_call_id": run.parent_call_id, "depth": run.depth}


_queue = PreparedQuery(
    lambda session_id: (
        Run.objects.filter(IS_QUEUED, session_id=session_id)
        .order_by("number")
        .values_list("id", "client_message_id", "user__username", "message")
    ),
    UUID,
    make=lambda *row: row,
)


def queue(session_id: UUID) -> list[QueuedRun]:
    """The session's queue, as frames have it."""
    return [
        {"run_id": str(run_id), "client_message_id": own_id, "user": username, "message": message}
        for run_id, own_id, username, message in _queue.rows(session_id)
    ]


def pending_messages(session_id: UUID) -> tuple[list[QueuedRun], list[PendingWord]]:
    """What is pending in a session, as frames have it: queued runs, and steering words for the running run's model."""
    # In this order: a word that is moved to the queue between the two queries is shown twice instead of not at all.
    words = steering.pending_in(session_id)
    return queue(session_id), words


def queue_position(run: Run) -> int:
    """How many unfinished runs are before this one in its session: 0 once it runs."""
    if run.status != RunStatus.QUEUED:
        return 0
    return 1 + Run.objects.filter(IS_QUEUED, session_id=run.session_id, number__lt=run.number).count()


def begins_after(run: Run) -> int:
    """The number after which the events of a root run come; for a waiting run, those that are still to come."""
    first = Step.objects.filter(run=run, seq__isnull=False).order_by("position").values_list("seq", flat=True).first()
    return run.session.last_seq if first is None else first - 1


_PRESENT = f"""SELECT person.username, connection.role, COUNT(*)
    FROM chat_connection connection JOIN {User._meta.db_table} person ON person.id = connection.user_id
    WHERE connection.session_id = %s GROUP BY person.username, connection.role"""  # noqa: S608 - our own table


def presence(session_id: UUID) -> list[Person]:
    """The users with open sockets on the session: name, role, number of sockets."""
    with connection.cursor() as cursor:
        cursor.execute(_PRESENT, [uuid_param(session_id)])
        rows: list[tuple[str, RoleName, int]] = sorted(cursor.fetchall())
        return [{"user": user, "role": role, "sockets": count} for user, role, count in rows]


@dataclass(frozen=True, slots=True)
class SessionView:
    """One consistent read of a session for a client that joins."""

    title: str
    agent_name: str
    last_seq: int
    run: LiveRun | None
    queue: list[QueuedRun]
    context: ContextUse | None
    """As of its last model call that has ended. Runs within runs have contexts of their own."""
    owner_id: int
    children: list[ChildRun]
    steering: list[PendingWord]
    """Steering words that the running root has not read."""
    notes_version: int = 0
    """Numbers the changes of verdicts and comments."""
    has_family: bool = False
    """Whether it was copied, or is a copy."""


_VIEW = f"""SELECT session.title, session.agent_name, session.last_seq,
    EXISTS (SELECT 1 FROM chat_run WHERE session_id = session.id AND {UNFINISHED_SQL}),
    last.used, last.context_limit, session.owner_id, session.notes_version, session.family IS NOT NULL,
    {steering.HAS_PENDING_SQL}{{columns}}
    FROM chat_session session LEFT JOIN (
        SELECT call.session_id, call.input_tokens + call.output_tokens AS used, call.context_limit FROM chat_modelcall call
        JOIN chat_run root ON root.id = call.run_id AND root.parent_id IS NULL
        WHERE call.session_id = %s AND call.duration_ms IS NOT NULL AND call.error = '' ORDER BY call.id DESC LIMIT 1
    ) AS last ON last.session_id = session.id {{joined}}
    WHERE session.id = %s AND session.deleted_at IS NULL"""  # noqa: S608 - our own condition
_VIEW_ALONE = _VIEW.format(columns="", joined="")
_VIEW_AND_DRAFTS = _VIEW.format(
    columns=", draft.run_id, draft.number, draft.type, draft.attempt, draft.text, run.parent_id IS NOT NULL",
    joined=f"""LEFT JOIN chat_run run ON run.session_id = session.id AND run.{AT_WORK_SQL}
    LEFT JOIN chat_draft draft ON draft.run_id = run.id""",
)


def session_view(session_id: UUID) -> SessionView | None:
    """The data of the ``session`` frame; None if the session was deleted."""
    rows = _rows_of(_VIEW_ALONE, session_id)
    return _view(session_id, rows[0]) if rows else None


def view_and_drafts(session_id: UUID) -> tuple[SessionView | None, list[Draft]]:
    """As `session_view`, with the saved drafts of the session's unfinished runs, read at the same moment."""
    rows = _rows_of(_VIEW_AND_DRAFTS, session_id)
    if not rows:
        return None, []
    saved = [
        Draft(uuid_from_db(run_id), number, kind, attempt, text, is_child=bool(is_child))
        for *_, run_id, number, kind, attempt, text, is_child in rows
        if run_id
    ]
    return _view(session_id, rows[0][:-_DRAFT_COLUMNS]), saved


#: How many columns of those rows belong to the draft.
_DRAFT_COLUMNS = 6


def _rows_of(statement: str, session_id: UUID) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, [uuid_param(session_id), uuid_param(session_id)])
        rows: list[Any] = cursor.fetchall()
        return rows


def _view(session_id: UUID, row: Sequence[Any]) -> SessionView:
    title, agent_name, last_seq, is_busy, used, limit, owner_id, notes, has_family, has_words = row
    context: ContextUse | None = None if used is None else {"used": used, "limit": limit}
    about = (notes, bool(has_family))
    if not is_busy:
        return SessionView(title, agent_name, last_seq, None, [], context, owner_id, [], [], *about)
    run, children = at_work(session_id)
    words = steering.pending_in(session_id) if has_words else []
    return SessionView(title, agent_name, last_seq, run, queue(session_id), context, owner_id, children, words, *about)


def step_data(step: Step) -> JsonObject:
    """A stored event's data, decoded."""
    data: JsonObject = orjson.loads(step.body)
    return data


def announcements_from(first_id: int) -> list[tuple[int, AnnouncementData]]:
    """The operators' announcements from an id on, each with its id."""
    rows = Announcement.objects.filter(pk__gte=first_id).order_by("pk").values_list("id", "message", "level")
    return [(pk, {"message": message, "level": cast(LevelName, level)}) for pk, message, level in rows]


def last_announcement() -> int:
    """The newest announcement's id; 0 if there is none."""
    return Announcement.objects.order_by("-pk").values_list("id", flat=True).first() or 0


def head_of(session_id: UUID) -> int:
    """The number of a session's newest event; 0 if there is none."""
    return Session.objects.filter(pk=session_id).values_list("last_seq", flat=True).first() or 0


def place_before(run_id: UUID) -> tuple[int, int]:
    """The number after which a run's events come (the newest number of the log if it has not begun), and the log's newest number."""
    run = Run.objects.filter(pk=run_id).values_list("session__last_seq", "steps__seq").order_by("steps__position")
    head, first = run[0]
    return (head if first is None else first - 1), head
