"""The product on PostgreSQL within a test."""

import contextlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.core.management.commands import flush
from django.core.management.sql import emit_post_migrate_signal
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from django.db.utils import load_backend

from chat.runtime import database
from config.database_address import parse_database

#: What keeps the audit as it is.
GUARD: Any = import_module("chat.migrations.0019_audit")


def let_audit_be_emptied() -> None:
    """Take away what keeps the audit as it is, for tests that empty their tables."""
    with connection.cursor() as cursor:
        for statement in GUARD.DROP[connection.vendor]:
            cursor.execute(statement)


#: Of each database that was emptied, what it was filled with again: by the names of its tables their rows.
_FIRST_ROWS: dict[str, dict[str, list[tuple[Any, ...]]]] = {}


def fill_again(verbosity: int, interactive: bool, db: str, **options: Any) -> None:
    """Fill a database that was emptied with what a new one has: permissions, built-in agents and the like.

    They are made the first time, and from then on put back as they were made, which takes a tenth of the time.
    """
    emptied = connections[db]
    name = str(emptied.settings_dict["NAME"])
    if name not in _FIRST_ROWS:
        emit_post_migrate_signal(verbosity, interactive, db, **options)
        _FIRST_ROWS[name] = _rows(db)
        return
    with transaction.atomic(db), emptied.cursor() as cursor:
        for table, rows in _FIRST_ROWS[name].items():
            places = ", ".join(["%s"] * len(rows[0]))
            cursor.executemany(f"INSERT INTO {emptied.ops.quote_name(table)} VALUES ({places})", rows)


def empty() -> None:
    """Empty the tables of this thread's PostgreSQL, and fill them with what a new database has.

    As `flush` does, which makes the files of all tables anew, and takes a hundred times as long where most of them are empty.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename != 'django_migrations'"
        )
        tables = [connection.ops.quote_name(table) for (table,) in cursor.fetchall()]
        # Then nothing is done by what is deleted: the order of the tables does not matter, nor what keeps their rows.
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("; ".join(f"DELETE FROM {table}" for table in tables))
    fill_again(verbosity=0, interactive=False, db=DEFAULT_DB_ALIAS)


def _rows(db: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the tables that hold any, but for those that say which migrations were applied."""
    found = {}
    with connections[db].cursor() as cursor:
        for table in connections[db].introspection.django_table_names(only_existing=True, include_views=False):
            cursor.execute(f"SELECT * FROM {connections[db].ops.quote_name(table)}")
            if rows := cursor.fetchall():
                found[table] = rows
    return found


# `flush`, by which tests are taken back, knows no other place for it.
flush.emit_post_migrate_signal = fill_again


@contextlib.contextmanager
def guarded_audit() -> Iterator[None]:
    """Let the audit be kept as it is in the product, for a while."""
    let_audit_be_emptied()
    with connection.cursor() as cursor:
        for statement in GUARD.CREATE[connection.vendor]:
            cursor.execute(statement)
    try:
        yield
    finally:
        let_audit_be_emptied()


@contextlib.contextmanager
def postgresql(address: str, *, has_tables: bool = False) -> Iterator[None]:
    """Let this thread's connection, and those that threads open meanwhile, be ones to a PostgreSQL database; its tables are made."""
    usual, usually = connections[DEFAULT_DB_ALIAS], connections.settings[DEFAULT_DB_ALIAS]
    named = parse_database(address, Path())
    # One connection a thread, not a pool of them, which would outlive the test. SQLite is opened as it always is.
    is_same = named["ENGINE"] == usually["ENGINE"]
    described = {**usually, **named, "OPTIONS": usually["OPTIONS"] if is_same else {}}
    wrapper = load_backend(described["ENGINE"]).DatabaseWrapper(described, DEFAULT_DB_ALIAS)
    # A reading or writing thread that an earlier test has left keeps its connection, which is one to the other database.
    database.close()
    connections[DEFAULT_DB_ALIAS] = wrapper
    connections.settings[DEFAULT_DB_ALIAS] = described
    ContentType.objects.clear_cache()
    try:
        if not has_tables:
            call_command("migrate", verbosity=0)
        yield
    finally:
        database.close()
        wrapper.close()
        connections[DEFAULT_DB_ALIAS] = usual
        connections.settings[DEFAULT_DB_ALIAS] = usually
        ContentType.objects.clear_cache()
