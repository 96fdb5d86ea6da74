"""Copies of the whole database, made while the product serves; and restored atomically: either all of the copy, or nothing is changed.

SQLite is copied with its own backup interface, which includes the write-ahead log; a copy of the file alone would not. PostgreSQL is
copied with its own programs, ``pg_dump``, ``pg_restore`` and ``psql``.
"""

import contextlib
import os
import shutil
import sqlite3
import subprocess
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.utils import timezone

from chat.models import Process
from chat.runtime import process_lock

#: Tables that only a database of this product has.
_OUR_TABLES = {"chat_session", "chat_run", "chat_step", "django_migrations"}
_EMPTY = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"
_PAGES_AT_ONCE = 4096


class BackupFailed(Exception):
    """The database was not copied, or not restored. The message is for people."""


def write_backup(file: Path) -> None:
    """Copy the database, as of one moment, into a new file that only its owner can read. The product may serve meanwhile."""
    if file.exists():
        raise BackupFailed(f"{file} exists. Name a file that does not.")
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        draft.touch(mode=0o600, exist_ok=False)
        if connection.vendor == "sqlite":
            _copy_sqlite(_sqlite_file(), draft)
        else:
            _run("pg_dump", "--format=custom", f"--file={draft}")
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.rename(file)
    except (OSError, sqlite3.Error) as error:
        raise BackupFailed(f"The database could not be copied to {file}: {error}.") from None
    finally:
        draft.unlink(missing_ok=True)


def restore_backup(file: Path) -> None:
    """Replace the database by a copy. No process may serve it, and its present content is lost."""
    if not file.is_file():
        raise BackupFailed(f"There is no file {file}.")
    _refuse_while_served()
    connection.close()
    if connection.vendor == "sqlite":
        _check_sqlite(file)
        try:
            _copy_sqlite(file, _sqlite_file())
        except sqlite3.Error as error:
            raise BackupFailed(
                f"{_sqlite_file()} cannot be written ({error}). Where it is damaged, move it away, and its -wal and -shm with it."
            ) from None
        return
    script = file.with_name(f".{file.name}.{os.getpid()}.sql")
    try:
        script.touch(mode=0o600, exist_ok=False)
        _run("pg_restore", "--no-owner", "--no-privileges", f"--file={script}", str(file), connects=False)
        # In one transaction, after dropping everything: tables that the copy does not have would break the next migration.
        options = ["--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1"]
        _run("psql", *options, f"--command={_EMPTY}", f"--file={script}", "--output=/dev/null")
    finally:
        script.unlink(missing_ok=True)


def _refuse_while_served() -> None:
    try:
        alone = process_lock.acquire_lock()
    except process_lock.AlreadyServing as owned:
        raise BackupFailed(str(owned)) from None
    if alone or "chat_process" not in connection.introspection.table_names():
        return
    since = timezone.now() - timedelta(seconds=settings.RUN_LEASE_S)
    names = ", ".join(Process.objects.filter(seen_at__gt=since).values_list("name", flat=True))
    if names:
        raise BackupFailed(f"These processes use the database, or did a moment ago: {names}. Stop them first.")


def _sqlite_file() -> Path:
    return Path(connection.settings_dict["NAME"])


def _copy_sqlite(source: Path, target: Path) -> None:
    """Copy in one transaction of the target, so that a crash leaves its old content."""
    with (
        contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30)) as read,
        contextlib.closing(sqlite3.connect(target, timeout=30)) as written,
    ):
        read.backup(written, pages=_PAGES_AT_ONCE)


def _check_sqlite(file: Path) -> None:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as copy:
            tables = {name for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            (result,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        raise BackupFailed(f"{file} is no database that can be read ({error}).") from None
    if result != "ok":
        raise BackupFailed(f"{file} is damaged ({result}).")
    if not tables >= _OUR_TABLES:
        raise BackupFailed(f"{file} is no database of Thinkaloud's.")


def _run(program: str, *arguments: str, connects: bool = True) -> None:
    """Run one of PostgreSQL's programs on the configured database; the password is passed in the environment."""
    found = shutil.which(program)
    if found is None:
        raise BackupFailed(f"{program} is not installed here. It comes with PostgreSQL's client programs.")
    about = connection.settings_dict
    libpq = {"PGHOST": "HOST", "PGPORT": "PORT", "PGUSER": "USER", "PGPASSWORD": "PASSWORD", "PGDATABASE": "NAME"}
    environ = {**os.environ, **{name: str(about[key]) for name, key in libpq.items() if about.get(key)}}
    for name in ("sslmode", "sslrootcert", "sslcert", "sslkey", "target_session_attrs"):
        if name in about["OPTIONS"]:
            environ[f"PG{name.replace('_', '').upper()}"] = str(about["OPTIONS"][name])
    done = subprocess.run(
        [found, *([*arguments, "--no-password"] if connects else arguments)],
        env=environ,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        problem = " ".join(done.stderr.split()) or f"it ended with {done.returncode}"
        raise BackupFailed(f"{program} failed: {problem[:400]}")
