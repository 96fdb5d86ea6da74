"""Whether the database is there, and has the tables of this version."""

from django.db import (
    DEFAULT_DB_ALIAS,
    DataError,
    Error,
    InterfaceError,
    InternalError,
    OperationalError,
    connection,
    connections,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor


def dedicated_connection() -> BaseDatabaseWrapper:
    """A connection apart from the pool that others share."""
    own = connections.create_connection(DEFAULT_DB_ALIAS)
    options = {name: value for name, value in own.settings_dict["OPTIONS"].items() if name != "pool"}
    lasting = {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
    own.settings_dict = {**own.settings_dict, "OPTIONS": options, **lasting}
    return own


def is_away(error: BaseException) -> bool:
    """Whether a database error says that the database is away or takes no changes for now, and may be back soon.

    Other errors are about the tables or rows that were asked for.
    """
    return isinstance(error, _AWAY) and not is_unreadable(error)


def database_answers() -> bool:
    """Whether the database answers at all."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return False
    return True


def is_unreadable(error: BaseException) -> bool:
    """Whether a database error says that what is stored can't be read, however often it is asked for."""
    # SQLite has only one kind of error for what is locked and for what is no text.
    return isinstance(error, DataError) or "decode to UTF-8" in str(error)


#: To PostgreSQL it is an internal error that it takes no changes for now.
_AWAY = (OperationalError, InterfaceError, InternalError)


class DatabaseUnavailable(Exception):
    """The database does not answer; the text is for people."""


class MigrationsPending(Exception):
    """The database has not got this version's tables; the text is for people."""


def check_tables(*, explain: bool = False) -> None:
    """Raise `DatabaseUnavailable` or `MigrationsPending` where this process cannot work here; to ``explain`` takes one more try."""
    try:
        executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    except OperationalError as away:
        told = reason_of(away) if explain else away
        raise DatabaseUnavailable(f"The database does not answer: {' '.join(str(told).split())}") from None
    # Tables of a later version are well: a version only adds what the one before it can do without.
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise MigrationsPending("The database's tables are not up to date. Run: python manage.py migrate")


def reason_of(away: OperationalError) -> OperationalError:
    """Why the database does not answer: a pool says only that it has waited, a connection apart from it says what it was told."""
    own = dedicated_connection()
    try:
        own.ensure_connection()
    except OperationalError as told:
        return told
    finally:
        own.close()
    return away
