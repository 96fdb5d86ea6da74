"""Django's SQLite backend, which finds the placeholders of a statement once, and not each time that it is executed.

A run executes some fifty statements, the same ones as the run before it, half of them before the model is asked.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from django.db.backends.sqlite3 import base

#: Characters of a statement that is remembered; longer ones, which name hundreds of rows, are seldom the same again.
_LONGEST = 4_000


class DatabaseWrapper(base.DatabaseWrapper):
    """Gives out cursors that remember."""

    def create_cursor(self, name: str | None = None) -> "Cursor":
        """Return a cursor, around which Django puts one of its own."""
        connection: sqlite3.Connection = self.connection
        return connection.cursor(factory=Cursor)


class Cursor(base.SQLiteCursorWrapper):
    """Executes statements that have Django's placeholders."""

    def execute(self, query: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> sqlite3.Cursor:
        """Execute a statement, as Django's own cursor does."""
        if not isinstance(params, tuple | list) or len(query) > _LONGEST:
            return super().execute(query, params)
        return sqlite3.Cursor.execute(self, _converted(query), params)


@lru_cache(maxsize=512)
def _converted(query: str) -> str:
    return base.FORMAT_QMARK_REGEX.sub("?", query).replace("%%", "%")
