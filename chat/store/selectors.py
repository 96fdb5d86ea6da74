"""Reads. Nothing here writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Count, Q, QuerySet

from chat.models import (
    IS_LIVE,
    IS_QUEUED,
    LIVE,
    LIVE_SQL,
    QUEUED_SQL,
    UNFINISHED,
    UNFINISHED_SQL,
    Announcement,
    Run,
    RunStatus,
    Session,
    Step,
)
from chat.protocol import stored_frame
from chat.runtime.database import as_uuid, key
from chat.store import search
from chat.store.drafts import Draft
from chat.store.step_log import Stored

#: Steps that a page's HTML holds.
PAGE_STEPS = 200


def past_sessions(
    user: User, *, text: str = "", status: str = "", agent: str = "", archived: bool = False
) -> QuerySet[Session]:
    """The user's own sessions, latest activity first, as the page's and the API's filters say."""
    sessions = Session.objects.filter(owner=user, archived=archived)
    if status:
        sessions = sessions.filter(status__in=UNFINISHED if status == "running" else [status])
    if agent:
        sessions = sessions.filter(agent_name=agent)
    if text.strip():
        sessions = search.Search(user, text).sessions(sessions)
    return sessions.order_by("-active_at", "-id")


def stored_after(session_id: UUID, after: int, limit: int, up_to: int | None = None) -> list[Stored]:
    """The session's numbered events after one, in order, ready to be sent."""
    steps = Step.objects.filter(session_id=session_id, seq__gt=after)
    if up_to is not None:
        steps = steps.filter(seq__lte=up_to)
    return _as_sent(steps.order_by("seq")[:limit])


def stored_of(run: Run) -> list[Stored]:
    """A run's numbered events, likewise."""
    return _as_sent(Step.objects.filter(run=run, seq__isnull=False).order_by("position"))


def _as_sent(steps: QuerySet[Step]) -> list[Stored]:
    return [
        Stored(seq, run_id, stored_frame(event, seq, event_id, run_id, body), event, number or 0)
        for seq, event_id, run_id, event, number, body in steps.values_list(
            "seq", "event_id", "run_id", "event", "number", "body"
        )
        if seq is not None
    ]


@dataclass(frozen=True, slots=True)
class Window:
    """A page's share of a session's events: whole model calls, in order."""

    frames: list[dict[str, Any]]
    runs: dict[UUID, Run]
    #: How many numbered events lie before it.
    earlier: int
    #: Whether it reaches the session's last event.
    reaches_head: bool

    @property
    def first(self) -> int:
        """The number of its first event; 0 where it has none."""
        return self.frames[0]["seq"] if self.frames else 0


def window(session: Session, *, before: int | None = None, limit: int = PAGE_STEPS) -> Window:
    """The latest events of a session, or the latest before a number, and the runs they belong to.

    It begins where a model call or a run begins, so that no tool's result is parted from its call.
    """
    numbered = Step.objects.filter(session=session, seq__isnull=False)
    steps = numbered if before is None else numbered.filter(seq__lt=before)
    columns = ("seq", "event_id", "run_id", "event", "type", "body")
    rows = list(steps.order_by("-seq").values_list(*columns)[: limit + PAGE_STEPS])
    last = limit
    while last < len(rows) and not _begins(rows[last - 1][3], rows[last - 1][4]):
        last += 1
    rows = rows[: last if last < len(rows) or len(rows) < limit + PAGE_STEPS else limit]
    rows.reverse()
    frames = [
        {"type": event, "seq": seq, "id": str(event_id), "run_id": str(run_id), "data": orjson.loads(body)}
        for seq, event_id, run_id, event, _, body in rows
    ]
    runs = {
        run.pk: run
        for run in Run.objects.filter(pk__in={row[2] for row in rows}).select_related("user", "cancelled_by")
    }
    first = rows[0][0] if rows else 1
    return Window(frames, runs, first - 1, reaches_head=before is None)


