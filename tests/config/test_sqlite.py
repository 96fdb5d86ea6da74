"""Statements on SQLite: the cursor's cache of converted statements changes no result."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from django.db import connection
from django.db.backends.sqlite3.base import SQLiteCursorWrapper

from config.sqlite.base import Cursor

pytestmark = pytest.mark.django_db

#: A statement with Django's placeholders, its values, and the row that it returns.
STATEMENTS: list[tuple[str, Sequence[Any] | Mapping[str, Any] | None, tuple[Any, ...]]] = [
    ("SELECT %s, %s", [1, "two"], (1, "two")),
    ("SELECT %s", (None,), (None,)),
    ("SELECT '%%s', %s", ["x"], ("%s", "x")),
    ("SELECT 'tea' LIKE '%%e%%', %s", ["?"], (1, "?")),
    ("SELECT '%%%%', '%%m', %s", [b"%s"], ("%%", "%m", b"%s")),
    ("SELECT 'no values at all: 100%%'", [], ("no values at all: 100%",)),
    ("SELECT '%s and %% as they stand'", None, ("%s and %% as they stand",)),
    ("SELECT %(b)s, %(a)s, '%%'", {"a": 1, "b": 2}, (2, 1, "%")),
    (f"SELECT %s, {', '.join(['%s'] * 900)}", ["long", *range(900)], ("long", *range(900))),
    (f"SELECT %s /* {'-' * 5_000} */", ["longer than what is remembered"], ("longer than what is remembered",)),
]


@pytest.mark.parametrize(("statement", "values", "row"), STATEMENTS)
def test_a_statement_is_executed_as_djangos_own_cursor_does(
    statement: str, values: Sequence[Any] | Mapping[str, Any] | None, row: tuple[Any, ...]
) -> None:
    with connection.cursor() as cursor:
        assert isinstance(cursor.cursor, Cursor)
        for _ in range(2):  # converted for the first time, and from the cache
            cursor.execute(statement, values)
            assert cursor.fetchone() == row
        djangos = connection.connection.cursor(factory=SQLiteCursorWrapper)
        assert djangos.execute(statement, values).fetchone() == row
        djangos.close()
