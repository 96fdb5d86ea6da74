"""The product on PostgreSQL within a test, on the test's own thread."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.utils import load_backend

from config.environment import Environment


@contextlib.contextmanager
def postgresql(address: str) -> Iterator[None]:
    """Let this thread's connection be one to an empty PostgreSQL database, with all tables made."""
    usual = connections[DEFAULT_DB_ALIAS]
    named = Environment({"DATABASE_URL": address}, base=Path()).database("DATABASE_URL", Path())
    # One connection, not a pool of them, which would outlive the test.
    described = {**connections.settings[DEFAULT_DB_ALIAS], **named, "OPTIONS": {}}
    wrapper = load_backend(described["ENGINE"]).DatabaseWrapper(described, DEFAULT_DB_ALIAS)
    connections[DEFAULT_DB_ALIAS] = wrapper
    try:
        call_command("migrate", verbosity=0)
        yield
    finally:
        wrapper.close()
        connections[DEFAULT_DB_ALIAS] = usual