def steps_outside(run_id: UUID, first: int, last: int) -> dict[str, int]:
    """How many steps a run has before and after two numbers, which lie within it."""
    steps = Step.objects.filter(run_id=run_id, event="reasoning_step").exclude(seq__range=(first, last))
    return steps.aggregate(
        steps=Count("pk", filter=Q(type__in=("thought", "tool_use", "final_answer"))),
        thoughts=Count("pk", filter=Q(type="thought")),
        tools=Count("pk", filter=Q(type="tool_use")),
        failed=Count("pk", filter=Q(type="tool_result", ok=False)),
    )


def model_asked(run_id: UUID) -> str:
    """The model that a run asks, as its first event names it; runs of older versions name none."""
    begun = Step.objects.filter(run_id=run_id, event="reasoning_start").values_list("body", flat=True).first()
    return str(orjson.loads(begun).get("model", "")) if begun else ""


def _begins(event: str, kind: str) -> bool:
    return event == "reasoning_start" or kind == "iteration_start"


def run_frames(run: Run) -> list[dict[str, Any]]:
    """All events of a run in order, those that are kept without a number too."""
    rows = Step.objects.filter(run=run).order_by("position")
    return [
        {"type": event, "seq": seq, "id": str(event_id), "run_id": str(run.pk), "data": orjson.loads(body)}
        for event, seq, event_id, body in rows.values_list("event", "seq", "event_id", "body")
    ]


def event_id_at(session_id: UUID, seq: int) -> UUID | None:
    """The identifier stored under a number, by which a client proves that it speaks of this very log."""
    return Step.objects.filter(session_id=session_id, seq=seq).values_list("event_id", flat=True).first()


#: How many there are, and which is the first and the last: as they only ever come at the end, no two states have all three in common.
Extent = tuple[Any, ...]
NOTHING: Extent = (0, None, None)


@dataclass(frozen=True, slots=True)
class Shape:
    """As much of a session as says whether anything of it has changed."""

    head: int
    line: Extent
    people: Extent
    #: Whether a run is at work.
    is_live: bool = False


# Written out, because every feed is looked at every second.
_LINES = f"""SELECT session_id, COUNT(*), MIN(number), MAX(number) FROM chat_run
    WHERE {QUEUED_SQL} AND session_id IN ({{places}}) GROUP BY session_id"""  # noqa: S608 - our own condition
_PEOPLE = """SELECT session_id, COUNT(*), MIN(opened_at), MAX(opened_at) FROM chat_connection
    WHERE session_id IN ({places}) GROUP BY session_id"""
_HEADS = "SELECT id, last_seq, status FROM chat_session WHERE deleted_at IS NULL AND id IN ({places})"


def shapes(session_ids: Sequence[UUID]) -> dict[UUID, Shape]:
    """What each of these sessions that still exists looks like."""
    wanted = {key(session_id): session_id for session_id in session_ids}
    if not wanted:
        return {}
    places = ", ".join(["%s"] * len(wanted))
    with connection.cursor() as cursor:
        cursor.execute(_LINES.format(places=places), [*wanted])
        lines = {row[0]: row[1:] for row in cursor.fetchall()}
        cursor.execute(_PEOPLE.format(places=places), [*wanted])
        people = {row[0]: row[1:] for row in cursor.fetchall()}
        cursor.execute(_HEADS.format(places=places), [*wanted])
        return {
            wanted[at]: Shape(head, lines.get(at, NOTHING), people.get(at, NOTHING), status in LIVE)
            for at, head, status in cursor.fetchall()
        }


_DRAFTS = f"""SELECT run.session_id, draft.run_id, draft.number, draft.type, draft.attempt, draft.text
    FROM chat_run run JOIN chat_draft draft ON draft.run_id = run.id
    WHERE {LIVE_SQL} AND run.session_id IN ({{places}})"""  # noqa: S608 - our own condition


def saved_drafts(session_ids: Sequence[UUID]) -> dict[UUID, Draft]:
    """What was last saved of the steps that these sessions' live runs are writing, by session."""
    places = ", ".join(["%s"] * len(session_ids))
    with connection.cursor() as cursor:
        cursor.execute(_DRAFTS.format(places=places), [*map(key, session_ids)])
        return {as_uuid(at): Draft(as_uuid(run_id), *draft) for at, run_id, *draft in cursor.fetchall()}


