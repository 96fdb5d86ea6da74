"""Django's SQLite backend, which finds the placeholders of a statement once, and not each time that it is executed.

A run executes some fifty statements, the same ones as the run before it, a dozen of them before the model is asked.
"""

import sqlite3
from collections.abc import Iterable
from functools import lru_cache

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

    def convert_query(self, query: str, *, param_names: Iterable[str] | None = None) -> str:
        """Return the statement with SQLite's placeholders; ``param_names`` are those of its values, where they have names."""
        if param_names is not None or len(query) > _LONGEST:
            return super().convert_query(query, param_names=param_names)
        return _converted(query)


@lru_cache(maxsize=512)
def _converted(query: str) -> str:
    return base.FORMAT_QMARK_REGEX.sub("?", query).replace("%%", "%")
