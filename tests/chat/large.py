"""A database after years of use: filled by a few statements, because row by row would take too long."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from chat.models import Run, Schedule, Session
from chat.runtime.db_values import datetime_param, uuid_from_db
from tests.chat import making

USERS = 50
RUNS_OF_SESSION = 20
#: How many runs are at work; as many are queued behind them.
LIVE = 20

_UUID = {
    "sqlite": "printf('{mark}%031x', {number})",
    "postgresql": "('{mark}' || lpad(to_hex({number}), 31, '0'))::uuid",
}
_NUMBERS = {
    "sqlite": "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) SELECT i FROM n) AS n",
    "postgresql": "(SELECT i FROM generate_series(1, {count}) AS i) AS n",
}


@dataclass(frozen=True)
class Large:
    """Objects in it: a user, one of their sessions with a run at work and one queued, an ended run, and a schedule."""

    user_id: int
    session_id: UUID
    live: Run
    queued: Run
    ended: Run
    schedule: Schedule


def fill(runs: int, steps_of_run: int, users_in_all: int = USERS) -> Large:
    """Fill an empty database."""
    users = [making.User(username=f"user {n}") for n in range(users_in_all)]
    making.User.objects.bulk_create(users)
    first = making.User.objects.order_by("pk").values_list("pk", flat=True)[0]
    last = runs // RUNS_OF_SESSION
    then = datetime_param(timezone.now() - timedelta(days=30))
    with connection.cursor() as cursor:

        def numbers(count: int) -> str:
            return _NUMBERS[connection.vendor].format(count=count)

        def uuid(mark: str, number: str) -> str:
            return _UUID[connection.vendor].format(mark=mark, number=number)

        session = f"(n.i - 1) / {RUNS_OF_SESSION} + 1"
        place = f"(n.i - 1) %% {RUNS_OF_SESSION} + 1"
        # The runs at work, and the one queued behind each, are the last of the last sessions.
        status = f"""CASE WHEN {session} <= {last - LIVE} OR {place} < {RUNS_OF_SESSION - 1} THEN 'completed'
            WHEN {place} = {RUNS_OF_SESSION - 1} THEN 'running' ELSE 'queued' END"""
        cursor.execute(
            f"""INSERT INTO chat_session (id, owner_id, title, agent_name, archived, last_seq, status, created_at,
                active_at)
            SELECT {uuid("a", "n.i")}, {first} + n.i %% {users_in_all}, 'Session', 'researcher', {false()},
            {RUNS_OF_SESSION * steps_of_run}, 'completed', %s, %s FROM {numbers(last)}""",
            [then, then],
        )
        cursor.execute(
            f"""INSERT INTO chat_run (id, session_id, number, user_id, client_message_id, message, agent_name, enable_reasoning,
                origin, status, created_at, started_at, ended_at, owner, fence, heartbeat_at, iterations, input_tokens,
                output_tokens, usage_estimated, code)
            SELECT {uuid("b", "n.i")}, {uuid("a", session)}, {place}, {first} + ({session}) %% {users_in_all}, 'm' || n.i, 'Why?',
                'researcher', {true()}, 'chat', {status}, %s, %s, CASE WHEN {status} = 'completed' THEN {now()} END,
                'process ' || n.i %% 500, 1, %s, 1, 1, 1, {false()}, '' FROM {numbers(runs)}""",
            [then, then, then],
        )
        cursor.execute(
            f"""INSERT INTO chat_step (session_id, run_id, seq, position, event_id, event, type, number, iteration, tool_name,
                body, created_at)
            SELECT run.session_id, run.id, (run.number - 1) * {steps_of_run} + n.i, n.i, run.id, 'reasoning_step', 'thought', n.i, 1,
                '', '{{"type": "thought", "content": "so"}}', %s FROM chat_run run, {numbers(steps_of_run)} WHERE run.status <> 'queued'""",
            [then],
        )
        cursor.execute(
            f"""INSERT INTO chat_modelcall (session_id, run_id, iteration, attempt, model, provider, parameters, tool_names, depth,
                messages, left_out_messages, left_out_tokens, context_limit, started_at, duration_ms, finish_reason, input_tokens,
                output_tokens, estimated, currency, error)
            SELECT run.session_id, run.id, n.i, 1, 'm', 'default', '{{}}', '[]', 0, '[]', 0, 0, 8000, %s, 5, 'stop', 10, 1, {false()},
                '', '' FROM chat_run run, {numbers(2)} WHERE run.status <> 'queued'""",
            [then],
        )
        cursor.execute(
            f"""INSERT INTO chat_modelcontent (session_id, sha256, role, tokens, body)
            SELECT session.id, 'so' || n.i, 'user', 5, '{{}}' FROM chat_session session, {numbers(4)}"""
        )
        # Half of them have no end, for years.
        cursor.execute(
            """INSERT INTO chat_waitingcall (session_id, run_id, tool_call_id, kind, tool_name, arguments, fields, rule, unanswered,
                created_at, deadline, decided_at, decision, new_arguments, reason, answers)
            SELECT run.session_id, run.id, 'call_1', 'approval', 'python', '{}', '', 'r', 'deny', %s, %s,
                CASE WHEN run.number %% 2 = 0 THEN %s END, '', '', '', '' FROM chat_run run WHERE run.status = 'completed'""",
            [then, datetime_param(timezone.now() + timedelta(days=1_000)), then],
        )
        cursor.execute(
            f"""INSERT INTO chat_steeringword (session_id, run_id, user_id, client_message_id, message, interrupt, state, created_at,
                event_id)
            SELECT run.session_id, run.id, run.user_id, run.client_message_id, 'Be brief', {false()}, 'read', %s, run.id
            FROM chat_run run WHERE run.status = 'completed'""",
            [then],
        )
        cursor.execute(
            f"""INSERT INTO chat_webhook (id, owner_id, url, fingerprint, created_at)
            SELECT {uuid("e", "n.i")}, {first} - 1 + n.i, 'https://192.0.2.1/', '', %s FROM {numbers(users_in_all)}""",
            [then],
        )
        cursor.execute(
            f"""INSERT INTO chat_webhookdelivery (id, webhook_id, event, run_id, created_at, state, next_at, attempts, error)
            SELECT run.id, {uuid("e", f"run.number %% {users_in_all} + 1")}, 'run.ended', run.id, %s,
                CASE WHEN run.status = 'running' THEN 'waiting' ELSE 'delivered' END, %s, 1, '' FROM chat_run run""",
            [datetime_param(timezone.now()), then],
        )
        cursor.execute(
            "INSERT INTO chat_stepcontent (step_id, content) SELECT id, 'so' FROM chat_step WHERE number = 1"
        )
        cursor.execute(
            f"""INSERT INTO chat_schedule (id, owner_id, name, agent_name, message, keeps_session, every_minutes, cron, time_zone,
                since, missed, overlap, pause_after, enabled, paused_because, paused_words, failures, next_at, created_at)
            SELECT {uuid("c", "n.i")}, {first} + n.i %% {users_in_all}, 'Daily', 'researcher', 'Why?', {false()}, 60, '', 'UTC', %s, 'once',
                'queue', 5, {true()}, '', '', 0, %s, %s FROM {numbers(max(1_000, runs // 20))}""",
            [then, datetime_param(timezone.now() + timedelta(hours=1)), then],
        )
        cursor.execute(
            f"""INSERT INTO chat_occurrence (schedule_id, run_id, due_at, by_hand, times, outcome, reason, created_at, settled_at)
            SELECT {uuid("c", "n.i %% 1000 + 1")}, {uuid("b", "n.i")}, {due()}, {false()}, 1,
                CASE WHEN n.i %% 10000 = 0 THEN 'started' WHEN n.i %% 10000 = 1 THEN 'waiting' ELSE 'completed' END,
                '', %s, %s FROM {numbers(runs // 2)}""",
            [then, then],
        )
        cursor.execute(
            f"""INSERT INTO chat_connection (id, process, session_id, user_id, role, opened_at)
            SELECT {uuid("d", "n.i")}, 'process 1', {uuid("a", "n.i")}, {first}, 'owner', %s FROM {numbers(200)}""",
            [then],
        )
        fill_audit(cursor, runs)
        if connection.vendor == "postgresql":
            # PostgreSQL does so automatically after a while; SQLite never does.
            cursor.execute("ANALYZE")
        cursor.execute(f"SELECT {uuid('a', str(last))}, {uuid('c', '1')}")
        session_id, schedule_id = (uuid_from_db(value) for value in cursor.fetchone())
    of_session = Run.objects.filter(session=session_id)
    return Large(
        Session.objects.get(pk=session_id).owner_id,
        session_id,
        of_session.get(status="running"),
        of_session.get(status="queued"),
        of_session.get(number=1),
        Schedule.objects.get(pk=schedule_id),
    )


def fill_audit(cursor: Any, entries: int) -> None:
    """This many entries, a few seconds apart: nearly all are views by some of the staff, on three kinds of pages."""
    numbers = _NUMBERS[connection.vendor].format(count=entries)
    at = "datetime('2020-01-01', '+' || n.i || ' seconds')"
    if connection.vendor == "postgresql":
        at = "timestamptz '2020-01-01' + n.i * interval '1 second'"
    session = _UUID[connection.vendor].format(mark="a", number="n.i %% 1000 + 1")
    cursor.execute(
        f"""INSERT INTO chat_auditentry (actor_id, action, subject_id, session_id, door, about, details, at, "window")
        SELECT n.i %% 7 + 1, CASE WHEN n.i %% 1000 = 0 THEN 'stop' WHEN n.i %% 50 = 0 THEN 'login' ELSE 'view' END, n.i %% 500,
            {session}, CASE n.i %% 3 WHEN 0 THEN 'page' WHEN 1 THEN 'api' ELSE 'admin' END, '', '{{}}', {at}, n.i
        FROM {numbers}""",
        [],
    )


def true() -> str:
    return "1" if connection.vendor == "sqlite" else "true"


def false() -> str:
    return "0" if connection.vendor == "sqlite" else "false"


def now() -> str:
    return "CURRENT_TIMESTAMP"


def due() -> str:
    """A time for each occurrence of a schedule."""
    if connection.vendor == "sqlite":
        return "datetime('2020-01-01', '+' || n.i || ' minutes')"
    return "timestamptz '2020-01-01' + n.i * interval '1 minute'"


_WORDS = "' ' || (id %% 997) || ' apples are red and green, ' || (id %% 89) || ' of them here, and pears are yellow '"


def index() -> None:
    """Fill the search index too, with twenty words for each step."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"INSERT INTO chat_search (rowid, terms) SELECT id, {_WORDS} FROM chat_step WHERE %s", [1])
            # Otherwise the next writer would have to checkpoint the whole write-ahead log.
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            cursor.execute(
                f"""INSERT INTO chat_search (step_id, owner_id, terms)
                SELECT id, 1, to_tsvector('simple', {_WORDS}) FROM chat_step WHERE %s""",
                [True],
            )
