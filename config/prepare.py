"""Update database and data folder, then start the server: ``python -m config.prepare serve``.

Migrations, static files and the first account. Each step first checks whether it is necessary, so that a restart is fast. Without ``serve``
that is all, for installations that start their processes separately.
"""

import contextlib
import hashlib
import os
import secrets
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import django
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.finders import get_finders
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.migrations.executor import MigrationExecutor

from agents.addresses import host_and_port
from chat.runtime import malloc, open_files, process_lock
from config.database_address import POSTGRES_SESSION

MANAGE = Path(__file__).resolve().parent.parent / "manage.py"


def main(command: str | None) -> None:
    """Prepare, then become the management command that serves, if one is named."""
    malloc.collect_rarely()
    try:
        open_files.raise_limit()
    except open_files.TooFewFiles as few:
        sys.exit(f"Thinkaloud cannot start: {few}")
    django.setup()
    try:
        # Before any change: the tables of a running server must not be changed.
        process_lock.acquire_lock()
        with one_plain_connection(), one_at_a_time():
            migrate_tables()
            set_session_defaults()
            create_first_account()
    except DatabaseError as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "unsupported startup parameter" in str(error):
            reason += ". Where it is a PgBouncer that pools by transaction, add pgbouncer=true to DATABASE_URL"
        sys.exit(
            f"Thinkaloud cannot start: the database of DATABASE_URL ({connection.vendor}) cannot be used: {reason}."
        )
    except (process_lock.AlreadyServing, CommandError) as refused:
        sys.exit(f"Thinkaloud cannot start: {refused}")
    except OSError as error:
        sys.exit(f"Thinkaloud cannot start: DATA_DIR cannot be written ({error}).")
    try:
        collect_static_files()
    except (OSError, CommandError) as error:
        sys.exit(f"Thinkaloud cannot start: static files cannot be collected in {settings.STATIC_ROOT} ({error}).")
    sys.stdout.flush()
    if command is None:
        return
    if command != "serve":
        os.execv(
            sys.executable, [sys.executable, str(MANAGE), command, host_and_port("", settings.HOST, settings.PORT)]
        )
    try:
        # In this process: importing everything a second time would double the time to the first page.
        call_command("serve", host=settings.HOST, port=settings.PORT)
    except CommandError as refused:
        sys.exit(f"Thinkaloud cannot start: {refused}")


@contextlib.contextmanager
def one_plain_connection() -> Iterator[None]:
    """Connect without a pool for a while: its threads would retry, where the error is needed at once."""
    options = connection.settings_dict["OPTIONS"]
    pool = {name: options.pop(name) for name in ("pool",) if name in options}
    try:
        yield
    finally:
        connection.close()
        options.update(pool)


def migrate_tables() -> None:
    """Migrate, and create what belongs to the tables: permissions, agents. If all that was done on this database, only check."""
    from chat.catalog import built_in  # noqa: PLC0415 - the models are not loaded yet above

    stamp = Path(settings.DATA_DIR) / ".migrated"
    executor = MigrationExecutor(connection)
    newest = executor.loader.graph.leaf_nodes()
    where = [connection.settings_dict[part] for part in ("ENGINE", "HOST", "PORT", "NAME")]
    wanted = hashlib.sha256(repr((sorted(newest), where)).encode()).hexdigest()
    if not executor.migration_plan(newest) and stamp.exists() and stamp.read_bytes() == wanted.encode():
        built_in.make_built_in()
        return
    if not executor.loader.applied_migrations:
        check_encoding()
    call_command("migrate", interactive=False, verbosity=0)
    stamp.write_text(wanted, "utf-8")


def check_encoding() -> None:
    """Raise `CommandError` where PostgreSQL would refuse texts of some languages, one message at a time."""
    if connection.vendor != "postgresql":
        return
    connection.ensure_connection()
    encoding = connection.connection.info.parameter_status("server_encoding")
    if encoding not in ("UTF8", "SQL_ASCII"):
        raise CommandError(
            f"the database of DATABASE_URL has the encoding {encoding}, which does not hold every text. "
            "Create it again, with ENCODING 'UTF8' TEMPLATE template0."
        )


