"""How the databases execute the statements of periodic tasks and runs' transactions: with indexes, however long the tables are."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction

from tests import prepared, services
from tests.chat.databases import postgresql
from tests.chat.large import Large, fill
from tests.chat.statements import EVERYTHING

BIG = (
    "chat_run",
    "chat_step",
    "chat_session",
    "chat_schedule",
    "chat_occurrence",
    "chat_stepcontent",
    "chat_modelcall",
    "chat_modelcontent",
    "chat_auditentry",
    "chat_waitingcall",
    "chat_steeringword",
    "chat_webhookdelivery",
)
SIZES = [
    pytest.param((8_000, 5), id="8,000 runs"),
    pytest.param((200_000, 5), id="200,000 runs", marks=pytest.mark.long),
]


@pytest.fixture(scope="module", params=SIZES)
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    """How many runs there are, and how many steps each has."""
    found: tuple[int, int] = request.param
    return found


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def large(
    request: pytest.FixtureRequest,
    size: tuple[int, int],
    tmp_path_factory: pytest.TempPathFactory,
    django_db_blocker: Any,
) -> Iterator[Large]:
    """A large database, filled once for all statements; what each of them changes is rolled back."""
    with contextlib.ExitStack() as until_done:
        address = f"sqlite:///{prepared.copy_tables(tmp_path_factory.mktemp('large'))}"
        if request.param == "postgresql":
            server = request.getfixturevalue("postgres_server")
            template = request.getfixturevalue("postgres_template")
            address = until_done.enter_context(services.database(server, f"plans_{uuid4().hex}", template=template))
        until_done.enter_context(django_db_blocker.unblock())
        # The same on both databases: a connection of the test's own.
        until_done.enter_context(postgresql(address, has_tables=True))
        yield fill(*size)


class _Explained:
    """Explains each statement before it is executed, and records those that read a whole table."""

    def __init__(self) -> None:
        self.whole: list[str] = []
        self.statements = 0
        self._partial: set[str] | None = None

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        params = list(params) if many else params
        if re.match(r"\s*(SELECT|UPDATE|DELETE|INSERT|WITH)\b", sql):
            self.statements += 1
            scans = self._sqlite if connection.vendor == "sqlite" else self._postgresql
            self.whole += [f"{scan}: {' '.join(sql.split())}" for scan in scans(execute, sql, params, many, context)]
        return execute(sql, params, many, context)

    def _rows(self, execute: Any, prefix: str, sql: str, params: Any, many: bool, context: Any) -> list[Any]:
        cursor = context["cursor"]
        # Of many rows the first.
        cursor._execute(f"{prefix} {sql}", params[0] if many else params)
        return list(cursor.cursor.fetchall())

    def _sqlite(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> list[str]:
        if self._partial is None:
            found = connection.connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'index' AND sql LIKE '% WHERE %'"
            )
            self._partial = {name for (name,) in found}
        tables = {alias: table for table, alias in re.findall(r'"?(chat_\w+)"?\s+(?:AS\s+)?"?(\w+)"?', sql)}
        scans = []
        for *_, detail in self._rows(execute, "EXPLAIN QUERY PLAN", sql, params, many, context):
            scan = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", detail)
            if scan and tables.get(scan[1], scan[1]) in BIG and scan[2] not in self._partial:
                scans.append(detail)
        return scans

    def _postgresql(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> list[str]:
        plans = self._rows(execute, "EXPLAIN (FORMAT JSON)", sql, params, many, context)
        return [scan for ((plan,),) in plans for scan in self._seq_scans(plan["Plan"])]

    def _seq_scans(self, plan: dict[str, Any]) -> Iterator[str]:
        if plan["Node Type"] == "Seq Scan" and plan["Relation Name"] in BIG:
            yield f"Seq Scan on {plan['Relation Name']}"
        for below in plan.get("Plans", []):
            yield from self._seq_scans(below)


@pytest.mark.xdist_group("query plans")
@pytest.mark.parametrize("asked", EVERYTHING)
def test_no_statement_reads_a_whole_table(large: Large, asked: str) -> None:
    """Each statement is explained by the database before it is executed; an index of few rows may be read completely, a table may not."""
    explained = _Explained()
    with transaction.atomic():
        large.live.refresh_from_db()
        large.queued.refresh_from_db()
        with connection.execute_wrapper(explained):
            EVERYTHING[asked](large)
        transaction.set_rollback(True)
    assert explained.statements
    assert explained.whole == []
