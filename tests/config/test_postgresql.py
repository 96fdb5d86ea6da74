"""The pool of connections to PostgreSQL, as its callers see it after connections were lost, or where none is possible."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from chat.runtime import db_check
from config.database_address import parse_database

CALLERS = 6


def pooled(address: str) -> BaseDatabaseWrapper:
    """A connection from the pool of an address, which waits a second at most."""
    named = parse_database(address, Path())
    options = {**named["OPTIONS"], "pool": {**named["OPTIONS"]["pool"], "timeout": 1}}
    described = {**connections.settings[DEFAULT_DB_ALIAS], **named, "OPTIONS": options}
    wrapper: BaseDatabaseWrapper = load_backend(described["ENGINE"]).DatabaseWrapper(described, address)
    return wrapper


@pytest.fixture
def callers(postgres_url: str, django_db_blocker: Any) -> Iterator[list[BaseDatabaseWrapper]]:
    """This many callers of one pool."""
    found = [pooled(postgres_url) for _ in range(CALLERS)]
    with django_db_blocker.unblock():
        yield found
        for caller in found:
            caller.close()
        found[0].close_pool()  # type: ignore[attr-defined]


#: Settings of a database, made by its operator or for another program. A further one is one line.
STYLES = {
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "bytea_output": "escape",
    "timezone": "Asia/Kathmandu",
}


@pytest.mark.parametrize("name", STYLES)
def test_a_database_s_own_style_is_read(postgres_url: str, django_db_blocker: Any, name: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as operator:
        row = operator.execute("SELECT quote_ident(current_database())").fetchone()
        assert row is not None
        operator.execute(f"ALTER DATABASE {row[0]} SET {name} TO '{STYLES[name]}'".encode())
        caller = pooled(postgres_url)
        try:
            with django_db_blocker.unblock(), caller.cursor() as cursor:
                cursor.execute(
                    "SELECT '2026-11-30 05:40:17.064732+00'::timestamptz, '1 day 2 hours'::interval, 'ä\\000'::bytea"
                )
                when, long, raw = cursor.fetchone()
        finally:
            caller.close()
            caller.close_pool()  # type: ignore[attr-defined]
    assert when == datetime(2026, 11, 30, 5, 40, 17, 64732, tzinfo=UTC)
    assert (long, bytes(raw)) == (timedelta(days=1, hours=2), "ä\0".encode())


def test_no_caller_waits_for_connections_that_have_died(
    callers: list[BaseDatabaseWrapper], postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All idle connections are ended at once: each caller gets one that works, and none had to wait for a retry."""
    for caller in callers:
        caller.connect()
    for caller in callers:
        caller.close()
    with psycopg.connect(postgres_url, autocommit=True) as operator:
        cut = operator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        ).fetchall()
    assert len(cut) >= CALLERS
    slept: list[float] = []
    monkeypatch.setattr("psycopg_pool.pool.sleep", slept.append)
    for caller in callers:
        with caller.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,)
    assert slept == []


#: Addresses of unusable databases, and a part of the error; ``{}`` is a server's. A further one is one line.
NOWHERE = {
    "{server}/nope": 'database "nope" does not exist',
    "{server}/postgres?sslmode=require": "SSL",
    "{server}/postgres?target_session_attrs=standby": "not in hot standby mode",
    "postgres://postgres@127.0.0.1:1/postgres": "refused",
    "postgres://postgres@127.0.0.1:1,127.0.0.1:2/postgres": "refused",
}


@pytest.mark.parametrize("address", NOWHERE)
def test_a_start_tells_why_there_is_no_connection(
    postgres_server: str, django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """The pool itself would only say that it has waited."""
    address_here = address.format(server=postgres_server.rpartition("/")[0])
    wrapper = pooled(address_here)
    usual, usually = connections[DEFAULT_DB_ALIAS], connections.settings[DEFAULT_DB_ALIAS]
    monkeypatch.setitem(connections.settings, DEFAULT_DB_ALIAS, wrapper.settings_dict)
    connections[DEFAULT_DB_ALIAS] = wrapper
    try:
        with django_db_blocker.unblock(), pytest.raises(db_check.DatabaseUnavailable, match=NOWHERE[address]):
            db_check.check_tables(explain=True)
    finally:
        wrapper.close_pool()  # type: ignore[attr-defined]
        connections[DEFAULT_DB_ALIAS] = usual
        connections.settings[DEFAULT_DB_ALIAS] = usually