def is_pooled() -> bool:
    """Whether the database is behind a PgBouncer that pools by transaction."""
    return bool(connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"))


def set_session_defaults() -> None:
    """Behind a PgBouncer, set a session's timeouts for the role, because its connections cannot have them."""
    if not is_pooled():
        return
    with transaction.atomic(), connection.cursor() as cursor:
        database = connection.ops.quote_name(connection.settings_dict["NAME"])
        for name, value in POSTGRES_SESSION.items():
            cursor.execute(f"ALTER ROLE CURRENT_USER IN DATABASE {database} SET {name} = %s", [value])
        limit_session(cursor)


def limit_session(cursor: CursorWrapper) -> None:
    """Set them for an open session too, in a transaction that is committed: a PgBouncer reuses the session for up to an hour."""
    for name, value in POSTGRES_SESSION.items():
        cursor.execute(f"SET {name} = %s", [value])


#: The key of PostgreSQL's advisory lock for processes that prepare the same database; any number would do.
_LOCK = 0x7468696E6B


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let one process at a time prepare a PostgreSQL. The others wait, and find it done."""
    if connection.vendor != "postgresql":
        # `process_lock` already guarantees that.
        yield
        return
    # Held by a transaction on a separate connection: a proxy may give each transaction of the other one a different session.
    holder = connection.copy()
    try:
        holder.set_autocommit(False)
        with holder.cursor() as cursor:
            # However long migrations take, another process's or this one's.
            cursor.execute("SET LOCAL lock_timeout = 0")
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
            if not cursor.fetchone()[0]:
                print("Another process prepares this database; waiting for it.", flush=True)
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        yield
        if is_pooled():
            with holder.cursor() as cursor:
                limit_session(cursor)
            holder.commit()
    finally:
        holder.close()


def collect_static_files() -> None:
    """Collect and hash the static files when one of them has changed since the last time."""
    stamp = Path(settings.STATIC_ROOT) / ".collected"
    seen = hashlib.sha256()
    for finder in get_finders():
        for path, storage in finder.list([]):
            about = Path(storage.path(path)).stat()
            seen.update(f"{path} {about.st_size} {about.st_mtime_ns}\n".encode())
    if stamp.exists() and stamp.read_bytes() == seen.hexdigest().encode():
        return
    if stamp.parent.is_dir() and not os.access(stamp.parent, os.W_OK):
        # The static files of a read-only image were collected when it was built.
        return
    # Files that were not collected by us must not be deleted.
    call_command("collectstatic", interactive=False, clear=stamp.exists(), verbosity=0)
    stamp.write_text(seen.hexdigest(), "utf-8")


def create_first_account() -> None:
    """Create the first account if there is none yet, and print its password once if it is a random one."""
    users = get_user_model().objects
    if users.exists():
        return
    account = settings.FIRST_ACCOUNT
    password = account["password"] or secrets.token_urlsafe(12)
    user = users.model(
        username=users.model.normalize_username(account["username"]),
        email=users.normalize_email(account["email"]),
        is_staff=True,
        is_superuser=True,
    )
    user.set_password(password)
    try:
        user.full_clean()
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        sys.exit(f"Thinkaloud cannot start: DJANGO_SUPERUSER_{field.upper()} cannot be used: {messages[0]}")
    try:
        user.save()
    except IntegrityError:
        # Another process on the same database was faster.
        return
    if not account["password"]:
        print(f"\n  Log in as {user.get_username()} with the password {password} (shown this once).\n")


if __name__ == "__main__":
    os.umask(0o077)  # files in the data folder are readable by this account only
    # Ctrl-C ends the preparations like SIGTERM, without a traceback. The server sets its own handlers.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    main(sys.argv[1] if len(sys.argv) > 1 else None)
