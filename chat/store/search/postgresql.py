"""The index on PostgreSQL: a GIN index over the words of steps."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from chat.store.search.sqlite import KeyType, execute_sql
from chat.store.search.text import OWNER_MARK, RECENT_STEPS, RECENT_STEPS_FOR_COMMON, SESSION_MARK, SearchQuery


class PostgreSQLIndex:
    """`tsvector` with GIN. GIN finds rare words fast, but reads all entries of a common word: so the newest entries are scanned first."""

    def add(self, session_id: UUID, entries: Sequence[tuple[int, Iterable[str]]]) -> None:
        """Index the terms of steps."""
        values = ", ".join(["(%s::bigint, %s::text[])"] * len(entries))
        rows = [value for step_id, terms in entries for value in (step_id, list(terms))]
        execute_sql(
            f"""INSERT INTO chat_search (step_id, owner_id, terms)
            SELECT entry.step_id, owner_id,
                array_to_tsvector(entry.terms || ('{OWNER_MARK}' || owner_id) || ('{SESSION_MARK}' || replace(id::text, '-', '')))
            FROM (VALUES {values}) AS entry (step_id, terms), chat_session WHERE id = %s""",  # noqa: S608 - placeholders
            [*rows, session_id],
        )

    def move(self, session_id: UUID, step_ids: Sequence[int]) -> None:
        """Set the session's present owner in the entries of steps."""
        execute_sql(
            f"""UPDATE chat_search SET owner_id = session.owner_id, terms = ts_delete(terms, '{OWNER_MARK}' || chat_search.owner_id)
                || array_to_tsvector(ARRAY['{OWNER_MARK}' || session.owner_id])
            FROM chat_session session WHERE session.id = %s AND step_id = ANY(%s)""",  # noqa: S608 - our own marks
            [session_id, list(step_ids)],
        )

    def forget(self, step_ids: Sequence[int]) -> None:
        """Nothing: the trigger deletes the entries, and is called once for all steps of a statement."""

    def newest(self, query: SearchQuery, owner_id: int | None, limit: int, apart_from: UUID | None = None) -> list[int]:
        """The newest steps that contain all words of the query."""
        condition = self._words(query)
        if apart_from is not None:
            condition += f" & !'{SESSION_MARK}{apart_from.hex}'"
        found = self._recent(condition, owner_id, limit, RECENT_STEPS)
        if len(found) >= limit:
            return found
        if len(found) > RECENT_STEPS // 20:
            return self._recent(condition, owner_id, limit, RECENT_STEPS_FOR_COMMON)
        # Adding 0 keeps the planner from scanning the primary key instead, in the hope of an early hit.
        rows = execute_sql(
            "SELECT step_id FROM chat_search WHERE terms @@ %s::tsquery ORDER BY step_id + 0 DESC LIMIT %s",
            [condition if owner_id is None else f"'{OWNER_MARK}{owner_id}' & {condition}", limit],
        )
        return [step_id for (step_id,) in rows]

    def listed(self, keys: Sequence[int] | Sequence[UUID], kind: KeyType) -> tuple[str, list[str]]:
        """A subquery that yields these keys, and its one parameter."""
        return f"SELECT unnest(%s::{kind}[])", [str(key) for key in keys]

    def _recent(self, words: str, owner_id: int | None, limit: int, among: int) -> list[int]:
        theirs, owner = ("", []) if owner_id is None else ("WHERE owner_id = %s", [owner_id])
        rows = execute_sql(
            f"""SELECT step_id FROM (
                SELECT step_id, terms FROM chat_search {theirs} ORDER BY step_id DESC LIMIT %s
            ) AS recent WHERE terms @@ %s::tsquery ORDER BY step_id DESC LIMIT %s""",  # noqa: S608 - our own condition
            [*owner, among, words, limit],
        )
        return [step_id for (step_id,) in rows]

    def _words(self, query: SearchQuery) -> str:
        return " & ".join([f"'{word}'" for word in query.whole] + [f"'{word}':*" for word in query.beginnings])
