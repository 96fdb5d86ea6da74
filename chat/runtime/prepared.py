"""Frequent queries of Django's ORM, compiled to SQL once; afterwards they only get their values.

Building and compiling such a query takes several times as long as executing it.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import QuerySet

from chat.runtime.db_values import uuid_param

R = TypeVar("R")

#: Placeholder values, by type, that no query contains by itself. Where they occur in the compiled SQL, the real values are passed later.
_STAND_INS: dict[type, Callable[[int], Any]] = {
    int: lambda number: 2_147_480_000 + number,
    str: lambda number: f"value {number} of a prepared query",
    UUID: lambda number: UUID(int=(0x7468696E6B << 88) + number),
}


class PreparedQuery(Generic[R]):
    """A query that compiles to the same SQL for all its values. Thread-safe.

    ``build`` makes the query from values of the given types: a queryset of `values_list`, whose SQL must not depend on the values. ``make``
    makes each row's result from its columns.
    """

    def __init__(self, build: Callable[..., QuerySet[Any, Any]], *types: type, make: Callable[..., R]) -> None:
        self._build, self._types, self._make = build, types, make
        #: The compiled query, by the kind of database.
        self._worded: dict[str, tuple[str, list[Any], Any, Any]] = {}

    def rows(self, *values: Any) -> list[R]:
        """Execute the query with these values, on the current thread's connection. Returns all rows."""
        statement, places, compiler, converters = self._worded.get(connection.vendor) or self._word()
        given = [uuid_param(value) if isinstance(value, UUID) else value for value in values]
        with connection.cursor() as cursor:
            cursor.execute(statement, [given[place] if type(place) is _Place else place for place in places])
            rows = cursor.fetchall()
        if converters:
            rows = compiler.apply_converters(rows, converters)
        make = self._make
        return [make(*row) for row in rows]

    def _word(self) -> tuple[str, list[Any], Any, Any]:
        stand_ins = [_STAND_INS[type_](number) for number, type_ in enumerate(self._types)]
        compiler = self._build(*stand_ins).query.get_compiler(DEFAULT_DB_ALIAS)
        statement, parameters = compiler.as_sql()
        known = {
            uuid_param(value) if isinstance(value, UUID) else value: _Place(number)
            for number, value in enumerate(stand_ins)
        }
        places = [known.get(parameter, parameter) for parameter in parameters]
        lost = set(known.values()) - {place for place in places if type(place) is _Place}
        if lost:
            raise ValueError(f"The query does not use its value number {min(lost) + 1}.")
        columns = [column for column, *_ in compiler.select[: compiler.col_count]]
        worded = self._worded[connection.vendor] = statement, places, compiler, compiler.get_converters(columns)
        return worded


class _Place(int):
    """The place of a value, by its index."""
