"""The product on PostgreSQL within a test."""

import contextlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.utils import load_backend

from config.database_address import parse_database

#: What keeps the audit as it is.
GUARD: Any = import_module("chat.migrations.0019_audit")


def let_audit_be_emptied() -> None:
    """Take away what keeps the audit as it is, for tests that empty their tables."""
    with connection.cursor() as cursor:
        for statement in GUARD.DROP[connection.vendor]:
            cursor.execute(statement)


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
    connections[DEFAULT_DB_ALIAS] = wrapper
    connections.settings[DEFAULT_DB_ALIAS] = described
    try:
        if not has_tables:
            call_command("migrate", verbosity=0)
        yield
    finally:
        wrapper.close()
        connections[DEFAULT_DB_ALIAS] = usual
        connections.settings[DEFAULT_DB_ALIAS] = usually
