"""Whether the database answers, and has the tables of this version."""

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
    """A connection outside the pool that others share."""
    own = connections.create_connection(DEFAULT_DB_ALIAS)
    options = {name: value for name, value in own.settings_dict["OPTIONS"].items() if name != "pool"}
    lasting = {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
    own.settings_dict = {**own.settings_dict, "OPTIONS": options, **lasting}
    return own


def is_away(error: BaseException) -> bool:
    """Whether a database error means that the database does not answer or is read-only for now, and may recover soon.

    Other errors are about the statement, its tables or rows.
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
    """Whether a database error means that a stored value cannot be read, however often one tries."""
    # SQLite has only one class of error for a locked database and for text that is not valid.
    return isinstance(error, DataError) or "decode to UTF-8" in str(error)


#: PostgreSQL reports as an internal error that it is read-only for now.
_AWAY = (OperationalError, InterfaceError, InternalError)


class DatabaseUnavailable(Exception):
    """The database does not answer. The message is for people."""


class MigrationsPending(Exception):
    """The database lacks tables of this version. The message is for people."""


def check_tables(*, explain: bool = False) -> None:
    """Raise `DatabaseUnavailable` or `MigrationsPending` if this process cannot work; ``explain`` costs one more connection attempt."""
    try:
        executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    except OperationalError as error:
        reason = reason_of(error) if explain else error
        raise DatabaseUnavailable(f"The database does not answer: {' '.join(str(reason).split())}") from None
    # Tables of a later version are fine: each version only adds what the one before it does not need.
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise MigrationsPending("The database's tables are not up to date. Run: python manage.py migrate")


def reason_of(error: OperationalError) -> OperationalError:
    """Why the database does not answer. A pool only says that it has timed out, so this connects once without it."""
    own = dedicated_connection()
    try:
        own.ensure_connection()
    except OperationalError as cause:
        return cause
    finally:
        own.close()
    return error