def live_run(session_id: UUID) -> dict[str, Any] | None:
    """The run at work, as the wire tells it."""
    run = Run.objects.filter(IS_LIVE, session_id=session_id).first()
    return None if run is None else run_line(run)


def run_line(run: Run) -> dict[str, Any]:
    """A run as the ``session`` frame names it."""
    return {
        "id": str(run.pk),
        "status": run.status,
        "started_at": run.started_at.timestamp() if run.started_at else None,
    }


def queue(session_id: UUID) -> list[dict[str, Any]]:
    """The session's line of waiting runs, as the wire tells it."""
    waiting = Run.objects.filter(IS_QUEUED, session_id=session_id).order_by("number")
    return [
        {
            "run_id": str(run_id),
            "client_message_id": client_message_id,
            "user": username,
            "message": message,
        }
        for run_id, client_message_id, username, message in waiting.values_list(
            "id", "client_message_id", "user__username", "message"
        )
    ]


def place_in_line(run: Run) -> int:
    """How many runs stand before this one and at it: 0 once it runs."""
    if run.status != RunStatus.QUEUED:
        return 0
    return 1 + Run.objects.filter(IS_QUEUED, session_id=run.session_id, number__lt=run.number).count()


# Written out, like what `session_view` asks first: both are part of every socket's opening, and took half of it as querysets.
_HEAD_AND_DRAFT = """SELECT session.last_seq, draft.run_id, draft.number, draft.type, draft.attempt, draft.text
    FROM chat_session session LEFT JOIN chat_run run ON run.session_id = session.id AND run.status IN ('running', 'cancelling')
    LEFT JOIN chat_draft draft ON draft.run_id = run.id WHERE session.id = %s"""


def head_and_draft(session_id: UUID) -> tuple[int, Draft | None]:
    """The session's last number, and what was last saved of the step that its live run is writing."""
    with connection.cursor() as cursor:
        cursor.execute(_HEAD_AND_DRAFT, [key(session_id)])
        row = cursor.fetchone()
    if row is None:
        return 0, None
    head, run_id, *draft = row
    return head, Draft(as_uuid(run_id), *draft) if run_id else None


_PRESENT = """SELECT person.username, connection.role, COUNT(*)
    FROM chat_connection connection JOIN auth_user person ON person.id = connection.user_id
    WHERE connection.session_id = %s GROUP BY person.username, connection.role"""


def presence(session_id: UUID) -> list[dict[str, Any]]:
    """Who has sockets open on the session: user, role, number."""
    with connection.cursor() as cursor:
        cursor.execute(_PRESENT, [key(session_id)])
        return [{"user": user, "role": role, "sockets": count} for user, role, count in sorted(cursor.fetchall())]


@dataclass(frozen=True, slots=True)
class SessionView:
    """One consistent look at a session for a client that joins."""

    title: str
    agent_name: str
    last_seq: int
    run: dict[str, Any] | None
    queue: list[dict[str, Any]]


_VIEW = f"""SELECT title, agent_name, last_seq,
    EXISTS (SELECT 1 FROM chat_run WHERE session_id = chat_session.id AND {UNFINISHED_SQL})
    FROM chat_session WHERE id = %s AND deleted_at IS NULL"""  # noqa: S608 - our own condition


def session_view(session_id: UUID) -> SessionView | None:
    """What the ``session`` frame tells; None where it is gone."""
    with connection.cursor() as cursor:
        cursor.execute(_VIEW, [key(session_id)])
        row = cursor.fetchone()
    if row is None:
        return None
    title, agent_name, last_seq, is_busy = row
    if not is_busy:
        return SessionView(title, agent_name, last_seq, None, [])
    return SessionView(title, agent_name, last_seq, live_run(session_id), queue(session_id))


