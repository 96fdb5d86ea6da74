"""Very many searchable steps, inserted by SQL: through `chat.store.step_log` a million would take an hour.

The result is the same: a step's row with its body as it is sent, and its entry in the index as `chat.store.search` makes it.
"""

import importlib
from collections.abc import Sequence
from uuid import UUID

from django.db import connection
from django.utils import timezone

from chat.models import Run, RunStatus, Session
from chat.store.search import text as search_text
from tests.benchmarks import texts

_PER_SESSION = 1_000
_PER_RUN = 100

_COLUMNS = "id, session_id, run_id, seq, position, event_id, event, type, number, iteration, tool_name, ok, duration_ms, body, created_at"
#: The steps by number, each with its two pieces and its last word; and the name of a session or run by its number.
_SOURCE = {
    "sqlite": (
        """(WITH RECURSIVE numbers (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i < {last}) SELECT i FROM numbers)
        JOIN piece a ON a.id = i % {pieces} JOIN piece b ON b.id = (i + i / {pieces} + 1) % {pieces}""",
        "printf('%032x', {})",
    ),
    "postgresql": (
        """generate_series(0, {last}) i
        JOIN piece a ON a.id = i % {pieces} JOIN piece b ON b.id = (i + i / {pieces} + 1) % {pieces}""",
        "lpad(to_hex({}), 32, '0')::uuid",
    ),
}
_STEPS = """INSERT INTO chat_step ({columns})
    SELECT i + 1, {session}, {run}, i % {per_session} + 1, i % {per_run} + 1, {event}, 'reasoning_step', 'thought', i % {per_run} + 1,
        1, '', NULL, 7, '{{"type":"thought","step":' || (i % {per_run} + 1) || ',"content":"' || a.text || '. ' || b.text || ' ' || {ends}
        || '.","iteration":1,"timestamp":1.5,"duration_ms":7}}', '{now}'
    FROM {source}"""
_ENTRIES = {
    "sqlite": """INSERT INTO chat_search (rowid, terms)
        SELECT i + 1, ' {owner} {mark}' || {session} || ' ' || a.terms || ' ' || b.terms || ' ' || {ends} || ' ' FROM {source}""",
    "postgresql": """INSERT INTO chat_search (step_id, owner_id, terms)
        SELECT i + 1, {owner_id}, array_to_tsvector(a.terms || b.terms || string_to_array({ends}, ' ')
            || array['{owner}', '{mark}' || replace({session}::text, '-', '')]) FROM {source}""",
}


def load(owner_id: int, count: int) -> UUID:
    """Insert this many steps of one account; returns one of their sessions."""
    count -= count % _PER_SESSION
    _sessions(owner_id, count)
    kind = connection.vendor
    source, name = _SOURCE[kind]
    first, second = texts.SELDOM_TOGETHER
    words = {
        "source": source.format(last=count - 1, pieces=texts.PIECES),
        "columns": _COLUMNS,
        "session": name.format(f"i / {_PER_SESSION} + 1"),
        "run": name.format(f"i / {_PER_RUN} + 1"),
        "event": name.format("i"),
        "per_session": _PER_SESSION,
        "per_run": _PER_RUN,
        "ends": f"""CASE WHEN i % {count // texts.TOGETHER} = 0 THEN '{first} {second} {texts.RARE}'
            WHEN i % 2 = 0 THEN '{first}' ELSE '{second}' END""",
        "now": timezone.now().replace(tzinfo=None).isoformat(" "),
        "owner_id": owner_id,
        "owner": f"{search_text.OWNER_MARK}{owner_id}",
        "mark": search_text.SESSION_MARK,
    }
    statements = [_STEPS.format(**words), _ENTRIES[kind].format(**words)]
    if kind == "sqlite":
        _on_sqlite(statements)
    else:
        _on_postgresql(statements)
    return UUID(int=1)


def _sessions(owner_id: int, count: int) -> None:
    """The sessions and runs of the steps; their names are numbers."""
    Session.objects.bulk_create(
        Session(
            id=UUID(int=number + 1),
            owner_id=owner_id,
            title=f"Session {number}",
            agent_name="researcher",
            last_seq=_PER_SESSION,
            status=RunStatus.COMPLETED,
        )
        for number in range(count // _PER_SESSION)
    )
    now, per_session = timezone.now(), _PER_SESSION // _PER_RUN
    Run.objects.bulk_create(
        Run(
            id=UUID(int=number + 1),
            session_id=UUID(int=number // per_session + 1),
            number=number % per_session + 1,
            user_id=owner_id,
            client_message_id=str(number),
            message="How high is the tide?",
            agent_name="researcher",
            status=RunStatus.COMPLETED,
            started_at=now,
            ended_at=now,
        )
        for number in range(count // _PER_RUN)
    )


def _on_sqlite(statements: Sequence[str]) -> None:
    """Without a journal: an interrupted load is thrown away."""
    pieces = [(number, text, " ".join(search_text.index_terms(text))) for number, text in enumerate(texts.pieces())]
    with connection.cursor() as cursor:
        for pragma in ("foreign_keys=OFF", "synchronous=OFF", "journal_mode=OFF", "cache_size=-200000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.execute("CREATE TEMP TABLE piece (id INTEGER PRIMARY KEY, text TEXT, terms TEXT)")
        cursor.executemany("INSERT INTO piece VALUES (%s, %s, %s)", pieces)
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("PRAGMA journal_mode=WAL")


def _on_postgresql(statements: Sequence[str]) -> None:
    """The index is created when all rows are there, by the statement of the migration."""
    pieces = [(number, text, list(search_text.index_terms(text))) for number, text in enumerate(texts.pieces())]
    created: Sequence[str] = importlib.import_module("chat.migrations.0002_search").CREATE["postgresql"]
    (index,) = (statement for statement in created if "USING gin" in statement)
    with connection.cursor() as cursor:
        # Without checking foreign keys, whose rows exist.
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("SET maintenance_work_mem = '256MB'")
        cursor.execute("CREATE TEMP TABLE piece (id integer PRIMARY KEY, text text, terms text[])")
        cursor.executemany("INSERT INTO piece VALUES (%s, %s, %s)", pieces)
        cursor.execute("ANALYZE piece")
        cursor.execute("DROP INDEX chat_search_terms")
        for statement in statements:
            cursor.execute(statement)
        cursor.execute(index)
        cursor.execute("SELECT setval(pg_get_serial_sequence('chat_step', 'id'), (SELECT max(id) FROM chat_step))")
        # What autovacuum would have done long before a table has so many rows.
        cursor.execute("VACUUM ANALYZE")
