"""Django's SQLite backend, which converts the placeholders of a statement once instead of at each execution.

A run executes some fifty statements, the same ones for each run, a dozen of them before the model is asked.
"""

import sqlite3
from collections.abc import Iterable
from functools import lru_cache

from django.db.backends.sqlite3 import base

#: Longer statements are not cached: they name hundreds of rows, and are seldom the same again.
_LONGEST = 4_000


class DatabaseWrapper(base.DatabaseWrapper):
    """Creates cursors that cache converted statements."""

    def create_cursor(self, name: str | None = None) -> "Cursor":
        """Return the cursor that Django wraps with its own."""
        connection: sqlite3.Connection = self.connection
        return connection.cursor(factory=Cursor)


class Cursor(base.SQLiteCursorWrapper):
    """Executes statements with Django's placeholders."""

    def convert_query(self, query: str, *, param_names: Iterable[str] | None = None) -> str:
        """Return the statement with SQLite's placeholders; ``param_names``: the names of its values, if they have names."""
        if param_names is not None or len(query) > _LONGEST:
            return super().convert_query(query, param_names=param_names)
        return _converted(query)


@lru_cache(maxsize=512)
def _converted(query: str) -> str:
    return base.FORMAT_QMARK_REGEX.sub("?", query).replace("%%", "%")
