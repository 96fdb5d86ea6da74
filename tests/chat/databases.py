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
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.utils import load_backend

from chat.runtime import database
from config.database_address import parse_database

#: The triggers that keep audit entries from being changed.
GUARD: Any = import_module("chat.migrations.0019_audit")


def let_audit_be_emptied() -> None:
    """Drop these triggers, for tests that empty their tables."""
    with connection.cursor() as cursor:
        for statement in GUARD.DROP[connection.vendor]:
            cursor.execute(statement)


#: The initial rows of each database, by table, from the first time that it was filled.
_FIRST_ROWS: dict[str, dict[str, list[tuple[Any, ...]]]] = {}


def fill_again(verbosity: int, interactive: bool, db: str, **options: Any) -> None:
    """Fill an emptied database as a new one is filled: permissions, built-in agents and the like.

    They are made the first time, and copied from then on, which takes a tenth of the time.
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
    """Empty the tables of this thread's PostgreSQL, and fill them as a new database is filled.

    `flush` would make new files for all tables, which takes a hundred times as long where most of them are empty.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename != 'django_migrations'"
        )
        tables = [connection.ops.quote_name(table) for (table,) in cursor.fetchall()]
        # Disables triggers: the order of the tables does not matter, nor do the rules against deleting.
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("; ".join(f"DELETE FROM {table}" for table in tables))
    fill_again(verbosity=0, interactive=False, db=DEFAULT_DB_ALIAS)


def _rows(db: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, without the table of applied migrations."""
    found = {}
    with connections[db].cursor() as cursor:
        for table in connections[db].introspection.django_table_names(only_existing=True, include_views=False):
            cursor.execute(f"SELECT * FROM {connections[db].ops.quote_name(table)}")
            if rows := cursor.fetchall():
                found[table] = rows
    return found


# `flush`, with which Django cleans up after tests, has no other hook.
flush.emit_post_migrate_signal = fill_again


def single_steps() -> MigrationExecutor:
    """What brings this thread's database to any version's state, by each migration as it was, with none that stands for others."""
    executor = MigrationExecutor(connection)
    executor.loader = MigrationLoader(connection, replace_migrations=False)
    for key, squashed in executor.loader.replacements.items():
        executor.loader.graph.remove_replacement_node(key, squashed.replaces)
    return executor


@contextlib.contextmanager
def guarded_audit() -> Iterator[None]:
    """Use the product's triggers for the audit within a block."""
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
    """Use a PostgreSQL database with tables in this thread's connection, and in those that threads open meanwhile."""
    usual, usually = connections[DEFAULT_DB_ALIAS], connections.settings[DEFAULT_DB_ALIAS]
    named = parse_database(address, Path())
    # One connection for each thread, and no pool, which would outlive the test. SQLite is opened as usual.
    is_same = named["ENGINE"] == usually["ENGINE"]
    described = {**usually, **named, "OPTIONS": usually["OPTIONS"] if is_same else {}}
    wrapper = load_backend(described["ENGINE"]).DatabaseWrapper(described, DEFAULT_DB_ALIAS)
    # A database thread of an earlier test still has a connection to the other database.
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
