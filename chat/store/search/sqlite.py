"""The index on SQLite: an FTS5 table."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal
from uuid import UUID

import orjson
from django.db import connection

from chat.store.search.text import OWNER_MARK, SESSION_MARK, SearchQuery

KeyType = Literal["bigint", "uuid"]


class SQLiteIndex:
    """FTS5 returns entries newest first, so common words cost no more than rare ones."""

    def add(self, session_id: UUID, entries: Sequence[tuple[int, Iterable[str]]]) -> None:
        """Index the terms of steps."""
        values = ", ".join(["(%s, %s)"] * len(entries))
        rows = [value for step_id, terms in entries for value in (step_id, " ".join(terms))]
        execute_sql(
            f"""INSERT INTO chat_search_new (step_id, terms)
            SELECT entry.column1, ' {OWNER_MARK}' || owner_id || ' {SESSION_MARK}' || id || ' ' || entry.column2 || ' '
            FROM (VALUES {values}) AS entry, chat_session WHERE id = %s""",  # noqa: S608 - placeholders
            [*rows, session_id.hex],
        )

    def move(self, session_id: UUID, step_ids: Sequence[int]) -> None:
        """Set the session's present owner in the entries of steps."""
        these, value = self.listed(step_ids, "bigint")
        owner = f"' {OWNER_MARK}' || (SELECT owner_id FROM chat_session WHERE id = %s)"  # noqa: S608 - our own mark
        for table, key in (("chat_search_new", "step_id"), ("chat_search", "rowid")):
            execute_sql(
                f"""UPDATE {table} SET terms = {owner} || ' ' || substr(terms, instr(terms, '{SESSION_MARK}'))
                WHERE {key} IN ({these})""",  # noqa: S608 - our own names
                [session_id.hex, value],
            )

    def forget(self, step_ids: Sequence[int]) -> None:
        """Remove steps from the index."""
        # The trigger would do it with one statement for each step.
        these, value = self.listed(step_ids, "bigint")
        execute_sql(f"DELETE FROM chat_search_new WHERE step_id IN ({these})", [value])  # noqa: S608 - our own names
        execute_sql(f"DELETE FROM chat_search WHERE rowid IN ({these})", [value])  # noqa: S608

    def newest(self, query: SearchQuery, owner_id: int | None, limit: int, apart_from: UUID | None = None) -> list[int]:
        """The newest steps that contain all words of the query."""
        whole = query.whole if owner_id is None else [f"{OWNER_MARK}{owner_id}", *query.whole]
        not_here = f"{SESSION_MARK}{apart_from.hex if apart_from else '-'}"
        match = " AND ".join([f'"{word}"' for word in whole] + [f'"{word}"*' for word in query.beginnings])
        # Entries that are not in FTS5 yet: a few hundred at most.
        words = [f" {word} " for word in whole] + [f" {word}" for word in query.beginnings]
        occur = " AND ".join(["instr(terms, %s)"] * len(words))
        rows = execute_sql(
            f"""SELECT * FROM (
                SELECT rowid AS found FROM chat_search WHERE chat_search MATCH %s ORDER BY rowid DESC LIMIT %s
            ) UNION ALL SELECT step_id FROM chat_search_new WHERE NOT instr(terms, %s) AND {occur}
            ORDER BY found DESC LIMIT %s""",  # noqa: S608 - placeholders
            [f'({match}) NOT "{not_here}"', limit, not_here, *words, limit],
        )
        return [step_id for (step_id,) in rows]

    def listed(self, keys: Sequence[int] | Sequence[UUID], kind: KeyType) -> tuple[str, str]:
        """A subquery that yields these keys, and its one parameter."""
        stored = [key.hex if isinstance(key, UUID) else key for key in keys]
        return "SELECT value FROM json_each(%s)", orjson.dumps(stored).decode()


def execute_sql(sql: str, params: list[Any]) -> list[tuple[Any, ...]]:
    """Execute a statement. Returns its rows, if any."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall() if cursor.description else []