#: How far back an agent's memory reads: runs at once, and characters in all. What fits its context is decided where the model is known.
_MEMORY_RUNS = 40
_MEMORY_CHARACTERS = 400_000
# Written out, because the model is asked only after it: as querysets they took a quarter of the wait for the first token.
_MEMORY_RUN_ROWS = """SELECT number, message, continues_id, id FROM chat_run
    WHERE session_id = %s AND number < %s AND status <> %s ORDER BY number DESC LIMIT %s"""
_MEMORY_STEP_ROWS = """SELECT run.number, step.type, step.body, full_content.content, origin.data
    FROM chat_run run JOIN chat_step step ON step.run_id = run.id
    LEFT JOIN chat_stepcontent full_content ON full_content.step_id = step.id
    LEFT JOIN chat_steporigin origin ON origin.step_id = step.id
    WHERE run.session_id = %s AND run.number BETWEEN %s AND %s
    AND step.event = 'reasoning_step' AND step.type IN ('tool_use', 'tool_result', 'final_answer')
    ORDER BY run.number, step.position"""
_MEMORY_THOUGHT_ROWS = """SELECT run.number, step.number, step.body FROM chat_run run JOIN chat_step step ON step.run_id = run.id
    WHERE run.session_id = %s AND run.number BETWEEN %s AND %s
    AND step.event = 'reasoning_step' AND step.type = 'thought'"""


class _StepRow(NamedTuple):
    """A step that is part of the agent's memory."""

    kind: str
    data: dict[str, Any]
    full_content: str | None
    origin: dict[str, Any] | None


@dataclass(slots=True)
class _Turn:
    """What one run adds to the conversation."""

    messages: list[dict[str, Any]]
    #: Whether it goes on from the run before instead of beginning with a message.
    continues: bool
    #: Its answer, if that is only a piece.
    partial: dict[str, Any] | None = None
    #: Whether the model's length limit cut it, so that who continues it writes the rest; else it is written anew.
    is_cut: bool = False

    @property
    def has_answer(self) -> bool:
        return any(message["role"] == "assistant" and message["content"] for message in self.messages)

    def drop_partial(self) -> None:
        """Leave its piece of an answer out, where the whole one follows."""
        if not self.is_cut:
            self.messages = [message for message in self.messages if message is not self.partial]


def memory(session_id: UUID, before: int, *, unfinished_run: UUID | None = None) -> list[dict[str, Any]]:
    """The session's turns before a run's number, oldest first, as chat messages; it begins with a message of the user's.

    User messages, tool calls with their results, and answers; thoughts are repeated only to the server that wants them back with
    its calls. A partial answer is left out where the run was continued and wrote it anew, and of ``unfinished_run`` (the one that a
    continuation goes on from now); one that the model's length limit cut stays, and the rest of it follows.
    """
    turns: list[_Turn] = []
    size = 0
    is_rewritten = False
    while before > 1 and (size <= _MEMORY_CHARACTERS or turns[-1].continues):
        batch = _turns(session_id, before, unfinished_run)
        for number, turn in batch:
            before = number
            size += sum(len(message["content"]) for message in turn.messages)
            if turns and size > _MEMORY_CHARACTERS and not turns[-1].continues:
                break
            if is_rewritten:
                turn.drop_partial()
            is_rewritten = turn.continues and (is_rewritten or turn.has_answer)
            turns.append(turn)
        if len(batch) < _MEMORY_RUNS:
            break
    return _joined(turns[::-1])


def _joined(turns: Sequence[_Turn]) -> list[dict[str, Any]]:
    """The messages of turns, oldest first; the pieces of an answer that was cut are one message."""
    messages: list[dict[str, Any]] = []
    cut: dict[str, Any] | None = None
    for turn in turns:
        rest = turn.messages
        if turn.continues and not rest:
            continue
        if cut is not None and turn.continues and rest[0].keys() == cut.keys():
            cut["content"] += rest[0]["content"]
            turn.partial = cut if turn.partial is rest[0] else turn.partial
            rest = rest[1:]
        messages += rest
        cut = turn.partial if turn.is_cut and messages and messages[-1] is turn.partial else None
    return messages


