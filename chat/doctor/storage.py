"""The database with its tables and clock, the disk, file permissions, and the static files."""

import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from chat.doctor.findings import Finding
from chat.runtime import clock, db_check

_SLOW_MS = 20
_ROUNDS = 5
#: Bytes of disk that should be free, for SQLite's write-ahead log and a backup: below the first a warning, below the second a failure.
_LITTLE_FREE, _HARDLY_FREE = 2 << 30, 200 << 20
_OFF_S = 2.0
_FEW_CONNECTIONS = 30
_OLDEST_POSTGRESQL = 14
#: A file that is collected in every installation.
_A_STATIC_FILE = "chat/page/main.js"


def check_database() -> Iterator[Finding]:
    """Whether the database answers, how fast, and how it is configured."""
    try:
        connection.ensure_connection()
    except OperationalError as error:
        action = "Check that the server of DATABASE_URL runs, and that name, password and database are right."
        if connection.vendor == "sqlite":
            action = "It is a file in DATA_DIR: check that this account may read and write it, and that its disk is not full."
        yield Finding.fail(f"does not answer: {' '.join(str(db_check.reason_of(error)).split())}", action)
        return
    took_ms = min(_round_trip_ms() for _ in range(_ROUNDS))
    yield Finding.ok(f"{_version()}, answers in {took_ms:.1f} ms")
    if took_ms > _SLOW_MS:
        yield Finding.warn(
            f"an answer takes {took_ms:.0f} ms: a run waits for about five of them", "Move it closer to the processes."
        )
    yield from _check_sqlite() if connection.vendor == "sqlite" else _check_postgresql()


def _round_trip_ms() -> float:
    began = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()
    return (time.perf_counter() - began) * 1000


def _version() -> str:
    return f"{connection.display_name} {'.'.join(map(str, connection.get_database_version()))}"


def _scalar(statement: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return str(cursor.fetchone()[0])


def _check_sqlite() -> Iterator[Finding]:
    mode = _scalar("PRAGMA journal_mode")
    if mode != "wal":
        yield Finding.warn(
            f"its journal mode is {mode}: writers block readers",
            "Put it on a disk of this machine: WAL does not work on network file systems.",
        )
    result = _scalar("PRAGMA quick_check(1)")
    if result != "ok":
        yield Finding.fail(f"its file is damaged: {result}", "Restore a backup: manage.py restore FILE.")


def _check_postgresql() -> Iterator[Finding]:
    major = connection.get_database_version()[0]
    if major < _OLDEST_POSTGRESQL:
        yield Finding.warn(f"version {major} is old", f"Upgrade PostgreSQL to {_OLDEST_POSTGRESQL} or newer.")
    if _scalar("SELECT pg_is_in_recovery()") == "True":
        yield Finding.fail(
            "this is a standby, which is read-only",
            "Name the primary in DATABASE_URL, or add ?target_session_attrs=read-write.",
        )
    free = int(_scalar("SELECT current_setting('max_connections')::int - (SELECT count(*) FROM pg_stat_activity)"))
    if free < _FEW_CONNECTIONS:
        yield Finding.warn(
            f"only {free} more connections are available; a process uses up to 12",
            "Raise max_connections, or put a PgBouncer before it (SCALING.md).",
        )
    if _scalar("SELECT current_setting('server_encoding')") != "UTF8":
        yield Finding.fail("its encoding is not UTF8", "Create the database again with ENCODING 'UTF8'.")


def check_migrations() -> Iterator[Finding]:
    """Whether all migrations are applied."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        names = ", ".join(str(migration) for migration, _ in plan[:3])
        yield Finding.fail(f"{len(plan)} are not applied ({names}{' …' if plan[3:] else ''})", "Run: manage.py migrate")
    else:
        yield Finding.ok("all are applied")


def check_clock() -> Iterator[Finding]:
    """Whether the clocks of this machine and the database agree."""
    own, database_time = timezone.now(), clock.read_database()
    off = (own - database_time).total_seconds()
    if abs(off) < _OFF_S:
        yield Finding.ok(f"agrees with the database's ({off:+.1f} s)")
    else:
        yield Finding.warn(
            f"is {off:+.0f} s off the database's: the times of steps are wrong by as much", "Set both by NTP."
        )


def check_disk() -> Iterator[Finding]:
    """Whether there is enough free disk space."""
    for name, folder in {"DATA_DIR": settings.DATA_DIR, "the static files": Path(settings.STATIC_ROOT)}.items():
        if not folder.exists():
            continue
        free = shutil.disk_usage(folder).free
        free_space = f"{free / (1 << 30):.1f} GiB are free where {name} is"
        if free < _HARDLY_FREE:
            yield Finding.fail(free_space, "Free some space: without it nothing can be stored.")
        elif free < _LITTLE_FREE:
            yield Finding.warn(free_space, "Free some space before the disk is full.")
        else:
            yield Finding.ok(free_space)


def check_permissions() -> Iterator[Finding]:
    """Whether other accounts of this machine can read private files."""
    private = [settings.DATA_DIR, settings.DATA_DIR / "secret_key", settings.BASE_DIR / ".env"]
    if connection.vendor == "sqlite" and Path(connection.settings_dict["NAME"]).is_absolute():
        private.append(Path(connection.settings_dict["NAME"]))
    opened = [path for path in private if path.exists() and _others_can_read(path)]
    for path in opened:
        mode = stat.S_IMODE(path.stat().st_mode)
        yield Finding.warn(
            f"other accounts of this machine can read {path} (mode {mode:o})", f"Run: chmod -R go= {path}"
        )
    if not opened:
        yield Finding.ok("private files can be read by this account only")


def _others_can_read(path: Path) -> bool:
    is_behind = path != settings.DATA_DIR and not path.parent.stat().st_mode & 0o011
    return bool(path.stat().st_mode & 0o077) and not is_behind


def check_static_files() -> Iterator[Finding]:
    """Whether the static files are collected, and are those of this version."""
    action = "Run: manage.py collectstatic --no-input --clear"
    try:
        name = staticfiles_storage.url(_A_STATIC_FILE)
    except (ValueError, ImproperlyConfigured):
        name = ""
    collected = Path(settings.STATIC_ROOT) / name.removeprefix(settings.STATIC_URL)
    if not name or name.endswith(_A_STATIC_FILE) or not collected.is_file():
        yield Finding.fail(f"are not collected in {settings.STATIC_ROOT}: pages have no styles and no scripts", action)
        return
    missing = [each for each in ("vendor",) if not (Path(settings.STATIC_ROOT) / each).is_dir()]
    if missing:
        yield Finding.fail(
            "the browser's libraries are missing", "Run: make vendor, then manage.py collectstatic --no-input"
        )
        return
    yield Finding.ok(f"are collected in {settings.STATIC_ROOT}")