def _turns(session_id: UUID, before: int, unfinished_run: UUID | None) -> list[tuple[int, _Turn]]:
    """The turns of some runs before one, newest first, each with its run's number."""
    session, unfinished = key(session_id), unfinished_run and key(unfinished_run)
    with connection.cursor() as cursor:
        cursor.execute(_MEMORY_RUN_ROWS, [session, before, RunStatus.QUEUED, _MEMORY_RUNS])
        runs = cursor.fetchall()
        if not runs:
            return []
        stretch = [session, runs[-1][0], runs[0][0]]
        cursor.execute(_MEMORY_STEP_ROWS, stretch)
        steps: dict[int, list[_StepRow]] = {}
        for number, kind, body, full_content, origin in cursor.fetchall():
            row = _StepRow(kind, orjson.loads(body), full_content, None if origin is None else orjson.loads(origin))
            steps.setdefault(number, []).append(row)
        wanted = any(row.origin and row.origin["thoughts"] for rows in steps.values() for row in rows)
        thoughts: dict[int, dict[int, str]] = {}
        if wanted:
            cursor.execute(_MEMORY_THOUGHT_ROWS, stretch)
            for number, step, body in cursor.fetchall():
                thoughts.setdefault(number, {})[step] = orjson.loads(body)["content"]
    found = []
    for number, message, continues, run_id in runs:
        begins = None if continues or not message else message
        turn = _turn(begins, steps.get(number, []), thoughts.get(number, {}))
        if run_id == unfinished:
            turn.drop_partial()
        found.append((number, turn))
    return found


def _turn(message: str | None, steps: Sequence[_StepRow], thoughts: Mapping[int, str]) -> _Turn:
    turn = _Turn([], continues=message is None)
    messages = turn.messages
    if message is not None:
        messages.append({"role": "user", "content": message})
    asking: dict[str, Any] | None = None
    for step in steps:
        data = step.data
        if step.kind == "tool_use":
            if asking is None:
                asking = {"role": "assistant", "content": "", "tool_calls": []}
                messages.append(asking)
            _add_call(asking, step, thoughts)
            continue
        asking = None
        if step.kind == "tool_result":
            messages.append(
                {
                    "role": "tool",
                    "tool_call_id": data["tool_call_id"],
                    "name": data["tool_name"],
                    "content": data["content"] if step.full_content is None else step.full_content,
                }
            )
        else:
            messages.append({"role": "assistant", "content": data["content"]})
            turn.partial = messages[-1] if data.get("partial") else None
            turn.is_cut = step.origin is not None and step.origin.get("is_cut", False)
    return turn


def _add_call(asking: dict[str, Any], step: _StepRow, thoughts: Mapping[int, str]) -> None:
    """Add a tool call to the message that asks for it, and what its server wants back with both."""
    data, origin = step.data, step.origin
    arguments = data["arguments"]
    text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
    call: dict[str, Any] = {
        "id": data["tool_call_id"],
        "type": "function",
        "function": {"name": data["tool_name"], "arguments": text},
    }
    if origin and origin["fields"]:
        call["origin"] = {"server": origin["server"], "fields": origin["fields"]}
    if origin and (fields := {**_thoughts_of(origin, thoughts), **origin.get("turn", {})}):
        asking["origin"] = {"server": origin["server"], "fields": fields}
    asking["tool_calls"].append(call)


def _thoughts_of(origin: Mapping[str, Any], thoughts: Mapping[int, str]) -> dict[str, str]:
    """The thoughts of a call's turn, in the field that they came in."""
    told = origin["thoughts"]
    return {told["field"]: "\n\n".join(thoughts[at] for at in told["steps"] if at in thoughts)} if told else {}


def step_data(step: Step) -> dict[str, Any]:
    """A stored event's data."""
    data: dict[str, Any] = orjson.loads(step.body)
    return data


def announcements_after(last_id: int) -> list[tuple[int, str, str]]:
    """Words from the operators that came after one: id, message, level."""
    return list(Announcement.objects.filter(pk__gt=last_id).order_by("pk").values_list("id", "message", "level"))


def last_announcement() -> int:
    """The newest announcement's id; 0 where there is none."""
    return Announcement.objects.order_by("-pk").values_list("id", flat=True).first() or 0
